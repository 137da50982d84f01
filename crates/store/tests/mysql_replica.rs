//! Histories are read from a replica where it has them, and everything else from the primary.

#![allow(clippy::unwrap_used, reason = "the functions of a test file are tests or serve them")]

mod mariadb;

use std::time::{Duration, Instant};

use mariadb::scene::{group, message, users};
use protocol::{
    ConversationId, RawContent, UserId,
    wire::{Recall, Text, content},
};
use servers::MariaDb;
use sqlx::{Connection as _, MySqlConnection};
use store::{
    Act, Change, ChangeKind, Headed, Messages, NewEntry, PageRequest, Revision,
    mysql::{MysqlConfig, MysqlStore},
};

const WITHIN: Duration = Duration::from_secs(60);
/// What only the replica says.
const MARKER: &str = "from the replica";

/// The replica follows the primary from here on.
async fn follow(replica: &MariaDb, primary: &MariaDb) {
    let port = primary.address().port();
    let change = format!(
        "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'root', MASTER_USE_GTID = slave_pos"
    );
    mariadb::execute(replica, "mysql", &change).await;
    mariadb::execute(replica, "mysql", "START SLAVE").await;
}

/// Waits until the replica's log ends there.
async fn caught_up(replica: &MariaDb, log: ConversationId, position: u64) {
    let end = Instant::now() + WITHIN;
    loop {
        assert!(Instant::now() < end, "the replica does not follow");
        let reached = async {
            let mut connection = MySqlConnection::connect(&replica.url("history")).await?;
            let found = sqlx::query("SELECT 1 FROM conversations WHERE id = ? AND position = ?")
                .bind(log.get().cast_signed())
                .bind(position.cast_signed())
                .fetch_optional(&mut connection)
                .await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(found.is_some())
        };
        // The database is not there before the replica has heard of it.
        if reached.await.unwrap_or(false) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn texts(store: &MysqlStore, reader: UserId, log: ConversationId, from: Headed, limit: u32) -> Vec<String> {
    let request = PageRequest { conversation: log, from, limit };
    let page = store.read_pages(reader, vec![request], usize::MAX).await.unwrap().pop().unwrap().unwrap();
    page.entries.iter().map(|entry| entry.content.as_ref().unwrap().text().unwrap_or_default()).collect()
}

async fn scanned(store: &MysqlStore, reader: UserId, log: ConversationId) -> Vec<String> {
    let scan = store.scan(reader, log, 0, 100).await.unwrap().unwrap();
    scan.messages.iter().map(|entry| entry.content.as_ref().unwrap().text().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_answers_what_it_has_and_never_what_is_stale() {
    let primary = mariadb::start("mysql_primary", &["--log-bin=binlog", "--server-id=1", "--binlog-format=ROW"]);
    let replica = mariadb::start("mysql_replica", &["--server-id=2"]);
    let (primary, mut replica) = tokio::join!(primary, replica);
    follow(&replica, &primary).await;
    let url = mariadb::create(&primary, "history").await;
    let config = MysqlConfig { replica: Some(replica.url("history")), ..MysqlConfig::new(url) };
    let store = MysqlStore::open(config).await.unwrap();
    let members = users(&store, 1..3).await;
    let (me, reader) = (members[0], members[1]);
    let log = group(&store, 100, &members).await;
    for n in 2..=10 {
        store.append(vec![message(log, me, &format!("message {n}"))]).await.unwrap();
    }
    caught_up(&replica, log, 10).await;

    // From now on the replica is behind, and betrays itself.
    mariadb::execute(&replica, "mysql", "STOP SLAVE").await;
    let marker = RawContent::from(content::Kind::Text(Text { body: MARKER.into() }));
    let hex: String = marker.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mark = format!("UPDATE entries SET content = x'{hex}' WHERE conversation = 100 AND position = 5");
    mariadb::execute(&replica, "history", &mark).await;
    assert_eq!(texts(&store, reader, log, Headed::After(3), 3).await, ["message 4", MARKER, "message 6"]);
    assert_eq!(texts(&store, reader, log, Headed::Before(7), 2).await, [MARKER, "message 6"]);
    assert!(scanned(&store, reader, log).await.contains(&MARKER.to_owned()));

    // What it does not have comes from the primary, and so do heads and ends of logs.
    store.append(vec![message(log, me, "message 11")]).await.unwrap();
    assert_eq!(texts(&store, reader, log, Headed::After(9), 5).await, ["message 10", "message 11"]);
    assert_eq!(texts(&store, reader, log, Headed::Before(7), 2).await, [MARKER, "message 6"]);
    assert!(!scanned(&store, reader, log).await.contains(&MARKER.to_owned()), "it may not know the newest edits");
    let (heads, _) = store.heads(reader, Revision(0), None, 10, 20).await.unwrap();
    assert_eq!((heads[0].last_position, heads[0].entries.len()), (11, 11));
    let request = PageRequest { conversation: log, from: Headed::Before(7), limit: 2 };
    assert_eq!(store.read_pages(reader, vec![request], 9_999).await.unwrap()[0].as_ref().unwrap().last_position, 11);

    // What was recalled is told no more, though the replica has it still.
    let recall = Change { target: 5, kind: ChangeKind::Recall { not_before_ms: 0 } };
    let content = RawContent::from(content::Kind::Recall(Recall { position: 5 })).as_bytes().clone();
    let recall = NewEntry { act: Act::Change(recall), content, ..message(log, me, "") };
    assert!(store.append(vec![recall]).await.unwrap()[0].is_ok());
    assert_eq!(texts(&store, reader, log, Headed::Before(7), 2).await, ["", "message 6"]);

    // Without the replica, nothing is missing.
    replica.process.kill();
    let begun = Instant::now();
    assert_eq!(texts(&store, reader, log, Headed::After(1), 3).await, ["message 2", "message 3", "message 4"]);
    assert_eq!(texts(&store, reader, log, Headed::After(9), 2).await, ["message 10", "message 11"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
