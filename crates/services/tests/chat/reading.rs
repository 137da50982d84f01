//! Searching, and how one user sees a conversation.

use api::MessageService as _;
use protocol::wire::{self, ErrorCode, content::Kind};

use crate::bed::{Bed, by, code_of, edit, hidden, id, recall, text};

fn search(conversation: u64, query: &str) -> wire::Search {
    wire::Search { conversation, query: query.into(), before: 0, limit: 0 }
}

async fn found(bed: &Bed, user: u64, request: wire::Search) -> (Vec<u64>, u64) {
    let found = bed.message.search(&by(user), request).await.unwrap();
    (found.entries.iter().map(|entry| entry.position).collect(), found.next_before)
}

#[tokio::test]
async fn messages_are_found_by_what_they_say_now_by_those_who_see_them() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    for body in ["Green TEA", "coffee", "ｔｅａ again", "no more tea"] {
        bed.say(ann, conversation, text(body)).await.unwrap();
    }
    bed.say(ann, conversation, edit(1, text("water"))).await.unwrap();
    bed.say(ann, conversation, edit(2, text("tea after all"))).await.unwrap();
    bed.say(ann, conversation, recall(4)).await.unwrap();
    assert_eq!(found(&bed, ben, search(conversation, "Tea")).await, (vec![3, 2], 0));
    let delete = wire::DeleteForMe { id: id(), conversation, positions: vec![3], up_to: 0 };
    bed.message.delete_for_me(&by(ben), delete).await.unwrap();
    assert_eq!(found(&bed, ben, search(conversation, "Tea")).await, (vec![2], 0));
    assert_eq!(found(&bed, ann, search(conversation, "Tea")).await, (vec![3, 2], 0));
    for wrong in ["", "  ", &"x".repeat(65)] {
        let refused = bed.message.search(&by(ann), search(conversation, wrong)).await.unwrap_err();
        assert!(matches!(refused.code(), ErrorCode::Invalid | ErrorCode::LimitExceeded));
    }
    let stranger = bed.user("cat").await;
    let refused = code_of(bed.message.search(&by(stranger), search(conversation, "tea"))).await;
    assert_eq!(refused, ErrorCode::NotMember);
}

#[tokio::test]
async fn a_search_goes_on_where_the_last_one_ended() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    let sends = (1..=5_300)
        .map(|at| crate::bed::saying(conversation, text(if at % 100 == 1 { "needle" } else { "hay" })))
        .collect();
    bed.message.send(&by(ann), api::SendRequest { sends }).await.unwrap();
    let (mut all, mut before, mut requests) = (Vec::new(), 0, 0);
    loop {
        let request = wire::Search { before, limit: 7, ..search(conversation, "NEEDLE") };
        let (positions, next) = found(&bed, ben, request).await;
        assert!(positions.len() <= 7);
        all.extend(positions);
        (before, requests) = (next, requests + 1);
        if next == 0 {
            break;
        }
    }
    assert_eq!(all, (0..53).rev().map(|at| at * 100 + 1).collect::<Vec<_>>());
    assert_eq!(requests, 8);
    // One request looks at so many and no more.
    let request = wire::Search { before: 0, limit: 7, ..search(conversation, "not there") };
    assert_eq!(found(&bed, ben, request).await, (vec![], 301));
}

#[tokio::test]
async fn settings_of_a_conversation_are_kept_and_told_once() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    bed.say(ben, conversation, text("hi")).await.unwrap();
    let settings = wire::ConversationSettings { pinned: true, muted: true, ..Default::default() };
    let set = |id| wire::SetConversation { id, conversation, settings: Some(settings) };
    let first = id();
    for _ in 0..2 {
        bed.message.set_conversation(&by(ann), set(first.clone())).await.unwrap();
    }
    let changed = wire::ConversationChanged { conversation, settings: Some(settings) };
    assert_eq!(bed.kinds(ann, ann).await, [Kind::ConversationChanged(changed)]);
    assert_eq!(bed.head(ann, conversation).await.settings, Some(settings));
    let stranger = bed.user("cat").await;
    let refused = code_of(bed.message.set_conversation(&by(stranger), set(id()))).await;
    assert_eq!(refused, ErrorCode::NotMember);
}

#[tokio::test]
async fn a_draft_is_kept_until_the_next_one_and_leaves_nothing_behind() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    bed.say(ben, conversation, text("hi")).await.unwrap();
    let save = |id, text: &str| wire::SaveDraft {
        id,
        conversation,
        draft: Some(wire::Draft { text: text.into(), reply_to: 1, time_ms: 7 }),
    };
    let first = id();
    bed.message.save_draft(&by(ann), save(first.clone(), "dear")).await.unwrap();
    bed.clock.shift(1_000);
    bed.message.save_draft(&by(ann), save(first.clone(), "dear")).await.unwrap();
    assert_eq!(bed.kinds(ann, ann).await.len(), 1);
    let draft = bed.head(ann, conversation).await.draft.unwrap();
    assert_eq!((draft.text.as_str(), draft.reply_to), ("dear", 1));
    assert!(draft.time_ms > 7);
    bed.message.save_draft(&by(ann), save(id(), "dear Ben")).await.unwrap();
    bed.message.save_draft(&by(ann), save(first, "dear")).await.unwrap();
    assert_eq!(bed.head(ann, conversation).await.draft.unwrap().text, "dear Ben");
    let nothing = wire::SaveDraft { id: id(), conversation, draft: None };
    bed.message.save_draft(&by(ann), nothing).await.unwrap();
    assert_eq!(bed.head(ann, conversation).await.draft, None);
    assert!(!format!("{:?}", bed.kinds(ann, ann).await).contains("dear"));
    let long = save(id(), &"x".repeat(16 * 1024 + 1));
    assert_eq!(code_of(bed.message.save_draft(&by(ann), long)).await, ErrorCode::LimitExceeded);
}

#[tokio::test]
async fn what_one_deletes_is_hidden_from_oneself_counts_as_read_and_stays_for_others() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    for body in ["one", "two", "three", "four"] {
        bed.say(ben, conversation, text(body)).await.unwrap();
    }
    let delete =
        |id, positions: &[u64], up_to| wire::DeleteForMe { id, conversation, positions: positions.to_vec(), up_to };
    let first = id();
    for _ in 0..2 {
        bed.message.delete_for_me(&by(ann), delete(first.clone(), &[3, 3], 1)).await.unwrap();
    }
    assert_eq!(bed.kinds(ann, conversation).await, [hidden(), text("two"), hidden(), text("four")]);
    assert_eq!(bed.kinds(ben, conversation).await[0], text("one"));
    let head = bed.head(ann, conversation).await;
    assert_eq!((head.deleted_up_to, head.read_position, head.unread), (1, 3, 1));
    let told = wire::MessagesDeleted { conversation, positions: vec![3], up_to: 1 };
    assert_eq!(bed.kinds(ann, ann).await, [Kind::MessagesDeleted(told)]);
    for (positions, up_to) in [(vec![], 0), (vec![5], 0), (vec![], 5), (vec![0], 0)] {
        let refused = code_of(bed.message.delete_for_me(&by(ann), delete(id(), &positions, up_to))).await;
        assert_eq!(refused, ErrorCode::Invalid);
    }
    let many = delete(id(), &[1; 101], 0);
    assert_eq!(code_of(bed.message.delete_for_me(&by(ann), many)).await, ErrorCode::LimitExceeded);
    let stranger = bed.user("cat").await;
    let refused = code_of(bed.message.delete_for_me(&by(stranger), delete(id(), &[1], 0))).await;
    assert_eq!(refused, ErrorCode::NotMember);
}
