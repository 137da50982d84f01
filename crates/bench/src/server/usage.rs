//! What a server has used: one process, or all the processes of a system, by what they are.

use std::time::Duration;

use servers::Member;

/// What a server has used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// CPU time since its start, user and system; of a system all processes' but Nginx's.
    pub(crate) cpu_seconds: f64,
    /// Memory that it holds now.
    pub(crate) rss_bytes: u64,
    /// The CPU time by what used it, if the server is a system of several processes.
    pub(crate) parts: Option<Parts>,
}

/// What a process of a system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Gateway,
    Message,
    OtherServices,
    Redis,
    MariaDb,
    ZooKeeper,
    /// Reported beside the others: who has none, or another, compares the rest.
    Nginx,
}

impl Kind {
    const ALL: [(Self, &str); 7] = [
        (Self::Gateway, "gateway_cpu_us_per_message"),
        (Self::Message, "message_service_cpu_us_per_message"),
        (Self::OtherServices, "other_services_cpu_us_per_message"),
        (Self::Redis, "redis_cpu_us_per_message"),
        (Self::MariaDb, "mariadb_cpu_us_per_message"),
        (Self::ZooKeeper, "zookeeper_cpu_us_per_message"),
        (Self::Nginx, "nginx_cpu_us_per_message"),
    ];

    /// Of a process.
    pub(crate) fn of(member: &Member) -> Self {
        match member.role() {
            "gateway" => Self::Gateway,
            "message" => Self::Message,
            "mariadb" => Self::MariaDb,
            "zookeeper" => Self::ZooKeeper,
            "nginx" => Self::Nginx,
            role if role.starts_with("redis") => Self::Redis,
            _ => Self::OtherServices,
        }
    }

    /// Whether it counts to the server's use.
    pub(crate) fn is_servers(self) -> bool {
        self != Self::Nginx
    }
}

/// CPU time in seconds, by what used it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Parts([f64; Kind::ALL.len()]);

impl Parts {
    /// Adds what one of this kind has used.
    pub(crate) fn add(&mut self, kind: Kind, cpu: Duration) {
        self.0[kind as usize] += cpu.as_secs_f64();
    }

    /// All that counts to the server's use.
    pub(crate) fn of_servers(&self) -> f64 {
        Kind::ALL.iter().zip(self.0).filter(|((kind, _), _)| kind.is_servers()).map(|(_, seconds)| seconds).sum()
    }

    /// All of it.
    pub(crate) fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// What was used since.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut parts = *self;
        parts.0.iter_mut().zip(earlier.0).for_each(|(part, earlier)| *part -= earlier);
        parts
    }

    /// Each part with the name of its share in a message.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        Kind::ALL.into_iter().zip(self.0).map(|((_, name), seconds)| (name, seconds))
    }
}

#[cfg(test)]
mod tests {
    use servers::Known;

    use super::*;

    #[test]
    fn nginx_is_told_but_not_counted_to_the_server() {
        let member = |name: &str| Member {
            name: name.into(),
            address: ([127, 0, 0, 1], 80).into(),
            process: Known { id: 1, began: 1 },
        };
        let mut parts = Parts::default();
        for (name, seconds) in
            [("gateway-001", 1), ("message-002", 2), ("user-001", 4), ("group-001", 8), ("redis-queue", 16)]
        {
            parts.add(Kind::of(&member(name)), Duration::from_secs(seconds));
        }
        for (name, seconds) in [("mariadb", 32), ("zookeeper", 64), ("nginx", 128)] {
            parts.add(Kind::of(&member(name)), Duration::from_secs(seconds));
        }
        assert_eq!((parts.of_servers(), parts.total()), (127.0, 255.0));
        let named: Vec<_> = parts.named().collect();
        assert!(Kind::ALL.iter().enumerate().all(|(place, (kind, _))| *kind as usize == place));
        assert!(named.contains(&("other_services_cpu_us_per_message", 12.0)), "{named:?}");
        assert_eq!(parts.since(&parts), Parts::default());
    }
}
