//! MariaDB and ZooKeeper: those that all systems of these tests share, and those of one system.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use servers::{Lifetime, MariaDb, ZooKeeper, free_port};
use tokio::sync::OnceCell;

/// Small, as several run side by side; what commits promise is as in production.
const SMALL: [&str; 2] = ["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M"];
const MANY_CONNECTIONS: &str = "--max-connections=1000";
/// Systems that share a MariaDB have a database each, made when it starts.
const DATABASES: usize = 64;

/// What the truth and the registry of a system are.
pub struct Stores {
    pub mariadb: MariaDb,
    pub zookeeper: ZooKeeper,
}

impl Stores {
    /// Those that are shared; with the number of one who may use them. They live as long as this process, and so their directory is
    /// left behind, to be emptied by the next run.
    pub async fn shared() -> (&'static Self, usize) {
        static SHARED: OnceCell<Stores> = OnceCell::const_new();
        static USERS: AtomicUsize = AtomicUsize::new(0);
        let shared = SHARED.get_or_init(|| async { Self::start(&left_behind("stores")).await }).await;
        let number = USERS.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "there are databases for {DATABASES} systems");
        (shared, number)
    }

    /// New ones, in a directory.
    pub async fn start(dir: &Path) -> Self {
        let (database, registry) = (dir.join("mariadb"), dir.join("zookeeper"));
        fs::create_dir_all(&database).unwrap();
        let setup = database.join("setup.sql");
        let statements = (0..DATABASES).fold(String::new(), |mut all, number| {
            writeln!(all, "CREATE DATABASE IF NOT EXISTS {};", name(number)).unwrap();
            all
        });
        fs::write(&setup, statements).unwrap();
        let setup = format!("--init-file={}", setup.display());
        let arguments = [SMALL[0], SMALL[1], MANY_CONNECTIONS, &setup];
        let (mariadb, zookeeper) = tokio::join!(
            MariaDb::start("mariadb", &database, free_port(), &arguments, Lifetime::Bound),
            ZooKeeper::start("zookeeper", &registry, free_port(), Lifetime::Bound),
        );
        Self { mariadb: mariadb.unwrap(), zookeeper: zookeeper.unwrap() }
    }

    pub fn database(&self, number: usize) -> String {
        self.mariadb.url(&name(number))
    }
}

fn name(number: usize) -> String {
    format!("mpim_{number}")
}

/// An empty directory that is emptied by the next run.
pub fn left_behind(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("distributed").join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).unwrap();
    }
    fs::create_dir_all(&dir).unwrap();
    dir
}
