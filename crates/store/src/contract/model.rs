//! Random operations, compared with a model that knows nothing but lists.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    ConversationId, UserId,
    wire::{ConversationKind, Role},
};

use super::{
    follower::Follower,
    scene::{Random, Scene, message, text},
};
use crate::{Act, Appended, Audience, Membership, Moved, NewEntry, ReadMark, Refused, Revision};

const USERS: usize = 5;
const STEPS: usize = 250;

/// A log, with all its entries and every member's read position.
struct Log {
    kind: ConversationKind,
    entries: Vec<NewEntry>,
    read: BTreeMap<UserId, u64>,
}

#[derive(Default)]
struct Model {
    logs: BTreeMap<ConversationId, Log>,
    direct: BTreeMap<(UserId, UserId), ConversationId>,
}

/// One random history; the seed is in every failure.
pub(super) async fn run(scene: &Scene, seed: u64) {
    let mut random = Random::new(seed);
    let mut model = Model::default();
    let mut users = Vec::new();
    for n in 0..USERS {
        let user = scene.user(&format!("model-{seed}-{n}")).await;
        let read = BTreeMap::from([(user, 0)]);
        model.logs.insert(user.personal_log(), Log { kind: ConversationKind::Personal, entries: vec![], read });
        users.push(user);
    }
    let mut followers: Vec<Follower> = users.iter().map(|&user| Follower::new(user)).collect();
    for step in 0..STEPS {
        let context = format!("seed {seed}, step {step}");
        match random.below(10) {
            0 => open(scene, &mut model, &mut random, &users, &context).await,
            1 | 2 => mark(scene, &mut model, &mut random, &users, &context).await,
            3 | 4 => {
                let follower = random.index(followers.len());
                let limit = 1 + u32::try_from(random.below(3)).unwrap();
                followers[follower].step(scene, limit).await;
            }
            _ => append(scene, &mut model, &mut random, &users, &context).await,
        }
        for &user in &users {
            compare(scene, &model, user, &context).await;
        }
    }
    for follower in &mut followers {
        follower.finish(scene).await;
    }
}

async fn open(scene: &Scene, model: &mut Model, random: &mut Random, users: &[UserId], context: &str) {
    let (a, b) = (random.pick(users), random.pick(users));
    let opened = scene.direct(a, b).await;
    let expected = *model.direct.entry((a.min(b), a.max(b))).or_insert(opened);
    assert_eq!(opened, expected, "{context}");
    let read = BTreeMap::from([(a, 0), (b, 0)]);
    model.logs.entry(opened).or_insert(Log { kind: ConversationKind::Direct, entries: vec![], read });
}

async fn mark(scene: &Scene, model: &mut Model, random: &mut Random, users: &[UserId], context: &str) {
    let conversations: Vec<ConversationId> = model.logs.keys().copied().collect();
    let marks: Vec<ReadMark> = (0..1 + random.below(3))
        .map(|_| ReadMark {
            conversation: random.pick(&conversations),
            user: random.pick(users),
            position: random.below(20),
        })
        .collect();
    let moved = scene.store.mark_read(marks.clone()).await.unwrap();
    let expected: Vec<_> = marks.iter().map(|mark| model.mark(mark)).collect();
    assert_eq!(moved, expected, "{context}");
}

async fn append(scene: &Scene, model: &mut Model, random: &mut Random, users: &[UserId], context: &str) {
    let entries: Vec<NewEntry> = (0..1 + random.below(4)).map(|_| entry(scene, model, random, users)).collect();
    let outcomes = scene.store.append(entries.clone()).await.unwrap();
    for (entry, outcome) in entries.into_iter().zip(outcomes) {
        let description = format!("{context}: {entry:?}");
        assert_eq!(outcome, model.append(entry), "{description}");
    }
}

/// A message, something that is none, a change of members, a new group, or an entry that was sent before, with or
/// without a difference.
fn entry(scene: &Scene, model: &Model, random: &mut Random, users: &[UserId]) -> NewEntry {
    let conversations: Vec<ConversationId> = model.logs.keys().copied().collect();
    let sender = random.pick(users);
    let mut entry = message(random.pick(&conversations), sender, &random.below(1_000).to_string());
    entry.time_ms += i64::try_from(random.below(100)).unwrap();
    let all: Vec<&NewEntry> = model.logs.values().flat_map(|log| &log.entries).collect();
    match random.below(8) {
        0 if !all.is_empty() => {
            let before = random.pick(&all);
            let id = before.id;
            entry = match random.below(4) {
                0 => NewEntry { id, ..entry },
                1 => NewEntry { sender, ..before.clone() },
                2 => NewEntry { content: text("different"), ..before.clone() },
                _ => NewEntry { time_ms: 7, ..before.clone() },
            };
        }
        1 => entry.act = Act::Tell,
        2 | 3 => {
            let some = |random: &mut Random| -> Vec<UserId> {
                let count = random.below(3);
                (0..count).map(|_| random.pick(users)).collect()
            };
            let enter = some(random).into_iter().map(|user| (user, Role::Member)).collect();
            let membership =
                Membership { create: random.one_in(4), enter, exit: some(random), ..Membership::default() };
            entry.act = Act::Membership(membership);
            if random.one_in(4) {
                entry.conversation = ConversationId::new(scene.number());
            }
        }
        _ => {}
    }
    entry
}

