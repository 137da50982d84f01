//! A disk that is full, read-only, or fails.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use client::{
    Client, ConversationId, EntryId, Error, Options,
    wire::{self, ErrorCode, client_frame, content::Kind, server_frame},
};

use crate::{
    device::{Device, PATIENCE},
    process::Process,
};

struct Chat {
    client: Client,
    conversation: ConversationId,
}

impl Chat {
    async fn start(process: &Process) -> Self {
        let server = process.server();
        let (alice, bob) = (Device::register(&server, "alice").await, Device::register(&server, "bob").await);
        let options = Options::new(server, alice.profile.clone());
        let (client, _) = Client::start(Options { catch_up: false, ..options }).unwrap();
        let conversation = ConversationId::new(client.open_direct_with(bob.user()).await.unwrap().id);
        Self { client, conversation }
    }

    /// One attempt, without the SDK's retries: the position, or the refusal's code.
    async fn try_send(&self, id: EntryId, text: &str) -> Result<u64, ErrorCode> {
        let send = wire::Send {
            target: Some(wire::send::Target::Conversation(self.conversation.get())),
            id: id.to_string(),
            content: Some(Kind::Text(wire::Text { body: text.into() }).into()),
            forward_of: None,
        };
        match self.client.request(client_frame::Body::Send(send)).await {
            Ok(server_frame::Body::Sent(sent)) => Ok(sent.position),
            Err(Error::Refused(error)) => Err(error.code()),
            other => panic!("neither sent nor refused: {other:?}"),
        }
    }

    async fn texts(&self) -> Vec<String> {
        let page = self.client.history_after(self.conversation, 0, 500).await.unwrap();
        page.entries.iter().filter_map(|entry| entry.content.as_ref()?.text()).collect()
    }

    /// Sends until it is stored again; nothing else is done to the server.
    async fn until_it_recovers(&self, id: EntryId, text: &str) -> u64 {
        let recovers = async {
            loop {
                if let Ok(position) = self.try_send(id, text).await {
                    return position;
                }
            }
        };
        tokio::time::timeout(PATIENCE, recovers).await.expect("recovers by itself")
    }
}

fn integrity(dir: &Path) {
    let database = rusqlite::Connection::open(dir.join("mpim.db")).unwrap();
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

/// On a disk that is full, sends fail as certainly not stored, reads go on, nothing is corrupted, and it recovers by
/// itself when there is room again. The disk is a small file system of this test's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_sends_honestly_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("disk");
    fs::create_dir(&data).unwrap();
    let mount = format!("mount -t tmpfs -o size=16m tmpfs '{}' && exec \"$@\"", data.display());
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"];
    let mut process = Process::start_in(&data, &wrapper).await;
    let chat = Chat::start(&process).await;
    assert_eq!(chat.try_send(EntryId::generate(), "before").await, Ok(1));

    // The file system as the server sees it.
    let disk = PathBuf::from(format!("/proc/{}/root{}", process.id(), data.display()));
    let ballast = disk.join("ballast");
    fill(&ballast);
    // The store's log has a little room left of its own.
    let mut stored = vec!["before".to_owned()];
    let text = "x".repeat(50_000);
    let refused = loop {
        let id = EntryId::generate();
        match chat.try_send(id, &text).await {
            Ok(_) => stored.push(text.clone()),
            Err(code) => {
                assert_eq!(code, ErrorCode::StorageUnavailable);
                break id;
            }
        }
        assert!(stored.len() < 20, "the disk is full");
    };
    for _ in 0..5 {
        assert_eq!(chat.try_send(EntryId::generate(), &text).await, Err(ErrorCode::StorageUnavailable));
    }
    assert_eq!(chat.texts().await, stored, "reads go on, and what was refused is not there");

    fs::remove_file(&ballast).unwrap();
    stored.push("after".to_owned());
    assert_eq!(chat.until_it_recovers(refused, "after").await, stored.len() as u64);
    assert_eq!(chat.texts().await, stored);
    integrity(&disk);
    assert!(process.terminate().await);
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let mut chunk = vec![0_u8; 64 * 1024];
    while !chunk.is_empty() {
        match file.write_all(&chunk) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => chunk.truncate(chunk.len() / 2),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A library put in front of the C library's, which makes writing calls on files of a directory fail while a control file
/// says how.
struct IoFaults {
    control: PathBuf,
    library: PathBuf,
}

impl IoFaults {
    fn build(dir: &Path) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/io_faults.c");
        let library = dir.join("io_faults.so");
        let mut build = Command::new("cc");
        build.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(build.status().unwrap().success());
        Self { control: dir.join("fault"), library }
    }

    fn wrapper(&self, data: &Path) -> Vec<String> {
        vec![
            "env".into(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("IO_FAULTS_CONTROL={}", self.control.display()),
            format!("IO_FAULTS_DIR={}", data.display()),
        ]
    }

    fn set(&self, fault: &str) {
        let new = self.control.with_extension("new");
        fs::write(&new, fault).unwrap();
        fs::rename(new, &self.control).unwrap();
    }
}

/// A data directory that becomes read-only, as the kernel makes it after a fault of the disk, and a disk whose flushes
/// fail: a send is certainly not stored in the first case, unknown in the second, and then settled by a retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_turns_read_only_or_fails_is_told_apart_and_recovered_from() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let faults = IoFaults::build(dir.path());
    let wrapper = faults.wrapper(&data);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut process = Process::start_in(&data, &wrapper).await;
    let chat = Chat::start(&process).await;
    assert_eq!(chat.try_send(EntryId::generate(), "before").await, Ok(1));

    faults.set("read-only");
    let refused = EntryId::generate();
    for _ in 0..5 {
        assert_eq!(chat.try_send(refused, "after").await, Err(ErrorCode::StorageUnavailable));
    }
    assert_eq!(chat.texts().await, ["before"], "reads go on");
    faults.set("none");
    assert_eq!(chat.until_it_recovers(refused, "after").await, 2);

    faults.set("flush fails");
    let unknown = EntryId::generate();
    assert_eq!(chat.try_send(unknown, "perhaps").await, Err(ErrorCode::OutcomeUnknown));
    faults.set("none");
    assert_eq!(chat.until_it_recovers(unknown, "perhaps").await, 3);
    assert_eq!(chat.try_send(unknown, "perhaps").await, Ok(3));
    assert_eq!(chat.texts().await, ["before", "after", "perhaps"]);

    process.kill_and_restart().await;
    assert_eq!(chat.until_it_recovers(unknown, "perhaps").await, 3);
    assert_eq!(chat.texts().await, ["before", "after", "perhaps"]);
    assert!(process.terminate().await);
    integrity(&data);
}
