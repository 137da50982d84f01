//! Random operations by random users on random devices, compared with a model after every run.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};

use client::{
    ConversationId, EntryId, GroupId, Target, UserId,
    wire::{self, JoinPolicy, content::Kind},
};
use mpim::embedded::Parts;
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest},
    sample::Index,
};

use crate::{
    device::{Device, Logs, Online, Seen},
    in_process::InProcess,
};

const USERS: usize = 3;
const DEVICES_PER_USER: usize = 2;
const DEVICES: usize = USERS * DEVICES_PER_USER;

/// Devices, users and conversations are chosen among those there are when it happens.
#[derive(Debug, Clone)]
enum Operation {
    Write {
        device: usize,
        conversation: Index,
        text: String,
    },
    WriteTo {
        device: usize,
        peer: usize,
        text: String,
    },
    /// A message that was stored long ago is sent again, from whichever device of its sender.
    Repeat {
        device: usize,
        message: Index,
    },
    CreateGroup {
        device: usize,
        members: BTreeSet<usize>,
    },
    Invite {
        device: usize,
        group: Index,
        user: usize,
    },
    Join {
        device: usize,
        group: Index,
    },
    Leave {
        device: usize,
        group: Index,
    },
    Read {
        device: usize,
        conversation: Index,
        position: Index,
    },
    SwitchOff {
        device: usize,
    },
    SwitchOn {
        device: usize,
    },
    Restart,
}

fn operation() -> impl Strategy<Value = Operation> {
    let device = || 0..DEVICES;
    let text = || "[a-z天气🙂 ]{1,12}";
    prop_oneof![
        6 => (device(), any::<Index>(), text())
            .prop_map(|(device, conversation, text)| Operation::Write { device, conversation, text }),
        3 => (device(), 0..USERS, text()).prop_map(|(device, peer, text)| Operation::WriteTo { device, peer, text }),
        2 => (device(), any::<Index>()).prop_map(|(device, message)| Operation::Repeat { device, message }),
        2 => (device(), proptest::collection::btree_set(0..USERS, 0..USERS))
            .prop_map(|(device, members)| Operation::CreateGroup { device, members }),
        2 => (device(), any::<Index>(), 0..USERS)
            .prop_map(|(device, group, user)| Operation::Invite { device, group, user }),
        2 => (device(), any::<Index>()).prop_map(|(device, group)| Operation::Join { device, group }),
        2 => (device(), any::<Index>()).prop_map(|(device, group)| Operation::Leave { device, group }),
        2 => (device(), any::<Index>(), any::<Index>())
            .prop_map(|(device, conversation, position)| Operation::Read { device, conversation, position }),
        3 => device().prop_map(|device| Operation::SwitchOff { device }),
        3 => device().prop_map(|device| Operation::SwitchOn { device }),
        1 => Just(Operation::Restart),
    ]
}

/// What should be.
#[derive(Default)]
struct Model {
    logs: BTreeMap<ConversationId, Log>,
    groups: Vec<ConversationId>,
    /// What each user's personal log has to tell of groups, in order.
    affairs: HashMap<UserId, Vec<Kind>>,
    /// Every text that was stored: what a retry sends again.
    messages: Vec<(usize, ConversationId, EntryId, String, u64)>,
}

#[derive(Default)]
struct Log {
    entries: Vec<(UserId, EntryId, Option<String>)>,
    /// Members and their read positions.
    members: HashMap<UserId, u64>,
    /// Where those who left saw the log end.
    left: HashMap<UserId, u64>,
}

impl Model {
    fn enter(&mut self, group: ConversationId, user: UserId) {
        if self.logs.get_mut(&group).unwrap().enter(user) {
            let entered = Kind::GroupEntered(wire::GroupEntered { group: group.get() });
            self.affairs.entry(user).or_default().push(entered);
        }
    }

    fn leave(&mut self, group: ConversationId, user: UserId, id: EntryId) {
        let log = self.logs.get_mut(&group).unwrap();
        let position = log.append(user, id, None);
        log.members.remove(&user);
        log.left.insert(user, position);
        let exited = Kind::GroupExited(wire::GroupExited { group: group.get(), removed: false });
        self.affairs.entry(user).or_default().push(exited);
    }
}

impl Log {
    fn append(&mut self, sender: UserId, id: EntryId, text: Option<String>) -> u64 {
        self.entries.push((sender, id, text));
        let position = self.entries.len() as u64;
        if let Some(read) = self.members.get_mut(&sender) {
            *read = position;
        }
        position
    }

    /// Whether the user was no member before.
    fn enter(&mut self, user: UserId) -> bool {
        let position = self.entries.len() as u64;
        self.left.remove(&user);
        match self.members.entry(user) {
            Entry::Occupied(_) => false,
            Entry::Vacant(member) => {
                member.insert(position);
                true
            }
        }
    }

    /// Unread by a recount.
    fn unread(&self, user: UserId) -> u64 {
        let read = self.members[&user] as usize;
        self.entries[read..].iter().filter(|(_, _, text)| text.is_some()).count() as u64
    }
}

