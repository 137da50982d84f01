//! What several processes on one MySQL add to the contract, and what becomes of calls when the database fails.

#![allow(clippy::unwrap_used, reason = "the functions of a test file are tests or serve them")]

mod mariadb;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mariadb::{
    Database,
    load::{judge, send},
    scene::{account, group, ids, making, message, open, users},
};
use protocol::{ConversationId, SessionId};
use sqlx::{Connection as _, MySqlConnection};
use store::{
    Act, Effect, Error, Headed, LastSeen, Messages, NewAccount, NewEntry, PageRequest, ReadMark, Refused, Revision,
    Users,
    mysql::{MysqlConfig, MysqlStore, OpenError},
};
use tokio::task::JoinSet;

const SERVER: &str = "mysql";
/// Whatever is to come comes within this.
const WITHIN: Duration = Duration::from_secs(60);

/// Both believe they own all logs, and are sent the same entries by clients that retry; one ends in the midst of it. Each entry
/// is there once, at the position that everybody was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_that_append_to_the_same_logs_give_each_position_once() {
    const LOGS: u64 = 8;
    const BATCHES: usize = 60;
    const BATCH: usize = 25;
    let database = Database::new(SERVER).await;
    let stores = [open(&database.url()).await, open(&database.url()).await];
    let members = users(&stores[0], 1..5).await;
    let mut logs = Vec::new();
    for n in 0..LOGS {
        logs.push(group(&stores[0], 100 + n, &members).await);
    }
    // In no order of logs, so that they would meet crosswise.
    let mut tasks = JoinSet::new();
    for (number, &sender) in members.iter().enumerate() {
        let batches: Vec<Vec<NewEntry>> = (0..BATCHES)
            .map(|batch| {
                (0..BATCH).map(|n| message(logs[(n * 7 + batch * 3 + number) % logs.len()], sender, "x")).collect()
            })
            .collect();
        for store in &stores {
            let (store, batches) = (store.clone(), batches.clone());
            tasks.spawn(async move {
                let mut told: BTreeMap<(ConversationId, u64), String> = BTreeMap::new();
                for batch in batches {
                    let outcomes = store.append(batch.clone()).await.unwrap();
                    for (entry, outcome) in batch.into_iter().zip(outcomes) {
                        told.insert((entry.conversation, outcome.unwrap().position), entry.id.to_string());
                    }
                }
                told
            });
        }
    }
    let dropped = tokio::spawn({
        let (store, log, sender) = (open(&database.url()).await, logs[0], members[0]);
        async move {
            loop {
                store.append((0..50).map(|_| message(log, sender, "dropped")).collect()).await.unwrap();
            }
        }
    });
    let mut told: BTreeMap<(ConversationId, u64), String> = BTreeMap::new();
    let mut answers = 0;
    while let Some(one) = tasks.join_next().await {
        dropped.abort();
        let one = one.unwrap();
        answers += one.len();
        for (place, id) in one {
            assert_eq!(*told.entry(place).or_insert_with(|| id.clone()), id, "{place:?}");
        }
    }
    assert_eq!(answers, 2 * members.len() * BATCHES * BATCH, "no two entries were told one position");
    assert_eq!(told.len(), members.len() * BATCHES * BATCH, "both instances told the same");
    for log in logs {
        let stored = ids(&stores[1], members[0], log).await;
        assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), stored.len(), "each entry once");
        for ((_, position), id) in told.range((log, 0)..=(log, u64::MAX)) {
            assert_eq!(stored[usize::try_from(*position).unwrap() - 1], *id);
        }
    }
}

