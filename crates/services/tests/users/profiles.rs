//! Profiles, names, settings, and how users are found.

use api::UserService as _;
use protocol::wire::{self, ErrorCode, WritePolicy, content::Kind};

use crate::bed::{Bed, DAY_MS, by, code_of, id, nobody, of};

fn rename(name: &str) -> wire::Rename {
    wire::Rename { name: name.into() }
}

#[tokio::test]
async fn a_profile_is_checked_told_and_seen_by_all_at_once() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    assert_eq!(bed.find(&[of(&alice)], &["alice"]).await.len(), 2, "now the caches know her");
    let update = wire::UpdateProfile {
        display_name: Some(" Alice 天 ".into()),
        avatar: Some("https://example.com/a.png".into()),
        status_line: Some("away".into()),
        language: Some("zh-CN".into()),
    };
    let account = bed.user.update_profile(&by(&alice), update).await.unwrap();
    let user = account.user.clone().unwrap();
    assert_eq!(
        (user.name.as_str(), user.display_name.as_str(), user.status_line.as_str()),
        ("alice", "Alice 天", "away")
    );
    assert_eq!(bed.find(&[of(&alice)], &["alice"]).await, [user.clone(), user.clone()]);
    assert_eq!(bed.user.get_account(&by(&alice), wire::GetAccount {}).await.unwrap(), account);
    bed.tells(of(&alice), &Kind::ProfileChanged(wire::ProfileChanged { user: Some(user) })).await;

    let none = wire::UpdateProfile::default;
    for wrong in [
        wire::UpdateProfile { display_name: Some("\u{3164}".into()), ..none() },
        wire::UpdateProfile { display_name: Some("a\u{202e}b".into()), ..none() },
        wire::UpdateProfile { avatar: Some("javascript:alert(1)".into()), ..none() },
        wire::UpdateProfile { status_line: Some("a\nb".into()), ..none() },
        wire::UpdateProfile { language: Some("not a language".into()), ..none() },
    ] {
        assert_eq!(code_of(bed.user.update_profile(&by(&alice), wrong)).await, ErrorCode::Invalid);
    }
    for long in [
        wire::UpdateProfile { display_name: Some("x".repeat(65)), ..none() },
        wire::UpdateProfile { avatar: Some(format!("https:{}", "x".repeat(512))), ..none() },
        wire::UpdateProfile { status_line: Some("x".repeat(141)), ..none() },
    ] {
        assert_eq!(code_of(bed.user.update_profile(&by(&alice), long)).await, ErrorCode::LimitExceeded);
    }
    let emptied = wire::UpdateProfile { display_name: Some(String::new()), ..none() };
    let emptied = bed.user.update_profile(&by(&alice), emptied).await.unwrap().user.unwrap();
    assert_eq!((emptied.display_name.as_str(), emptied.status_line.as_str()), ("", "away"));
}

#[tokio::test]
async fn a_renamed_user_bears_the_new_name_whatever_the_token_says() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.register("alice").await, bed.register("bob").await);
    let resume = bed.connect(&alice.access_token).await.unwrap().resume_token;
    assert_eq!(bed.find(&[of(&alice)], &["alice", "alicia"]).await.len(), 2);
    let account = bed.user.rename(&by(&alice), rename("Alicia")).await.unwrap();
    let user = account.user.unwrap();
    assert_eq!(user.name, "Alicia");
    assert_eq!(bed.find(&[of(&alice)], &["alice", "ALICIA"]).await, [user.clone(), user.clone()]);
    bed.tells(of(&alice), &Kind::ProfileChanged(wire::ProfileChanged { user: Some(user) })).await;
    let bed = {
        let name = bed.authenticate(&alice.access_token).await.unwrap().user.unwrap().name;
        assert_eq!(name, "Alicia");
        bed.restart().await
    };
    let again = bed.connect(&resume).await.unwrap();
    assert_eq!(again.identity.unwrap().user.unwrap().name, "Alicia");
    let next = bed.connect(&again.resume_token).await.unwrap();
    assert_eq!(next.identity.unwrap().user.unwrap().name, "Alicia");

    // The name that was given up is not at once another's, but hers.
    assert_eq!(code_of(bed.user.rename(&by(&bob), rename("alice"))).await, ErrorCode::NameTaken);
    let register = || wire::Register { name: "Alice".into(), password: "password".into(), device: String::new() };
    assert_eq!(code_of(bed.user.register(&nobody(), register())).await, ErrorCode::NameTaken);
    assert_eq!(code_of(bed.user.rename(&by(&bob), rename("alicia"))).await, ErrorCode::NameTaken);
    bed.user.rename(&by(&alice), rename("alice")).await.unwrap();
    bed.user.rename(&by(&alice), rename("alicia")).await.unwrap();
    assert_eq!(code_of(bed.log_in("alice")).await, ErrorCode::WrongCredentials);
    bed.log_in("alicia").await.unwrap();
    bed.clock.shift(30 * DAY_MS);
    bed.user.rename(&by(&bob), rename("alice")).await.unwrap();
}

