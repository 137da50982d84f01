//! Who is to hear a group's entries.
//!
//! The queue may lose the entry that puts a member out. So a member is *sure* only as long as every entry since the
//! last check was seen; else who is still a member is looked up before an entry is handed over. While that look-up is
//! under way, the group's further entries are held back, in order; other groups go on.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use api::{ConnectionId, FilterMembersRequest};
use protocol::{Error, GroupId, UserId, queue::EntryDelivery};
use queue::Topic;

use super::{Connection, Hub, State};
use crate::frame::Push;

/// Entries of one group held back during a look-up. Further ones are dropped, which leaves a gap that clients see.
const HELD_MAX: usize = 1_024;

/// A group with a member here.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: HashSet<UserId>,
    /// Members who may be none any more, and how many entries had arrived when that was so. Entries that had arrived
    /// before do not concern them: who comes later reads those.
    unsure: HashMap<UserId, u64>,
    /// The largest position that was handed over.
    last: Option<u64>,
    arrivals: u64,
    check: Option<Check>,
}

/// A look-up under way, and what waits for it.
#[derive(Debug)]
struct Check {
    number: u64,
    held: VecDeque<GroupEntry>,
}

/// An entry that came from the queue.
#[derive(Debug)]
pub(super) struct GroupEntry {
    position: u64,
    entered: Vec<UserId>,
    exited: Vec<UserId>,
    origin: ConnectionId,
    arrival: u64,
    pub(super) push: Arc<Push>,
}

impl GroupEntry {
    pub(super) fn new(entry: EntryDelivery, origin: ConnectionId) -> Self {
        let users = |ids: Vec<u64>| ids.into_iter().map(UserId::new).collect();
        Self {
            position: entry.position,
            entered: users(entry.entered),
            exited: users(entry.exited),
            origin,
            arrival: 0,
            push: Arc::new(Push::from_encoded(entry.frame)),
        }
    }
}

/// A question to the message service: who of these is a member?
#[derive(Debug)]
pub(super) struct Question {
    group: GroupId,
    number: u64,
    users: Vec<UserId>,
}

/// Its answer.
#[derive(Debug)]
pub(super) struct Answer {
    question: Question,
    members: Result<HashSet<UserId>, Error>,
}

/// What is to be done about a group, in this order.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Entries and who receives each.
    pub(super) deliveries: Vec<(Arc<Push>, Vec<Arc<Connection>>)>,
    /// Whose connections have to read for themselves, as it is not known whether they may hear.
    pub(super) resync: Vec<Arc<Connection>>,
    pub(super) question: Option<Question>,
    pub(super) dropped: bool,
    released: Vec<Topic>,
}

impl Hub {
    /// The user is a member of these groups, as was just read; returns the topics to wait for.
    pub(super) fn add_groups(&self, user: UserId, groups: impl IntoIterator<Item = GroupId>) -> Vec<Topic> {
        let mut state = self.state.lock();
        let mut topics = Vec::new();
        let mut wanted = Vec::new();
        if !state.users.contains_key(&user) {
            return topics;
        }
        for group in groups {
            topics.push(Topic::Group(group));
            if state.add_member(group, user, true) {
                wanted.push(Topic::Group(group));
            }
        }
        // Under the lock, so that nobody releases a topic before it was wanted.
        self.topics.want(wanted);
        topics
    }

    /// The user is a member of these groups, or was just now; those that are heard already stay as they are.
    pub(super) fn add_missing_groups(&self, user: UserId, groups: impl Iterator<Item = GroupId>) {
        let mut state = self.state.lock();
        let Some(known) = state.users.get(&user) else { return };
        let missing: Vec<_> = groups.filter(|group| !known.groups.contains(group)).collect();
        for group in &missing {
            state.add_member(*group, user, true);
        }
        self.topics.want(missing.into_iter().map(Topic::Group));
    }