/// Several instances write to many logs, each of which changes once, in transactions that overtake each other: what a cursor
/// passes by is missed for good. Whoever follows the heads misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_heads_misses_nothing_that_several_instances_write() {
    const LOGS: usize = 3_600;
    /// Of a transaction that takes its time.
    const MANY: usize = 40;
    let database = Database::new(SERVER).await;
    let stores = [open(&database.url()).await, open(&database.url()).await, open(&database.url()).await];
    let members = users(&stores[0], 1..3).await;
    let (me, sender) = (members[0], members[1]);
    let logs: Vec<ConversationId> = (0..LOGS as u64).map(|n| ConversationId::new(10_000 + n)).collect();
    let made = stores[0].append(logs.iter().map(|log| making(*log, &members)).collect()).await.unwrap();
    assert!(made.iter().all(Result::is_ok));
    let (_, begin) = stores[0].heads(me, Revision(0), None, 1, 0).await.unwrap();

    let mut writers = JoinSet::new();
    for (writer, share) in logs.chunks(LOGS / 4).enumerate() {
        let (store, share) = (stores[writer % 2].clone(), share.to_vec());
        writers.spawn(async move {
            let mut rest = share.as_slice();
            for turn in writer.. {
                let (part, after) = rest.split_at(if turn % 2 == 0 { MANY } else { 1 }.min(rest.len()));
                rest = after;
                if part.is_empty() {
                    break;
                }
                if turn % 8 == 1 {
                    let marks = part.iter().map(|&conversation| ReadMark { conversation, user: me, position: 2 });
                    store.append(part.iter().map(|log| message(*log, sender, "x")).collect()).await.unwrap();
                    store.mark_read(marks.collect()).await.unwrap();
                } else {
                    // Many entries for each, so that it is under way for long.
                    let each = if part.len() > 1 { 5 } else { 1 };
                    let entries = part.iter().flat_map(|log| (0..each).map(|_| message(*log, sender, "x")));
                    store.append(entries.collect()).await.unwrap();
                }
            }
        });
    }
    let (mut cursor, mut known, mut turns) = (begin, BTreeMap::new(), 0);
    let mut writing = true;
    while writing {
        writing = !writers.is_empty();
        while writers.try_join_next().map(Result::unwrap).is_some() {}
        let (heads, next) = stores[2].heads(me, cursor, None, 10_000, 0).await.unwrap();
        assert!(next >= cursor && heads.iter().all(|head| head.revision > cursor && head.revision <= next));
        turns += usize::from(!heads.is_empty());
        cursor = next;
        known.extend(heads.into_iter().map(|head| (head.conversation, head)));
    }
    assert!(turns > 10, "the follower looked only {turns} times");
    let (all, _) = stores[2].heads(me, begin, None, 10_000, 0).await.unwrap();
    assert_eq!(all.len(), LOGS);
    for head in all {
        assert_eq!(known.get(&head.conversation), Some(&head));
    }
}

/// A relay runs in each message service: what each finds, it tells. The personal logs tell it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effects_are_told_once_by_several_relays() {
    let database = Database::new(SERVER).await;
    let stores = [open(&database.url()).await, open(&database.url()).await];
    let members = users(&stores[0], 1..40).await;
    for n in 0..5 {
        group(&stores[0], 100 + n, &members).await;
    }
    let mut relays = JoinSet::new();
    for store in stores.iter().cycle().take(4) {
        let store = store.clone();
        relays.spawn(async move {
            loop {
                let effects = store.effects(30).await.unwrap();
                if effects.is_empty() {
                    break;
                }
                for outcome in store.append(effects.into_iter().map(telling).collect()).await.unwrap() {
                    outcome.unwrap();
                }
            }
        });
    }
    relays.join_all().await;
    for user in members {
        let told = ids(&stores[0], user, user.personal_log()).await;
        assert_eq!(told.len(), 5);
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), 5);
    }
}