struct Run {
    system: Option<InProcess>,
    devices: Vec<Device>,
    online: Vec<Option<Online>>,
    users: Vec<UserId>,
    model: Model,
}

impl Run {
    async fn start() -> Self {
        let system = InProcess::start(Parts::default()).await;
        let server = system.server();
        let mut devices = Vec::new();
        for user in 0..USERS {
            let name = format!("user{user}");
            devices.push(Device::register(&server, &name).await);
            devices.push(Device::log_in(&server, &name).await);
        }
        let users = devices.iter().step_by(DEVICES_PER_USER).map(Device::user).collect();
        let mut run = Self { system: Some(system), devices, online: Vec::new(), users, model: Model::default() };
        run.online = (0..DEVICES).map(|device| Some(run.connect(device))).collect();
        run
    }

    fn connect(&self, device: usize) -> Online {
        let system = self.system.as_ref().unwrap();
        let server = if device.is_multiple_of(2) { system.server() } else { system.tcp_server() };
        self.devices[device].go_online(&server)
    }

    /// The device, switched on if it was off, and its user.
    fn on(&mut self, device: usize) -> (client::Client, UserId) {
        if self.online[device].is_none() {
            self.online[device] = Some(self.connect(device));
        }
        (self.online[device].as_ref().unwrap().client.clone(), self.users[device / DEVICES_PER_USER])
    }

    fn conversations_of(&self, user: UserId) -> Vec<ConversationId> {
        self.model.logs.iter().filter(|(_, log)| log.members.contains_key(&user)).map(|(id, _)| *id).collect()
    }

    async fn write(&mut self, device: usize, conversation: ConversationId, text: String) {
        let (client, user) = self.on(device);
        let id = EntryId::generate();
        let target = Target::Conversation(conversation);
        let stored = client.send(target, client::text(text.clone()), id).await.unwrap();
        let position = self.model.logs.get_mut(&conversation).unwrap().append(user, id, Some(text.clone()));
        assert_eq!(stored.position, position);
        self.model.messages.push((device / DEVICES_PER_USER, conversation, id, text, position));
    }

