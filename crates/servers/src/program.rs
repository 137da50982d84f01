//! Programs of the machine's packages.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;

use crate::{Error, Result};

/// Where Debian puts what only root runs; often not in a user's `PATH`.
const SYSTEM_DIRS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// A program to be run.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it is called in messages, and its log.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its working directory, where its output goes to `NAME.log`.
    pub dir: PathBuf,
    /// What is set in its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What a [bound](crate::Lifetime::Bound) one gets when this process ends: by default `SIGKILL`, for one that has to end
    /// processes of its own `SIGTERM`.
    pub last_signal: Signal,
}

impl Program {
    /// A program that runs in `dir`.
    pub fn new<A: Into<OsString>>(
        name: impl Into<String>,
        path: PathBuf,
        dir: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self {
            name: name.into(),
            path,
            arguments,
            dir: dir.to_owned(),
            environment: Vec::new(),
            last_signal: Signal::SIGKILL,
        }
    }

    /// Where its output goes.
    pub fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// Where it writes down who it is, if it is [detached](crate::Lifetime::Detached): see
    /// [`Known::recorded`](crate::Known::recorded).
    pub(crate) fn record(&self) -> PathBuf {
        self.dir.join(format!("{}.process", self.name))
    }
}

/// Looks for an executable in `PATH` and where Debian puts servers.
///
/// # Errors
///
/// It is not there: the message names Debian's package.
pub fn find(program: &str, package: &'static str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(SYSTEM_DIRS.iter().map(PathBuf::from));
    let found = dirs.map(|dir| dir.join(program)).find(|path| path.is_file());
    found.ok_or_else(|| Error::Missing { program: program.to_owned(), package })
}
