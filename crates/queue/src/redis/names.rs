//! The names of keys and channels. Each holds an id in braces, which decides its place in a cluster: a channel and its
//! mark are in the same place.

use std::fmt;

use protocol::{GatewayId, GroupId, UserId};

use crate::Topic;

#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Of keys, which are those of one database.
    keys: String,
    /// Of channels: one set of them is common to all databases of a server, so that the name must tell the database.
    channels: String,
}

/// A place in a cluster, 0 to 16,383.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot(pub(super) u16);

impl Slot {
    const COUNT: u16 = 16_384;
    pub(super) const LAST: Self = Self(Self::COUNT - 1);

    /// Of a key or channel with this in braces.
    pub(super) fn of(tag: impl fmt::Display) -> Self {
        Self(crc16::State::<crc16::XMODEM>::calculate(tag.to_string().as_bytes()) % Self::COUNT)
    }
}

impl Names {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self { keys: format!("{prefix}:"), channels: format!("{prefix}:{database}:") }
    }

    /// Where a topic's publications are published.
    pub(super) fn channel(&self, topic: Topic) -> String {
        format!("{}{}", self.channels, Tagged(topic))
    }

    /// What each publisher published last to a topic: a hash, by series.
    pub(super) fn mark(&self, topic: Topic) -> String {
        format!("{}mark:{}", self.keys, Tagged(topic))
    }

    /// A gateway's lease.
    pub(super) fn lease(&self, gateway: GatewayId) -> String {
        format!("{}lease:{{{gateway}}}", self.keys)
    }

    /// A user's routes: a hash, by gateway.
    pub(super) fn route(&self, user: UserId) -> String {
        format!("{}route:{{{user}}}", self.keys)
    }

    /// The topic of a channel.
    pub(super) fn topic(&self, channel: &[u8]) -> Option<Topic> {
        let text = std::str::from_utf8(channel).ok()?.strip_prefix(&self.channels)?;
        let (kind, id) = text.strip_suffix('}')?.split_once(":{")?;
        let id = id.parse().ok()?;
        match kind {
            "gateway" => Some(Topic::Gateway(GatewayId::new(id))),
            "group" => Some(Topic::Group(GroupId::new(id))),
            "presence" => Some(Topic::Presence(UserId::new(id))),
            _ => None,
        }
    }
}

/// The place of a topic's channel and mark.
pub(super) fn slot(topic: Topic) -> Slot {
    match topic {
        Topic::Gateway(gateway) => Slot::of(gateway),
        Topic::Group(group) => Slot::of(group),
        Topic::Presence(user) => Slot::of(user),
    }
}

struct Tagged(Topic);

impl fmt::Display for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Topic::Gateway(gateway) => write!(f, "gateway:{{{gateway}}}"),
            Topic::Group(group) => write!(f, "group:{{{group}}}"),
            Topic::Presence(user) => write!(f, "presence:{{{user}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channels_name_tells_its_topic_and_no_others() {
        let names = Names::new("mpim", 1);
        for topic in
            [Topic::Gateway(GatewayId::new(1)), Topic::Group(GroupId::new(u64::MAX)), Topic::Presence(UserId::new(1))]
        {
            assert_eq!(names.topic(names.channel(topic).as_bytes()), Some(topic));
            assert_eq!(Names::new("mpim", 2).topic(names.channel(topic).as_bytes()), None);
        }
        assert_eq!(names.topic(b"mpim:1:group:{x}"), None);
        assert_eq!(names.channel(Topic::Group(GroupId::new(7))), "mpim:1:group:{7}");
    }

    /// The values are those that `CLUSTER KEYSLOT` answers.
    #[test]
    fn slots_are_those_of_redis_cluster() {
        assert_eq!(Slot::of("123456789"), Slot(12_739));
        assert_eq!(Slot::of("foo"), Slot(12_182));
    }
}
