//! A MariaDB of the test's own, and databases in it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use servers::{Lifetime, MariaDb, free_port};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};
use tokio::sync::OnceCell;

/// Small, as there are many tests on small machines; what commits promise is as in production.
const SMALL: [&str; 3] = ["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M", "--max-connections=500"];

/// A directory for a server, empty. It is left behind, as a server that lives as long as the process is never dropped, and
/// emptied by the next run.
pub fn directory(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).unwrap();
    }
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A server with further arguments.
pub async fn start(name: &str, arguments: &[&str]) -> MariaDb {
    let arguments: Vec<&str> = SMALL.iter().chain(arguments).copied().collect();
    MariaDb::start("mariadb", &directory(name), free_port(), &arguments, Lifetime::Bound).await.unwrap()
}

/// The URL of a new database in this binary's server, which is started by the first who asks.
pub async fn database(name: &'static str) -> String {
    static SERVER: OnceCell<MariaDb> = OnceCell::const_new();
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(|| start(name, &[])).await;
    create(server, &format!("database_{}", DATABASES.fetch_add(1, Ordering::Relaxed))).await
}

/// Makes a database.
pub async fn create(server: &MariaDb, database: &str) -> String {
    execute(server, "mysql", &format!("CREATE DATABASE {database}")).await;
    server.url(database)
}

/// Executes a statement.
pub async fn execute(server: &MariaDb, database: &str, statement: &str) {
    let mut connection = MySqlConnection::connect(&server.url(database)).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
