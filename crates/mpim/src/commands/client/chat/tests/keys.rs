//! What keys and events do.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use wire::client_frame::Body as Request;

use super::*;
use crate::commands::client::chat::app::{Focus, Overlay};

#[test]
fn what_is_written_is_sent_once_and_shown_until_it_is_stored() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(DIRECT);
    bed.write("hello 世界");
    bed.alt(KeyCode::Enter);
    bed.write("two");
    bed.key(KeyCode::Enter);
    let Some(Effect::Send(DIRECT, content, id)) = bed.effects.iter().find(|effect| matches!(effect, Effect::Send(..)))
    else {
        panic!("{:?}", bed.effects)
    };
    let (content, id) = (content.clone(), *id);
    assert_eq!(content.text().unwrap(), "hello 世界\ntwo");
    assert!(bed.screen().contains("two …"), "{}", bed.screen());
    bed.entry(DIRECT, 4, ME, content, &id.to_string());
    assert!(bed.screen().contains("two ✓"), "{}", bed.screen());
    bed.key(KeyCode::Enter);
    assert!(bed.sent().len() == 1, "nothing is sent twice, and nothing empty");
    bed.key(KeyCode::Up);
    assert!(bed.screen().contains("> hello 世界"), "what was sent comes back with the arrow");
}

#[test]
fn messages_are_answered_edited_marked_pinned_and_recalled_by_keys() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(DIRECT);
    bed.key(KeyCode::Esc);
    bed.key(KeyCode::Up);
    bed.key(KeyCode::Char('r'));
    assert!(bed.screen().contains("reply to bob"), "{}", bed.screen());
    bed.write("yes");
    bed.key(KeyCode::Enter);
    assert_eq!(bed.sent()[0].reply_to, 2);

    bed.key(KeyCode::Esc);
    bed.key(KeyCode::Char('e'));
    bed.write("!");
    bed.key(KeyCode::Enter);
    let Some(Kind::Edit(edit)) = bed.sent().remove(0).kind else { panic!("an edit") };
    assert_eq!((edit.position, edit.content.unwrap().text().unwrap().as_str()), (3, "see you!"));

    bed.key(KeyCode::Esc);
    bed.key(KeyCode::Char('+'));
    bed.key(KeyCode::Char('1'));
    bed.key(KeyCode::Char('p'));
    bed.key(KeyCode::Char('d'));
    bed.key(KeyCode::Char('r'));
    let kinds: Vec<_> = bed.sent().into_iter().map(|content| content.kind.unwrap()).collect();
    let expected = [
        Kind::Reaction(wire::Reaction { position: 3, reaction: "👍".into(), removed: false }),
        Kind::Pin(wire::Pin { position: 3, removed: false }),
        Kind::Recall(wire::Recall { position: 3 }),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn the_messages_of_others_are_neither_edited_nor_recalled() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(DIRECT);
    bed.key(KeyCode::Esc);
    bed.key(KeyCode::Up);
    bed.key(KeyCode::Char('e'));
    assert!(bed.app.notice.is_some());
    bed.key(KeyCode::Char('d'));
    bed.key(KeyCode::Char('r'));
    assert!(bed.sent().is_empty());
    bed.key(KeyCode::Char('d'));
    assert!(matches!(bed.requests()[..], [Request::DeleteForMe(_)]));
    assert!(!bed.screen().contains("午饭"), "it is out of sight at once");
}

#[test]
fn a_name_is_completed_after_an_at_sign_and_addresses_the_member() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(GROUP);
    bed.write("@");
    bed.key(KeyCode::Tab);
    assert!(bed.screen().contains("> @bob"), "{}", bed.screen());
    bed.key(KeyCode::Tab);
    assert!(bed.screen().contains("> @everyone"), "the owner may address all");
    bed.key(KeyCode::Tab);
    assert!(bed.screen().contains("> @小明"), "{}", bed.screen());
    bed.write("来吗");
    bed.key(KeyCode::Enter);
    let sent = bed.sent().remove(0);
    assert_eq!(sent.mentions.unwrap().users, [CAROL]);
}

