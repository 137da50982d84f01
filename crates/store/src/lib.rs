//! Durable truth. One trait for each owner: [`Users`], [`Webhooks`], [`Messages`], [`Groups`], [`LastSeen`]; a service is handed only its own.
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

mod append;
mod bots;
pub mod contacts;
#[cfg(feature = "contract")]
pub mod contract;
mod entries;
mod error;
mod groups;
mod kinds;
mod messages;
mod presence;
mod refresh;
mod reports;
mod sight;
mod users;
mod webhooks;

pub mod mysql;
pub mod sqlite;

pub use bots::{ApiKeyRow, BotRefused, BotRow, Incoming, NewApiKey, NewBot, NewIncoming};
pub use entries::{
    Act, Appended, Audience, Change, ChangeKind, ContactAct, ContactEvent, ConversationAct, Membership, NewEntry,
    Refused, SettingsChange, UserSettings, content_kind,
};
pub use error::{Error, Result};
pub use groups::{Group, GroupLink, Groups, JoinRequestRow, LINK_RETRY_MS, NewGroup};
pub use messages::{
    ContactRow, ENTRY_BYTES, Effect, HeadRow, Headed, MemberPage, MemberRow, Messages, Moved, OwnView, Page,
    PageRequest, ReadMark, ReceiptCounts, Revision, Scan, Telling,
};
pub use presence::LastSeen;
pub use reports::{NewReport, ReportRow};
pub use users::{Account, NAME_KEPT, NewAccount, NewSession, ProfileChange, Rotation, SessionRow, TokenHash, Users};
pub use webhooks::{DeadLetterRow, NewWebhook, WebhookRow, WebhookState, Webhooks};
