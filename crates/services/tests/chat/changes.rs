//! Messages and what is done to them.

use api::{GroupService as _, MessageService as _};
use protocol::wire::{self, Content, ErrorCode, Role, card, content::Kind};

use crate::bed::{Bed, DAY_MS, by, edit, id, recall, recalled, saying, sending, text};

fn react(position: u64, reaction: &str) -> Kind {
    Kind::Reaction(wire::Reaction { position, reaction: reaction.into(), removed: false })
}

fn pin(position: u64) -> Kind {
    Kind::Pin(wire::Pin { position, removed: false })
}

#[tokio::test]
async fn messages_of_every_kind_are_read_as_they_were_sent() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    let kinds = [
        text("hi"),
        Kind::Link(wire::Link { url: "https://example.org/a".into(), title: "A".into(), ..Default::default() }),
        Kind::Card(wire::Card { of: Some(card::Of::User(ben)), title: "Ben".into(), ..Default::default() }),
        Kind::Custom(wire::Custom { r#type: "a.b".into(), json: "[1]".into(), fallback: "one".into() }),
        Kind::Opaque(wire::Opaque {
            r#type: "mls.v1".into(),
            payload: "x".into(),
            keys: [(7, "k".into())].into_iter().collect(),
        }),
    ];
    for kind in &kinds {
        bed.say(ann, conversation, kind.clone()).await.unwrap();
    }
    assert_eq!(bed.kinds(ben, conversation).await, kinds);
    assert_eq!(bed.head(ben, conversation).await.unread, 5);
    for only_by_servers in [Kind::GroupDissolved(wire::GroupDissolved {}), recalled()] {
        assert_eq!(bed.say(ann, conversation, only_by_servers).await, Err(ErrorCode::Invalid));
    }
}

#[tokio::test]
async fn a_message_is_edited_by_its_sender_within_a_day_to_another_of_its_kind() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    bed.say(ann, conversation, text("helo")).await.unwrap();
    let first = saying(conversation, edit(1, text("hello")));
    assert_eq!(bed.send(ann, first.clone()).await, Ok(2));
    assert_eq!(bed.say(ben, conversation, edit(1, text("mine"))).await, Err(ErrorCode::Forbidden));
    let link = Kind::Link(wire::Link { url: "https://a".into(), ..Default::default() });
    assert_eq!(bed.say(ann, conversation, edit(1, link)).await, Err(ErrorCode::Invalid));
    assert_eq!(bed.say(ann, conversation, edit(2, text("of an edit"))).await, Err(ErrorCode::NotFound));
    assert_eq!(bed.say(ann, conversation, edit(9, text("of nothing"))).await, Err(ErrorCode::NotFound));
    bed.clock.shift(DAY_MS + 1_000);
    assert_eq!(bed.say(ann, conversation, edit(1, text("late"))).await, Err(ErrorCode::TooLate));
    // Sent in time: a retry is answered whenever it comes.
    assert_eq!(bed.send(ann, first).await, Ok(2));
    assert_eq!(bed.kinds(ben, conversation).await.len(), 2);
}

#[tokio::test]
async fn a_recall_erases_for_everybody_and_by_admins_whenever() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let group = bed.group(&[ann, ben, cat]).await;
    for body in ["one", "two", "three"] {
        bed.say(ben, group, text(body)).await.unwrap();
    }
    bed.say(ben, group, edit(2, text("one!"))).await.unwrap();
    assert_eq!(bed.say(cat, group, recall(2)).await, Err(ErrorCode::Forbidden));
    assert_eq!(bed.say(ben, group, recall(2)).await, Ok(6));
    let kinds = bed.kinds(cat, group).await;
    assert_eq!((&kinds[1], &kinds[2]), (&recalled(), &text("two")));
    assert!(!format!("{kinds:?}").contains("\"one"));
    assert_eq!(bed.say(ben, group, recall(2)).await, Err(ErrorCode::NotFound));
    bed.clock.shift(DAY_MS + 1_000);
    assert_eq!(bed.say(ben, group, recall(3)).await, Err(ErrorCode::TooLate));
    assert_eq!(bed.say(ann, group, recall(3)).await, Ok(7));
}