#[tokio::test]
async fn a_name_that_looks_like_anothers_or_mixes_scripts_is_refused() {
    let bed = Bed::start().await;
    let alice = bed.register("ape").await;
    let register = |name: &str| {
        let request = wire::Register { name: name.into(), password: "password".into(), device: String::new() };
        async { bed.user.register(&nobody(), request).await }
    };
    assert_eq!(code_of(register("аре")).await, ErrorCode::NameTaken, "in Cyrillic");
    for wrong in ["аlice", "everyone", "ALL", "a b"] {
        assert_eq!(code_of(register(wrong)).await, ErrorCode::Invalid, "{wrong}");
        assert_eq!(code_of(bed.user.rename(&by(&alice), rename(wrong))).await, ErrorCode::Invalid, "{wrong}");
    }
    register("小明abc").await.unwrap();
    bed.log_in("аре").await.unwrap();
}

#[tokio::test]
async fn users_are_searched_by_the_beginning_of_their_names() {
    let bed = Bed::start().await;
    for name in ["anna", "Andrea", "bert"] {
        bed.register(name).await;
    }
    let search = |query: &str, page: &str, limit| {
        let request = wire::SearchUsers { query: query.into(), page: page.into(), limit };
        async { bed.user.search_users(&nobody(), request).await }
    };
    let first = search("AN", "", 1).await.unwrap();
    assert_eq!(first.users[0].name, "Andrea");
    let second = search("an", &first.next_page, 1).await.unwrap();
    assert_eq!((second.users[0].name.as_str(), second.next_page.as_str()), ("anna", ""));
    assert_eq!(search("х", "", 0).await.unwrap().users, []);
    for wrong in ["", "  ", "\u{200b}"] {
        assert_eq!(code_of(search(wrong, "", 1)).await, ErrorCode::Invalid);
    }
    assert_eq!(code_of(search(&"x".repeat(33), "", 1)).await, ErrorCode::LimitExceeded);
    assert_eq!(code_of(search("a", "", 1_000)).await, ErrorCode::LimitExceeded);
}

#[tokio::test]
async fn settings_change_where_given_and_are_told() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.register("alice").await, bed.register("bob").await);
    let update = |write_policy: Option<WritePolicy>, invisible| wire::UpdateSettings {
        id: id(),
        write_policy: write_policy.map(Into::into),
        invisible,
    };
    bed.user.update_settings(&by(&alice), update(Some(WritePolicy::Friends), None)).await.unwrap();
    let account = bed.user.update_settings(&by(&alice), update(None, Some(true))).await.unwrap();
    assert_eq!((account.write_policy(), account.invisible), (WritePolicy::Friends, true));
    let changed = wire::SettingsChanged { write_policy: WritePolicy::Friends.into(), invisible: true };
    bed.tells(of(&alice), &Kind::SettingsChanged(changed)).await;
    let conversation = bed.direct(&bob, of(&alice)).await;
    assert_eq!(bed.say(&by(&bob), conversation, "hi").await, Err(ErrorCode::FriendsOnly));
    let wrong = wire::UpdateSettings { id: id(), write_policy: Some(99), invisible: None };
    assert_eq!(code_of(bed.user.update_settings(&by(&alice), wrong)).await, ErrorCode::Invalid);
    // Asked for again, from a time before: both devices have had their way.
    let first = update(None, Some(false));
    bed.user.update_settings(&by(&alice), first.clone()).await.unwrap();
    bed.user.update_settings(&by(&alice), update(Some(WritePolicy::Anyone), Some(true))).await.unwrap();
    let account = bed.user.update_settings(&by(&alice), first).await.unwrap();
    assert_eq!((account.write_policy(), account.invisible), (WritePolicy::Anyone, true));
    // So already: nothing fails.
    bed.user.update_settings(&by(&alice), update(None, Some(true))).await.unwrap();
}

#[tokio::test]
async fn two_devices_that_change_settings_at_once_both_have_their_way() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let policy = wire::UpdateSettings { id: id(), write_policy: Some(WritePolicy::Friends.into()), invisible: None };
    let invisible = wire::UpdateSettings { id: id(), write_policy: None, invisible: Some(true) };
    let (by, user) = (by(&alice), &bed.user);
    let (one, other) = tokio::join!(user.update_settings(&by, policy), user.update_settings(&by, invisible));
    one.unwrap();
    other.unwrap();
    let account = bed.user.get_account(&by, wire::GetAccount {}).await.unwrap();
    assert_eq!((account.write_policy(), account.invisible), (WritePolicy::Friends, true));
}
