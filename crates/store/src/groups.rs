//! Groups: what they are. Who is a member is told by the group's log; see [`crate::Messages`].

use async_trait::async_trait;
use protocol::{EntryId, GroupId, UserId, wire::JoinPolicy};

use crate::Result;

/// A group to be made.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// Its id, unless the request has made one before.
    pub id: GroupId,
    /// The request's id: with the creator its key for good.
    pub request: EntryId,
    /// Whoever makes it.
    pub creator: UserId,
    /// Its title.
    pub title: String,
    /// Who may join.
    pub join_policy: JoinPolicy,
    /// Milliseconds since 1970.
    pub created_ms: i64,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its title.
    pub title: String,
    /// Who may join.
    pub join_policy: JoinPolicy,
}

/// What the group service stores.
#[async_trait]
pub trait Groups: Send + Sync + 'static {
    /// Makes a group, or returns the one that the same request of the same creator made before. It has no members until
    /// the first entry of its log makes them.
    async fn create(&self, group: NewGroup) -> Result<Group>;

    /// Those of these groups that exist.
    async fn find(&self, ids: Vec<GroupId>) -> Result<Vec<Group>>;
}
