//! What screens look like.

use super::*;

#[test]
fn the_list_tells_what_is_unread_and_who_is_there() {
    let bed = Bed::talking(Language::En, 60, 14);
    assert_snapshot("chats", &bed.screen());
}

#[test]
fn a_chat_shows_what_was_said_and_whether_it_was_read() {
    let mut bed = Bed::talking(Language::En, 80, 20);
    bed.direct(4, BOB, Kind::Reaction(wire::Reaction { position: 1, reaction: "👍".into(), removed: false }).into());
    let content = Some(Box::new(text("see you at noon")));
    bed.direct(5, ME, Kind::Edit(wire::Edit { position: 3, content }).into());
    let kind = Some(Kind::Text(wire::Text { body: "好的\nsecond line".into() }));
    bed.direct(6, BOB, wire::Content { kind, reply_to: 3, ..wire::Content::default() }.into());
    bed.direct(7, BOB, text("oops"));
    bed.direct(8, BOB, Kind::Recall(wire::Recall { position: 7 }).into());
    bed.event(Event::Typing { conversation: DIRECT, user: UserId::new(BOB) });
    bed.open(DIRECT);
    bed.write("正在写 something");
    assert_snapshot("chat", &bed.screen());
}

#[test]
fn a_group_in_chinese_tells_what_happened() {
    let mut bed = Bed::talking(Language::Zh, 80, 18);
    bed.group(4, ME, Kind::RoleChanged(wire::RoleChanged { member: BOB, role: wire::Role::Admin.into() }).into());
    bed.group(5, BOB, Kind::Pin(wire::Pin { position: 2, removed: false }).into());
    bed.open(GROUP);
    assert_snapshot("group_zh", &bed.screen());
}

/// Anybody can choose to be called as somebody else is.
#[test]
fn whoever_is_called_otherwise_stands_beside_the_unique_name() {
    for (width, height) in [(120, 40), (80, 24), (40, 15)] {
        let mut bed = Bed::talking(Language::En, width, height);
        let mallory = wire::UserInfo { display_name: "小明".into(), ..user(BOB, "mallory") };
        bed.event(Event::UserChanged(mallory));
        // In the list, and in what it tells of the group.
        assert!(bed.screen().contains("●小明 @mallory"), "{}", bed.screen());
        assert!(bed.screen().contains("小明 @mallory: @alice ok?"), "{}", bed.screen());
        bed.open(GROUP);
        assert!(bed.screen().contains("小明 @mallory 09:03"), "{}", bed.screen());
        assert!(bed.screen().contains("小明 09:02"), "whose name it is goes without: {}", bed.screen());
        // As the title, over what was said.
        bed.open(DIRECT);
        assert!(bed.screen().contains("小明 @mallory ●"), "{}", bed.screen());
        // However long, it leaves the unique name in sight.
        let display_name = "小明".repeat(20);
        bed.event(Event::UserChanged(wire::UserInfo { display_name, ..user(BOB, "mallory") }));
        let screen = bed.screen();
        assert!(screen.matches("@mallory ").count() >= 2, "title and history: {screen}");
        // A member's nickname is no more than that either.
        bed.group(4, BOB, Kind::NicknameChanged(wire::NicknameChanged { nickname: "alice".into() }).into());
        bed.group(5, BOB, text("me"));
        bed.open(GROUP);
        assert!(bed.screen().contains("alice @mallory 09:05"), "{}", bed.screen());
    }
}

#[test]
fn a_narrow_screen_shows_one_pane_at_a_time() {
    let mut bed = Bed::talking(Language::En, 24, 10);
    assert_snapshot("narrow_chats", &bed.screen());
    bed.open(DIRECT);
    assert_snapshot("narrow_chat", &bed.screen());
}

#[test]
fn the_smallest_screen_can_be_used() {
    let mut bed = Bed::talking(Language::Zh, 20, 5);
    bed.open(DIRECT);
    bed.write("天气");
    assert_snapshot("smallest", &bed.screen());
    bed.control('f');
    bed.screen();
    bed.key(KeyCode::Esc);
    bed.key(KeyCode::F(1));
    bed.screen();
}

#[test]
fn the_help_tells_all_keys() {
    let mut bed = Bed::talking(Language::En, 80, 54);
    bed.key(KeyCode::F(1));
    assert_snapshot("help", &bed.screen());
    let mut bed = Bed::talking(Language::Zh, 40, 15);
    bed.key(KeyCode::Char('?'));
    bed.key(KeyCode::PageDown);
    assert_snapshot("help_zh", &bed.screen());
    // All of it can be read, in as many pages as it takes.
    for language in [Language::En, Language::Zh] {
        let mut bed = Bed::talking(language, 40, 15);
        bed.key(KeyCode::Char('?'));
        let mut pages = String::new();
        for _ in 0..20 {
            pages.push_str(&bed.screen());
            bed.key(KeyCode::PageDown);
        }
        assert!(!pages.contains('…'), "{pages}");
        assert!(pages.contains("^ ~ •"), "{pages}");
        assert!(bed.screen().contains("@   "), "the last line is the end: {}", bed.screen());
    }
}

