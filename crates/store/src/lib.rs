//! Durable truth. One trait for each owner: [`Users`], [`Messages`], [`Groups`], [`LastSeen`]; a service is handed only its own.
//!
//! What every store promises, and the contract suite checks:
//!
//! - a method that returns `Ok` has its effect on disk, all of it; one that fails with [`Error::NotStored`] has none;
//!   with [`Error::Unknown`] it is one of the two, and a retry with the same ids tells;
//! - positions of a log are 1, 2, 3 … without gaps, and an entry once read is read the same for ever,
//!   unless what it says is erased: a message that was recalled, a draft that was replaced;
//! - an entry's id and sender name it for good: appending it again yields the position it has;
//! - what an entry is allowed by (a role, a friendship) is looked at in the transaction that appends it;
//! - dropping a method's future does not undo or halve it.

pub mod contacts;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod groups;
mod kinds;
mod messages;
mod presence;
mod users;

pub mod sqlite;

pub use error::{Error, Result};
pub use groups::{Group, GroupLink, Groups, JoinRequestRow, NewGroup};
pub use messages::{
    Act, Appended, Audience, Change, ChangeKind, ContactAct, ContactEvent, ContactRow, ConversationAct, ENTRY_BYTES,
    Effect, HeadRow, Headed, MemberPage, MemberRow, Membership, Messages, Moved, NewEntry, OwnView, Page, PageRequest,
    ReadMark, ReceiptCounts, Refused, Revision, Scan, Telling, UserSettings, content_kind,
};
pub use presence::LastSeen;
pub use users::{
    Account, ApiKeyRow, BotRow, DeadLetterRow, Incoming, NewAccount, NewApiKey, NewBot, NewIncoming, NewReport,
    NewSession, NewWebhook, ProfileChange, ReportRow, Rotation, SessionRow, TokenHash, Users, WebhookRow, WebhookState,
    Webhooks,
};
