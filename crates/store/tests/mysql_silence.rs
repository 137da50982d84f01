//! A database that is there and does not answer: one that stands still, and one behind a network that loses what is said.

#![allow(clippy::unwrap_used, reason = "the functions of a test file are tests or serve them")]

mod mariadb;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mariadb::{
    load::{judge, send},
    scene::{group, ids, message, users},
};
use servers::MariaDb;
use sqlx::{Connection as _, MySqlConnection};
use store::{
    Appended, Error, Messages, NewEntry, ReadMark, Refused, Result, Revision,
    mysql::{MysqlConfig, MysqlStore, OpenError},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

const TIMEOUT: Duration = Duration::from_secs(1);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(2);
/// Whatever is to come comes within this.
const WITHIN: Duration = Duration::from_secs(60);
/// InnoDB tells anew who waits for a lock only if nobody has asked for a tenth of a second.
const LOOK_AGAIN: Duration = Duration::from_millis(150);

async fn open(url: &str, timeout: Duration) -> MysqlStore {
    let config = MysqlConfig { connections_max: 8, timeout, ..MysqlConfig::new(url) };
    MysqlStore::open(config).await.unwrap()
}

async fn append_one(store: &MysqlStore, entry: &NewEntry) -> Result<std::result::Result<Appended, Refused>> {
    store.append(vec![entry.clone()]).await.map(|mut outcomes| outcomes.pop().unwrap())
}

/// A server that stands still, until this is dropped.
struct Still<'s>(&'s MariaDb);

impl<'s> Still<'s> {
    async fn new(server: &'s MariaDb) -> Self {
        server.process.pause();
        let still = Self(server);
        let end = Instant::now() + WITHIN;
        while !still.all_threads_stand_still() {
            assert!(Instant::now() < end, "it does not stand still");
            tokio::task::yield_now().await;
        }
        still
    }

    /// Each one stops when it is its turn to run.
    fn all_threads_stand_still(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.process.id())).unwrap();
        let mut states =
            threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default());
        states.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.process.resume();
    }
}

/// Whatever was under way when the server fell silent, and whatever is asked meanwhile, is answered in time and truthfully; and then
/// everything goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_holds_nobody_up_and_loses_and_doubles_nothing() {
    let server = mariadb::start("mysql_still", &[]).await;
    let store = open(&mariadb::create(&server, "still").await, TIMEOUT).await;
    let members = users(&store, 1..6).await;
    let log = group(&store, 100, &members).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for &sender in &members {
        senders.spawn(send(store.clone(), log, sender, Arc::clone(&stop)));
    }
    let go_on = async || {
        let (before, end) = (ids(&store, members[0], log).await.len(), Instant::now() + WITHIN);
        while ids(&store, members[0], log).await.len() < before + 100 {
            assert!(Instant::now() < end, "nothing is stored any more");
        }
    };
    for _ in 0..4 {
        go_on().await;
        let still = Still::new(&server).await;
        let begun = Instant::now();
        // More than there are connections.
        let mut asked = JoinSet::new();
        for _ in 0..20 {
            let (store, member) = (store.clone(), members[0]);
            asked.spawn(async move {
                assert!(matches!(store.groups_of(member).await, Err(Error::NotStored(_))));
                assert!(matches!(store.heads(member, Revision(0), None, 9, 9).await, Err(Error::NotStored(_))));
                let mark = ReadMark { conversation: log, user: member, position: u64::MAX };
                // What waits while marks are carried out is carried out together, so that it may have been committed.
                assert!(store.mark_read(vec![mark]).await.is_err());
            });
        }
        while let Some(answered) = asked.join_next().await {
            answered.unwrap();
        }
        assert!(begun.elapsed() < 4 * TIMEOUT + SLACK, "answered after {:?}", begun.elapsed());
        drop(still);
    }
    go_on().await;
    stop.store(true, Ordering::Relaxed);
    let told = senders.join_all().await;
    for told in &told {
        assert!(told.slowest < 2 * TIMEOUT + SLACK, "answered after {:?}", told.slowest);
    }
    let failed: usize = told.iter().map(|told| told.unknown.len() + told.not_stored.len()).sum();
    assert!(failed >= members.len(), "it was silent {failed} times only");
    judge(&store, log, members[0], &told).await;
}

/// The way to a server.
struct Way {
    address: SocketAddr,
    fate: watch::Sender<Fate>,
    _tasks: JoinSet<()>,
}

/// What becomes of a packet in which certain words are.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Arrives,
    /// It arrives when others may.
    Waits,
    /// It is lost, with all that would come after, and nobody is told.
    IsLost,
}

/// In a packet that commits; not in how a connection begins: READ COMMITTED.
const COMMIT: &[u8] = b";COMMIT";
/// In what is asked first.
const SCHEMA: &[u8] = b"schema_versions";