    /// The user's groups other than these have to be looked at again before the next entry.
    pub(super) fn doubt_groups_except(&self, user: UserId, groups: &HashSet<GroupId>) {
        let mut state = self.state.lock();
        let Some(known) = state.users.get(&user) else { return };
        for group in known.groups.difference(groups).copied().collect::<Vec<_>>() {
            state.doubt(group, user);
        }
    }

    /// The user may be no member any more.
    pub(super) fn doubt_group(&self, user: UserId, group: GroupId) {
        self.state.lock().doubt(group, user);
    }

    /// An entry arrived on the group's topic.
    pub(super) fn group_entry(&self, group: GroupId, entry: GroupEntry) -> Steps {
        self.change(|state, steps| state.entry_arrived(group, entry, steps))
    }

    /// Asks the message service.
    pub(super) async fn ask(self: Arc<Self>, question: Question) -> Answer {
        self.metrics.membership_checks.inc();
        let call = self.call(None);
        let users = question.users.iter().map(|user| user.get()).collect();
        let request = FilterMembersRequest { conversation: question.group.conversation().get(), users };
        let members = match tokio::time::timeout_at(
            call.deadline,
            self.dispatch.services().message.filter_members(&call, request),
        )
        .await
        {
            Ok(Ok(members)) => Ok(members.ids.into_iter().map(UserId::new).collect()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::unavailable("no answer in time")),
        };
        Answer { question, members }
    }

    /// The message service answered.
    pub(super) fn answered(&self, answer: Answer) -> Steps {
        self.change(|state, steps| state.check_ended(answer, steps))
    }

    /// The connections of the group's sure members.
    pub(super) fn group_receivers(&self, group: GroupId, origin: ConnectionId) -> Vec<Arc<Connection>> {
        self.state.lock().group_receivers(group, origin)
    }

    fn change(&self, change: impl FnOnce(&mut State, &mut Steps) -> Vec<Topic>) -> Steps {
        let mut steps = Steps::default();
        {
            let mut state = self.state.lock();
            let wanted = change(&mut state, &mut steps);
            self.topics.want(wanted);
        }
        self.topics.release(std::mem::take(&mut steps.released));
        steps
    }
}

impl State {
    /// Returns whether the user was no member here before. Only for users with a connection here.
    fn add_member(&mut self, group: GroupId, user: UserId, is_unsure: bool) -> bool {
        let Some(known) = self.users.get_mut(&user) else { return false };
        let is_new = known.groups.insert(group);
        let members = self.groups.entry(group).or_default();
        members.members.insert(user);
        if is_unsure {
            members.unsure.insert(user, members.arrivals);
        } else {
            members.unsure.remove(&user);
        }
        is_new
    }

    pub(super) fn remove_member(&mut self, group: GroupId, user: UserId, released: &mut Vec<Topic>) {
        let Some(members) = self.groups.get_mut(&group) else { return };
        if !members.members.remove(&user) {
            return;
        }
        members.unsure.remove(&user);
        if members.members.is_empty() {
            self.groups.remove(&group);
        }
        if let Some(known) = self.users.get_mut(&user) {
            known.groups.remove(&group);
        }
        released.push(Topic::Group(group));
    }

    fn doubt(&mut self, group: GroupId, user: UserId) {
        if let Some(members) = self.groups.get_mut(&group)
            && members.members.contains(&user)
        {
            members.unsure.insert(user, members.arrivals);
        }
    }

    fn trust(&mut self, group: GroupId, user: UserId) {
        if let Some(members) = self.groups.get_mut(&group) {
            members.unsure.remove(&user);
        }
    }

    fn group_receivers(&self, group: GroupId, origin: ConnectionId) -> Vec<Arc<Connection>> {
        let Some(members) = self.groups.get(&group) else { return Vec::new() };
        let mut receivers = Vec::with_capacity(members.members.len());
        for user in &members.members {
            if members.unsure.is_empty() || !members.unsure.contains_key(user) {
                receivers.extend(self.connections_of(*user, origin));
            }
        }
        receivers
    }

