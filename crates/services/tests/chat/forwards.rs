//! Forwarding.

use api::MessageService as _;
use protocol::wire::{self, Content, ErrorCode, content::Kind};

use crate::bed::{Bed, by, edit, recall, sending, text};

struct Scene {
    bed: Bed,
    ann: u64,
    ben: u64,
    from: u64,
    to: u64,
    original: wire::Entry,
}

/// Ben reads what Ann says, and forwards it to Cat.
async fn scene() -> Scene {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let (from, to) = (bed.direct(ann, ben).await, bed.direct(ben, cat).await);
    bed.say(ann, from, text("as I said")).await.unwrap();
    let original = bed.entries(ben, from).await.remove(0);
    Scene { bed, ann, ben, from, to, original }
}

impl Scene {
    fn mark(&self) -> wire::Forwarded {
        wire::Forwarded { sender: self.ann, time_ms: self.original.time_ms }
    }

    fn forward(&self, kind: Kind, mark: wire::Forwarded) -> wire::Send {
        self.forward_of(kind, mark, self.from, 1)
    }

    fn forward_of(&self, kind: Kind, mark: wire::Forwarded, conversation: u64, position: u64) -> wire::Send {
        let content = Content { kind: Some(kind), forwarded: Some(mark), ..Content::default() };
        let forward_of = Some(wire::ForwardOf { conversation, position });
        wire::Send { forward_of, ..sending(self.to, content) }
    }
}

#[tokio::test]
async fn what_was_said_is_forwarded_and_nothing_else_is() {
    let scene = scene().await;
    let (bed, ben) = (&scene.bed, scene.ben);
    assert_eq!(bed.send(ben, scene.forward(text("as I said"), scene.mark())).await, Ok(1));
    let wrong = [
        scene.forward(text("as I never said"), scene.mark()),
        scene.forward(text("as I said"), wire::Forwarded { sender: ben, ..scene.mark() }),
        scene.forward(text("as I said"), wire::Forwarded { time_ms: 1, ..scene.mark() }),
        scene.forward_of(text("as I said"), scene.mark(), scene.from, 0),
        wire::Send { forward_of: None, ..scene.forward(text("as I said"), scene.mark()) },
        wire::Send {
            forward_of: Some(wire::ForwardOf { conversation: scene.from, position: 1 }),
            ..sending(scene.to, Content { kind: Some(text("as I said")), ..Content::default() })
        },
    ];
    for send in wrong {
        assert_eq!(bed.send(ben, send.clone()).await, Err(ErrorCode::Invalid), "{send:?}");
    }
    let nothing = scene.forward_of(text("as I said"), scene.mark(), scene.from, 7);
    assert_eq!(bed.send(ben, nothing).await, Err(ErrorCode::NotFound));
}

#[tokio::test]
async fn what_one_cannot_read_one_cannot_forward() {
    let scene = scene().await;
    let bed = &scene.bed;
    let dan = bed.user("dan").await;
    let to = bed.direct(dan, scene.ann).await;
    let send = wire::Send {
        target: Some(wire::send::Target::Conversation(to)),
        ..scene.forward(text("as I said"), scene.mark())
    };
    assert_eq!(bed.send(dan, send).await, Err(ErrorCode::NotMember));
    let delete = wire::DeleteForMe { id: crate::bed::id(), conversation: scene.from, positions: vec![1], up_to: 0 };
    bed.message.delete_for_me(&by(scene.ben), delete).await.unwrap();
    assert_eq!(bed.send(scene.ben, scene.forward(text("as I said"), scene.mark())).await, Err(ErrorCode::Invalid));
}

#[tokio::test]
async fn an_edited_message_is_forwarded_as_it_says_or_said() {
    let scene = scene().await;
    let bed = &scene.bed;
    bed.say(scene.ann, scene.from, edit(1, text("as I meant"))).await.unwrap();
    for body in ["as I said", "as I meant"] {
        bed.send(scene.ben, scene.forward(text(body), scene.mark())).await.unwrap();
    }
    let never = scene.forward(text("as I never said"), scene.mark());
    assert_eq!(bed.send(scene.ben, never).await, Err(ErrorCode::Invalid));
}

#[tokio::test]
async fn a_forward_names_who_said_it_first_but_not_for_what_was_edited_into_it() {
    let scene = scene().await;
    let (bed, ben) = (&scene.bed, scene.ben);
    bed.send(ben, scene.forward(text("as I said"), scene.mark())).await.unwrap();
    let again = |body: &str| scene.forward_of(text(body), scene.mark(), scene.to, 1);
    bed.send(ben, again("as I said")).await.unwrap();
    bed.say(ben, scene.to, edit(1, text("as I never said"))).await.unwrap();
    assert_eq!(bed.send(ben, again("as I never said")).await, Err(ErrorCode::Invalid));
}

#[tokio::test]
async fn a_recalled_message_is_forwarded_no_more_and_a_retry_from_before_stands() {
    let scene = scene().await;
    let (bed, ben) = (&scene.bed, scene.ben);
    let before = scene.forward(text("as I said"), scene.mark());
    assert_eq!(bed.send(ben, before.clone()).await, Ok(1));
    bed.say(scene.ann, scene.from, recall(1)).await.unwrap();
    assert_eq!(bed.send(ben, scene.forward(text("as I said"), scene.mark())).await, Err(ErrorCode::Invalid));
    assert_eq!(bed.send(ben, before).await, Ok(1));
    assert_eq!(bed.entries(ben, scene.to).await.len(), 1);
}
