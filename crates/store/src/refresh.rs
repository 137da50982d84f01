//! What becomes of a refresh token that somebody shows: the same for every store.

use crate::{Rotation, SessionRow, TokenHash};

/// A refresh token is exchanged for a new one; see [`Users::rotate_refresh`](crate::Users::rotate_refresh).
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) old: TokenHash,
    pub(crate) request: [u8; 16],
    pub(crate) new: TokenHash,
    pub(crate) new_expires_ms: i64,
    pub(crate) now_ms: i64,
}

/// A refresh token and its session.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) session: SessionRow,
    pub(crate) session_ended: bool,
    /// The account is kept out.
    pub(crate) suspended: bool,
    pub(crate) expires_ms: i64,
    /// The request that used it up, and the token which that request made.
    pub(crate) used: Option<([u8; 16], TokenHash)>,
}

/// What is to be done about an exchange.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing but to answer this.
    Answer(Rotation),
    /// The new token is given for the old one.
    UseUp,
    /// It was used before, by another request: the session ends.
    Replayed,
    /// The same request, but another new token than this one, which it made the first time: good only in its place, and only if
    /// nobody has used it.
    InPlaceOf(TokenHash),
}

impl Token {
    pub(crate) fn judge(&self, exchange: &Exchange) -> Verdict {
        match self.used {
            _ if self.suspended => Verdict::Answer(Rotation::Suspended),
            None if self.session_ended || self.expires_ms <= exchange.now_ms => Verdict::Answer(Rotation::Expired),
            None => Verdict::UseUp,
            Some((request, _)) if request != exchange.request => Verdict::Replayed,
            Some(_) if self.session_ended => Verdict::Answer(Rotation::Expired),
            Some((_, successor)) if successor == exchange.new => {
                Verdict::Answer(Rotation::Rotated(self.session.clone()))
            }
            Some((_, successor)) => Verdict::InPlaceOf(successor),
        }
    }
}