#[test]
fn an_at_sign_means_the_unique_name_before_a_chosen_one() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    for (name, chosen) in [("bob", CAROL), ("小明", BOB)] {
        let display_name = name.into();
        let named = bed.app.users[&UserId::new(chosen)].clone();
        bed.event(Event::UserChanged(wire::UserInfo { display_name, ..named }));
    }
    bed.open(GROUP);
    bed.write("@bob @小明");
    bed.key(KeyCode::Enter);
    assert_eq!(bed.sent().remove(0).mentions.unwrap().users, [BOB, CAROL]);
}

#[test]
fn what_is_shown_is_told_as_read_and_what_arrives_as_delivered() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.take(Input::Tick(NOON + 500));
    let requests = bed.requests();
    assert!(requests.iter().any(|request| matches!(request, Request::Deliver(_))), "{requests:?}");
    assert!(!requests.iter().any(|request| matches!(request, Request::Read(_))), "nothing is open");
    bed.open(GROUP);
    bed.take(Input::Tick(NOON + 1_000));
    let requests = bed.requests();
    let read = requests.iter().find_map(|request| match request {
        Request::Read(read) => Some((read.conversation, read.position)),
        _ => None,
    });
    assert_eq!(read, Some((GROUP.get(), 3)));
    assert_eq!(bed.app.opened().unwrap().unread().messages, 0);
}

#[test]
fn a_draft_is_kept_when_writing_rests_and_taken_over_from_other_devices() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(DIRECT);
    bed.write("half");
    bed.take(Input::Tick(NOON + 500));
    assert!(saved(bed.requests()).is_empty(), "it is still being written");
    bed.take(Input::Tick(NOON + 2_000));
    assert_eq!(saved(bed.requests()), ["half"]);
    let draft = |text: &str| {
        let draft = Some(wire::Draft { text: text.into(), ..wire::Draft::default() });
        Kind::DraftChanged(wire::DraftChanged { conversation: DIRECT.get(), draft })
    };
    bed.write(" and more");
    bed.personal(1, draft("half"));
    assert_eq!(bed.app.opened().unwrap().editor.text(), "half and more", "an echo changes nothing");
    bed.take(Input::Tick(NOON + 9_000));
    bed.personal(2, draft("half and more"));
    bed.personal(3, draft("from my phone"));
    assert_eq!(bed.app.opened().unwrap().editor.text(), "from my phone");
}

/// What the server was asked to keep as a draft.
fn saved(requests: Vec<Request>) -> Vec<String> {
    let saves = requests.into_iter().filter_map(|request| match request {
        Request::SaveDraft(save) => Some(save.draft.unwrap().text),
        _ => None,
    });
    saves.collect()
}

/// The draft was kept before the connection broke; that it was sent could not be told.
#[test]
fn a_draft_that_was_sent_during_an_outage_does_not_come_back() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(DIRECT);
    bed.write("stale");
    bed.take(Input::Tick(NOON + 2_000));
    assert_eq!(saved(bed.requests()), ["stale"]);
    bed.answer(Then::Draft(DIRECT, "stale".into()), wire::server_frame::Body::Done(wire::Done {}));
    let draft = wire::Draft { text: "stale".into(), ..wire::Draft::default() };
    let kept = wire::DraftChanged { conversation: DIRECT.get(), draft: Some(draft.clone()) };
    bed.personal(1, Kind::DraftChanged(kept));
    let retry_in = std::time::Duration::from_secs(1);
    bed.event(Event::Disconnected { error: client::Error::Closed, retry_in });
    bed.write(" more");
    bed.key(KeyCode::Enter);
    bed.take(Input::Tick(NOON + 9_000));
    assert!(saved(bed.requests()).is_empty(), "nobody is there to keep it");
    bed.event(Event::Connected { round_trips: 1 });
    let conversation = wire::Conversation {
        id: DIRECT.get(),
        kind: wire::ConversationKind::Direct.into(),
        peer: Some(user(BOB, "bob")),
        ..wire::Conversation::default()
    };
    let draft = Some(draft);
    bed.event(Event::Heads(vec![wire::Head { conversation: Some(conversation), draft, ..wire::Head::default() }]));
    assert_eq!(bed.app.opened().unwrap().editor.text(), "");
    bed.take(Input::Tick(NOON + 10_000));
    assert_eq!(saved(bed.requests()), [""], "the server is told");
    // A failure is made up for.
    bed.take(Input::Answer(Then::Draft(DIRECT, String::new()), Err("no".into())));
    bed.take(Input::Tick(NOON + 11_000));
    assert_eq!(saved(bed.requests()), [""]);
}

