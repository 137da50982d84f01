//! Every limit of the protocol, by name. Exceeding one is an error that names it.

use std::time::Duration;

/// The text of one message, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The encoded content of one message.
pub const CONTENT_BYTES_MAX: usize = TEXT_BYTES_MAX + 4 * 1024;
/// One frame from a client, encoded. Even a text of control characters, each escaped in JSON by six, fits.
pub const CLIENT_FRAME_BYTES_MAX: usize = 512 * 1024;
/// One frame on a connection that is not connected yet, encoded.
pub const FIRST_FRAMES_BYTES_MAX: usize = 16 * 1024;
/// One frame from a server, encoded in protobuf; in JSON it can take several times as much. A page of entries stays below [`PAGE_BYTES_MAX`] plus one entry.
pub const SERVER_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Entries in one answer, all pages together, in bytes of content.
pub const PAGE_BYTES_MAX: usize = 512 * 1024;
/// Entries in one history page.
pub const PAGE_ENTRIES_MAX: u32 = 500;
/// Entries in one history page if the request does not say.
pub const PAGE_ENTRIES_DEFAULT: u32 = 50;
/// Histories in one fetch.
pub const FETCH_HISTORIES_MAX: usize = 100;
/// Conversations in one page of a sync.
pub const SYNC_HEADS_MAX: u32 = 500;
/// Conversations in one page of a sync if the request does not say.
pub const SYNC_HEADS_DEFAULT: u32 = 100;
/// Last entries of each conversation in a sync.
pub const SYNC_ENTRIES_MAX: u32 = 50;
/// A user's name, in characters.
pub const NAME_CHARS_MAX: usize = 32;
/// A group's title, in characters.
pub const TITLE_CHARS_MAX: usize = 64;
/// A device's name, in characters.
pub const DEVICE_CHARS_MAX: usize = 64;
/// A password's length, in bytes: at least.
pub const PASSWORD_BYTES_MIN: usize = 8;
/// A password's length, in bytes: at most.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// A user's sessions (devices) at a time.
pub const SESSIONS_MAX: usize = 64;
/// A group's members.
pub const MEMBERS_MAX: u64 = 100_000;
/// Members of a group up to which each one's receiving and reading is told to all at once.
pub const LIVE_RECEIPTS_MEMBERS_MAX: u64 = 100;
/// Users in one invitation, or named when a group is made.
pub const INVITE_MAX: usize = 1_000;
/// Members in one page.
pub const MEMBERS_PAGE_MAX: u32 = 1_000;
/// Members in one page if the request does not say.
pub const MEMBERS_PAGE_DEFAULT: u32 = 100;
/// Ids and names in one look-up of users.
pub const FIND_USERS_MAX: usize = 500;
/// Users watched by one connection.
pub const WATCH_USERS_MAX: usize = 500;
/// Requests under way on one connection, sends apart.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 32;
/// Sends under way on one connection; further ones wait in the socket.
pub const SENDS_IN_FLIGHT_MAX: usize = 256;

/// The shortest silence that a client may ask to be allowed.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(5);
/// The longest.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(300);
/// If the client does not ask.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(60);
