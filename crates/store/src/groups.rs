//! Groups: what they are. Who is a member is told by the group's log; see [`crate::Messages`].

use async_trait::async_trait;
use protocol::{EntryId, GroupId, UserId, wire::JoinPolicy};

use crate::{Result, Telling};

/// For how long after a link was made its request may be retried, in milliseconds: until then the link is remembered though it was
/// revoked.
pub const LINK_RETRY_MS: i64 = 30 * 24 * 3_600 * 1_000;

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

/// A group. What it is is changed by the entries of its log ([`crate::Membership::change`]), in their transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its title.
    pub title: String,
    /// For whoever wants to know.
    pub description: String,
    /// A reference to a picture.
    pub avatar: String,
    /// For members.
    pub announcement: String,
    /// Who may join.
    pub join_policy: JoinPolicy,
    /// Only owner and admins invite.
    pub admins_invite: bool,
    /// Only owner and admins write.
    pub muted: bool,
    /// It has ended.
    pub dissolved: bool,
    /// Milliseconds since 1970.
    pub created_ms: i64,
}

/// Somebody who asks to be let into a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequestRow {
    /// Who.
    pub user: UserId,
    /// For owner and admins to read.
    pub message: String,
    /// Milliseconds since 1970.
    pub time_ms: i64,
}

/// A link by which anybody joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLink {
    /// What names it: a secret that cannot be guessed.
    pub code: String,
    /// The group.
    pub group: GroupId,
    /// Who made it.
    pub creator: UserId,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Milliseconds since 1970; 0: never.
    pub expires_ms: i64,
    /// 0: any number.
    pub uses_max: u32,
    /// So far.
    pub uses: u32,
}

/// What the group service stores.
#[async_trait]
pub trait Groups: Send + Sync + 'static {
    /// Makes a group, or returns the one that the same request of the same creator made before. It has no members until
    /// the first entry of its log makes them.
    async fn create(&self, group: NewGroup) -> Result<Group>;

    /// Those of these groups that exist.
    async fn find(&self, ids: Vec<GroupId>) -> Result<Vec<Group>>;

    /// Notes that a user asks to be let in, and what is to be told; `false` if that was noted already (the message is the new
    /// one then, nothing is told).
    async fn put_join_request(&self, group: GroupId, request: JoinRequestRow, tell: Vec<Telling>) -> Result<bool>;

    /// Removes a request and notes what is to be told; `false` if there is none.
    async fn close_join_request(&self, group: GroupId, user: UserId, tell: Vec<Telling>) -> Result<bool>;

    /// Who asks, by ascending id after `after`.
    async fn join_requests(&self, group: GroupId, after: UserId, limit: u32) -> Result<Vec<JoinRequestRow>>;

    /// Makes a link, or returns the one that the same request of the same creator made before, revoked (see [`LINK_RETRY_MS`]) or not; `None` if the group has
    /// `links_max` usable ones already.
    async fn create_link(
        &self,
        link: GroupLink,
        request: EntryId,
        links_max: usize,
        now_ms: i64,
    ) -> Result<Option<GroupLink>>;

    /// The link that this request of the creator's made, revoked (see [`LINK_RETRY_MS`]) or not.
    async fn made_link(&self, creator: UserId, request: EntryId) -> Result<Option<GroupLink>>;

    /// The link with this code, usable or not.
    async fn link(&self, code: String) -> Result<Option<GroupLink>>;

    /// The group's links that can be used, oldest first.
    async fn links(&self, group: GroupId, now_ms: i64) -> Result<Vec<GroupLink>>;

    /// Uses a link once for this user (again and again by the same user counts once); `false` if it cannot be used (any more).
    async fn use_link(&self, code: String, user: UserId, now_ms: i64) -> Result<bool>;

    /// Takes a link back, which keeps only its request known; `false` if the group has no such link.
    async fn revoke_link(&self, group: GroupId, code: String) -> Result<bool>;
}
