//! What is pushed, and to whom.

use api::MessageService as _;
use protocol::wire::{self, ErrorCode, server_frame::Body};

use crate::bed::{Bed, by, group_topic, hidden, id, recall, recalled, saying, text};

#[tokio::test]
async fn what_the_blocked_write_is_theirs_alone() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    bed.say(ann, conversation, text("before")).await.unwrap();
    bed.block(ben, ann).await;
    let mut listener = bed.listen(&[ann, ben], Vec::new()).await;
    let send = saying(conversation, text("unheard"));
    assert_eq!(bed.send(ann, send.clone()).await, Ok(2));
    assert_eq!(listener.next_entry().await, (vec![ann], 2, text("unheard")));
    assert_eq!(listener.next_entry().await, (vec![ben], 2, hidden()));
    assert_eq!(bed.kinds(ben, conversation).await, [text("before"), hidden()]);
    assert_eq!(bed.kinds(ann, conversation).await, [text("before"), text("unheard")]);
    assert_eq!(bed.head(ben, conversation).await.unread, 1);
    // A retry is told apart as well.
    assert_eq!(bed.send(ann, send).await, Ok(2));
    assert_eq!(listener.next_entry().await, (vec![ann], 2, text("unheard")));
    assert_eq!(listener.next_entry().await, (vec![ben], 2, hidden()));
    assert_eq!(bed.say(ben, conversation, text("to whom one blocks")).await, Err(ErrorCode::Forbidden));
}

#[tokio::test]
async fn a_retry_of_a_message_that_was_recalled_tells_nobody_what_it_said() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    let send = saying(conversation, text("oops"));
    bed.send(ann, send.clone()).await.unwrap();
    bed.say(ann, conversation, recall(1)).await.unwrap();
    let mut listener = bed.listen(&[ben], Vec::new()).await;
    assert_eq!(bed.send(ann, send).await, Ok(1));
    assert_eq!(listener.next_entry().await, (vec![ben], 1, recalled()));
}

#[tokio::test]
async fn delivered_positions_move_forward_and_the_sender_sees_who_has_received_and_read() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let group = bed.group(&[ann, ben, cat]).await;
    bed.say(ann, group, text("who sees it?")).await.unwrap();
    let mut listener = bed.listen(&[], vec![group_topic(group)]).await;
    let deliver = |position| wire::Deliver { marks: vec![wire::Mark { conversation: group, position }] };
    for position in [2, 1, 2] {
        bed.message.deliver(&by(ben), deliver(position)).await.unwrap();
    }
    let moved = wire::DeliveredMoved { conversation: group, user: ben, position: 2 };
    assert_eq!(listener.next().await.body, Body::DeliveredMoved(moved));
    bed.message.read(&by(cat), wire::Read { conversation: group, position: 2 }).await.unwrap();
    let moved = wire::ReadMoved { conversation: group, user: cat, position: 2 };
    assert_eq!(listener.next().await.body, Body::ReadMoved(moved));
    let list = wire::ListReceipts { conversation: group, position: 2, after: 0, limit: 0 };
    let receipts = bed.message.list_receipts(&by(ann), list).await.unwrap();
    assert_eq!((receipts.members, receipts.delivered, receipts.read), (2, 2, 1));
    let rows: Vec<_> = receipts
        .receipts
        .iter()
        .map(|row| (row.user.as_ref().unwrap().id, row.delivered_position, row.read_position))
        .collect();
    assert_eq!(rows, [(ben, 2, 1), (cat, 2, 2)]);
    assert_eq!(bed.message.list_receipts(&by(ben), list).await.unwrap_err().code(), ErrorCode::Forbidden);
    let many = wire::Deliver { marks: vec![wire::Mark { conversation: group, position: 1 }; 101] };
    assert_eq!(bed.message.deliver(&by(ben), many).await.unwrap_err().code(), ErrorCode::LimitExceeded);
}

#[tokio::test]
async fn receipts_of_large_groups_are_not_listed_and_typing_there_is_not_told() {
    let bed = Bed::start();
    let ann = bed.user("ann").await;
    let group = bed.group(&[ann]).await;
    // Nobody has to be known to be in the way.
    let enter = (1..=1_000).map(|user| api::MemberRole { user, role: 0 }).collect();
    let request = api::AppendRequest {
        conversation: group,
        sender: ann,
        id: id(),
        content: Some(text("many").into()),
        act: Some(api::append_request::Act::Membership(api::Membership { enter, ..Default::default() })),
    };
    bed.message.append(&by(ann), request).await.unwrap();
    let position = bed.say(ann, group, text("hi")).await.unwrap();
    let list = wire::ListReceipts { conversation: group, position, after: 0, limit: 0 };
    let refused = bed.message.list_receipts(&by(ann), list).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::LimitExceeded);
    assert!(refused.message().contains("1001"), "{refused}");
    let mut listener = bed.listen(&[], vec![group_topic(group)]).await;
    bed.message.typing(&by(ann), wire::Typing { conversation: group }).await.unwrap();
    bed.say(ann, group, text("written")).await.unwrap();
    assert_eq!(listener.next_entry().await.2, text("written"));
    // Effects for users who are gone hold up nobody.
    let ben = bed.user("ben").await;
    let small = bed.group(&[ann, ben]).await;
    bed.told(ben, &protocol::wire::content::Kind::GroupEntered(wire::GroupEntered { group: small })).await;
}

#[tokio::test]
async fn typing_is_told_to_the_other_and_to_small_groups_but_not_where_one_has_blocked() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let conversation = bed.direct(ann, ben).await;
    let group = bed.group(&[ann, ben, cat]).await;
    let mut listener = bed.listen(&[ann, ben, cat], vec![group_topic(group)]).await;
    let typing = async |user, conversation| bed.message.typing(&by(user), wire::Typing { conversation }).await;
    typing(ann, conversation).await.unwrap();
    let heard = listener.next_but_entries().await;
    assert_eq!((heard.users, heard.body), (vec![ben], Body::Typing(wire::TypingNotice { conversation, user: ann })));
    typing(cat, group).await.unwrap();
    let heard = listener.next_but_entries().await;
    let notice = wire::TypingNotice { conversation: group, user: cat };
    assert_eq!((heard.topic, heard.body), (group_topic(group), Body::Typing(notice)));
    assert_eq!(typing(cat, conversation).await.unwrap_err().code(), ErrorCode::NotMember);
    bed.block(ben, ann).await;
    typing(ann, conversation).await.unwrap();
    typing(ben, conversation).await.unwrap();
    typing(ann, group).await.unwrap();
    assert_eq!(listener.next_but_entries().await.topic, group_topic(group));
}

#[tokio::test]
async fn typing_is_not_told_to_those_whom_a_message_would_not_reach() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    bed.befriend(ann, cat).await;
    bed.settle(ann, wire::SettingsChanged { write_policy: wire::WritePolicy::Friends.into(), invisible: false }).await;
    let (strangers, friends) = (bed.direct(ben, ann).await, bed.direct(cat, ann).await);
    let mut listener = bed.listen(&[ann], Vec::new()).await;
    for (user, conversation) in [(ben, strangers), (cat, friends)] {
        bed.message.typing(&by(user), wire::Typing { conversation }).await.unwrap();
    }
    let notice = wire::TypingNotice { conversation: friends, user: cat };
    assert_eq!(listener.next_but_entries().await.body, Body::Typing(notice), "that of a friend alone");
}
