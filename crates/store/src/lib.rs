//! Durable truth. One trait for each owner: [`Users`], [`Messages`], [`Groups`], [`LastSeen`]; a service is handed only its own.
//!
//! What every store promises, and the contract suite checks:
//!
//! - a method that returns `Ok` has its effect on disk, all of it; one that fails with [`Error::NotStored`] has none;
//!   with [`Error::Unknown`] it is one of the two, and a retry with the same ids tells;
//! - positions of a log are 1, 2, 3 … without gaps, and an entry once read is read the same for ever;
//! - an entry's id and sender name it for good: appending it again yields the position it has;
//! - dropping a method's future does not undo or halve it.

#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod groups;
mod messages;
mod presence;
mod users;

pub mod sqlite;

pub use error::{Error, Result};
pub use groups::{Group, Groups, NewGroup};
pub use messages::{
    Appended, Audience, ENTRY_BYTES, Effect, HeadRow, Headed, Membership, Messages, NewEntry, Page, PageRequest,
    ReadMark, Refused, Revision,
};
pub use presence::LastSeen;
pub use users::{Account, NewAccount, NewSession, Rotation, SessionRow, TokenHash, Users};
