//! A gateway with logs in memory, as far as a device that only reads needs one.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use client::{Server, wire};
use parking_lot::Mutex;
use prost::Message as _;
use protocol::{
    EntryId,
    wire::{ConversationKind, Entry, ErrorCode, client_frame::Body as Request, server_frame::Body as Answer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinSet,
};

/// Pushes beyond are lost, as real ones may be.
const PUSHES_MAX: usize = 1_024;

pub(super) struct Gateway {
    state: Arc<State>,
    server: Server,
    _task: JoinSet<()>,
}

struct State {
    logs: Mutex<BTreeMap<u64, (ConversationKind, Vec<Entry>)>>,
    pushes: broadcast::Sender<wire::EntryPush>,
}

impl Gateway {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let state = Arc::new(State { logs: Mutex::default(), pushes: broadcast::channel(PUSHES_MAX).0 });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&state)));
        Self { state, server, _task: task }
    }

    pub(super) fn server(&self) -> Server {
        self.server.clone()
    }

    /// How many are connected.
    pub(super) fn connections(&self) -> usize {
        self.state.pushes.receiver_count()
    }

    /// Appends a text, and returns its position.
    pub(super) fn say(&self, conversation: u64, kind: ConversationKind, sender: u64, text: &str) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut logs = self.state.logs.lock();
        let (_, log) = logs.entry(conversation).or_insert((kind, Vec::new()));
        let position = log.len() as u64 + 1;
        let entry = Entry {
            position,
            id: EntryId::generate().to_string(),
            sender,
            time_ms: now.as_millis().try_into().unwrap(),
            content: Some(client::text(text)),
        };
        log.push(entry.clone());
        // Nobody may be connected.
        let _ = self.state.pushes.send(wire::EntryPush { conversation, kind: kind.into(), entry: Some(entry) });
        position
    }

    /// Puts in the place of an entry what stands there once it was recalled.
    pub(super) fn recall(&self, conversation: u64, position: u64) {
        let mut logs = self.state.logs.lock();
        let (_, log) = logs.get_mut(&conversation).unwrap();
        let entry = log.iter_mut().find(|entry| entry.position == position).unwrap();
        entry.content = Some(wire::content::Kind::Recalled(wire::Recalled {}).into());
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) -> Option<()> {
    let mut pushes = state.pushes.subscribe();
    let (mut read, mut write) = stream.into_split();
    let mut preface = [0; 6];
    read.read_exact(&mut preface).await.ok()?;
    let (frames, mut arrived) = tokio::sync::mpsc::channel::<wire::ClientFrame>(16);
    let reading = async move {
        loop {
            let mut length = 0usize;
            for shift in 0.. {
                let byte = read.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7f) << (7 * shift);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut frame = vec![0; length];
            read.read_exact(&mut frame).await.ok()?;
            frames.send(wire::ClientFrame::decode(&*frame).unwrap()).await.ok()?;
        }
    };
    let writing = async move {
        loop {
            let (request, body) = tokio::select! {
                frame = arrived.recv() => {
                    let frame = frame?;
                    (frame.request, state.answer(frame.body.unwrap()))
                }
                push = pushes.recv() => match push {
                    Ok(push) => (0, Answer::Entry(push)),
                    Err(_) => (0, Answer::Resync(wire::Resync {})),
                },
            };
            let frame = wire::ServerFrame { request, body: Some(body) };
            write.write_all(&frame.encode_length_delimited_to_vec()).await.ok()?;
        }
    };
    tokio::select! {
        end = reading => end,
        end = writing => end,
    }
}

impl State {
    fn answer(&self, request: Request) -> Answer {
        match request {
            Request::Connect(_) => {
                Answer::Connected(wire::Connected { sync: Some(self.heads()), ..wire::Connected::default() })
            }
            Request::Sync(_) => Answer::Sync(self.heads()),
            Request::History(history) => Answer::History(self.page(&history)),
            Request::Fetch(fetch) => Answer::Fetched(wire::Fetched {
                pages: fetch.histories.iter().map(|history| self.page(history)).collect(),
            }),
            Request::FindUsers(find) => {
                let users = find.ids.iter().map(|&id| wire::UserInfo {
                    id,
                    name: format!("user{id}"),
                    ..wire::UserInfo::default()
                });
                Answer::Users(wire::Users { users: users.collect(), next_page: String::new() })
            }
            Request::GetGroup(wire::GetGroup { by: Some(wire::get_group::By::Group(group)) }) => {
                match self.logs.lock().get(&group) {
                    Some((ConversationKind::Group, _)) => Answer::Group(wire::GroupInfo::default()),
                    _ => Answer::Error(wire::Error { code: ErrorCode::NotFound.into(), ..wire::Error::default() }),
                }
            }
            _ => Answer::Done(wire::Done {}),
        }
    }

    fn heads(&self) -> wire::SyncPage {
        let logs = self.logs.lock();
        let heads = logs.iter().map(|(&id, (kind, log))| wire::Head {
            conversation: Some(wire::Conversation { id, kind: (*kind).into(), ..wire::Conversation::default() }),
            last_position: log.len() as u64,
            ..wire::Head::default()
        });
        wire::SyncPage { heads: heads.collect(), cursor: "cursor".into(), next_page: String::new() }
    }

    fn page(&self, history: &wire::History) -> wire::HistoryPage {
        let logs = self.logs.lock();
        let entries = logs.get(&history.conversation).map_or(&[][..], |(_, log)| log);
        let (first, end) = match history.from {
            Some(wire::history::From::Before(before)) => {
                (before.saturating_sub(u64::from(history.limit) + 1), before - 1)
            }
            Some(wire::history::From::After(after)) => (after, after + u64::from(history.limit)),
            None => (0, 0),
        };
        let wanted = entries.iter().filter(|entry| entry.position > first && entry.position <= end);
        let last_position = entries.len() as u64;
        wire::HistoryPage { conversation: history.conversation, entries: wanted.cloned().collect(), last_position }
    }
}
