//! What SQLite's way of storing adds to the contract: the directory, the log's bound, failures and healing.

use std::{fs, path::Path, sync::mpsc as blocking, time::Duration};

use protocol::{
    ConversationId, EntryId, RawContent, SessionId, UserId,
    wire::{Recall, Role, Text, content},
};
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet, yield_now};

use super::*;
use crate::{
    Act, Appended, Change, ChangeKind, ContactAct, ContactEvent, Headed, LastSeen, Membership, Messages, NewAccount,
    NewEntry, NewSession, PageRequest, ReadMark, Refused, Revision, Users, append as rules,
};

const ALICE: UserId = UserId::new(1);
const BOB: UserId = UserId::new(2);
const DIRECT: ConversationId = ConversationId::new(100);
const GROUP: ConversationId = ConversationId::new(200);

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(SqliteConfig::new(dir)).unwrap()
}

/// A store with a direct conversation of Alice and Bob.
async fn alice_and_bob(config: SqliteConfig) -> SqliteStore {
    let store = SqliteStore::open(config).unwrap();
    for (user, name) in [(ALICE, "alice"), (BOB, "bob")] {
        let account = NewAccount {
            id: user,
            name: name.into(),
            name_key: name.into(),
            password_hash: "hash".into(),
            created_ms: 1,
            session: NewSession {
                id: SessionId::new(user.get() + 10),
                device: "laptop".into(),
                created_ms: 1,
                refresh: [u8::try_from(user.get()).unwrap(); 32],
                refresh_expires_ms: 1_000,
            },
        };
        assert!(store.create_account(account, vec![]).await.unwrap());
    }
    assert_eq!(store.open_direct(ALICE, BOB, DIRECT).await.unwrap(), DIRECT);
    store
}

fn message(sender: UserId, body: &str) -> NewEntry {
    NewEntry {
        conversation: DIRECT,
        sender,
        id: EntryId::generate(),
        time_ms: 5,
        content: RawContent::from(content::Kind::Text(Text { body: body.into() })).as_bytes().clone(),
        act: Act::Message { mentions: vec![], mentions_everyone: false, reply_to: 0 },
        settles: None,
    }
}

/// The entry that makes the group of Alice.
fn making() -> NewEntry {
    let membership = Membership { create: true, enter: vec![(ALICE, Role::Owner)], ..Membership::default() };
    NewEntry { conversation: GROUP, act: Act::Membership(membership), ..message(ALICE, "") }
}

async fn append(store: &SqliteStore, entry: NewEntry) -> Result<Appended> {
    Ok(store.append(vec![entry]).await?.pop().unwrap().unwrap())
}

async fn texts(store: &SqliteStore) -> Vec<String> {
    let request = PageRequest { conversation: DIRECT, from: Headed::After(0), limit: u32::MAX };
    let page = store.read_pages(BOB, vec![request], usize::MAX).await.unwrap().pop().unwrap().unwrap();
    assert!(page.entries.iter().map(|entry| entry.position).eq(1..=page.last_position));
    page.entries.iter().map(|entry| entry.content.as_ref().unwrap().text().unwrap()).collect()
}

fn wal_bytes(dir: &Path) -> u64 {
    fs::metadata(dir.join("mpim.db-wal")).map_or(0, |metadata| metadata.len())
}

/// Neither a short text, whose bytes stay in a page, nor one that fills pages of its own.
#[tokio::test]
async fn what_was_recalled_is_not_in_the_files_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = alice_and_bob(SqliteConfig::new(dir.path())).await;
    let secrets = ["wish I had not said it".to_owned(), "nor this, ever. ".repeat(2_000)];
    for secret in &secrets {
        let said = append(&store, message(ALICE, secret)).await.unwrap();
        let content = content::Kind::Recall(Recall { position: said.position });
        let recall = NewEntry {
            content: RawContent::from(content).as_bytes().clone(),
            act: Act::Change(Change { target: said.position, kind: ChangeKind::Recall { not_before_ms: 0 } }),
            ..message(ALICE, "")
        };
        append(&store, recall).await.unwrap();
    }
    append(&store, message(ALICE, "what stays")).await.unwrap();
    store.close().await;
    let file = fs::read(dir.path().join("mpim.db")).unwrap();
    let holds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("what stays"));
    for secret in &secrets {
        assert!(!holds(&secret[..16]), "{}", &secret[..16]);
    }
}

/// Keeps the writer busy until the returned sender is dropped.
async fn hold_writer(store: &SqliteStore) -> (blocking::Sender<()>, JoinHandle<Result<()>>) {
    let (release, released) = blocking::channel::<()>();
    let (begun, beginning) = oneshot::channel();
    let mut begun = Some(begun);
    let store = store.clone();
    let held = tokio::spawn(async move {
        store
            .write(move |_| {
                if let Some(begun) = begun.take() {
                    begun.send(()).unwrap();
                }
                let _ = released.recv();
                Ok(())
            })
            .await
    });
    beginning.await.unwrap();
    (release, held)
}

