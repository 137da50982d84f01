//! MariaDB.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use crate::{Error, Lifetime, Process, Program, Result, find};

const PACKAGE: &str = "mariadb-server";
/// Where its data is made, in its directory.
const NEW_DATA: &str = "data.new";
/// It serves some 3 s after it was started on a new directory; one that recovers takes longer.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// It makes the system tables in a second or two.
const INSTALLED_WITHIN: Duration = Duration::from_secs(120);
/// One look at whether it serves.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// A mariadbd whose commits are on disk before they are answered. Its user `root` has no password, and comes by loopback.
#[derive(Debug)]
pub struct MariaDb {
    /// Its process.
    pub process: Process,
    port: u16,
    dir: PathBuf,
}

impl MariaDb {
    /// Starts one named `name` on `dir`, which is made ready for it if it is new, with further arguments
    /// (`--innodb-buffer-pool-size=64M`), and waits until it serves.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not serve.
    pub async fn start(name: &str, dir: &Path, port: u16, arguments: &[&str], lifetime: Lifetime) -> Result<Self> {
        let path = program()?;
        let data = dir.join("data");
        // One that starts removes the temporary tables that it finds, also those of others who run.
        let temporary = dir.join("tmp");
        fs::create_dir_all(&temporary).map_err(Error::io(temporary.display().to_string()))?;
        if !data.exists() {
            install(dir, &data, &temporary, lifetime).await?;
        }
        // A socket's path is at most some 100 bytes long, a directory's may be more: one relative to the working directory.
        let own = [
            "--no-defaults".to_owned(),
            format!("--datadir={}", data.display()),
            format!("--tmpdir={}", temporary.display()),
            format!("--port={port}"),
            "--bind-address=127.0.0.1".into(),
            "--socket=mysqld.sock".into(),
            "--pid-file=mysqld.pid".into(),
            "--innodb-flush-log-at-trx-commit=1".into(),
            "--skip-name-resolve".into(),
            "--character-set-server=utf8mb4".into(),
            "--collation-server=utf8mb4_bin".into(),
            // As root it refuses to run unless told to.
            "--user=".to_owned() + &user(),
        ];
        let all = own.into_iter().chain(arguments.iter().map(|&argument| argument.to_owned()));
        let process = Process::start(Program::new(name, path, dir, all), lifetime)?;
        let mut server = Self { process, port, dir: dir.to_owned() };
        server.ready().await?;
        Ok(server)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts it again on its data, after it has ended.
    ///
    /// # Errors
    ///
    /// It does not serve.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.start_again()?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let address = self.address();
        let greets = async || {
            let greeting = async {
                let mut stream = TcpStream::connect(address).await.ok()?;
                // It speaks first: length, number, and then the protocol's version.
                let mut start = [0; 5];
                stream.read_exact(&mut start).await.ok()?;
                Some(start[4] == 10)
            };
            matches!(timeout(LOOK_WITHIN, greeting).await, Ok(Some(true)))
        };
        self.process.until(READY_WITHIN, greets).await
    }
}

/// The executable.
pub(crate) fn program() -> Result<PathBuf> {
    find("mariadbd", PACKAGE)
}

/// Makes the data directory with the system tables, all of it or nothing: beside its place, where it is begun anew if it was
/// interrupted.
async fn install(dir: &Path, data: &Path, temporary: &Path, lifetime: Lifetime) -> Result<()> {
    let new = dir.join(NEW_DATA);
    let at_new = || Error::io(new.display().to_string());
    if new.exists() {
        fs::remove_dir_all(&new).map_err(at_new())?;
    }
    fs::create_dir_all(&new).map_err(at_new())?;
    let arguments = [
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        // It is a script that takes a path apart where it holds a space: one relative to the working directory.
        &format!("--datadir=./{NEW_DATA}"),
        &format!("--user={}", user()),
    ];
    let environment = vec![("TMPDIR".into(), temporary.into())];
    let program = Program::new("mariadb-install-db", find("mariadb-install-db", PACKAGE)?, dir, arguments);
    let program = Program { environment, ..program };
    Process::start(program, lifetime)?.succeeded(INSTALLED_WITHIN).await?;
    fs::rename(&new, data).map_err(at_new())
}

/// Whoever runs this.
fn user() -> String {
    let found = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    found.map_or_else(|| "root".into(), |user| user.name)
}