    pub(super) fn connections_of(&self, user: UserId, origin: ConnectionId) -> impl Iterator<Item = Arc<Connection>> {
        let connections = self.users.get(&user).map_or(&[][..], |user| &user.connections);
        connections.iter().filter(move |connection| connection.id != origin).cloned()
    }

    /// Returns the topics that are wanted from now on; so do the next two.
    fn entry_arrived(&mut self, group: GroupId, mut entry: GroupEntry, steps: &mut Steps) -> Vec<Topic> {
        let Some(members) = self.groups.get_mut(&group) else { return Vec::new() };
        members.arrivals += 1;
        entry.arrival = members.arrivals;
        if let Some(check) = &mut members.check {
            if check.held.len() < HELD_MAX {
                check.held.push_back(entry);
            } else {
                steps.dropped = true;
            }
            return Vec::new();
        }
        self.hand_over(group, VecDeque::from([entry]), steps)
    }

    /// Hands entries over until there is one for which members have to be looked up.
    fn hand_over(&mut self, group: GroupId, mut entries: VecDeque<GroupEntry>, steps: &mut Steps) -> Vec<Topic> {
        let mut wanted = Vec::new();
        while let Some(entry) = entries.pop_front() {
            let Some(members) = self.groups.get_mut(&group) else { break };
            if members.must_check_before(&entry) {
                entries.push_front(entry);
                self.questions += 1;
                let number = self.questions;
                members.check = Some(Check { number, held: entries });
                let users = members.unsure.keys().copied().collect();
                steps.question = Some(Question { group, number, users });
                break;
            }
            self.deliver(group, entry, &mut wanted, steps);
        }
        wanted
    }

    fn deliver(&mut self, group: GroupId, entry: GroupEntry, wanted: &mut Vec<Topic>, steps: &mut Steps) {
        let is_newest = self.groups.get(&group).is_some_and(|of| of.last.is_none_or(|last| last < entry.position));
        if is_newest {
            for user in entry.entered {
                if self.add_member(group, user, false) {
                    wanted.push(Topic::Group(group));
                }
            }
            if let Some(members) = self.groups.get_mut(&group) {
                members.last = Some(entry.position);
            }
        }
        steps.deliveries.push((entry.push, self.group_receivers(group, entry.origin)));
        if is_newest {
            for user in entry.exited {
                self.remove_member(group, user, &mut steps.released);
            }
        }
    }

    fn check_ended(&mut self, answer: Answer, steps: &mut Steps) -> Vec<Topic> {
        let Answer { question: Question { group, number, users }, members: still } = answer;
        let Some(members) = self.groups.get_mut(&group) else { return Vec::new() };
        let Some(check) = members.check.take_if(|check| check.number == number) else { return Vec::new() };
        match still {
            Ok(still) => {
                for user in users {
                    if still.contains(&user) {
                        self.trust(group, user);
                    } else {
                        self.remove_member(group, user, &mut steps.released);
                    }
                }
                self.hand_over(group, check.held, steps)
            }
            Err(error) => {
                tracing::warn!(%group, %error, "members cannot be looked up now; those in doubt are passed over");
                let none = ConnectionId(0);
                steps.resync = users.into_iter().flat_map(|user| self.connections_of(user, none)).collect();
                let mut wanted = Vec::new();
                for entry in check.held {
                    self.deliver(group, entry, &mut wanted, steps);
                }
                wanted
            }
        }
    }
}

impl Group {
    /// Whether somebody's membership has to be looked up before this entry is handed over. A gap puts all in doubt.
    fn must_check_before(&mut self, entry: &GroupEntry) -> bool {
        if self.last.is_none_or(|last| entry.position > last.saturating_add(1)) {
            self.unsure = self.members.iter().map(|user| (*user, 0)).collect();
            self.last = Some(entry.position.saturating_sub(1));
        }
        !self.unsure.is_empty() && self.unsure.values().any(|since| *since < entry.arrival)
    }
}
