//! Identifiers, and how new ones are made.

use std::{
    fmt,
    num::NonZeroU64,
    str::FromStr,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use uuid::Uuid;

/// A text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct InvalidId {
    text: String,
    wanted: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// From its number on the wire.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number on the wire.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.parse().map(Self).map_err(|_| InvalidId { text: text.into(), wanted: "an id (digits)" })
            }
        }
    };
}

id! {
    /// A user.
    UserId
}
id! {
    /// A conversation, which is a log. A group's conversation bears the group's id, a user's personal log the user's.
    ConversationId
}
id! {
    /// A group.
    GroupId
}
id! {
    /// A user's session: one device's log-in.
    SessionId
}
id! {
    /// A gateway instance.
    GatewayId
}

impl UserId {
    /// The user's personal log.
    pub const fn personal_log(self) -> ConversationId {
        ConversationId(self.0)
    }

    /// When the account was made, in milliseconds since 1970: ids tell the time at which they were made.
    pub const fn created_ms(self) -> i64 {
        ((self.0 >> (NODE_BITS + COUNTER_BITS)) + EPOCH_MS) as i64
    }
}

impl GroupId {
    /// The group's conversation.
    pub const fn conversation(self) -> ConversationId {
        ConversationId(self.0)
    }
}

impl ConversationId {
    /// The group whose conversation this is, if it is a group's.
    pub const fn group(self) -> GroupId {
        GroupId(self.0)
    }
}

/// The id that a client gives to what it sends; the key that makes retries idempotent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Uuid);

impl EntryId {
    /// A new one: UUID version 7, so that keys made one after the other lie side by side in an index.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// From its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({})", self.0)
    }
}

impl FromStr for EntryId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match Uuid::try_parse(text) {
            Ok(uuid) if !uuid.is_nil() => Ok(Self(uuid)),
            _ => Err(InvalidId { text: text.chars().take(64).collect(), wanted: "an id (UUID)" }),
        }
    }
}

/// The number of a process among those that make ids at the same time: 0 to 1023.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeNumber(u16);

impl NodeNumber {
    /// How many there are.
    pub const COUNT: u16 = 1 << NODE_BITS;

    /// `None` if the number is too large.
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

const NODE_BITS: u32 = 10;
const COUNTER_BITS: u32 = 12;
/// 2026-01-01T00:00:00Z. Ids fit in 63 bits until 2095.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// Makes 64-bit ids ordered by time: milliseconds, node number, counter (the layout of Twitter's Snowflake). Unique as
/// long as no two processes hold a node number at the same time; never decreasing in a process, even where the clock does.
#[derive(Debug)]
pub struct IdGenerator {
    node: AtomicU16,
    /// Milliseconds and counter of the last id, as one number.
    last: Mutex<u64>,
}

impl IdGenerator {
    /// For the process that holds this node number.
    pub fn new(node: NodeNumber) -> Self {
        Self { node: AtomicU16::new(node.0), last: Mutex::new(0) }
    }

    /// From now on for the process that holds this number: the one before was lost.
    pub fn renumber(&self, node: NodeNumber) {
        self.node.store(node.0, Ordering::Relaxed);
    }

    /// The same, with all ids larger than one that was made before: the clock may have been set back since.
    #[must_use]
    pub fn after(self, newest: u64) -> Self {
        let ms = newest >> (NODE_BITS + COUNTER_BITS);
        Self { last: Mutex::new(ms << COUNTER_BITS | ((1 << COUNTER_BITS) - 1)), ..self }
    }

    /// A new number, for one of the id types. `now` is the time since 1970. Beyond 4,096 in a millisecond it borrows
    /// from the next one.
    pub fn generate(&self, now: Duration) -> NonZeroU64 {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_sub(EPOCH_MS);
        let mut last = self.last.lock();
        *last = (*last + 1).max(now_ms << COUNTER_BITS);
        let (ms, counter) = (*last >> COUNTER_BITS, *last & ((1 << COUNTER_BITS) - 1));
        let id =
            ms << (NODE_BITS + COUNTER_BITS) | u64::from(self.node.load(Ordering::Relaxed)) << COUNTER_BITS | counter;
        NonZeroU64::new(id).expect("the counter starts at 1, so that one of ms and counter is not 0")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_increase_even_if_the_clock_goes_back() {
        let ids = IdGenerator::new(NodeNumber::new(7).unwrap());
        let hour = Duration::from_secs(3_600);
        let now = Duration::from_millis(EPOCH_MS) + hour;
        let mut seen = HashSet::new();
        let mut last = 0;
        for i in 0..10_000 {
            let id = ids.generate(if i % 2 == 0 { now } else { now - hour }).get();
            assert!(id > last && seen.insert(id) && id < 1 << 63);
            assert_eq!(id >> COUNTER_BITS & 1023, 7);
            last = id;
        }
    }

    #[test]
    fn ids_are_made_with_another_number_once_it_is_given() {
        let ids = IdGenerator::new(NodeNumber::new(1000).unwrap());
        let now = Duration::from_millis(EPOCH_MS + 5_000);
        let before = ids.generate(now).get();
        ids.renumber(NodeNumber::new(3).unwrap());
        let after = ids.generate(now).get();
        assert_eq!(after >> COUNTER_BITS & 1023, 3);
        assert_ne!(after, before);
    }

    #[test]
    fn ids_after_a_restart_are_larger_than_before_whatever_the_clock_says() {
        let node = NodeNumber::new(7).unwrap();
        let before = IdGenerator::new(node).generate(Duration::from_millis(EPOCH_MS + 5_000)).get();
        for now in [Duration::ZERO, Duration::from_millis(EPOCH_MS + 5_000), Duration::from_millis(EPOCH_MS + 6_000)] {
            assert!(IdGenerator::new(node).after(before).generate(now).get() > before);
        }
    }

    #[test]
    fn a_users_id_tells_when_the_account_was_made() {
        let now = Duration::from_millis(EPOCH_MS + 86_400_123);
        let id = IdGenerator::new(NodeNumber::new(1023).unwrap()).generate(now).get();
        assert_eq!(Duration::from_millis(UserId::new(id).created_ms().try_into().unwrap()), now);
        assert!(UserId::new(u64::MAX).created_ms() > 0);
    }

    #[test]
    fn entry_ids_are_read_and_written_as_uuids() {
        let id: EntryId = "0193A5B0-7c11-7d2e-8f00-000000000001".parse().unwrap();
        assert_eq!(id.to_string(), "0193a5b0-7c11-7d2e-8f00-000000000001");
        for wrong in ["", "1", "00000000-0000-0000-0000-000000000000", "天气"] {
            assert!(wrong.parse::<EntryId>().is_err(), "{wrong}");
        }
    }
}
