//! People who write while something fails, and what is told them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::{ConversationId, UserId};
use store::{Error, Messages, NewEntry, mysql::MysqlStore};

use super::scene::{ids, message};

/// What was told of each entry that was sent while the database failed.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) stored: Vec<NewEntry>,
    pub(crate) not_stored: Vec<NewEntry>,
    pub(crate) unknown: Vec<NewEntry>,
    /// The longest that an answer took.
    pub(crate) slowest: Duration,
}

/// Sends until told to stop.
pub(crate) async fn send(store: MysqlStore, log: ConversationId, sender: UserId, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    while !stop.load(Ordering::Relaxed) {
        let entry = message(log, sender, "x");
        let begun = Instant::now();
        let outcome = store.append(vec![entry.clone()]).await;
        told.slowest = told.slowest.max(begun.elapsed());
        match outcome {
            Ok(outcomes) => {
                assert!(outcomes[0].is_ok());
                told.stored.push(entry);
            }
            Err(Error::Unknown(_)) => told.unknown.push(entry),
            Err(Error::NotStored(_)) => told.not_stored.push(entry),
            Err(error @ Error::NotWritable(_)) => panic!("{error}"),
        }
    }
    told
}

/// Compares what was told with what is there; then retries all, with their ids, and finds each once.
pub(crate) async fn judge(store: &MysqlStore, log: ConversationId, reader: UserId, told: &[Told]) {
    let stored: BTreeSet<String> = ids(store, reader, log).await.into_iter().collect();
    let id = |entry: &NewEntry| entry.id.to_string();
    for told in told {
        assert!(told.stored.iter().all(|entry| stored.contains(&id(entry))), "what is told to be stored is stored");
        assert!(told.not_stored.iter().all(|entry| !stored.contains(&id(entry))), "what is told not to be is not");
    }
    let mut retries = 0;
    for entry in told.iter().flat_map(|told| told.unknown.iter().chain(&told.not_stored)) {
        let outcome = store.append(vec![entry.clone()]).await.unwrap().pop().unwrap().unwrap();
        assert_eq!(outcome.duplicate, stored.contains(&id(entry)));
        retries += 1;
    }
    let told: usize = told.iter().map(|told| told.stored.len()).sum();
    assert!(told > 0);
    // Making the group is the first one.
    assert_eq!(ids(store, reader, log).await.len(), 1 + told + retries);
}