/// Waits until so many commands wait for the writer.
async fn queued(store: &SqliteStore, commands: usize) {
    while store.shared.writes.max_capacity() - store.shared.writes.capacity() < commands {
        yield_now().await;
    }
}

#[test]
fn a_newer_schema_is_refused_naming_both_versions() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let connection = Connection::open(dir.path().join("mpim.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 99, known: 4, .. }));
    let message = error.to_string();
    assert!(message.contains("version 99") && message.contains("up to 4") && message.contains("mpim.db"), "{message}");
}

/// The first version's: Alice has written to Bob.
const OLD: &str = "
    INSERT INTO users (id, name, name_key, password_hash, created_ms) VALUES (1, 'alice', 'alice', '', 1), (2, 'bob', 'bob', '', 1);
    INSERT INTO conversations (id, kind, user_a, user_b, members) VALUES (100, 2, 1, 2, 2);
    INSERT INTO members (user, conversation, kind, peer, role, read_position, revision)
        VALUES (1, 100, 2, 2, 0, 1, 1), (2, 100, 2, 1, 0, 0, 0);
    INSERT INTO entries (revision, conversation, position, messages, sender, id, time_ms, content)
        VALUES (1, 100, 1, 1, 1, x'00112233445566778899aabbccddeeff', 5, x'0a040a026869');
    PRAGMA user_version = 1;";

#[tokio::test]
async fn messages_from_before_the_schema_told_kinds_are_found_and_changed_as_all_others() {
    let dir = TempDir::new().unwrap();
    let connection = Connection::open(dir.path().join("mpim.db")).unwrap();
    connection.execute_batch(include_str!("migrations/001_logs_and_accounts.sql")).unwrap();
    connection.execute_batch(OLD).unwrap();
    drop(connection);
    let store = open(dir.path());
    let found = store.scan(BOB, DIRECT, 0, 10).await.unwrap().unwrap().messages;
    assert_eq!(found[0].content.as_ref().unwrap().text().unwrap(), "hi");
    let recall = Act::Change(Change { target: 1, kind: ChangeKind::Recall { not_before_ms: 0 } });
    let content = content::Kind::Recall(protocol::wire::Recall { position: 1 });
    let content = RawContent::from(content).as_bytes().clone();
    let recalled = append(&store, NewEntry { act: recall, content, ..message(ALICE, "") }).await.unwrap();
    assert_eq!(recalled.position, 2);
    assert!(store.scan(BOB, DIRECT, 0, 10).await.unwrap().unwrap().messages.is_empty());
}

#[test]
fn a_second_open_of_a_directory_is_refused_until_the_first_is_over() {
    let dir = TempDir::new().unwrap();
    let nested = dir.path().join("a/b");
    let first = open(&nested);
    let error = SqliteStore::open(SqliteConfig::new(&nested)).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains(&nested.display().to_string()), "{error}");
    drop(first);
    open(&nested);
}

#[test]
fn what_cannot_be_a_store_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "not a directory").unwrap();
    let error = SqliteStore::open(SqliteConfig::new(dir.path().join("file"))).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error}");
    fs::write(dir.path().join("mpim.db"), "not a database, though as long as a header would have to be").unwrap();
    let error = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Database { .. }), "{error}");
    let text = fs::read_to_string(dir.path().join("mpim.db")).unwrap();
    assert!(text.starts_with("not a database"), "what is refused is not touched");
}

#[tokio::test]
async fn a_reopened_store_holds_everything_and_counts_on() {
    let dir = TempDir::new().unwrap();
    let store = alice_and_bob(SqliteConfig::new(dir.path())).await;
    let entry = message(ALICE, "one");
    append(&store, entry.clone()).await.unwrap();
    append(&store, message(BOB, "two")).await.unwrap();
    append(&store, making()).await.unwrap();
    store.note_seen(vec![(ALICE, 77)]).await.unwrap();
    // The newest revision is a read position's, which no entry tells.
    append(&store, message(ALICE, "three")).await.unwrap();
    let mark = ReadMark { conversation: DIRECT, user: BOB, position: 3 };
    assert!(store.mark_read(vec![mark]).await.unwrap()[0].is_some());
    let (heads, cursor) = store.heads(BOB, Revision(0), None, 10, 3).await.unwrap();
    let effects = store.effects(10).await.unwrap();
    store.close().await;
    assert!(matches!(append(&store, entry.clone()).await, Err(Error::NotStored(_))));
    assert!(matches!(store.account(ALICE).await, Err(Error::NotStored(_))));
    assert_eq!(wal_bytes(dir.path()), 0, "closing copies the log into the database");

    let store = open(dir.path());
    assert_eq!(store.heads(BOB, Revision(0), None, 10, 3).await.unwrap(), (heads, cursor));
    assert_eq!(store.effects(10).await.unwrap(), effects);
    assert_eq!(store.last_seen(vec![ALICE]).await.unwrap(), [(ALICE, 77)]);
    assert_eq!(store.sessions(ALICE, 10).await.unwrap().len(), 1);
    assert!(append(&store, entry).await.unwrap().duplicate);
    assert!(store.heads(BOB, cursor, None, 10, 0).await.unwrap().0.is_empty());
    assert_eq!(append(&store, message(BOB, "four")).await.unwrap().position, 4);
    let (changed, next) = store.heads(ALICE, cursor, None, 10, 0).await.unwrap();
    assert_eq!((changed.len(), changed[0].conversation), (1, DIRECT));
    assert!(next > cursor);
    assert_eq!(texts(&store).await, ["one", "two", "three", "four"]);
}

