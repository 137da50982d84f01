//! Contacts and settings, as the user service has them appended.

use api::{MessageService as _, append_request, contact_act::What};
use protocol::wire::{self, ErrorCode, FriendRequest, WritePolicy, content::Kind};

use crate::bed::{Bed, by, code_of, id, text};

async fn contacts(bed: &Bed, user: u64) -> Vec<wire::Contact> {
    bed.message.list_contacts(&by(user), wire::ListContacts { after: 0, limit: 0 }).await.unwrap().contacts
}

#[tokio::test]
async fn a_request_reaches_the_other_and_its_answer_makes_friends_of_both() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let mut listener = bed.listen(&[ann, ben], Vec::new()).await;
    bed.contact(ann, ben, What::Request("it's me".into())).await.unwrap();
    let requested =
        |user, received| Kind::FriendRequested(wire::FriendRequested { user, message: "it's me".into(), received });
    assert_eq!(listener.next_entry().await, (vec![ann], 1, requested(ben, false)));
    assert_eq!(listener.next_entry().await, (vec![ben], 1, requested(ann, true)));
    assert_eq!(contacts(&bed, ben).await[0].request(), FriendRequest::Received);
    // Asked once, it is asked.
    let again = bed.contact(ann, ben, What::Request("it's me".into())).await.unwrap();
    assert_eq!(again.position, 0);
    assert_eq!(code_of(bed.contact(ann, ben, What::Answer(true))).await, ErrorCode::Conflict);
    bed.contact(ben, ann, What::Answer(true)).await.unwrap();
    bed.told(ann, &Kind::FriendAdded(wire::FriendAdded { user: ben })).await;
    assert!(contacts(&bed, ann).await[0].friend && contacts(&bed, ben).await[0].friend);
    assert_eq!(code_of(bed.contact(ann, ben, What::Request(String::new()))).await, ErrorCode::Conflict);
    bed.contact(ann, ben, What::Remark("Benny".into())).await.unwrap();
    bed.contact(ann, ben, What::Remove(true)).await.unwrap();
    bed.told(ben, &Kind::FriendRemoved(wire::FriendRemoved { user: ann, by_peer: true })).await;
    assert_eq!(contacts(&bed, ben).await, []);
    assert_eq!(contacts(&bed, ann).await[0].remark, "Benny");
}

#[tokio::test]
async fn a_contact_is_changed_in_ones_own_log_only_and_once_for_each_id() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let act = append_request::Act::Contact(api::ContactAct { peer: ben, what: Some(What::Block(true)) });
    let request = |conversation, id: &str| api::AppendRequest {
        conversation,
        sender: ann,
        id: id.into(),
        content: None,
        act: Some(act.clone()),
    };
    let refused = code_of(bed.message.append(&by(ann), request(ben, &id()))).await;
    assert_eq!(refused, ErrorCode::Invalid);
    let first = id();
    for _ in 0..2 {
        assert_eq!(bed.message.append(&by(ann), request(ann, &first)).await.unwrap().position, 1);
    }
    bed.contact(ann, ben, What::Block(false)).await.unwrap();
    bed.message.append(&by(ann), request(ann, &first)).await.unwrap();
    assert!(!contacts(&bed, ann).await.iter().any(|contact| contact.blocked));
}

#[tokio::test]
async fn who_accepts_messages_from_friends_gets_them_from_friends() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let conversation = bed.direct(ann, ben).await;
    bed.settle(ben, wire::SettingsChanged { write_policy: WritePolicy::Friends.into(), invisible: false }).await;
    assert_eq!(bed.say(ann, conversation, text("hi")).await, Err(ErrorCode::FriendsOnly));
    let settings = bed.message.get_settings(&by(ann), api::SettingsRequest { user: ben }).await.unwrap();
    assert_eq!(settings.write_policy(), WritePolicy::Friends);
    bed.befriend(ann, ben).await;
    bed.say(ann, conversation, text("hi")).await.unwrap();
    let standings = bed.message.get_standings(&by(ann), api::UserIds { ids: vec![ben, 7] }).await.unwrap().standings;
    assert!(standings[0].friend && !standings[0].blocked && !standings[1].friend);
}