#[test]
fn what_was_being_written_is_there_again_after_an_edit() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(DIRECT);
    for end in [KeyCode::Enter, KeyCode::Esc] {
        bed.app.chats.get_mut(&DIRECT).unwrap().editor.set("unfinished");
        bed.key(KeyCode::Esc);
        bed.key(KeyCode::Char('e'));
        assert_eq!(bed.app.opened().unwrap().editor.text(), "see you");
        bed.key(end);
        assert_eq!(bed.app.opened().unwrap().editor.text(), "unfinished", "{end:?}");
    }
}

#[test]
fn older_messages_are_asked_for_when_the_first_come_into_sight() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    for position in 100..160 {
        bed.direct(position, BOB, text(&format!("message {position}")));
    }
    // The first ones make a gap that no client sees; they are far away.
    bed.app.chats.get_mut(&DIRECT).unwrap().view.forget_before(100);
    bed.open(DIRECT);
    assert!(bed.requests().is_empty(), "nothing is missing on the screen");
    for _ in 0..12 {
        bed.key(KeyCode::PageUp);
    }
    let asked: Vec<_> = bed.requests();
    let [Request::History(history)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(history.from, Some(wire::history::From::Before(100)));
    let scrolled = bed.screen();
    bed.direct(160, BOB, text("new below"));
    assert_eq!(bed.screen().lines().nth(5), scrolled.lines().nth(5), "what was scrolled to stays where it is");
}

#[test]
fn a_click_opens_a_chat_and_chooses_a_message() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    let click = |column, row| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        Input::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
    };
    bed.take(click(3, 2));
    assert!(bed.app.open.is_some() && bed.app.focus == Focus::Compose);
    let screen: Vec<_> = bed.screen().lines().map(str::to_owned).collect();
    let row = screen.iter().rposition(|line| line.contains("see you") || line.contains("ok?")).unwrap();
    bed.take(click(40, row as u16));
    assert_eq!(bed.app.focus, Focus::History);
    assert_eq!(bed.app.opened().unwrap().selected, Some(3));
}

#[test]
fn a_user_is_found_and_the_chat_opened() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.control('n');
    bed.write("da");
    assert!(matches!(bed.requests().last(), Some(Request::SearchUsers(search)) if search.query == "da"));
    let users = wire::Users { users: vec![user(9, "dave")], ..wire::Users::default() };
    bed.answer(Then::FoundUsers("da".into()), wire::server_frame::Body::Users(users));
    bed.key(KeyCode::Enter);
    assert!(matches!(bed.requests().last(), Some(Request::OpenDirect(_))));
    let conversation = wire::Conversation {
        id: 700,
        kind: wire::ConversationKind::Direct.into(),
        peer: Some(user(9, "dave")),
        ..wire::Conversation::default()
    };
    bed.answer(Then::Open, wire::server_frame::Body::Conversation(conversation));
    assert_eq!(bed.app.open, Some(ConversationId::new(700)));
    assert!(bed.app.overlay.is_none());
}

#[test]
fn requests_to_be_friends_are_accepted_and_refused() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    let asked = wire::FriendRequested { user: CAROL, message: String::new(), received: true };
    bed.personal(1, Kind::FriendRequested(asked));
    assert!(bed.screen().contains("1 requests"), "{}", bed.screen());
    bed.control('f');
    bed.key(KeyCode::Char('a'));
    let requests = bed.requests();
    assert!(matches!(&requests[..], [Request::AnswerFriend(answer)] if answer.user == CAROL && answer.accept));
    assert!(matches!(bed.app.overlay, Some(Overlay::Pick(_))));
}

#[test]
fn a_refused_message_comes_back_to_be_changed() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(DIRECT);
    bed.write("not wanted");
    bed.key(KeyCode::Enter);
    let id = bed.app.opened().unwrap().unsent[0].id;
    let error = client::SendError::NotStored { error: client::Error::Protocol("no".into()) };
    bed.take(Input::Sent(DIRECT, id, Err(error)));
    assert_eq!(bed.app.opened().unwrap().editor.text(), "not wanted");
    assert!(bed.app.notice.is_some());
}