/// All that a user sees of everything.
async fn compare(scene: &Scene, model: &Model, user: UserId, context: &str) {
    let (heads, _) = scene.heads(user, Revision(0), 2).await;
    assert!(heads.is_sorted_by(|one, next| one.revision > next.revision), "{context}");
    let mut seen = BTreeSet::new();
    for head in heads {
        let context = format!("{context}: {user} sees {}", head.conversation);
        seen.insert(head.conversation);
        let log = &model.logs[&head.conversation];
        let read = log.read[&user];
        let peer = log.peer(user);
        assert_eq!((head.kind, head.peer), (log.kind, peer), "{context}");
        assert_eq!((head.last_position, head.read_position), (log.entries.len() as u64, read), "{context}");
        assert_eq!(head.peer_read_position, peer.map_or(0, |peer| log.read[&peer]), "{context}");
        let unread = log.entries.iter().skip(usize::try_from(read).unwrap()).filter(|entry| is_message(entry)).count();
        assert_eq!(head.unread, unread as u64, "{context}");
        let last = log.entries.len().saturating_sub(2);
        let ids: Vec<String> = log.entries[last..].iter().map(|entry| entry.id.to_string()).collect();
        assert_eq!(head.entries.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>(), ids, "{context}");
    }
    let shown: BTreeSet<ConversationId> = model
        .logs
        .iter()
        .filter(|(_, log)| log.read.contains_key(&user))
        .filter(|(_, log)| log.kind != ConversationKind::Direct || !log.entries.is_empty())
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(seen, shown, "{context}: conversations of {user}");
}

fn is_message(entry: &NewEntry) -> bool {
    matches!(entry.act, Act::Message { .. })
}

impl Log {
    fn peer(&self, user: UserId) -> Option<UserId> {
        (self.kind == ConversationKind::Direct)
            .then(|| self.read.keys().copied().find(|other| *other != user).unwrap_or(user))
    }
}

impl Model {
    fn mark(&mut self, mark: &ReadMark) -> Option<Moved> {
        let log = self.logs.get_mut(&mark.conversation)?;
        let position = mark.position.min(log.entries.len() as u64);
        let read = log.read.get_mut(&mark.user)?;
        if position <= *read {
            return None;
        }
        *read = position;
        let audience = match log.kind {
            ConversationKind::Group => Audience::Group(mark.conversation.group()),
            _ => Audience::Users(log.read.keys().copied().collect()),
        };
        Some(Moved { position, audience })
    }

    fn append(&mut self, entry: NewEntry) -> Result<Appended, Refused> {
        if let Some(outcome) = self.duplicate(&entry) {
            return outcome;
        }
        let membership = match &entry.act {
            Act::Membership(membership) => Some(membership.clone()),
            _ => None,
        };
        let moves = membership.is_some();
        let membership = membership.unwrap_or_default();
        if membership.create && !self.logs.contains_key(&entry.conversation) {
            let log = Log { kind: ConversationKind::Group, entries: vec![], read: BTreeMap::new() };
            self.logs.insert(entry.conversation, log);
        }
        let log = self.logs.get_mut(&entry.conversation).ok_or(Refused::NotMember)?;
        let exits = |user: &UserId| membership.exit.contains(user);
        let mut entered: Vec<UserId> = Vec::new();
        for (user, _) in &membership.enter {
            if !exits(user) && !log.read.contains_key(user) && !entered.contains(user) {
                entered.push(*user);
            }
        }
        let allowed = log.read.contains_key(&entry.sender) || entered.contains(&entry.sender);
        if !allowed || moves && log.kind != ConversationKind::Group {
            if log.entries.is_empty() && log.kind == ConversationKind::Group {
                self.logs.remove(&entry.conversation);
            }
            return Err(Refused::NotMember);
        }
        let mut exited: Vec<UserId> = Vec::new();
        for user in &membership.exit {
            if log.read.contains_key(user) && !exited.contains(user) {
                exited.push(*user);
            }
        }
        let position = log.entries.len() as u64 + 1;
        log.read.insert(entry.sender, position);
        log.read.extend(entered.iter().map(|user| (*user, position)));
        log.read.retain(|user, _| !exited.contains(user));
        let (conversation, time_ms) = (entry.conversation, entry.time_ms);
        log.entries.push(entry);
        Ok(self.appended(conversation, position, time_ms, entered, exited))
    }

    fn duplicate(&self, entry: &NewEntry) -> Option<Result<Appended, Refused>> {
        let same = |other: &NewEntry| (other.id, other.sender) == (entry.id, entry.sender);
        let (conversation, position, former) = self.logs.iter().find_map(|(id, log)| {
            let index = log.entries.iter().position(same)?;
            Some((*id, index as u64 + 1, &log.entries[index]))
        })?;
        if conversation != entry.conversation || former.content != entry.content {
            return Some(Err(Refused::IdReused));
        }
        let appended = self.appended(conversation, position, former.time_ms, vec![], vec![]);
        Some(Ok(Appended { duplicate: true, ..appended }))
    }

    fn appended(
        &self,
        conversation: ConversationId,
        position: u64,
        time_ms: i64,
        entered: Vec<UserId>,
        exited: Vec<UserId>,
    ) -> Appended {
        let log = &self.logs[&conversation];
        let audience = match log.kind {
            ConversationKind::Group => Audience::Group(conversation.group()),
            _ => Audience::Users(log.read.keys().copied().collect()),
        };
        Appended {
            position,
            time_ms,
            duplicate: false,
            kind: log.kind,
            audience,
            entered,
            exited,
            content: None,
            withheld: false,
        }
    }
}
