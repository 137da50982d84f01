//! Which processes make up a system on this machine.

use std::{
    fs::{self, File, TryLockError},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Known, Process, Result};

/// In the system's directory.
const FILE: &str = "processes.json";
/// In the system's directory: locked by who starts or stops.
const LOCK: &str = "lock";

/// The processes of a system, in the order in which they were started. Kept in a file in the system's directory, so that other
/// commands find them.
#[derive(Debug)]
pub struct System {
    path: PathBuf,
    /// The processes.
    pub members: Vec<Member>,
}

/// Says that nobody else starts or stops a system's processes, until it is dropped, or who holds it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// A process of a system.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name, such as `gateway-001` or `redis-cache`; also of its directory in the system's.
    pub name: String,
    /// Where it is reached; of a process of MPIM where it tells how it is.
    pub address: SocketAddr,
    /// The process; [not started](Known::NOT_STARTED) while it is only planned.
    pub process: Known,
}

#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    address: SocketAddr,
    id: u32,
    began: u64,
}

impl Member {
    /// A process that was started.
    ///
    /// # Errors
    ///
    /// It has ended meanwhile.
    pub fn of(name: &str, address: SocketAddr, process: &Process) -> Result<Self> {
        let ended = || Error::Failed {
            program: name.to_owned(),
            what: "has ended".into(),
            log: process.log(),
            tail: fs::read_to_string(process.log()).unwrap_or_default(),
        };
        let known = Known::of(process.id()).ok_or_else(ended)?;
        Ok(Self { name: name.to_owned(), address, process: known })
    }

    /// What it is, without its number: `gateway` of `gateway-001`.
    pub fn role(&self) -> &str {
        self.name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-')
    }

    /// Whether it is a process of MPIM: those have numbers.
    pub fn is_ours(&self) -> bool {
        self.role() != self.name
    }

    /// For whoever watches the start.
    pub fn line(&self) -> String {
        format!("{:<16} {:<21} process {}", self.name, self.address, self.process.id)
    }
}

impl System {
    /// Of a directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made, or what it holds cannot be read.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io(dir.display().to_string()))?;
        Self::read(dir.join(FILE))
    }

    /// Of a directory where a system was started before.
    ///
    /// # Errors
    ///
    /// There was none, or what the directory holds cannot be read.
    pub fn existing(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Err(Error::NoSystem(dir.to_owned()));
        }
        Self::read(path)
    }

    /// Keeps others from starting and stopping processes of the system in `dir`, which is there.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if another does; the file of the lock cannot be made.
    pub fn lock(dir: &Path) -> Result<Lock> {
        let path = dir.join(LOCK);
        let what = || Error::io(path.display().to_string());
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(what())?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(what()(error)),
        }
    }

    /// The directory of a member.
    fn dir(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    fn read(path: PathBuf) -> Result<Self> {
        let what = || path.display().to_string();
        let rows: Vec<Row> = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| Error::io(what())(error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io(what())(error)),
        };
        let mut system = Self { path, members: Vec::new() };
        for Row { name, address, id, began } in rows {
            let mut process = Known { id, began };
            // Who was to start it may have been killed: then it has told by itself who it is, if it was started.
            if process == Known::NOT_STARTED {
                process = Known::recorded(&system.dir(&name), &name).unwrap_or(process);
            }
            system.members.push(Member { name, address, process });
        }
        Ok(system)
    }

    /// Writes down which processes there are to be, in this order, before they are started. Those that run stay as they are.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn plan(&mut self, processes: impl IntoIterator<Item = (String, SocketAddr)>) -> Result<()> {
        let member = |(name, address): (String, SocketAddr)| {
            let runs = self.members.iter().find(|member| member.name == name && member.process.is_running());
            runs.cloned().unwrap_or(Member { name, address, process: Known::NOT_STARTED })
        };
        self.members = processes.into_iter().map(member).collect();
        self.save()
    }

    /// Ends at once what a member that has ended has left behind: processes that it had started, and those that had made its
    /// directory ready. Tells whether there was anything.
    pub async fn kill_rest(&self, member: &Member) -> bool {
        let dir = self.dir(&member.name);
        let mut found = false;
        for process in Known::all_recorded(&dir).into_iter().chain([member.process]) {
            found |= process.kill_group(&dir).await;
        }
        found
    }

    /// Takes one that was started, in the place of one that had its name, and writes the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn remember(&mut self, member: Member) -> Result<()> {
        match self.members.iter_mut().find(|other| other.name == member.name) {
            Some(other) => *other = member,
            None => self.members.push(member),
        }
        self.save()
    }

    /// Writes the file, whole or not at all: what is not in it is found by nobody.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn save(&self) -> Result<()> {
        let row = |member: &Member| Row {
            name: member.name.clone(),
            address: member.address,
            id: member.process.id,
            began: member.process.began,
        };
        let rows: Vec<Row> = self.members.iter().map(row).collect();
        let new = self.path.with_extension("json.new");
        let saved = serde_json::to_vec_pretty(&rows)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &self.path));
        saved.map_err(Error::io(self.path.display().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lifetime, Program};

    fn member(name: &str, id: u32) -> Member {
        Member { name: name.into(), address: ([127, 0, 0, 1], 80).into(), process: Known { id, began: 1 } }
    }

    #[test]
    fn who_opens_the_directory_finds_the_last_process_of_each_name_in_the_order_of_the_start() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(System::existing(dir.path()), Err(Error::NoSystem(_))));
        let mut system = System::open(dir.path()).unwrap();
        for (name, id) in [("redis-cache", 1), ("gateway-001", 2), ("nginx", 3), ("gateway-001", 4)] {
            system.remember(member(name, id)).unwrap();
        }
        let found = System::existing(dir.path()).unwrap().members;
        let found: Vec<_> = found.iter().map(|member| (&*member.name, member.process.id)).collect();
        assert_eq!(found, [("redis-cache", 1), ("gateway-001", 4), ("nginx", 3)]);
    }

    #[test]
    fn a_directory_has_one_who_starts_or_stops() {
        let dir = tempfile::tempdir().unwrap();
        let held = System::lock(dir.path()).unwrap();
        let error = System::lock(dir.path()).unwrap_err().to_string();
        assert!(error.contains("another mpim cluster up or down works in"), "{error}");
        drop(held);
        System::lock(dir.path()).unwrap();
    }

    #[test]
    fn what_was_planned_is_found_as_soon_as_it_is_started_also_if_nobody_remembers_it() {
        let dir = tempfile::tempdir().unwrap();
        let address = ([127, 0, 0, 1], 80).into();
        let mut system = System::open(dir.path()).unwrap();
        system.plan(["redis-cache", "redis-queue"].map(|name| (name.to_owned(), address))).unwrap();
        let work = dir.path().join("redis-cache");
        let program = Program::new("redis-cache", crate::find("sleep", "coreutils").unwrap(), &work, ["1000"]);
        let started = Process::start(program, Lifetime::Detached).unwrap();
        let found = System::existing(dir.path()).unwrap().members;
        let found: Vec<_> = found.iter().map(|member| (&*member.name, member.process)).collect();
        assert_eq!(found, [("redis-cache", Known::of(started.id()).unwrap()), ("redis-queue", Known::NOT_STARTED)]);
    }

    #[test]
    fn a_process_of_mpim_is_told_by_its_number() {
        for (name, role, is_ours) in
            [("gateway-001", "gateway", true), ("redis-cache", "redis-cache", false), ("nginx", "nginx", false)]
        {
            assert_eq!((member(name, 1).role(), member(name, 1).is_ours()), (role, is_ours));
        }
    }
}
