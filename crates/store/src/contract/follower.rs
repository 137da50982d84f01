//! A device that follows the heads from its cursor.

use std::collections::BTreeMap;

use protocol::{ConversationId, UserId};

use super::scene::Scene;
use crate::{HeadRow, Revision};

/// What the device knows, and how far it has got in the pages of a sync.
pub(super) struct Follower {
    user: UserId,
    cursor: Revision,
    /// The first page's revision, and until where to ask next.
    paging: Option<(Revision, Revision)>,
    view: BTreeMap<ConversationId, HeadRow>,
}

impl Follower {
    pub(super) fn new(user: UserId) -> Self {
        Self { user, cursor: Revision(0), paging: None, view: BTreeMap::new() }
    }

    pub(super) fn view(&self) -> &BTreeMap<ConversationId, HeadRow> {
        &self.view
    }

    /// Asks for one page of at most `limit` heads.
    pub(super) async fn step(&mut self, scene: &Scene, limit: u32) {
        let until = self.paging.map(|(_, until)| until);
        let (heads, revision) = scene.store.heads(self.user, self.cursor, until, limit, 0).await.unwrap();
        let first = self.paging.map_or(revision, |(first, _)| first);
        self.paging = heads.last().map(|last| (first, Revision(last.revision.0 - 1)));
        if self.paging.is_none() {
            self.cursor = first;
        }
        for head in heads {
            assert!(head.revision > Revision(0));
            // A head of a later page may be older than one that was seen before.
            let known = self.view.entry(head.conversation).or_insert_with(|| head.clone());
            if known.revision < head.revision {
                *known = head;
            }
        }
    }

    /// Catches up while nothing changes any more, and compares with what somebody new sees.
    pub(super) async fn finish(&mut self, scene: &Scene) {
        while self.paging.is_some() {
            self.step(scene, 3).await;
        }
        self.step(scene, 3).await;
        while self.paging.is_some() {
            self.step(scene, 3).await;
        }
        let (all, _) = scene.heads(self.user, Revision(0), 0).await;
        for head in all {
            assert_eq!(self.view.get(&head.conversation), Some(&head), "what {} follows", self.user);
        }
    }
}