#[tokio::test]
async fn closing_commits_what_is_queued() {
    let dir = TempDir::new().unwrap();
    let store = alice_and_bob(SqliteConfig::new(dir.path())).await;
    let (release, held) = hold_writer(&store).await;
    let mut appends = JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        appends.spawn(async move { append(&store, message(ALICE, &n.to_string())).await });
    }
    queued(&store, 20).await;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    queued(&store, 21).await;
    drop(release);
    closing.await.unwrap();
    held.await.unwrap().unwrap();
    assert!(appends.join_all().await.iter().all(Result::is_ok));
    assert_eq!(texts(&open(dir.path())).await.len(), 20);
}

/// Readers at work all the while: the log begins anew nonetheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_bounded_under_continuous_load() {
    let dir = TempDir::new().unwrap();
    let store = alice_and_bob(SqliteConfig { checkpoint_pages: 64, ..SqliteConfig::new(dir.path()) }).await;
    let mut load = JoinSet::new();
    for user in [ALICE, BOB, ALICE, BOB] {
        let store = store.clone();
        load.spawn(async move {
            for _ in 0..150 {
                let batch = (0..10).map(|_| message(user, &"x".repeat(3_000))).collect();
                store.append(batch).await.unwrap();
            }
        });
    }
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    store.heads(BOB, Revision(0), None, 10, 20).await.unwrap();
                }
            })
        })
        .collect();
    let mut bytes_max = 0;
    while load.join_next().await.is_some_and(|done| done.is_ok()) {
        bytes_max = bytes_max.max(wal_bytes(dir.path()));
    }
    readers.iter().for_each(JoinHandle::abort);
    bytes_max = bytes_max.max(wal_bytes(dir.path()));
    // The file keeps the largest size it had since it was last cut: 18 MB of contents went through it.
    assert!((64 * 4_096..6 * 1024 * 1024).contains(&bytes_max), "{bytes_max} bytes");
    assert_eq!(texts(&store).await.len(), 6_000);
}