    async fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Write { device, conversation, text } => {
                let conversations = self.conversations_of(self.users[device / DEVICES_PER_USER]);
                if !conversations.is_empty() {
                    self.write(device, *conversation.get(&conversations), text).await;
                }
            }
            Operation::WriteTo { device, peer, text } => {
                let (client, user) = self.on(device);
                let peer = self.users[peer];
                let id = ConversationId::new(client.open_direct_with(peer).await.unwrap().id);
                let log = self.model.logs.entry(id).or_default();
                log.members.entry(user).or_insert(0);
                log.members.entry(peer).or_insert(0);
                self.write(device, id, text).await;
            }
            Operation::Repeat { device, message } => self.repeat(device, message).await,
            Operation::CreateGroup { device, members } => self.create_group(device, members).await,
            Operation::Invite { device, group, user } => self.invite(device, group, user).await,
            Operation::Join { device, group } => self.join(device, group).await,
            Operation::Leave { device, group } => self.leave(device, group).await,
            Operation::Read { device, conversation, position } => {
                let (client, user) = self.on(device);
                let conversations = self.conversations_of(user);
                if conversations.is_empty() {
                    return;
                }
                let id = *conversation.get(&conversations);
                let log = self.model.logs.get_mut(&id).unwrap();
                let position = position.index(log.entries.len() + 1) as u64;
                client.read(id, position).await.unwrap();
                let read = log.members.get_mut(&user).unwrap();
                *read = position.max(*read);
            }
            Operation::SwitchOff { device } => {
                if let Some(online) = self.online[device].take() {
                    online.go_offline().await;
                }
            }
            Operation::SwitchOn { device } => drop(self.on(device)),
            Operation::Restart => {
                let system = self.system.take().unwrap();
                self.system = Some(system.restart().await);
            }
        }
    }

    async fn repeat(&mut self, device: usize, message: Index) {
        let user = device / DEVICES_PER_USER;
        let mine: Vec<_> = self.model.messages.iter().filter(|message| message.0 == user).cloned().collect();
        if mine.is_empty() {
            return;
        }
        let (_, conversation, id, text, position) = message.get(&mine).clone();
        let (client, _) = self.on(device);
        let stored = client.send(Target::Conversation(conversation), client::text(text), id).await.unwrap();
        assert_eq!(stored.position, position, "a retry stores nothing");
    }

    async fn create_group(&mut self, device: usize, members: BTreeSet<usize>) {
        let (client, user) = self.on(device);
        let id = EntryId::generate();
        let members: Vec<_> = members.into_iter().map(|member| self.users[member]).collect();
        let group = client.create_group("group", &members, JoinPolicy::Open, id).await.unwrap();
        let group = ConversationId::new(group.id);
        self.model.logs.entry(group).or_default().append(user, id, None);
        for member in members.into_iter().chain([user]) {
            self.model.enter(group, member);
        }
        self.model.groups.push(group);
    }

    fn group(&self, group: Index) -> Option<ConversationId> {
        if self.model.groups.is_empty() { None } else { Some(*group.get(&self.model.groups)) }
    }

    async fn invite(&mut self, device: usize, group: Index, invited: usize) {
        let (client, user) = self.on(device);
        let (Some(group), invited) = (self.group(group), self.users[invited]) else { return };
        let id = EntryId::generate();
        let outcome = client.invite(group.group(), &[invited], id).await;
        let log = self.model.logs.get_mut(&group).unwrap();
        if invited == user || !log.members.contains_key(&user) {
            outcome.expect_err("oneself, or as a stranger");
        } else {
            outcome.unwrap();
            log.append(user, id, None);
            self.model.enter(group, invited);
        }
    }

    async fn join(&mut self, device: usize, group: Index) {
        let (client, user) = self.on(device);
        let Some(group) = self.group(group) else { return };
        let id = EntryId::generate();
        client.join_group(group.group(), id).await.unwrap();
        let log = self.model.logs.get_mut(&group).unwrap();
        if !log.members.contains_key(&user) {
            log.append(user, id, None);
            self.model.enter(group, user);
        }
    }

    async fn leave(&mut self, device: usize, group: Index) {
        let (client, user) = self.on(device);
        let Some(group) = self.group(group) else { return };
        let id = EntryId::generate();
        let outcome = client.leave_group(GroupId::new(group.get()), id).await;
        if self.model.logs[&group].members.contains_key(&user) {
            outcome.unwrap();
            self.model.leave(group, user, id);
        } else {
            outcome.expect_err("not a member");
        }
    }

    /// Every device ends with what the model holds, and every head tells what a recount tells.
    async fn compare(&mut self) {
        for device in 0..DEVICES {
            let (client, user) = self.on(device);
            let logs = &self.model.logs;
            let affairs = self.model.affairs.get(&user).map_or(&[][..], Vec::as_slice);
            let personal = user.personal_log();
            let complete = |seen: &Logs| {
                let mine = logs.iter().filter(|(_, log)| log.members.contains_key(&user) && !log.entries.is_empty());
                mine.into_iter().all(|(id, log)| seen.get(id).is_some_and(|seen| seen.len() >= log.entries.len()))
                    && seen.get(&personal).is_some_and(|log| groups_told(log).count() >= affairs.len())
            };
            self.devices[device].until("every log of its user", complete).await;
            let seen = self.devices[device].logs();
            assert!(groups_told(&seen[&personal]).eq(affairs), "device {device}: {:?}", seen[&personal]);
            for (id, log) in logs {
                let seen = seen.get(id).map_or(&[][..], Vec::as_slice);
                let end = if log.members.contains_key(&user) { Some(log.entries.len()) } else { None };
                // Who left saw at most what there was until then.
                let end = end.or(log.left.get(&user).map(|left| *left as usize)).unwrap_or(0);
                assert!(seen.len() <= end, "device {device} saw {} of {end} entries of {id}", seen.len());
                for (seen, (sender, id, text)) in seen.iter().zip(&log.entries) {
                    assert_eq!((&seen.sender, &seen.id, seen.text()), (sender, id, text.as_deref()));
                }
            }
            if device % DEVICES_PER_USER == 0 {
                self.compare_heads(&client, user).await;
            }
        }
    }

    async fn compare_heads(&self, client: &client::Client, user: UserId) {
        let mut heads: HashMap<u64, wire::Head> = HashMap::new();
        let mut pages = client.heads();
        while let Some(page) = pages.next().await.unwrap() {
            heads.extend(page.into_iter().map(|head| (head.conversation.as_ref().unwrap().id, head)));
        }
        heads.remove(&user.get()).expect("the personal log");
        for (id, log) in &self.model.logs {
            let head = heads.remove(&id.get());
            if !log.members.contains_key(&user) || log.entries.is_empty() {
                assert!(head.is_none(), "{id}");
                continue;
            }
            let head = head.unwrap();
            assert_eq!(head.last_position, log.entries.len() as u64);
            assert_eq!(head.read_position, log.members[&user], "read position in {id}");
            assert_eq!(head.unread, log.unread(user), "unread in {id}");
            if let Some(peer) = head.conversation.unwrap().peer {
                assert_eq!(head.peer_read_position, log.members[&UserId::new(peer.id)], "the peer's in {id}");
            }
        }
        assert!(heads.is_empty(), "{heads:?}");
    }

    async fn end(self) {
        for online in self.online.into_iter().flatten() {
            online.go_offline().await;
        }
        self.system.unwrap().stop().await;
    }
}

/// What a personal log tells of groups.
fn groups_told(log: &[Seen]) -> impl Iterator<Item = &Kind> {
    log.iter().map(|seen| &seen.kind).filter(|kind| matches!(kind, Kind::GroupEntered(_) | Kind::GroupExited(_)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..Default::default() })]

    /// Promises 1 to 3, for every order of things that one can think of.
    #[test]
    fn every_device_ends_with_what_the_model_holds(operations in vec(operation(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::start().await;
            for operation in operations {
                run.run(operation).await;
            }
            run.compare().await;
            run.end().await;
        });
    }
}