fn telling(effect: Effect) -> NewEntry {
    NewEntry {
        conversation: effect.user.personal_log(),
        sender: effect.user,
        id: effect.id,
        time_ms: effect.time_ms,
        content: effect.content,
        act: effect.contact.map_or(Act::Tell, Act::Contact),
        settles: Some(effect.revision),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_instances_that_start_at_once_make_one_schema() {
    let server = mariadb::start("mysql_start", &[]).await;
    let url = mariadb::create(&server, "fresh").await;
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        starting.spawn(async move { open(&url).await });
    }
    let stores = starting.join_all().await;
    let members = users(&stores[0], 1..3).await;
    for (n, store) in (0..).zip(&stores) {
        group(store, 100 + n, &members).await;
    }
    assert_eq!(stores[0].groups_of(members[1]).await.unwrap().len(), 8);
    assert_eq!(stores[0].newest_id().await.unwrap(), 1_000_002, "the largest is a session's");
    drop(server);
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let database = Database::new("mysql_newer").await;
    drop(open(&database.url()).await);
    let mut connection = MySqlConnection::connect(&database.url()).await.unwrap();
    sqlx::query("INSERT INTO schema_versions VALUES (99)").execute(&mut connection).await.unwrap();
    let newer = MysqlStore::open(MysqlConfig::new(database.url())).await.unwrap_err();
    sqlx::query("DELETE FROM schema_versions WHERE version = 99").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert!(matches!(newer, OpenError::NewerSchema { found: 99, known: 2 }));
    assert!(newer.to_string().contains("schema version 99"), "{newer}");

    let refused = async |config: MysqlConfig| MysqlStore::open(config).await.unwrap_err();
    assert!(matches!(refused(MysqlConfig::new("redis://x")).await, OpenError::Url { which: "url", .. }));
    assert!(matches!(refused(MysqlConfig::new("mysql://root@127.0.0.1:1")).await, OpenError::NoDatabase));
    let few = MysqlConfig { connections_max: 1, ..MysqlConfig::new(database.url()) };
    assert!(matches!(refused(few).await, OpenError::TooFewConnections(1)));
    let missing = MysqlConfig::new(database.url() + "_missing");
    assert!(matches!(refused(missing).await, OpenError::NoSuchDatabase { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_killed_under_load_are_told_honestly() {
    let database = Database::new(SERVER).await;
    let store = open(&database.url()).await;
    let members = users(&store, 1..5).await;
    let log = group(&store, 100, &members).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for &sender in &members {
        senders.spawn(send(store.clone(), log, sender, stop.clone()));
    }
    let mut connection = MySqlConnection::connect(&database.url()).await.unwrap();
    for _ in 0..40 {
        kill_others(&mut connection).await;
        let before = ids(&store, members[0], log).await.len();
        let end = Instant::now() + WITHIN;
        while ids(&store, members[0], log).await.len() < before + 4 {
            assert!(Instant::now() < end, "nothing is stored any more");
        }
    }
    stop.store(true, Ordering::Relaxed);
    judge(&store, log, members[0], &senders.join_all().await).await;
}

/// Ends all connections to the database but this one.
async fn kill_others(connection: &mut MySqlConnection) {
    let others: Vec<i64> = sqlx::query_scalar(
        "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE db = DATABASE() AND id <> connection_id()",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    for id in others {
        // It may have ended by itself.
        let _ = sqlx::query(sqlx::AssertSqlSafe(format!("KILL {id}"))).execute(&mut *connection).await;
    }
}

/// As a firewall does, or a restart: nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_ended_while_they_were_idle_cost_nobody_an_error() {
    let database = Database::new(SERVER).await;
    let store = open(&database.url()).await;
    let members = users(&store, 1..3).await;
    let log = group(&store, 100, &members).await;
    let mut connection = MySqlConnection::connect(&database.url()).await.unwrap();
    for position in 2..12 {
        // Several of each kind.
        let reads = (0..4).map(|_| store.groups_of(members[0]));
        let all = futures_util::future::join_all(reads).await;
        assert!(all.into_iter().all(|groups| groups.unwrap() == [log.group()]));
        kill_others(&mut connection).await;
        let outcome = store.append(vec![message(log, members[0], "x")]).await.unwrap().pop().unwrap().unwrap();
        assert_eq!(outcome.position, position);
        kill_others(&mut connection).await;
        assert_eq!(store.groups_of(members[1]).await.unwrap(), [log.group()]);
        kill_others(&mut connection).await;
        store.note_seen(vec![(members[0], 7), (members[1], 8)]).await.unwrap();
        kill_others(&mut connection).await;
        store.touch_sessions(vec![(SessionId::new(7), 7), (SessionId::new(8), 8)], 9).await.unwrap();
    }
    assert_eq!(store.last_seen(vec![members[1]]).await.unwrap(), [(members[1], 8)]);
}

/// `kill -9` of the server under load, and another start: the store recovers by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_is_told_honestly_and_comes_back() {
    let mut server = mariadb::start("mysql_killed", &[]).await;
    let store = open(&mariadb::create(&server, "killed").await).await;
    let members = users(&store, 1..5).await;
    let log = group(&store, 100, &members).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for &sender in &members {
        senders.spawn(send(store.clone(), log, sender, stop.clone()));
    }
    for _ in 0..2 {
        let before = ids(&store, members[0], log).await.len();
        let end = Instant::now() + WITHIN;
        while ids(&store, members[0], log).await.len() < before + 100 {
            assert!(Instant::now() < end, "nothing is stored any more");
        }
        server.process.kill();
        // While it is away, whoever asks is told so within a bounded time.
        let begun = Instant::now();
        let away = store.append(vec![message(log, members[0], "away")]).await;
        assert!(matches!(away, Err(Error::NotStored(_))), "{away:?}");
        assert!(matches!(store.groups_of(members[0]).await, Err(Error::NotStored(_))));
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        server.restart().await.unwrap();
    }
    let before = ids(&store, members[0], log).await.len();
    while ids(&store, members[0], log).await.len() < before + 100 {}
    stop.store(true, Ordering::Relaxed);
    judge(&store, log, members[0], &senders.join_all().await).await;
}

/// Contents up to the limit and beyond what one statement takes, and characters of four bytes.
#[tokio::test]
async fn large_contents_and_all_characters_are_stored_as_they_are() {
    let database = Database::new(SERVER).await;
    let store = open(&database.url()).await;
    let members = users(&store, 1..3).await;
    let log = group(&store, 100, &members).await;
    let bodies: Vec<String> = ["𝔪𝔭𝔦𝔪 👩‍👩‍👧‍👦", "a ", "a", "A"].map(String::from).into();
    let large = (0..40).map(|n| char::from(b'a' + n).to_string().repeat(protocol::limits::TEXT_BYTES_MAX));
    let bodies: Vec<String> = bodies.into_iter().chain(large).collect();
    let batch: Vec<NewEntry> = bodies.iter().map(|body| message(log, members[0], body)).collect();
    assert!(store.append(batch).await.unwrap().iter().all(Result::is_ok));
    let request = PageRequest { conversation: log, from: Headed::After(1), limit: 1_000 };
    let page = store.read_pages(members[1], vec![request], usize::MAX).await.unwrap().pop().unwrap().unwrap();
    let texts: Vec<String> = page.entries.iter().map(|entry| entry.content.as_ref().unwrap().text().unwrap()).collect();
    assert_eq!(texts, bodies);
    // A trailing space makes another name, and so do capitals: names' keys are the application's.
    for (id, name) in [(10, "bob"), (11, "bob "), (12, "Bob")] {
        let account = NewAccount { name: name.into(), name_key: name.into(), ..account(id) };
        assert!(store.create_account(account, vec![]).await.unwrap(), "{name:?}");
    }
    assert_eq!(store.account_by_name("bob ".into()).await.unwrap().unwrap().user.id, 11);
}

#[tokio::test]
async fn calls_after_closing_are_certainly_not_stored() {
    let database = Database::new(SERVER).await;
    let store = open(&database.url()).await;
    let members = users(&store, 1..3).await;
    store.close().await;
    store.close().await;
    assert!(matches!(store.append(vec![making(ConversationId::new(9), &members)]).await, Err(Error::NotStored(_))));
    assert!(matches!(store.groups_of(members[0]).await, Err(Error::NotStored(_))));
    let mark = ReadMark { conversation: ConversationId::new(9), user: members[0], position: 1 };
    assert!(matches!(store.mark_read(vec![mark]).await, Err(Error::NotStored(_))));
    let again = open(&database.url()).await;
    let outcome = again.append(vec![message(ConversationId::new(9), members[0], "x")]).await.unwrap().pop().unwrap();
    assert_eq!(outcome, Err(Refused::NotMember));
}
