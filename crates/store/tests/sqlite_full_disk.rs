//! Promise: where the disk takes no more, an append fails as certainly not stored, reads go on, nothing that was
//! acknowledged is lost, and appends succeed again as soon as there is room.
//!
//! The limit on the size of files stands for the disk. It concerns the whole process, so this test has a file of its own.

#![allow(clippy::unwrap_used, reason = "the functions of a test file are tests or serve them")]
#![allow(unsafe_code, reason = "the limit is set by two system calls that have no safe form here")]
#![cfg(target_os = "linux")]

use std::path::Path;

use protocol::{
    ConversationId, EntryId, RawContent, UserId,
    wire::{Role, Text, content},
};
use store::{
    Act, Error, Headed, Membership, Messages, NewEntry, PageRequest,
    sqlite::{SqliteConfig, SqliteStore},
};
use tempfile::TempDir;

const ALICE: UserId = UserId::new(1);
const GROUP: ConversationId = ConversationId::new(2);

/// Writes beyond this offset fail; they do not end the process.
fn limit_files(bytes: libc::rlim_t) {
    // SAFETY: no memory is shared with the kernel beyond the calls; ignoring a signal runs no handler.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit), 0);
        limit.rlim_cur = bytes.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

fn entry(body: &str) -> NewEntry {
    NewEntry {
        conversation: GROUP,
        sender: ALICE,
        id: EntryId::generate(),
        time_ms: 1,
        content: RawContent::from(content::Kind::Text(Text { body: body.into() })).as_bytes().clone(),
        act: Act::Message { mentions: vec![], mentions_everyone: false, reply_to: 0 },
        settles: None,
    }
}

async fn positions(store: &SqliteStore) -> Vec<u64> {
    let request = PageRequest { conversation: GROUP, from: Headed::After(0), limit: u32::MAX };
    let page = store.read_pages(ALICE, vec![request], usize::MAX).await.unwrap().pop().unwrap().unwrap();
    page.entries.iter().map(|entry| entry.position).collect()
}

fn log_bytes(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("mpim.db-wal")).unwrap().len()
}

#[tokio::test]
async fn appends_to_a_full_disk_are_not_stored_and_succeed_when_there_is_room() {
    let dir = TempDir::new().unwrap();
    let config = SqliteConfig { checkpoint_pages: 64, ..SqliteConfig::new(dir.path()) };
    let store = SqliteStore::open(config.clone()).unwrap();
    let membership = Membership { create: true, enter: vec![(ALICE, Role::Owner)], ..Membership::default() };
    store.append(vec![NewEntry { act: Act::Membership(membership), ..entry("made") }]).await.unwrap();
    let mut acknowledged = 1;
    for round in 0..5 {
        // Somewhere within the next frames, at another place each time.
        limit_files(log_bytes(dir.path()) + 3_000 + round * 5_000);
        let refused = loop {
            let entry = entry(&"x".repeat(10_000));
            match store.append(vec![entry.clone()]).await {
                Ok(appended) => {
                    acknowledged += 1;
                    assert_eq!(appended[0].as_ref().unwrap().position, acknowledged);
                }
                Err(error) => {
                    assert!(matches!(error, Error::NotWritable(_)), "round {round}: {error}");
                    break entry;
                }
            }
        };
        assert!(matches!(store.append(vec![refused.clone()]).await, Err(Error::NotWritable(_))));
        assert_eq!(positions(&store).await, (1..=acknowledged).collect::<Vec<_>>());

        limit_files(libc::RLIM_INFINITY);
        let healed = store.append(vec![refused.clone()]).await.unwrap().pop().unwrap().unwrap();
        acknowledged += 1;
        assert_eq!((healed.position, healed.duplicate), (acknowledged, false));
    }
    store.close().await;
    let store = SqliteStore::open(config).unwrap();
    assert_eq!(positions(&store).await, (1..=acknowledged).collect::<Vec<_>>());
}
