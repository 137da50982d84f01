//! The programs that MPIM uses in distributed form, run on this machine: Redis, MariaDB, ZooKeeper and Nginx, each from the
//! installed package, on loopback ports, in a directory of its own. `mpim cluster` is made of them, and so are the tests.
//!
//! Nothing of the machine's own configuration is read, no service of the machine is touched, and nothing is listened to from
//! outside. A server is started again in its directory with [`Process::kill`] and the server's `restart`.

mod known;
mod mariadb;
mod nginx;
mod port;
mod process;
mod program;
mod redis;
#[cfg(feature = "secured")]
mod secured;
mod system;
mod zookeeper;

use std::{io, path::PathBuf};

#[cfg(feature = "secured")]
pub use self::secured::SecuredRedis;
pub use self::{
    known::Known,
    mariadb::MariaDb,
    nginx::{Nginx, Upstream},
    port::free_port,
    process::{Lifetime, Process},
    program::{Program, find},
    redis::{Redis, RedisCluster, Security, Sentinel, Tls, answers},
    system::{Lock, Member, System},
    zookeeper::{Ensemble, ZooKeeper},
};

/// What a start returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not on this machine.
    #[error("{program} is not installed: apt-get install {package}")]
    Missing {
        /// The program, or the part of it.
        program: String,
        /// Debian's package.
        package: &'static str,
    },
    /// It ended instead of serving, or did not serve in time.
    #[error("{program} {what}; the end of {}:\n{tail}", log.display())]
    Failed {
        /// The program.
        program: String,
        /// What it did.
        what: String,
        /// Where it logs.
        log: PathBuf,
        /// The last lines there.
        tail: String,
    },
    /// No system was started in a directory.
    #[error("there is no system in {}: start one by mpim cluster up, or name its directory", _0.display())]
    NoSystem(PathBuf),
    /// Somebody else starts or stops the system of a directory.
    #[error("another mpim cluster up or down works in {}: wait until it has ended", _0.display())]
    Busy(PathBuf),
    /// Files or processes could not be handled.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
}

/// All that is not on this machine of the programs that are run here, one [`Error::Missing`] each.
pub fn missing() -> Vec<Error> {
    let programs = [redis::program(), mariadb::program(), zookeeper::program().map(|(java, _)| java), nginx::program()];
    programs.into_iter().filter_map(Result::err).collect()
}

impl Error {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io(what, error)
    }
}
