use proptest::prelude::*;
use protocol::{ConversationId, RawContent, UserId, wire};
use wire::content::Kind;

use super::*;

const ME: u64 = 1;
const BOB: u64 = 2;

fn entry(position: u64, sender: u64, kind: Kind) -> wire::Entry {
    full(position, sender, wire::Content { kind: Some(kind), ..wire::Content::default() })
}

fn full(position: u64, sender: u64, content: wire::Content) -> wire::Entry {
    let id = format!("id-{position}");
    wire::Entry { position, id, sender, time_ms: position as i64, content: Some(content.into()) }
}

fn text(body: &str) -> Kind {
    Kind::Text(wire::Text { body: body.into() })
}

fn edit(position: u64, body: &str) -> Kind {
    Kind::Edit(wire::Edit { position, content: Some(Box::new(RawContent::from(text(body)))) })
}

fn react(position: u64, reaction: &str, removed: bool) -> Kind {
    Kind::Reaction(wire::Reaction { position, reaction: reaction.into(), removed })
}

fn view(entries: &[wire::Entry]) -> ConversationView {
    let mut view = ConversationView::new(UserId::new(ME));
    entries.iter().for_each(|entry| view.apply(entry));
    view
}

fn body(message: MessageView<'_>) -> Option<&str> {
    match message.content()? {
        Kind::Text(text) => Some(&text.body),
        _ => None,
    }
}

#[test]
fn a_message_says_what_its_last_edit_says_and_tells_what_it_said_before() {
    let view = view(&[entry(1, ME, text("a")), entry(2, ME, edit(1, "b")), entry(3, ME, edit(1, "c"))]);
    let message = view.message(1).unwrap();
    assert_eq!(body(message), Some("c"));
    let former: Vec<_> = message.former().iter().map(|former| former.content.kind.clone().unwrap()).collect();
    assert_eq!(former, [text("a"), text("b")]);
    assert_eq!(view.messages().count(), 1, "edits stand on no line of their own");
}

#[test]
fn a_recall_erases_what_was_said_and_every_edit_and_reaction() {
    let recall = Kind::Recall(wire::Recall { position: 1 });
    let view = view(&[
        entry(1, BOB, text("a")),
        entry(2, BOB, edit(1, "b")),
        entry(3, ME, react(1, "👍", false)),
        entry(4, 9, recall),
        entry(5, BOB, edit(1, "late")),
    ]);
    let message = view.message(1).unwrap();
    assert!(message.is_recalled() && message.content().is_none() && !message.is_edited());
    assert_eq!(message.recalled_by(), Some(UserId::new(9)));
    assert!(message.reactions().is_empty());
    assert_eq!(view.unread(0).messages, 1, "it still counts as a message");
}

#[test]
fn what_is_recalled_stays_so_when_an_old_answer_comes_late() {
    let view = view(&[entry(1, BOB, Kind::Recalled(wire::Recalled {})), entry(1, BOB, text("a"))]);
    assert!(view.message(1).unwrap().is_recalled());
}

#[test]
fn the_last_reaction_of_a_user_with_the_same_text_tells() {
    let view = view(&[
        entry(1, BOB, text("a")),
        entry(2, ME, react(1, "👍", false)),
        entry(3, BOB, react(1, "👍", false)),
        entry(4, ME, react(1, "👍", true)),
        entry(5, ME, react(1, "茶", false)),
    ]);
    let reactions = view.message(1).unwrap().reactions();
    assert_eq!(reactions["👍"], [UserId::new(BOB)]);
    assert_eq!(reactions["茶"], [UserId::new(ME)]);
}

#[test]
fn messages_by_others_are_unread_but_not_hidden_ones_and_not_what_happened() {
    let mention = wire::Mentions { users: vec![ME], everyone: false };
    let mentioning = wire::Content { kind: Some(text("hey")), mentions: Some(mention), ..wire::Content::default() };
    let mut view = view(&[
        entry(3, BOB, text("a")),
        full(4, BOB, mentioning.clone()),
        entry(5, BOB, Kind::Hidden(wire::Hidden {})),
        entry(6, BOB, Kind::MemberJoined(wire::MemberJoined {})),
        entry(7, ME, text("mine")),
        full(8, BOB, mentioning),
        entry(9, BOB, Kind::Recall(wire::Recall { position: 8 })),
        entry(10, BOB, Kind::Recalled(wire::Recalled {})),
    ]);
    assert_eq!(view.unread(2), Unread { messages: 4, mentions: 1, complete: true });
    assert_eq!(view.unread(4), Unread { messages: 2, mentions: 0, complete: true });
    assert!(!view.unread(1).complete, "what lies before the view is not known");
    view.delete([3], 0);
    assert_eq!(view.unread(2).messages, 3, "what was deleted counts as read");
}

