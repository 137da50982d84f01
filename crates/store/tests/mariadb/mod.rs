//! A MariaDB of the test's own, and databases in it.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub(crate) mod load;
pub(crate) mod scene;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use servers::{Lifetime, MariaDb, free_port};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};
use tokio::sync::OnceCell;

/// Small, as there are many tests on small machines; what commits promise is as in production.
const SMALL: [&str; 3] = ["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M", "--max-connections=500"];

/// A directory for a server, empty. It is left behind, as a server that lives as long as the process is never dropped, and
/// emptied by the next run.
pub(crate) fn directory(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).unwrap();
    }
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A server with further arguments.
pub(crate) async fn start(name: &str, arguments: &[&str]) -> MariaDb {
    let arguments: Vec<&str> = SMALL.iter().chain(arguments).copied().collect();
    MariaDb::start("mariadb", &directory(name), free_port(), &arguments, Lifetime::Bound).await.unwrap()
}

/// A database of this binary's server that nobody else uses. Making one takes the server a second; so those that are given
/// back are emptied and used again.
pub(crate) struct Database {
    server: &'static MariaDb,
    name: String,
}

/// Those that were given back.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// How long the connections of whoever had a database before may take to end.
const FREE_WITHIN: Duration = Duration::from_secs(20);

impl Database {
    /// An empty one, with a schema or without one. The server is started by the first who asks.
    pub(crate) async fn new(server: &'static str) -> Self {
        static SERVER: OnceCell<MariaDb> = OnceCell::const_new();
        static MADE: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.get_or_init(|| start(server, &[])).await;
        let free = FREE.lock().unwrap().pop();
        if let Some(name) = free {
            let database = Self { server, name };
            database.empty().await;
            return database;
        }
        let name = format!("database_{}", MADE.fetch_add(1, Ordering::Relaxed));
        create(server, &name).await;
        Self { server, name }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Removes all rows, once nobody is connected any more.
    async fn empty(&self) {
        let mut connection = MySqlConnection::connect(&self.server.url("mysql")).await.unwrap();
        let end = Instant::now() + FREE_WITHIN;
        let connections = "SELECT count(*) FROM information_schema.processlist WHERE db = ?";
        while sqlx::query_scalar::<_, i64>(connections).bind(&self.name).fetch_one(&mut connection).await.unwrap() > 0 {
            assert!(Instant::now() < end, "somebody is still connected to {}", self.name);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT table_name FROM information_schema.tables
             WHERE table_schema = ? AND table_name NOT IN ('schema_versions', 'clock')",
        )
        .bind(&self.name)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let name = &self.name;
        let deletes: String = tables.iter().map(|table| format!("DELETE FROM {name}.`{table}`;")).collect();
        let all = format!("START TRANSACTION; {deletes} UPDATE {name}.clock SET revision = 0; COMMIT");
        sqlx::raw_sql(AssertSqlSafe(all)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        FREE.lock().unwrap().push(self.name.clone());
    }
}

/// Makes a database.
pub(crate) async fn create(server: &MariaDb, database: &str) -> String {
    execute(server, "mysql", &format!("CREATE DATABASE {database}")).await;
    server.url(database)
}

/// Executes a statement.
pub(crate) async fn execute(server: &MariaDb, database: &str, statement: &str) {
    let mut connection = MySqlConnection::connect(&server.url(database)).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