#[tokio::test]
async fn pins_are_set_by_admins_in_groups_and_listed_with_the_last_first() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let group = bed.group(&[ann, ben]).await;
    for body in ["one", "two"] {
        bed.say(ben, group, text(body)).await.unwrap();
    }
    assert_eq!(bed.say(ben, group, pin(2)).await, Err(ErrorCode::Forbidden));
    for position in [2, 3] {
        bed.say(ann, group, pin(position)).await.unwrap();
    }
    let pins = bed.message.list_pins(&by(ben), wire::ListPins { conversation: group }).await.unwrap().entries;
    assert_eq!(pins.iter().map(|entry| entry.position).collect::<Vec<_>>(), [3, 2]);
    let stranger = bed.user("cat").await;
    let refused = bed.message.list_pins(&by(stranger), wire::ListPins { conversation: group }).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NotMember);
    let direct = bed.direct(ann, ben).await;
    bed.say(ann, direct, text("here")).await.unwrap();
    bed.say(ben, direct, pin(1)).await.unwrap();
}

#[tokio::test]
async fn the_changes_of_some_messages_are_listed_in_pages() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    for body in ["one", "two", "three"] {
        bed.say(ann, conversation, text(body)).await.unwrap();
    }
    for (position, reaction) in [(1, "👍"), (2, "🎉"), (1, "❤"), (3, "👀")] {
        bed.say(ben, conversation, react(position, reaction)).await.unwrap();
    }
    let list = |after, limit| wire::ListChanges { conversation, positions: vec![1, 2], after, limit };
    let positions = async |request| {
        let changes = bed.message.list_changes(&by(ann), request).await.unwrap().entries;
        changes.iter().map(|entry| entry.position).collect::<Vec<_>>()
    };
    assert_eq!(positions(list(0, 2)).await, [4, 5]);
    assert_eq!(positions(list(5, 2)).await, [6]);
    let too_many = wire::ListChanges { conversation, positions: (1..=501).collect(), after: 0, limit: 0 };
    assert_eq!(bed.message.list_changes(&by(ann), too_many).await.unwrap_err().code(), ErrorCode::LimitExceeded);
}

#[tokio::test]
async fn mentions_are_counted_until_read_and_everyone_is_mentioned_by_admins_only() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let group = bed.group(&[ann, ben, cat]).await;
    let mentioning = |users: Vec<u64>, everyone| {
        let mentions = Some(wire::Mentions { users, everyone });
        sending(group, Content { kind: Some(text("you")), mentions, ..Content::default() })
    };
    assert_eq!(bed.send(cat, mentioning(vec![], true)).await, Err(ErrorCode::Forbidden));
    bed.send(ann, mentioning(vec![], true)).await.unwrap();
    let doubled = mentioning(vec![ben, ben], false);
    assert_eq!(bed.send(cat, doubled.clone()).await, Ok(3));
    assert_eq!(bed.send(cat, doubled).await, Ok(3));
    assert_eq!(bed.head(ben, group).await.unread_mentions, 2);
    bed.say(cat, group, recall(3)).await.unwrap();
    assert_eq!(bed.head(ben, group).await.unread_mentions, 1);
    bed.message.read(&by(ben), wire::Read { conversation: group, position: 4 }).await.unwrap();
    assert_eq!(bed.head(ben, group).await.unread_mentions, 0);
}

#[tokio::test]
async fn whoever_is_muted_writes_again_when_the_time_is_over_and_takes_back_meanwhile() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let group = bed.group(&[ann, ben]).await;
    bed.say(ben, group, text("one")).await.unwrap();
    let until_ms = bed.clock.now_ms() + 60_000;
    let mute = |until_ms| wire::MuteMembers { id: id(), group, users: vec![ben], until_ms };
    assert_eq!(bed.group.mute_members(&by(ben), mute(1)).await.unwrap_err().code(), ErrorCode::Invalid);
    bed.group.mute_members(&by(ann), mute(until_ms)).await.unwrap();
    for kind in [text("two"), edit(2, text("one!")), react(2, "+1")] {
        assert_eq!(bed.say(ben, group, kind).await, Err(ErrorCode::Muted));
    }
    bed.say(ben, group, recall(2)).await.unwrap();
    bed.clock.shift(60_000);
    bed.say(ben, group, text("three")).await.unwrap();
    bed.group.mute_members(&by(ann), mute(bed.clock.now_ms() + 60_000)).await.unwrap();
    bed.group.mute_members(&by(ann), mute(0)).await.unwrap();
    bed.say(ben, group, text("four")).await.unwrap();
    let me = bed.message.get_member(&by(ben), api::ConversationRequest { conversation: group }).await.unwrap();
    assert_eq!((me.role(), me.muted_until_ms), (Role::Member, 0));
}
