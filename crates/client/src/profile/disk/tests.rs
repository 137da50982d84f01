use super::*;
use crate::text;

fn tokens(user: u64) -> Tokens {
    Tokens {
        user: UserId::new(user),
        name: "alice".into(),
        session: SessionId::new(user + 1),
        access_token: "access".into(),
        access_expires_ms: 1,
        refresh_token: "refresh".into(),
        refresh_expires_ms: 2,
        refresh_id: Some("id".into()),
        resume_token: None,
    }
}

fn outgoing(target: Target) -> Outgoing {
    Outgoing { id: EntryId::generate(), target, content: text("天气") }
}

fn applied(id: u64, applied: u64) -> Changes {
    let state = ConversationState { kind: wire::ConversationKind::Group, applied, read: 1, peer_read: 0 };
    Changes { conversations: [(ConversationId::new(id), state)].into(), cursor: None }
}

#[test]
fn what_was_stored_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) =
        (outgoing(Target::Name("bob".into())), outgoing(Target::Conversation(ConversationId::new(u64::MAX >> 1))));
    {
        let profile = DiskProfile::open(directory.path()).unwrap();
        assert_eq!(profile.tokens().unwrap(), None);
        profile.store_tokens(&tokens(5)).unwrap();
        profile.store_resume_token(SessionId::new(6), "resume").unwrap();
        profile.store_resume_token(SessionId::new(7), "another session's").unwrap();
        profile.save(&Changes { cursor: Some("c".into()), ..applied(9, 3) }).unwrap();
        profile.put_outgoing(&first).unwrap();
        profile.put_outgoing(&second).unwrap();
        profile.put_outgoing(&first).unwrap();
    }
    let profile = DiskProfile::open(directory.path()).unwrap();
    let expected = Tokens { resume_token: Some("resume".into()), ..tokens(5) };
    assert_eq!(profile.tokens().unwrap(), Some(expected));
    let stored = profile.load().unwrap();
    assert_eq!((stored.cursor.as_str(), stored.conversations), ("c", applied(9, 3).conversations));
    assert_eq!(stored.outgoing, [first, second.clone()]);
    profile.remove_outgoing(&[stored.outgoing[0].id]).unwrap();
    assert_eq!(profile.load().unwrap().outgoing, [second]);
}

#[test]
fn positions_of_two_processes_are_merged_and_never_go_back() {
    let directory = tempfile::tempdir().unwrap();
    let one = DiskProfile::open(directory.path()).unwrap();
    let other = DiskProfile::open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        for profile in [&one, &other] {
            scope.spawn(move || {
                for position in 1..=50 {
                    profile.save(&applied(9, position)).unwrap();
                }
            });
        }
    });
    one.save(&applied(9, 7)).unwrap();
    assert_eq!(other.load().unwrap().conversations[&ConversationId::new(9)].applied, 50);
}

#[test]
fn messages_are_taken_over_only_from_processes_that_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let one = DiskProfile::open(directory.path()).unwrap();
    let other = DiskProfile::open(directory.path()).unwrap();
    let message = outgoing(Target::Name("bob".into()));
    one.put_outgoing(&message).unwrap();
    assert_eq!(other.load().unwrap().outgoing, []);
    drop(one);
    assert_eq!(other.load().unwrap().outgoing, [message]);
    drop(other);
    let files = || fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
    assert!(!files().any(|name| name.to_string_lossy().starts_with("outbox-")), "no lock file stays behind");
}

#[test]
fn only_one_at_a_time_may_exchange_the_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let one = DiskProfile::open(directory.path()).unwrap();
    let other = DiskProfile::open(directory.path()).unwrap();
    let inside = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for profile in [&one, &other] {
            let inside = &inside;
            scope.spawn(move || {
                for _ in 0..3 {
                    let _lock = profile.lock_tokens().unwrap();
                    assert!(!inside.swap(true, std::sync::atomic::Ordering::SeqCst));
                    std::thread::yield_now();
                    inside.store(false, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
}

#[test]
fn another_user_starts_anew_and_the_same_one_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let profile = DiskProfile::open(directory.path()).unwrap();
    profile.store_tokens(&tokens(5)).unwrap();
    profile.save(&Changes { cursor: Some("c".into()), ..applied(9, 3) }).unwrap();
    profile.log_out().unwrap();
    assert_eq!(profile.tokens().unwrap(), None);
    profile.store_tokens(&tokens(5)).unwrap();
    assert_eq!(profile.load().unwrap().cursor, "c");
    profile.store_tokens(&tokens(6)).unwrap();
    assert_eq!(profile.load().unwrap(), Stored::default());
}

#[test]
fn a_profile_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(DiskProfile::open(directory.path()).unwrap());
    let database = Connection::open(directory.path().join("profile.db")).unwrap();
    database.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    let error = DiskProfile::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("newer version"), "{error}");
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_tokens() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let profile = DiskProfile::open(&path).unwrap();
    profile.store_tokens(&tokens(5)).unwrap();
    for file in fs::read_dir(&path).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
}
