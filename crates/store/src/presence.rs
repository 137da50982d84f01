//! When users were last online.

use async_trait::async_trait;
use protocol::UserId;

use crate::Result;

/// What the presence service stores.
#[async_trait]
pub trait LastSeen: Send + Sync + 'static {
    /// Notes when users were online, milliseconds since 1970; an earlier time than the noted one changes nothing.
    async fn note_seen(&self, seen: Vec<(UserId, i64)>) -> Result<()>;

    /// When these users were last online; those who never were are left out.
    async fn last_seen(&self, users: Vec<UserId>) -> Result<Vec<(UserId, i64)>>;
}
