//! What travels beside every request.

use std::net::IpAddr;

use protocol::{
    Error, Result, SessionId, UserId,
    wire::{ErrorCode, Scope},
};
use tokio::time::Instant;

/// The number of a client's connection, unique among the gateways' connections of a time; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// On whose behalf a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The user's session, or the API key.
    pub session: SessionId,
    /// What the caller may do.
    pub scopes: Scopes,
}

/// What a caller may do: everything, or, with an API key, what the key's scopes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u32);

impl Scopes {
    /// Everything: a session's.
    pub const ALL: Self = Self(u32::MAX);

    /// Those of an [`Identity`](crate::Identity); none means a session.
    pub fn of_identity(scopes: &[i32]) -> Self {
        let known = scopes.iter().filter_map(|scope| Scope::try_from(*scope).ok());
        if scopes.is_empty() { Self::ALL } else { Self(known.fold(0, |bits, scope| bits | 1 << scope as u32)) }
    }

    /// As they travel between instances.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Whether this one is among them.
    pub fn contain(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u32 != 0
    }

    /// Whether the caller is a session, rather than an API key.
    pub fn are_all(self) -> bool {
        self == Self::ALL
    }
}

/// Who calls, from where, and how long the answer is of use. A service drops work whose deadline has passed before it
/// has begun, and says so.
#[derive(Debug, Clone)]
pub struct Call {
    /// The authenticated user; `None` before log-in.
    pub caller: Option<Caller>,
    /// The connection the request came on, which already knows what it caused; `None` for HTTP and for services.
    pub origin: Option<ConnectionId>,
    /// The client's address, for limits; `None` for calls among services.
    pub address: Option<IpAddr>,
    /// After this the caller has given up.
    pub deadline: Instant,
}

impl Call {
    /// The user on whose behalf the call is made.
    ///
    /// # Errors
    ///
    /// Nobody is logged in.
    pub fn caller(&self) -> Result<Caller> {
        self.caller.ok_or_else(|| Error::new(ErrorCode::Unauthenticated, "log in first"))
    }

    /// A call by a service itself, in the course of this one.
    #[must_use]
    pub fn by_service(&self) -> Self {
        Self { caller: None, origin: None, address: None, deadline: self.deadline }
    }
}
