//! What happens, in order, for the application to take.

use std::{mem, sync::Arc, time::Duration, vec};

use protocol::{ConversationId, EntryId, UserId, wire};
use tokio::sync::mpsc;

use crate::{
    Error,
    profile::{Changes, ConversationState, Profile, on_profile},
};

/// Batches that wait for the application; each is at most what one read or one answer brought.
pub(crate) const BATCHES_MAX: usize = 16;
/// Under a constant stream, progress is stored after this many conversations moved or entries were taken.
const SAVE_AFTER: usize = 1_000;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A connection is up; the first page of heads, if there is any, follows.
    Connected {
        /// Round trips from the open socket to the first screen: 1 unless the tokens had to be exchanged.
        round_trips: u32,
    },
    /// State of conversations that moved, those that moved last first, as one page of the sync brought it: what a first
    /// screen shows. Entries that an application has to keep come as [`Event::Entry`].
    Heads(Vec<wire::Head>),
    /// The next entry of a conversation: its position is one more than that of the entry before.
    Entry {
        /// Whose entry.
        conversation: ConversationId,
        /// What kind of conversation.
        kind: wire::ConversationKind,
        /// The entry.
        entry: wire::Entry,
    },
    /// The user, or the other member of a direct conversation, has read up to a position. Also of members of small groups,
    /// best effort and perhaps repeated.
    ReadMoved {
        /// Where.
        conversation: ConversationId,
        /// Who.
        user: UserId,
        /// How far.
        position: u64,
    },
    /// A member of a direct conversation or of a small group has received up to a position. Best effort: none is repeated,
    /// but the heads of direct conversations tell it again.
    DeliveredMoved {
        /// Where.
        conversation: ConversationId,
        /// Who.
        user: UserId,
        /// How far.
        position: u64,
    },
    /// Somebody writes something; good for six seconds. Best effort.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        user: UserId,
    },
    /// What everybody may know of a user has changed. Best effort: none is repeated.
    UserChanged(wire::UserInfo),
    /// A watched user's presence changed. Best effort: none is repeated.
    Presence(wire::Presence),
    /// Everything that had happened when the connection came up has been yielded.
    CaughtUp,
    /// The connection broke or could not be made; the client tries again by itself.
    Disconnected {
        /// Why.
        error: Error,
        /// When it tries again.
        retry_in: Duration,
    },
    /// A message of an earlier run was refused for good, and has left the outbox.
    SendRefused {
        /// The message's id.
        id: EntryId,
        /// Why.
        error: Error,
    },
    /// The client has stopped for good: the session has ended, or the server does not want this client.
    SessionEnded {
        /// Why.
        error: Error,
    },
}

/// What the connection's task hands over.
#[derive(Debug)]
pub(crate) enum Item {
    Event(Event),
    /// Read positions moved; to be stored.
    Read(ConversationId, ConversationState),
    /// All entries up to this cursor have been handed over.
    Checkpoint(String),
}

/// The client's events. Take them in a task of their own, or at least do not wait for anything else for long: when
/// 16 batches wait here, the client stops reading its connection.
///
/// Dropping it means that nobody is interested in entries: positions then stay where they are.
#[derive(Debug)]
pub struct Events {
    batches: mpsc::Receiver<Vec<Item>>,
    batch: vec::IntoIter<Item>,
    /// Yielded last; counts as taken when the application asks for more.
    yielded: Option<(ConversationId, ConversationState)>,
    taken: Changes,
    taken_count: usize,
    profile: Arc<dyn Profile>,
}

impl Events {
    pub(crate) fn new(batches: mpsc::Receiver<Vec<Item>>, profile: Arc<dyn Profile>) -> Self {
        let (batch, taken) = (Vec::new().into_iter(), Changes::default());
        Self { batches, batch, yielded: None, taken, taken_count: 0, profile }
    }

    /// The next event; `None` after the client has stopped. To ask for it is to have taken the one before: its position
    /// is stored soon, at the latest before this waits.
    ///
    /// Cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        self.take();
        loop {
            for item in self.batch.by_ref() {
                match item {
                    Item::Event(event) => {
                        if let Event::Entry { conversation, kind, entry } = &event {
                            let state =
                                ConversationState { kind: *kind, applied: entry.position, ..Default::default() };
                            self.yielded = Some((*conversation, state));
                        }
                        return Some(event);
                    }
                    Item::Read(conversation, state) => self.taken.merge(conversation, state),
                    Item::Checkpoint(cursor) => self.taken.cursor = Some(cursor),
                }
            }
            if self.taken_count >= SAVE_AFTER {
                self.store().await;
            }
            let batch = match self.batches.try_recv() {
                Ok(batch) => batch,
                Err(_) => {
                    self.store().await;
                    self.batches.recv().await?
                }
            };
            self.batch = batch.into_iter();
        }
    }

    /// Declares everything yielded so far as taken, and stores that. For the end, when [`next`](Self::next) will not be
    /// called again.
    pub async fn save(&mut self) {
        self.take();
        self.store().await;
    }

    /// As [`save`](Self::save), but the entry yielded last is not taken: it will be yielded again.
    pub async fn save_but_last(&mut self) {
        self.yielded = None;
        self.store().await;
    }

    fn take(&mut self) {
        if let Some((conversation, state)) = self.yielded.take() {
            self.taken.merge(conversation, state);
            self.taken_count += 1;
        }
    }

    /// A failure is not the application's to handle: what is not stored will be yielded again after a restart.
    async fn store(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let changes = Arc::new(mem::take(&mut self.taken));
        self.taken_count = 0;
        let theirs = changes.clone();
        if let Err(error) = on_profile(&self.profile, move |profile| profile.save(&theirs)).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot store how far the conversations were taken"
            );
            let changes = Arc::unwrap_or_clone(changes);
            for (id, state) in changes.conversations {
                self.taken.merge(id, state);
            }
            if self.taken.cursor.is_none() {
                self.taken.cursor = changes.cursor;
            }
        }
    }
}