#[test]
fn pins_are_those_that_stand_the_last_first() {
    let pin = |position, removed| Kind::Pin(wire::Pin { position, removed });
    let view = view(&[
        entry(1, BOB, text("a")),
        entry(2, BOB, text("b")),
        entry(3, BOB, text("c")),
        entry(4, BOB, pin(2, false)),
        entry(5, BOB, pin(1, false)),
        entry(6, BOB, pin(3, false)),
        entry(7, BOB, pin(3, true)),
    ]);
    assert_eq!(view.pins().iter().map(MessageView::position).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_group_is_what_its_entries_tell() {
    let view = view(&[
        entry(1, ME, Kind::GroupCreated(wire::GroupCreated { title: "茶".into(), members: vec![BOB, 3] })),
        entry(2, ME, Kind::RoleChanged(wire::RoleChanged { member: BOB, role: wire::Role::Admin.into() })),
        entry(3, BOB, Kind::NicknameChanged(wire::NicknameChanged { nickname: "鲍勃".into() })),
        entry(4, BOB, Kind::MembersMuted(wire::MembersMuted { members: vec![3], until_ms: 77 })),
        entry(5, ME, Kind::OwnerChanged(wire::OwnerChanged { owner: BOB })),
        entry(6, BOB, Kind::GroupChanged(wire::GroupChanged { muted: Some(true), ..Default::default() })),
        entry(7, 3, Kind::MemberLeft(wire::MemberLeft {})),
        entry(8, 4, Kind::MemberJoined(wire::MemberJoined {})),
        entry(9, BOB, Kind::GroupDissolved(wire::GroupDissolved {})),
    ]);
    let group = view.group();
    let members: Vec<_> = group.members().map(|member| (member.user.get(), member.role)).collect();
    assert_eq!(members, [(ME, wire::Role::Admin), (BOB, wire::Role::Owner), (4, wire::Role::Member)]);
    assert_eq!(group.nickname(UserId::new(BOB)), Some("鲍勃"));
    assert_eq!((group.title(), group.muted(), group.is_dissolved()), (Some("茶"), Some(true), true));
    assert_eq!(group.is_member(UserId::new(3)), Some(false));
}

#[test]
fn a_mute_outlasts_leaving_and_entering_again() {
    let muted = |until_ms| Kind::MembersMuted(wire::MembersMuted { members: vec![3], until_ms });
    let left_muted = [
        entry(1, ME, Kind::GroupCreated(wire::GroupCreated { title: "茶".into(), members: vec![BOB, 3] })),
        entry(2, ME, muted(77)),
        entry(3, 3, Kind::MemberLeft(wire::MemberLeft {})),
    ];
    let joined = |at| entry(at, 3, Kind::MemberJoined(wire::MemberJoined {}));
    let until = |entries: &[wire::Entry]| {
        let view = view(entries);
        view.group().members().find(|member| member.user.get() == 3).map(|member| member.muted_until_ms)
    };
    assert_eq!(until(&left_muted), None);
    assert_eq!(until(&[&left_muted[..], &[joined(4)]].concat()), Some(77));
    assert_eq!(until(&[&left_muted[..], &[entry(4, ME, muted(0)), joined(5)]].concat()), Some(0));
}

#[test]
fn affairs_are_what_the_personal_log_tells() {
    let mut affairs = Affairs::default();
    let request =
        |user, received| Kind::FriendRequested(wire::FriendRequested { user, message: "hi".into(), received });
    let draft = |text: &str| {
        let draft = Some(wire::Draft { text: text.into(), ..wire::Draft::default() });
        Kind::DraftChanged(wire::DraftChanged { conversation: 7, draft })
    };
    for (position, kind) in [
        (5, request(BOB, true)),
        (6, Kind::FriendAdded(wire::FriendAdded { user: BOB })),
        (7, request(3, false)),
        (8, Kind::RemarkChanged(wire::RemarkChanged { user: BOB, remark: "老鲍".into() })),
        (9, Kind::BlockChanged(wire::BlockChanged { user: 4, blocked: true })),
        (10, draft("half a thou")),
        (11, draft("")),
        (12, Kind::MessagesDeleted(wire::MessagesDeleted { conversation: 7, positions: vec![2], up_to: 0 })),
        (13, Kind::GroupEntered(wire::GroupEntered { group: 8 })),
        (14, Kind::JoinRequested(wire::JoinRequested { group: 8, user: 5, message: "let me".into() })),
    ] {
        affairs.apply(&entry(position, ME, kind));
    }
    let bob = affairs.contact(UserId::new(BOB)).unwrap();
    assert!(bob.friend && bob.request.is_none() && bob.remark == "老鲍");
    assert!(!affairs.contact(UserId::new(3)).unwrap().request.unwrap().received);
    assert_eq!(affairs.contacts().count(), 3);
    assert!(affairs.draft_of(ConversationId::new(7)).is_none(), "one that was replaced is none");
    assert!(affairs.deleted(ConversationId::new(7)).unwrap().positions.contains(&2));
    assert_eq!(affairs.groups().count(), 1);
    assert_eq!(affairs.join_requests().next().unwrap().message, "let me");

    let user = Some(wire::UserInfo { id: BOB, ..wire::UserInfo::default() });
    affairs.learn_contacts(&[wire::Contact { user, ..wire::Contact::default() }], 4);
    assert!(affairs.contact(UserId::new(BOB)).unwrap().friend, "entries after the question tell what is newer");
}

fn kinds() -> impl Strategy<Value = (u64, Kind)> {
    let target = 1..20u64;
    let kind = prop_oneof![
        4 => "[a-c]".prop_map(|body| text(&body)),
        2 => (target.clone(), "[a-c]").prop_map(|(position, body)| edit(position, &body)),
        1 => target.clone().prop_map(|position| Kind::Recall(wire::Recall { position })),
        2 => (target.clone(), "[xy]", any::<bool>()).prop_map(|(at, mark, removed)| react(at, &mark, removed)),
        1 => (target, any::<bool>()).prop_map(|(position, removed)| Kind::Pin(wire::Pin { position, removed })),
        1 => Just(Kind::MemberJoined(wire::MemberJoined {})),
        1 => Just(Kind::MemberLeft(wire::MemberLeft {})),
        1 => (1..4u64).prop_map(|owner| Kind::OwnerChanged(wire::OwnerChanged { owner })),
    ];
    (1..4u64, kind)
}

/// A log of these; what would change a message that was not there yet is a message instead.
fn log(told: Vec<(u64, Kind)>) -> Vec<wire::Entry> {
    let numbered = told.into_iter().zip(1..);
    let entries = numbered.map(|((sender, kind), at)| {
        let target = match &kind {
            Kind::Edit(edit) => edit.position,
            Kind::Recall(recall) => recall.position,
            Kind::Reaction(reaction) => reaction.position,
            Kind::Pin(pin) => pin.position,
            _ => 0,
        };
        entry(at, sender, if target < at { kind } else { text("early") })
    });
    entries.collect()
}

proptest! {
    /// In one go, in pieces, backwards, again: the end is the same.
    #[test]
    fn the_order_and_the_pieces_in_which_entries_come_do_not_matter(
        told in proptest::collection::vec(kinds(), 1..40),
        order in any::<prop::sample::Index>(),
        keys in proptest::collection::vec(any::<u64>(), 40),
    ) {
        let entries = log(told);
        let whole = view(&entries);
        let mut shuffled: Vec<_> = entries.iter().zip(&keys).collect();
        shuffled.sort_by_key(|(_, key)| **key);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(entry, _)| entry.clone()).collect();
        // The newest page first, then what is older, with an overlap, as a screen that scrolls does.
        let cut = order.index(entries.len());
        let scrolled: Vec<_> = entries[cut..].iter().chain(&entries[..(cut + 3).min(entries.len())]).cloned().collect();
        let comparable = |view: ConversationView| {
            let messages: Vec<_> = view.messages().map(|message| {
                let (reactions, pinned) = (message.reactions().into_iter().map(|(mark, users)| {
                    (mark.to_owned(), users)
                }).collect::<Vec<_>>(), message.is_pinned());
                let former = message.former().len();
                (message.position(), body(message).map(str::to_owned), message.is_recalled(), reactions, pinned, former)
            }).collect();
            let members: Vec<_> = view.group().members().map(|member| (member.user, member.role)).collect();
            (messages, members, view.unread(0).messages)
        };
        let expected = comparable(whole);
        prop_assert_eq!(&comparable(view(&shuffled)), &expected);
        prop_assert_eq!(&comparable(view(&scrolled)), &expected);
    }

    #[test]
    fn a_suffix_tells_the_same_of_its_messages_as_the_whole(
        told in proptest::collection::vec(kinds(), 2..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let entries = log(told);
        let cut = cut.index(entries.len());
        let (whole, suffix) = (view(&entries), view(&entries[cut..]));
        for message in suffix.messages() {
            let same = whole.message(message.position()).unwrap();
            prop_assert_eq!(body(message), body(same));
            prop_assert_eq!(message.reactions(), same.reactions());
            prop_assert_eq!(message.is_recalled(), same.is_recalled());
        }
        let read = cut as u64;
        prop_assert_eq!(suffix.unread(read), whole.unread(read));
    }
}
