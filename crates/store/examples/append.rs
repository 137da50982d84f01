//! What a durable append costs.
//!
//! ```text
//! cargo run --release -p store --example append -- [CALLERS] [CONVERSATIONS] [SECONDS] [--dir DIRECTORY]
//! cargo run --release -p store --example append -- [SENDERS] [WINDOW] [SECONDS] --mysql mysql://root@127.0.0.1:3306/DATABASE
//!     [--server-pid PID] [--instances N]
//! ```
//!
//! On SQLite: many callers, each waiting for one entry at a time, over many direct conversations. On MySQL: what message
//! services do: senders, each in a direct conversation of its own with a window of entries under way; each instance takes
//! what has gathered and appends it in one call. Prints rows a second, CPU microseconds a row (of this process and of the server,
//! if its process is told), statements a row, what a sender waits, and how long a user's heads take.

#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Parser;
use protocol::{
    ConversationId, EntryId, RawContent, UserId,
    wire::{Text, content},
};
use sqlx::{Connection as _, MySqlConnection, Row as _};
use store::{
    Act, Messages, NewEntry, Revision,
    mysql::{MysqlConfig, MysqlStore},
    sqlite::{SqliteConfig, SqliteStore},
};
use tokio::sync::{mpsc, oneshot};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Entries that an instance appends in one call at most.
const BATCH_MAX: usize = 1_024;

#[derive(Parser)]
struct Arguments {
    /// SQLite: callers, each with one entry under way. MySQL: senders.
    #[arg(default_value_t = 256)]
    callers: u64,
    /// SQLite: conversations. MySQL: how many entries each sender has under way.
    #[arg(default_value_t = 100)]
    second: u64,
    /// How long.
    #[arg(default_value_t = 10)]
    seconds: u64,
    /// SQLite's directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A MySQL database.
    #[arg(long)]
    mysql: Option<String>,
    /// Its server's process.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Instances that append to it.
    #[arg(long, default_value_t = 1)]
    instances: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    match &arguments.mysql {
        Some(url) => on_mysql(&arguments, url).await,
        None => on_sqlite(&arguments).await,
    }
}

