//! Who may have missed a push, until they are told to catch up.

use std::collections::HashSet;

use protocol::{
    UserId,
    queue::delivery::What,
    wire::{Resync, server_frame::Body},
};
use queue::Topic;

use crate::push::{self, Pushes};

/// Users and topics remembered at most. Others learn what they missed when they ask of their own accord.
const MISSED_MAX: usize = 100_000;
/// So many of them are told at once.
const CHUNK: usize = 1_000;

/// Users and topics to whom something was to be pushed that was not.
#[derive(Debug, Default)]
pub(super) struct Missed {
    users: HashSet<UserId>,
    topics: HashSet<Topic>,
}

impl Missed {
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.topics.is_empty()
    }

    pub(super) fn of(users: impl IntoIterator<Item = UserId>, topics: impl IntoIterator<Item = Topic>) -> Self {
        Self { users: users.into_iter().collect(), topics: topics.into_iter().collect() }
    }

    /// Notes these as well, as far as there is room.
    pub(super) fn add(&mut self, other: Self) {
        let room = MISSED_MAX.saturating_sub(self.users.len() + self.topics.len());
        let users = other.users.into_iter().filter(|user| !self.users.contains(user)).take(room).collect::<Vec<_>>();
        self.topics.extend(other.topics.into_iter().take(room - users.len()));
        self.users.extend(users);
    }

    /// Some of them, who are to be told now.
    pub(super) fn take(&mut self) -> Self {
        let users: HashSet<UserId> = self.users.iter().take(CHUNK).copied().collect();
        let topics: HashSet<Topic> = self.topics.iter().take(CHUNK).copied().collect();
        self.users.retain(|user| !users.contains(user));
        self.topics.retain(|topic| !topics.contains(topic));
        Self { users, topics }
    }

    /// What tells them.
    pub(super) fn pushes(&self) -> Pushes {
        let mut pushes = Pushes::default();
        let told = || What::Frame(push::frame(Body::Resync(Resync {})));
        if !self.users.is_empty() {
            pushes.add_for_users(&self.users.iter().copied().collect::<Vec<_>>(), 0, told());
        }
        self.topics.iter().for_each(|topic| pushes.add_for_topic(*topic, 0, told()));
        pushes
    }
}

#[cfg(test)]
mod tests {
    use protocol::GroupId;

    use super::*;

    #[test]
    fn those_who_missed_something_are_told_once_and_remembered_within_a_bound() {
        let group = |number| Topic::Group(GroupId::new(number));
        let mut missed = Missed::default();
        for _ in 0..2 {
            missed.add(Missed::of([UserId::new(1), UserId::new(2)], [group(3)]));
        }
        let taken = missed.take();
        assert!(missed.is_empty());
        assert_eq!((taken.pushes().users().len(), taken.pushes().topics().count()), (2, 1));
        missed.add(taken);
        missed.add(Missed::of((1..=MISSED_MAX as u64 + 9).map(UserId::new), [group(4)]));
        assert_eq!(missed.users.len() + missed.topics.len(), MISSED_MAX);
        let mut told = HashSet::new();
        while !missed.is_empty() {
            let taken = missed.take();
            assert!(taken.users.len() <= CHUNK);
            told.extend(taken.users);
        }
        assert_eq!(told.len(), MISSED_MAX - 1);
    }
}
