//! Which processes there are.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use servers::{Known, Process};

/// In the system's directory.
const FILE: &str = "processes.json";

/// The processes of a system, in the order in which they were started. Kept in a file, so that other commands find them.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    pub(super) members: Vec<Member>,
}

/// A process of the system.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    /// Where it is reached; of a process of MPIM where it tells how it is.
    pub(super) address: SocketAddr,
    pub(super) process: Known,
}

#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    address: SocketAddr,
    id: u32,
    began: u64,
}

impl Member {
    pub(super) fn of(name: &str, address: SocketAddr, process: &Process) -> anyhow::Result<Self> {
        let known =
            Known::of(process.id()).with_context(|| format!("{name} has ended: see {}", process.log().display()))?;
        Ok(Self { name: name.to_owned(), address, process: known })
    }

    /// For whoever watches the start.
    pub(super) fn line(&self) -> String {
        format!("{:<16} {:<21} process {}", self.name, self.address, self.process.id)
    }
}

impl State {
    /// Of a directory, which is made if it is not there.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Self::read(dir.join(FILE))
    }

    /// Of a directory where a system was started before.
    pub(super) fn existing(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        if !path.exists() {
            bail!(
                "there is no system in {}: start one by mpim cluster up, or name its directory by --dir",
                dir.display()
            );
        }
        Self::read(path)
    }

    fn read(path: PathBuf) -> anyhow::Result<Self> {
        let rows: Vec<Row> = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let member =
            |row: Row| Member { name: row.name, address: row.address, process: Known { id: row.id, began: row.began } };
        Ok(Self { path, members: rows.into_iter().map(member).collect() })
    }

    pub(super) fn remember(&mut self, member: Member) -> anyhow::Result<()> {
        self.members.push(member);
        self.save().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Whole or not at all: what is not in the file is found by nobody.
    pub(super) fn save(&self) -> io::Result<()> {
        let row = |member: &Member| Row {
            name: member.name.clone(),
            address: member.address,
            id: member.process.id,
            began: member.process.began,
        };
        let rows: Vec<Row> = self.members.iter().map(row).collect();
        let new = self.path.with_extension("json.new");
        fs::write(&new, serde_json::to_vec_pretty(&rows)?)?;
        fs::rename(&new, &self.path)
    }
}