impl Way {
    async fn to(server: &MariaDb, words: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (listener.local_addr().unwrap(), server.address());
        let (fate, seen) = watch::channel(Fate::Arrives);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (mut answers, mut asked) = TcpStream::connect(to).await.unwrap().into_split();
                let (from, mut back) = client.into_split();
                let seen = seen.clone();
                connections.spawn(async move {
                    // Until somebody closes it.
                    let _ = pass(from, &mut asked, words, seen).await;
                });
                connections.spawn(async move { drop(tokio::io::copy(&mut answers, &mut back).await) });
            }
        });
        Self { address, fate, _tasks: tasks }
    }

    fn url(&self, database: &str) -> String {
        format!("mysql://root@{}/{database}", self.address)
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    words: &[u8],
    mut fate: watch::Receiver<Fate>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let has_words = buffer[..count].windows(words.len()).any(|here| here == words);
        if has_words && *fate.borrow() == Fate::IsLost {
            std::future::pending::<()>().await;
        }
        if has_words {
            let _ = fate.wait_for(|fate| *fate == Fate::Arrives).await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Waits until a transaction waits for another one's lock.
async fn somebody_waits_for_a_lock(server: &MariaDb) {
    let mut connection = MySqlConnection::connect(&server.url("mysql")).await.unwrap();
    let end = Instant::now() + WITHIN;
    let waiting = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut connection).await.unwrap() == 0 {
        assert!(Instant::now() < end, "nobody waits for a lock");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    connection.close().await.unwrap();
}

/// A commit takes longer than it may: its outcome is unknown. The retry meets it while it is still under way, waits for it, and is
/// told where the entry is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_overtakes_its_late_commit_stores_nothing_twice() {
    let server = mariadb::start("mysql_late", &[]).await;
    let direct = open(&mariadb::create(&server, "late").await, WITHIN).await;
    let members = users(&direct, 1..3).await;
    let log = group(&direct, 100, &members).await;
    let other = group(&direct, 101, &members).await;
    let way = Way::to(&server, COMMIT).await;
    let slow = open(&way.url("late"), TIMEOUT).await;

    for round in 0..3 {
        let entry = message(log, members[0], "late");
        way.fate.send_replace(Fate::Waits);
        let begun = Instant::now();
        let late = append_one(&slow, &entry).await;
        assert!(matches!(late, Err(Error::Unknown(_))), "{late:?}");
        assert!(begun.elapsed() < 2 * TIMEOUT + SLACK, "answered after {:?}", begun.elapsed());
        let retry = tokio::spawn({
            let (direct, entry) = (direct.clone(), entry.clone());
            async move { append_one(&direct, &entry).await }
        });
        somebody_waits_for_a_lock(&server).await;
        way.fate.send_replace(Fate::Arrives);
        let found = retry.await.unwrap().unwrap().unwrap();
        assert!(found.duplicate, "the first one was committed");
        assert_eq!(found.position, 2 + round);
        // For something else the id is of no use, also while the commit is under way.
        let elsewhere = append_one(&direct, &NewEntry { conversation: other, ..entry.clone() }).await.unwrap();
        assert_eq!(elsewhere, Err(Refused::IdReused));
        assert_eq!(ids(&direct, members[1], log).await.len() as u64, 2 + round);
    }

    // The same, in another log, whose row is not locked: the index of ids decides.
    let entry = message(log, members[0], "late");
    way.fate.send_replace(Fate::Waits);
    assert!(matches!(append_one(&slow, &entry).await, Err(Error::Unknown(_))));
    let elsewhere = tokio::spawn({
        let (direct, entry) = (direct.clone(), NewEntry { conversation: other, ..entry.clone() });
        async move { append_one(&direct, &entry).await }
    });
    somebody_waits_for_a_lock(&server).await;
    way.fate.send_replace(Fate::Arrives);
    assert_eq!(elsewhere.await.unwrap().unwrap(), Err(Refused::IdReused));
    assert!(append_one(&slow, &entry).await.unwrap().unwrap().duplicate);
}

/// The network swallows a commit, and the server hears no more of who sent it: it gives the rows back that it had locked, and a retry
/// stores the entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_without_a_network_had_locked_is_free_again_soon() {
    let server = mariadb::start("mysql_lost", &[]).await;
    let direct = open(&mariadb::create(&server, "lost").await, TIMEOUT).await;
    let members = users(&direct, 1..3).await;
    let log = group(&direct, 100, &members).await;
    let other = group(&direct, 101, &members).await;
    let way = Way::to(&server, COMMIT).await;
    let cut_off = open(&way.url("lost"), TIMEOUT).await;

    let entry = message(log, members[0], "lost");
    way.fate.send_replace(Fate::IsLost);
    let lost = append_one(&cut_off, &entry).await;
    assert!(matches!(lost, Err(Error::Unknown(_))), "{lost:?}");
    let begun = Instant::now();
    // The clock, which all need, is locked by nobody.
    assert!(append_one(&direct, &message(other, members[0], "elsewhere")).await.unwrap().is_ok());
    let stored = loop {
        match append_one(&direct, &entry).await {
            Ok(stored) => break stored.unwrap(),
            Err(Error::NotStored(_)) => assert!(begun.elapsed() < 10 * TIMEOUT + SLACK, "the log stays locked"),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(!stored.duplicate && stored.position == 2);
    assert_eq!(ids(&direct, members[1], log).await.len(), 2);
}

/// It lets us in, and then says nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_while_we_start_does_not_keep_the_start_hanging() {
    let server = mariadb::start("mysql_start_silent", &[]).await;
    mariadb::create(&server, "silent").await;
    let way = Way::to(&server, SCHEMA).await;
    let config = MysqlConfig { timeout: TIMEOUT, ..MysqlConfig::new(way.url("silent")) };
    way.fate.send_replace(Fate::IsLost);
    let begun = Instant::now();
    let start = tokio::time::timeout(WITHIN, MysqlStore::open(config.clone())).await.unwrap();
    assert!(matches!(start, Err(OpenError::Connect(_))), "{start:?}");
    assert!(begun.elapsed() < 2 * TIMEOUT + SLACK, "answered after {:?}", begun.elapsed());
    way.fate.send_replace(Fate::Arrives);
    MysqlStore::open(config).await.unwrap();
}