async fn on_sqlite(arguments: &Arguments) -> Outcome<()> {
    let temporary = tempfile::tempdir()?;
    let dir = arguments.dir.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let begun = Instant::now();
    let store = SqliteStore::open(SqliteConfig::new(&dir))?;
    println!("opened in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    append(&store, &dir, arguments).await?;
    let user = UserId::new(1_000_000);
    open_many(&store, user, 5_000).await?;
    store.close().await;

    let begun = Instant::now();
    let store = SqliteStore::open(SqliteConfig::new(&dir))?;
    println!("opened again in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    time_heads(&store, user).await?;
    store.close().await;
    Ok(())
}

async fn on_mysql(arguments: &Arguments, url: &str) -> Outcome<()> {
    let begun = Instant::now();
    let store = MysqlStore::open(MysqlConfig::new(url)).await?;
    println!("opened in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    let mut instances = vec![instance(store.clone())];
    for _ in 1..arguments.instances {
        instances.push(instance(MysqlStore::open(MysqlConfig::new(url)).await?));
    }
    send(&store, &instances, arguments, url).await?;
    let user = UserId::new(1_000_000);
    open_many(&store, user, 5_000).await?;
    time_heads(&store, user).await?;
    store.close().await;
    Ok(())
}

/// An entry, and who waits for its position.
type Job = (NewEntry, oneshot::Sender<u64>);

/// A message service's appender: takes what has gathered, and appends it.
struct Instance {
    jobs: mpsc::Sender<Job>,
    batches: Arc<AtomicU64>,
}

fn instance(store: MysqlStore) -> Instance {
    let (jobs, mut queue) = mpsc::channel::<Job>(65_536);
    let batches = Arc::new(AtomicU64::new(0));
    let count = batches.clone();
    tokio::spawn(async move {
        let mut gathered = Vec::new();
        while queue.recv_many(&mut gathered, BATCH_MAX).await > 0 {
            let (entries, waiting): (Vec<NewEntry>, Vec<_>) = gathered.drain(..).unzip();
            count.fetch_add(1, Ordering::Relaxed);
            let outcomes = store.append(entries).await.expect("the database is there");
            for (outcome, waiting) in outcomes.into_iter().zip(waiting) {
                // The sender may have come to its end.
                let _ = waiting.send(outcome.expect("the sender is a member").position);
            }
        }
    });
    Instance { jobs, batches }
}

/// Statements and pings that the server has been sent so far, by everybody.
async fn statements(url: &str) -> Outcome<u64> {
    let mut connection = MySqlConnection::connect(url).await?;
    let counts = sqlx::raw_sql("SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Com_admin_commands')");
    let mut sum = 0;
    for row in counts.fetch_all(&mut connection).await? {
        sum += row.try_get::<String, _>(1)?.parse::<u64>()?;
    }
    connection.close().await?;
    Ok(sum)
}

/// Each sender has a window of entries under way.
async fn send(store: &MysqlStore, instances: &[Instance], arguments: &Arguments, url: &str) -> Outcome<()> {
    let mut logs = Vec::new();
    for n in 0..arguments.callers {
        let (a, b) = (UserId::new(2 * n + 1), UserId::new(2 * n + 2));
        logs.push((store.open_direct(a, b, ConversationId::new(10_000 + n)).await?, a));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let statements_begun = statements(url).await?;
    let server = |pid: Option<u32>| pid.map_or(Ok(Duration::ZERO), |pid| cpu(&pid.to_string()));
    let (begun, cpu_begun, server_begun) = (Instant::now(), cpu("self")?, server(arguments.server_pid)?);
    let mut tasks = tokio::task::JoinSet::new();
    for (n, (conversation, sender)) in logs.into_iter().enumerate() {
        for _ in 0..arguments.second {
            let (jobs, stop) = (instances[n % instances.len()].jobs.clone(), stop.clone());
            tasks.spawn(async move {
                let content = RawContent::from(content::Kind::Text(Text { body: "x".repeat(146) })).as_bytes().clone();
                let mut waits = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let (answer, answered) = oneshot::channel();
                    jobs.send((message(conversation, sender, content.clone()), answer)).await?;
                    answered.await?;
                    waits.push(begun.elapsed());
                }
                Outcome::Ok(waits)
            });
        }
    }
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let waits = waits_of(tasks).await?;
    let elapsed = begun.elapsed();
    println!("{} senders, windows of {}, {} instances", arguments.callers, arguments.second, arguments.instances);
    let rows = waits.len() as f64;
    tell(waits, elapsed, cpu("self")? - cpu_begun);
    let server = server(arguments.server_pid)? - server_begun;
    println!("{:.2} CPU µs/row of the server", server.as_secs_f64() * 1e6 / rows);
    println!("{:.2} statements/row", (statements(url).await? - statements_begun) as f64 / rows);
    let batches = instances.iter().map(|instance| instance.batches.load(Ordering::Relaxed)).sum::<u64>();
    println!("{:.0} rows a transaction", rows / batches as f64);
    Ok(())
}

async fn append(store: &SqliteStore, dir: &Path, arguments: &Arguments) -> Outcome<()> {
    let mut logs = Vec::new();
    for n in 0..arguments.second {
        let (a, b) = (UserId::new(2 * n + 1), UserId::new(2 * n + 2));
        logs.push((store.open_direct(a, b, ConversationId::new(10_000 + n)).await?, [a, b]));
    }
    let (logs, stop) = (Arc::new(logs), Arc::new(AtomicBool::new(false)));
    let (begun, cpu_begun) = (Instant::now(), cpu("self")?);
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..arguments.callers {
        let (store, logs, stop) = (store.clone(), logs.clone(), stop.clone());
        tasks.spawn(async move {
            let content = RawContent::from(content::Kind::Text(Text { body: "x".repeat(146) })).as_bytes().clone();
            let mut waits = Vec::new();
            let mut turn = usize::try_from(caller)?;
            while !stop.load(Ordering::Relaxed) {
                let (conversation, users) = logs[turn % logs.len()];
                let entry = message(conversation, users[turn / logs.len() % 2], content.clone());
                turn += 37;
                let begun = Instant::now();
                for outcome in store.append(vec![entry]).await? {
                    outcome?;
                }
                waits.push(begun.elapsed());
            }
            Outcome::Ok(waits)
        });
    }
    let mut log_bytes_max = 0;
    while begun.elapsed() < Duration::from_secs(arguments.seconds) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        log_bytes_max = log_bytes_max.max(fs::metadata(dir.join("mpim.db-wal"))?.len());
    }
    stop.store(true, Ordering::Relaxed);
    let waits = waits_of(tasks).await?;
    println!("{} callers, {} conversations", arguments.callers, arguments.second);
    tell(waits, begun.elapsed(), cpu("self")? - cpu_begun);
    println!("log at most {:.1} MiB", log_bytes_max as f64 / 1_048_576.0);
    Ok(())
}

fn message(conversation: ConversationId, sender: UserId, content: Bytes) -> NewEntry {
    NewEntry {
        conversation,
        sender,
        id: EntryId::generate(),
        time_ms: 1,
        content,
        act: Act::Message { mentions: vec![], mentions_everyone: false, reply_to: 0 },
        settles: None,
    }
}

async fn waits_of(mut tasks: tokio::task::JoinSet<Outcome<Vec<Duration>>>) -> Outcome<Vec<Duration>> {
    let mut waits = Vec::new();
    while let Some(done) = tasks.join_next().await {
        waits.extend(done??);
    }
    Ok(waits)
}

fn tell(mut waits: Vec<Duration>, elapsed: Duration, cpu: Duration) {
    waits.sort_unstable();
    let rows = waits.len();
    if rows == 0 {
        return;
    }
    let ms = |index: usize| waits[index.min(rows - 1)].as_secs_f64() * 1e3;
    println!("{rows} rows in {:.1} s: {:.0} rows/s", elapsed.as_secs_f64(), rows as f64 / elapsed.as_secs_f64());
    println!("{:.2} CPU µs/row", cpu.as_secs_f64() * 1e6 / rows as f64);
    println!(
        "a sender waits p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
        ms(rows / 2),
        ms(rows * 99 / 100),
        ms(rows)
    );
}

/// Direct conversations of a user, with a few entries each.
async fn open_many(store: &impl Messages, user: UserId, count: u64) -> Outcome<()> {
    let mut entries = Vec::new();
    for n in 0..count {
        let peer = UserId::new(2_000_000 + n);
        let conversation = store.open_direct(user, peer, ConversationId::new(3_000_000 + n)).await?;
        entries.extend((0..20).map(|_| message(conversation, peer, Bytes::from(vec![b'y'; 150]))));
    }
    for chunk in entries.chunks(5_000) {
        store.append(chunk.to_vec()).await?;
    }
    Ok(())
}

async fn time_heads(store: &impl Messages, user: UserId) -> Outcome<()> {
    for entries in [0, 20] {
        let mut times = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            let (heads, _) = store.heads(user, Revision(0), None, 100, entries).await?;
            assert_eq!(heads.len(), 100);
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let (median, slowest) = (times[10].as_secs_f64() * 1e3, times[19].as_secs_f64() * 1e3);
        println!("heads of 5,000 conversations, 100 with {entries} entries: {median:.1} ms, at most {slowest:.1}");
    }
    Ok(())
}

/// User and system time of a process so far, from the kernel's clock ticks.
fn cpu(process: &str) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("the kernel's answer has no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}
