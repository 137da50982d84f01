//! What a durable append costs: many callers, each waiting for one entry at a time, over many direct conversations.
//!
//! ```text
//! cargo run --release -p store --example append -- [CALLERS] [CONVERSATIONS] [SECONDS] [DIRECTORY]
//! ```
//!
//! Prints rows a second, the process's CPU microseconds a row (writer, callers and checkpoints together), what a caller
//! waits, the largest log, how long opening again takes, and how long a user's heads take.

#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::{
    error::Error,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{
    ConversationId, EntryId, RawContent, UserId,
    wire::{Text, content},
};
use store::{
    Act, Messages, NewEntry, Revision,
    sqlite::{SqliteConfig, SqliteStore},
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (callers, conversations, seconds) = (number(256)?, number(100)?, number(10)?);
    let temporary = tempfile::tempdir()?;
    let dir = arguments.next().map_or(temporary.path().to_path_buf(), Into::into);

    let begun = Instant::now();
    let store = SqliteStore::open(SqliteConfig::new(&dir))?;
    println!("opened in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    append(&store, &dir, callers, conversations, Duration::from_secs(seconds)).await?;
    let user = UserId::new(1_000_000);
    open_many(&store, user, 5_000).await?;
    store.close().await;

    let begun = Instant::now();
    let store = SqliteStore::open(SqliteConfig::new(&dir))?;
    println!("opened again in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
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
    store.close().await;
    Ok(())
}

async fn append(store: &SqliteStore, dir: &Path, callers: u64, conversations: u64, time: Duration) -> Outcome<()> {
    let mut logs = Vec::new();
    for n in 0..conversations {
        let (a, b) = (UserId::new(2 * n + 1), UserId::new(2 * n + 2));
        logs.push((store.open_direct(a, b, ConversationId::new(10_000 + n)).await?, [a, b]));
    }
    let (logs, stop) = (Arc::new(logs), Arc::new(AtomicBool::new(false)));
    let (begun, cpu_begun) = (Instant::now(), cpu()?);
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let (store, logs, stop) = (store.clone(), logs.clone(), stop.clone());
        tasks.spawn(async move {
            let content = RawContent::from(content::Kind::Text(Text { body: "x".repeat(146) })).as_bytes().clone();
            let mut waits = Vec::new();
            let mut turn = usize::try_from(caller)?;
            while !stop.load(Ordering::Relaxed) {
                let (conversation, users) = logs[turn % logs.len()];
                let entry = NewEntry {
                    conversation,
                    sender: users[turn / logs.len() % 2],
                    id: EntryId::generate(),
                    time_ms: 1,
                    content: content.clone(),
                    act: Act::Message { mentions: vec![], mentions_everyone: false, reply_to: 0 },
                    settles: None,
                };
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
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(100)).await;
        log_bytes_max = log_bytes_max.max(fs::metadata(dir.join("mpim.db-wal"))?.len());
    }
    stop.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    while let Some(done) = tasks.join_next().await {
        waits.extend(done??);
    }
    let (elapsed, cpu) = (begun.elapsed(), cpu()? - cpu_begun);
    waits.sort_unstable();
    let rows = waits.len();
    if rows == 0 {
        return Ok(());
    }
    let ms = |index: usize| waits[index.min(rows - 1)].as_secs_f64() * 1e3;
    println!("{callers} callers, {conversations} conversations: {rows} rows in {:.1} s", elapsed.as_secs_f64());
    println!("{:.0} rows/s", rows as f64 / elapsed.as_secs_f64());
    println!("{:.2} CPU µs/row", cpu.as_secs_f64() * 1e6 / rows as f64);
    println!(
        "a caller waits p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
        ms(rows / 2),
        ms(rows * 99 / 100),
        ms(rows)
    );
    println!("log at most {:.1} MiB", log_bytes_max as f64 / 1_048_576.0);
    Ok(())
}

/// Direct conversations of a user, with a few entries each.
async fn open_many(store: &SqliteStore, user: UserId, count: u64) -> Outcome<()> {
    let mut entries = Vec::new();
    for n in 0..count {
        let peer = UserId::new(2_000_000 + n);
        let conversation = store.open_direct(user, peer, ConversationId::new(3_000_000 + n)).await?;
        for _ in 0..20 {
            entries.push(NewEntry {
                conversation,
                sender: peer,
                id: EntryId::generate(),
                time_ms: 1,
                content: Bytes::from(vec![b'y'; 150]),
                act: Act::Message { mentions: vec![], mentions_everyone: false, reply_to: 0 },
                settles: None,
            });
        }
    }
    for chunk in entries.chunks(5_000) {
        store.append(chunk.to_vec()).await?;
    }
    Ok(())
}

/// User and system time of this process so far, from the kernel's clock ticks.
fn cpu() -> Outcome<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("the kernel's answer has no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}
