//! Whom entries concern of which nobody knows whether they were stored: nothing is pushed of them, so who sees the
//! conversation is told to catch up instead.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use protocol::{ConversationId, UserId};
use queue::Topic;
use store::{Messages, NewEntry};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{missed::Missed, publisher::Publisher};

/// Transactions at once whose entries' conversations are looked up; of further ones only groups and senders are told.
const LOOKS_MAX: usize = 16;
/// Between two looks, as the store may be out of reach for a while.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long it is looked for: by then everybody has asked of their own accord.
const PATIENCE: Duration = Duration::from_secs(60);
/// More members than a direct conversation has.
const MORE_THAN_TWO: u32 = 3;

/// Has those told whom entries concern.
pub(super) struct Telling {
    store: Arc<dyn Messages>,
    publisher: Publisher,
    stop: CancellationToken,
    looks: JoinSet<()>,
}

impl Telling {
    pub(super) fn new(store: Arc<dyn Messages>, publisher: Publisher, stop: CancellationToken) -> Self {
        Self { store, publisher, stop, looks: JoinSet::new() }
    }

    /// Senders and groups are told at once, the other of a direct conversation as soon as the store says who that is. Does not
    /// wait.
    pub(super) fn tell_of(&mut self, entries: &[NewEntry]) {
        let shared = entries.iter().filter(|entry| entry.conversation != entry.sender.personal_log());
        // The same conversation is looked up once, as one of those sees it who have written there.
        let conversations: HashMap<ConversationId, UserId> =
            shared.map(|entry| (entry.conversation, entry.sender)).collect();
        // Nobody listens for a group that is none.
        let groups = conversations.keys().map(|conversation| Topic::Group(conversation.group()));
        self.publisher.tell_missed(Missed::of(entries.iter().map(|entry| entry.sender), groups));
        while self.looks.try_join_next().is_some() {}
        if !conversations.is_empty() && self.looks.len() < LOOKS_MAX {
            let (store, publisher, stop) = (Arc::clone(&self.store), self.publisher.clone(), self.stop.clone());
            self.looks.spawn(async move {
                tell_members(store.as_ref(), &publisher, conversations, &stop).await;
            });
        }
    }

    /// Waits for what is looked up; once it is stopped, each is looked up once more at most.
    pub(super) async fn finish(mut self) {
        while self.looks.join_next().await.is_some() {}
    }
}

/// Tells the members of those conversations that have two at most.
async fn tell_members(
    store: &dyn Messages,
    publisher: &Publisher,
    mut conversations: HashMap<ConversationId, UserId>,
    stop: &CancellationToken,
) {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        let mut users = HashSet::new();
        let mut failed = None;
        for (conversation, reader) in conversations.clone() {
            match store.members(reader, conversation, UserId::new(0), MORE_THAN_TWO, false).await {
                Ok(page) => {
                    let members =
                        page.map(|page| page.members).filter(|members| members.len() < MORE_THAN_TWO as usize);
                    users.extend(members.unwrap_or_default().into_iter().map(|member| member.user));
                    conversations.remove(&conversation);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        publisher.tell_missed(Missed::of(users, []));
        match failed {
            None => return,
            Some(error) if stop.is_cancelled() || Instant::now() >= give_up_at => {
                tracing::warn!(%error, conversations = conversations.len(), "members are not told to catch up");
                return;
            }
            Some(_) => drop(timeout(LOOK_AGAIN, stop.cancelled()).await),
        }
    }
}
