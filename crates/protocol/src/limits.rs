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
/// An address: a link's, its image's, a webhook's; in bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// A link's title, in characters.
pub const LINK_TITLE_CHARS_MAX: usize = 200;
/// A link's description, in characters.
pub const LINK_DESCRIPTION_CHARS_MAX: usize = 1_000;
/// A card's title, in characters.
pub const CARD_TITLE_CHARS_MAX: usize = 64;
/// The type of a custom or opaque message, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 128;
/// The JSON of a custom message, in bytes.
pub const CUSTOM_JSON_BYTES_MAX: usize = 64 * 1024;
/// Arrays and objects within each other in the JSON of a custom message.
pub const CUSTOM_JSON_DEPTH_MAX: usize = 64;
/// The text for clients that do not know a custom message's type, in characters.
pub const CUSTOM_FALLBACK_CHARS_MAX: usize = 1_000;
/// The payload of an opaque message, in bytes; with its keys it is below [`CONTENT_BYTES_MAX`].
pub const OPAQUE_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// The wrapped keys of an opaque message.
pub const OPAQUE_KEYS_MAX: usize = 256;
/// One wrapped key, in bytes.
pub const OPAQUE_KEY_BYTES_MAX: usize = 1_024;
/// Users mentioned in one message.
pub const MENTIONS_MAX: usize = 100;
/// A reaction, in bytes.
pub const REACTION_BYTES_MAX: usize = 32;
/// Messages deleted one by one in one request.
pub const DELETE_POSITIONS_MAX: usize = 100;
/// A draft's text, in bytes.
pub const DRAFT_BYTES_MAX: usize = 16 * 1024;
/// Marks in one `deliver`.
pub const DELIVER_MARKS_MAX: usize = 100;
/// Members of a conversation whose messages' receipts are listed.
pub const RECEIPTS_MEMBERS_MAX: u64 = 1_000;
/// Messages whose changes are listed in one request.
pub const CHANGES_POSITIONS_MAX: usize = 500;
/// Pinned messages in one answer.
pub const PINS_MAX: u32 = 100;
/// What is searched for, in characters.
pub const SEARCH_CHARS_MAX: usize = 64;
/// Messages in one answer to a search.
pub const SEARCH_PAGE_MAX: u32 = 100;
/// Messages in one answer to a search if the request does not say.
pub const SEARCH_PAGE_DEFAULT: u32 = 20;
/// Entries that one search looks at.
pub const SEARCH_ENTRIES_MAX: u32 = 5_000;
/// Members of a group who are told that one of them writes.
pub const TYPING_MEMBERS_MAX: u64 = 100;
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
/// A group's description, in characters.
pub const GROUP_DESCRIPTION_CHARS_MAX: usize = 1_000;
/// A group's announcement, in characters.
pub const GROUP_ANNOUNCEMENT_CHARS_MAX: usize = 4_000;
/// A member's name in a group, in characters.
pub const NICKNAME_CHARS_MAX: usize = 32;
/// The message of whoever asks to be let into a group, in characters.
pub const JOIN_MESSAGE_CHARS_MAX: usize = 200;
/// A group's admins.
pub const ADMINS_MAX: u64 = 100;
/// A group's links that can be used.
pub const GROUP_LINKS_MAX: usize = 100;
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
/// A query for users, in characters.
pub const SEARCH_USERS_QUERY_CHARS_MAX: usize = 32;
/// Users in one page of a search.
pub const SEARCH_USERS_MAX: u32 = 100;
/// Users in one page of a search if the request does not say.
pub const SEARCH_USERS_DEFAULT: u32 = 20;
/// What is shown instead of a user's name, in characters.
pub const DISPLAY_NAME_CHARS_MAX: usize = 64;
/// A reference to a user's or a group's picture, in bytes.
pub const AVATAR_BYTES_MAX: usize = 512;
/// A user's status line, in characters.
pub const STATUS_LINE_CHARS_MAX: usize = 140;
/// A language's tag, in bytes.
pub const LANGUAGE_BYTES_MAX: usize = 35;
/// The message of a request to be friends, in characters.
pub const FRIEND_MESSAGE_CHARS_MAX: usize = 200;
/// A user's own name for another, in characters.
pub const REMARK_CHARS_MAX: usize = 64;
/// A user's bots.
pub const BOTS_MAX: usize = 20;
/// A bot's API keys that are good.
pub const API_KEYS_MAX: usize = 20;
/// A bot's webhooks.
pub const WEBHOOKS_MAX: usize = 10;
/// A bot's incoming webhooks.
pub const INCOMING_WEBHOOKS_MAX: usize = 50;
/// What an API key or an incoming webhook is for, in characters.
pub const LABEL_CHARS_MAX: usize = 64;
/// Dead letters in one page, or named to be delivered again.
pub const DEAD_LETTERS_MAX: u32 = 500;
/// Dead letters in one page if the request does not say.
pub const DEAD_LETTERS_DEFAULT: u32 = 100;
/// The text of a report, or the note with which it is closed, in characters.
pub const REPORT_CHARS_MAX: usize = 1_000;
/// Reports in one page.
pub const REPORTS_MAX: u32 = 100;
/// Reports in one page if the request does not say.
pub const REPORTS_DEFAULT: u32 = 20;
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