#[test]
fn whoever_touches_no_key_is_away_until_the_next_one() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.take(Input::Tick(NOON + 10 * 60_000));
    let away = |requests: Vec<Request>| {
        requests.into_iter().find_map(|request| match request {
            Request::SetAway(set) => Some(set.away),
            _ => None,
        })
    };
    assert_eq!(away(bed.requests()), Some(true));
    bed.key(KeyCode::Down);
    assert_eq!(away(bed.requests()), Some(false));
}

#[test]
fn what_is_pasted_is_written_and_not_sent() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(DIRECT);
    bed.take(Input::Paste("line one\r\nline two\n".into()));
    assert!(bed.sent().is_empty());
    assert_eq!(bed.app.opened().unwrap().editor.text(), "line one\nline two\n");
}

#[test]
fn control_c_keeps_the_draft_and_quits() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(DIRECT);
    bed.write("later");
    bed.effects.clear();
    bed.control('c');
    let [Effect::Request(save, _), Effect::Quit] = &bed.effects[..] else { panic!("{:?}", bed.effects) };
    assert!(matches!(&**save, Request::SaveDraft(_)));
}

#[test]
fn a_group_is_managed_from_the_list_of_its_members() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(GROUP);
    bed.key(KeyCode::F(2));
    let member = |id: u64, name: &str, role: wire::Role| wire::Member {
        user: Some(user(id, name)),
        role: role.into(),
        ..wire::Member::default()
    };
    let members = vec![member(ME, "alice", wire::Role::Owner), member(BOB, "bob", wire::Role::Member)];
    let group = client::GroupId::new(GROUP.get());
    let members = wire::Members { members, total: 2 };
    bed.answer(Then::Members(group), wire::server_frame::Body::Members(members));
    let requests = vec![wire::JoinRequest { user: Some(user(9, "dave")), message: "me".into(), time_ms: 0 }];
    bed.answer(Then::JoinRequests(group), wire::server_frame::Body::JoinRequests(wire::JoinRequests { requests }));
    assert_snapshot("members", &bed.screen());
    bed.effects.clear();
    bed.key(KeyCode::Char('y'));
    assert!(matches!(&bed.requests()[..], [Request::AnswerJoin(answer)] if answer.user == 9 && answer.admit));
    bed.key(KeyCode::Down);
    bed.key(KeyCode::Down);
    bed.key(KeyCode::Char('a'));
    assert!(
        matches!(&bed.requests()[..], [Request::SetRole(set)] if set.user == BOB && set.role() == wire::Role::Admin)
    );
    bed.key(KeyCode::Char('i'));
    bed.write("erin");
    bed.key(KeyCode::Enter);
    assert!(matches!(&bed.requests()[..], [Request::FindUsers(find)] if find.names == ["erin"]));
    let users = wire::Users { users: vec![user(10, "erin")], ..wire::Users::default() };
    bed.answer(Then::Invite(group), wire::server_frame::Body::Users(users));
    assert!(matches!(&bed.requests()[..], [Request::Invite(invite)] if invite.users == [10]));
    for key in ['D', 'l', 'x', 'b', 't', 'j'] {
        bed.key(KeyCode::Char(key));
        assert!(matches!(bed.app.overlay, Some(Overlay::Question(_))), "{key} asks");
        bed.key(KeyCode::Char('n'));
        assert!(bed.requests().is_empty(), "{key} does nothing without a yes");
    }
    bed.key(KeyCode::Char('x'));
    assert!(bed.screen().contains("Remove from this group: bob?"), "{}", bed.screen());
    bed.key(KeyCode::Char('y'));
    assert!(
        matches!(&bed.requests()[..], [Request::RemoveMembers(remove), ..] if remove.users == [BOB] && !remove.ban)
    );
    bed.key(KeyCode::Char('j'));
    bed.key(KeyCode::Char('a'));
    let asked = bed.requests();
    let Some(Request::UpdateGroup(update)) = asked.first() else { panic!("{asked:?}") };
    assert_eq!(update.change.as_ref().unwrap().join_policy(), wire::JoinPolicy::ByApproval);
    assert!(matches!(bed.app.overlay, Some(Overlay::Pick(_))), "the group is shown again");
}