/// Sets how many pages the database may have; `None`: as many as it has now.
async fn limit_pages(store: &SqliteStore, pages: Option<u32>) {
    store
        .write(move |writer| {
            let pages = match pages {
                Some(pages) => pages,
                None => writer.connection.pragma_query_value(None, "page_count", |row| row.get(0))?,
            };
            writer.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_full_database_refuses_writes_serves_reads_and_heals() {
    let dir = TempDir::new().unwrap();
    let store = alice_and_bob(SqliteConfig::new(dir.path())).await;
    append(&store, message(ALICE, "first")).await.unwrap();
    limit_pages(&store, None).await;
    let mut stored = vec!["first".to_string()];
    let refused = loop {
        let body = format!("{} {}", stored.len(), "x".repeat(2_000));
        let entry = message(ALICE, &body);
        match append(&store, entry.clone()).await {
            Ok(appended) => {
                stored.push(body);
                assert_eq!(appended.position, stored.len() as u64);
            }
            Err(error) => {
                assert!(matches!(error, Error::NotWritable(_)), "{error}");
                break entry;
            }
        }
    };
    assert!(matches!(append(&store, refused.clone()).await, Err(Error::NotWritable(_))));
    assert_eq!(texts(&store).await, stored);
    assert_eq!(store.heads(BOB, Revision(0), None, 10, 1).await.unwrap().0[0].unread, stored.len() as u64);

    limit_pages(&store, Some(1_000_000)).await;
    let healed = append(&store, refused.clone()).await.unwrap();
    assert_eq!((healed.position, healed.duplicate), (stored.len() as u64 + 1, false));
    assert!(append(&store, refused).await.unwrap().duplicate);
    assert_eq!(texts(&store).await.len(), stored.len() + 1);
}

/// A command fails after others of its transaction, and it itself, have changed what the writer remembers.
#[tokio::test]
async fn a_command_that_fails_leaves_no_trace_and_takes_no_other_with_it() {
    let dir = TempDir::new().unwrap();
    let store = alice_and_bob(SqliteConfig::new(dir.path())).await;
    append(&store, message(ALICE, "first")).await.unwrap();
    let (release, held) = hold_writer(&store).await;
    let spawn_append = |text: &'static str| {
        let store = store.clone();
        tokio::spawn(async move { append(&store, message(BOB, text)).await })
    };
    let before = spawn_append("before");
    queued(&store, 1).await;
    let failing = {
        let store = store.clone();
        tokio::spawn(async move {
            let entries = [message(ALICE, "never"), making()];
            let mark = ReadMark { conversation: DIRECT, user: BOB, position: 9 };
            store
                .write(move |writer| {
                    for entry in &entries {
                        assert!(rules::append(writer, entry)?.is_ok());
                    }
                    assert!(rules::mark_read(writer, &mark)?.is_some());
                    writer.connection.execute("INSERT INTO users SELECT * FROM users", [])
                })
                .await
        })
    };
    queued(&store, 2).await;
    let after = spawn_append("after");
    queued(&store, 3).await;
    drop(release);
    held.await.unwrap().unwrap();

    assert!(matches!(failing.await.unwrap(), Err(Error::NotStored(_))));
    assert_eq!(before.await.unwrap().unwrap().position, 2);
    assert_eq!(after.await.unwrap().unwrap().position, 3);
    assert_eq!(texts(&store).await, ["first", "before", "after"]);
    assert_eq!(
        store.append(vec![NewEntry { conversation: GROUP, ..message(ALICE, "") }]).await.unwrap(),
        [Err(Refused::NotMember)]
    );
    assert!(store.effects(1).await.unwrap().is_empty());
    let (heads, revision) = store.heads(ALICE, Revision(0), None, 10, 0).await.unwrap();
    assert_eq!((heads[0].revision, heads[0].unread, heads[0].peer_read_position), (revision, 2, 3));
    let made = append(&store, making()).await.unwrap();
    assert_eq!((made.position, made.entered), (1, vec![ALICE]));
}

/// What users are to each other is remembered as the logs are, and forgotten with a transaction that fails.
#[tokio::test]
async fn a_block_that_was_rolled_back_withholds_nothing() {
    let dir = TempDir::new().unwrap();
    let store = alice_and_bob(SqliteConfig::new(dir.path())).await;
    let act = Act::Contact(ContactEvent { peer: ALICE, what: ContactAct::Block(true) });
    let block = NewEntry { conversation: BOB.personal_log(), act, ..message(BOB, "") };
    let failing = {
        let block = block.clone();
        store.write(move |writer| {
            assert!(rules::append(writer, &block)?.is_ok());
            assert!(rules::append(writer, &message(ALICE, "never"))?.unwrap().withheld);
            writer.connection.execute("INSERT INTO users SELECT * FROM users", [])
        })
    };
    assert!(matches!(failing.await, Err(Error::NotStored(_))));
    assert!(!append(&store, message(ALICE, "seen")).await.unwrap().withheld);
    assert!(store.contacts(BOB, UserId::new(0), 10).await.unwrap().is_empty());
    assert!(!append(&store, block).await.unwrap().duplicate);
    assert!(append(&store, message(ALICE, "unseen")).await.unwrap().withheld);
    store.close().await;
    let store = open(dir.path());
    assert!(append(&store, message(ALICE, "unseen")).await.unwrap().withheld);
}

/// The outcome tells honestly that nothing was stored.
#[tokio::test(start_paused = true)]
async fn a_full_queue_fails_as_not_stored_after_a_bounded_wait() {
    let dir = TempDir::new().unwrap();
    let store = alice_and_bob(SqliteConfig::new(dir.path())).await;
    let (release, held) = hold_writer(&store).await;
    let mut waiting = JoinSet::new();
    for _ in 0..WRITE_QUEUE_MAX {
        let store = store.clone();
        waiting.spawn(async move { store.note_seen(vec![(ALICE, 1)]).await });
    }
    queued(&store, WRITE_QUEUE_MAX).await;
    let begun = tokio::time::Instant::now();
    let refused = append(&store, message(ALICE, "too much")).await;
    assert!(matches!(refused, Err(Error::NotStored(_))), "{refused:?}");
    assert!(begun.elapsed() < QUEUE_WAIT + Duration::from_secs(1));
    drop(release);
    held.await.unwrap().unwrap();
    assert!(waiting.join_all().await.iter().all(Result::is_ok));
    assert_eq!(texts(&store).await, Vec::<String>::new());
}