#[test]
fn a_link_that_was_made_is_shown_until_it_is_put_away() {
    let mut bed = Bed::talking(Language::En, 80, 24);
    bed.open(GROUP);
    let group = client::GroupId::new(GROUP.get());
    let link = wire::GroupLink { code: "k7Qw".into(), expires_ms: NOON, ..wire::GroupLink::default() };
    bed.answer(Then::Link(group), wire::server_frame::Body::GroupLink(link));
    bed.take(Input::Tick(NOON + 60_000));
    let screen = bed.screen();
    assert!(screen.contains("k7Qw") && screen.contains("2026-11-24 10:00"), "{screen}");
    bed.key(KeyCode::Esc);
    assert!(!bed.screen().contains("k7Qw"));
}

#[test]
fn what_has_no_words_ends_without_a_sign() {
    for (language, alone, asks) in [
        (Language::En, "you made the group “g”", "小明 · asks you"),
        (Language::Zh, "我创建了群“g”", "小明 · 请求加你"),
    ] {
        let mut bed = Bed::talking(language, 80, 24);
        let created = wire::GroupCreated { title: "g".into(), members: Vec::new() };
        bed.group(4, ME, Kind::GroupCreated(created).into());
        let announced = wire::GroupChanged { announcement: Some("line1\nline2".into()), ..Default::default() };
        bed.group(5, ME, Kind::GroupChanged(announced).into());
        bed.open(GROUP);
        let screen = bed.screen();
        assert!(screen.lines().any(|line| line.ends_with(alone)), "{screen}");
        assert_eq!(screen.matches("line1 line2").count(), 2, "header and entry: {screen}");
        let asked = wire::FriendRequested { user: CAROL, message: String::new(), received: true };
        bed.personal(1, Kind::FriendRequested(asked));
        bed.control('f');
        let screen = bed.screen();
        assert!(screen.lines().any(|line| line.trim_end_matches(['│', ' ']).ends_with(asks)), "{screen}");
    }
}

#[test]
fn friends_and_their_requests_are_listed() {
    let mut bed = Bed::talking(Language::En, 76, 16);
    bed.personal(1, Kind::FriendAdded(wire::FriendAdded { user: BOB }));
    let asked = wire::FriendRequested { user: CAROL, message: "我是小明".into(), received: true };
    bed.personal(2, Kind::FriendRequested(asked));
    bed.control('f');
    assert_snapshot("friends", &bed.screen());
}

#[test]
fn the_state_of_the_connection_is_told() {
    let mut bed = Bed::talking(Language::En, 60, 6);
    let error = client::Error::Closed;
    let retry_in = std::time::Duration::from_millis(2_400);
    bed.event(Event::Disconnected { error, retry_in });
    assert!(bed.screen().contains("reconnecting in 3 s"), "{}", bed.screen());
    let goodbye =
        client::Error::Goodbye { reason: 100, message: "the session was ended".into(), reconnect_after: retry_in };
    for (width, height) in [(80, 24), (120, 40)] {
        bed.take(Input::Resize(width, height));
        bed.event(Event::SessionEnded { error: client::Error::SessionEnded(Some(goodbye.clone().into())) });
        assert!(bed.screen().contains("the session was ended: quit and log in again"), "{}", bed.screen());
    }
}

/// Every size, every overlay: nothing is drawn beyond the screen, and no character is cut.
#[test]
fn no_size_and_no_overlay_breaks_the_screen() {
    for (width, height) in [(1, 1), (5, 2), (12, 3), (20, 5), (33, 7), (49, 9), (50, 12), (51, 13), (200, 60)] {
        let mut bed = Bed::talking(Language::Zh, width, height);
        bed.screen();
        for conversation in [DIRECT, GROUP] {
            bed.open(conversation);
            bed.write(&"宽字".repeat(60));
            bed.screen();
            for open in [KeyCode::F(1), KeyCode::F(2), KeyCode::F(3)] {
                bed.key(open);
                bed.screen();
                bed.key(KeyCode::Esc);
            }
            bed.control('n');
            bed.write("小");
            bed.screen();
            bed.key(KeyCode::Esc);
            bed.key(KeyCode::Esc);
            bed.key(KeyCode::Char('+'));
            bed.screen();
            bed.key(KeyCode::Esc);
            bed.key(KeyCode::Esc);
        }
    }
}

#[test]
fn colours_work_on_light_and_on_dark_and_can_be_left_out() {
    let looked_at = |colours| {
        let mut bed = Bed::talking(Language::En, 80, 24);
        bed.app.theme = Theme { colours };
        bed.open(GROUP);
        bed.key(KeyCode::Esc);
        bed.control('f');
        bed.buffer()
    };
    // Legible on white as on black, and none is the only sign of anything.
    let named = [Color::Reset, Color::Cyan, Color::Magenta, Color::Green, Color::Red];
    assert!(looked_at(true).content.iter().all(|cell| cell.bg == Color::Reset && named.contains(&cell.fg)));
    assert!(looked_at(true).content.iter().any(|cell| cell.fg != Color::Reset));
    assert!(looked_at(false).content.iter().all(|cell| cell.bg == Color::Reset && cell.fg == Color::Reset));
}
