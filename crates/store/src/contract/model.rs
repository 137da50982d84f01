//! Random operations, compared with a model that knows nothing but lists.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    ConversationId, RawContent, UserId,
    wire::{BlockChanged, ConversationKind, Role, content},
};

use super::{
    follower::Follower,
    scene::{Random, Scene, message, text},
};
use crate::{
    Act, Appended, Audience, ContactAct, ContactEvent, Membership, Moved, NewEntry, ReadMark, Refused, Revision,
    content_kind,
};

const HIDDEN: u32 = 91;
const USERS: usize = 5;
const STEPS: usize = 250;

/// A log, with all its entries and every member's read position.
struct Log {
    kind: ConversationKind,
    entries: Vec<NewEntry>,
    read: BTreeMap<UserId, u64>,
    /// The positions of entries that the other never sees.
    withheld: BTreeSet<u64>,
    /// The log's end when a member blocked the other.
    blocked_at: BTreeMap<UserId, u64>,
}

#[derive(Default)]
struct Model {
    logs: BTreeMap<ConversationId, Log>,
    direct: BTreeMap<(UserId, UserId), ConversationId>,
    /// Whoever blocks, and whom.
    blocks: BTreeSet<(UserId, UserId)>,
}

/// One random history; the seed is in every failure.
pub(super) async fn run(scene: &Scene, seed: u64) {
    let mut random = Random::new(seed);
    let mut model = Model::default();
    let mut users = Vec::new();
    for n in 0..USERS {
        let user = scene.user(&format!("model-{seed}-{n}")).await;
        let read = BTreeMap::from([(user, 0)]);
        model.logs.insert(user.personal_log(), Log::new(ConversationKind::Personal, read));
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
    let log = model.logs.entry(opened).or_insert(Log::new(ConversationKind::Direct, read));
    for (one, other) in [(a, b), (b, a)] {
        if model.blocks.contains(&(one, other)) {
            log.blocked_at.entry(one).or_insert(0);
        }
    }
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
        1 if random.one_in(2) => entry.act = Act::Tell,
        1 => {
            entry.conversation = sender.personal_log();
            entry.act =
                Act::Contact(ContactEvent { peer: random.pick(users), what: ContactAct::Block(random.one_in(2)) });
        }
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
        let peer_read = peer.map_or(0, |peer| log.read[&peer].min(log.end_for_the_other_of(peer)));
        assert_eq!((head.kind, head.peer), (log.kind, peer), "{context}");
        assert_eq!((head.last_position, head.read_position), (log.entries.len() as u64, read), "{context}");
        assert_eq!(head.peer_read_position, peer_read, "{context}");
        let counts = |(position, entry): &(u64, &NewEntry)| {
            *position > read && matches!(entry.act, Act::Message { .. }) && !log.withheld.contains(position)
        };
        let unread = (1..).zip(&log.entries).filter(counts).count();
        assert_eq!(head.unread, unread as u64, "{context}");
        let last = log.entries.len().saturating_sub(2);
        let ids: Vec<String> = log.entries[last..].iter().map(|entry| entry.id.to_string()).collect();
        assert_eq!(head.entries.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>(), ids, "{context}");
        for entry in &head.entries {
            let hidden = content_kind(entry.content.as_ref().unwrap().as_bytes()) == HIDDEN;
            let withheld = log.withheld.contains(&entry.position) && entry.sender != user.get();
            assert_eq!(hidden, withheld, "{context}: {}", entry.position);
        }
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

impl Log {
    fn new(kind: ConversationKind, read: BTreeMap<UserId, u64>) -> Self {
        Self { kind, entries: vec![], read, withheld: BTreeSet::new(), blocked_at: BTreeMap::new() }
    }

    /// How much of a member's reading the other is told of.
    fn end_for_the_other_of(&self, member: UserId) -> u64 {
        self.blocked_at.get(&member).copied().unwrap_or(u64::MAX)
    }

    fn peer(&self, user: UserId) -> Option<UserId> {
        (self.kind == ConversationKind::Direct)
            .then(|| self.read.keys().copied().find(|other| *other != user).unwrap_or(user))
    }
}

impl Model {
    fn mark(&mut self, mark: &ReadMark) -> Option<Moved> {
        let log = self.logs.get_mut(&mark.conversation)?;
        let position = mark.position.min(log.entries.len() as u64);
        let peer = log.peer(mark.user);
        let read = log.read.get_mut(&mark.user)?;
        if position <= *read {
            return None;
        }
        *read = position;
        let audience = match log.kind {
            ConversationKind::Group => Audience::Group(mark.conversation.group()),
            ConversationKind::Direct if peer.is_some_and(|peer| self.blocks.contains(&(mark.user, peer))) => {
                Audience::Users(vec![mark.user])
            }
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
            self.logs.insert(entry.conversation, Log::new(ConversationKind::Group, BTreeMap::new()));
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
        let peer = log.peer(entry.sender).filter(|peer| *peer != entry.sender);
        let is_message = matches!(entry.act, Act::Message { .. });
        let mut withheld = false;
        if let (Some(peer), true) = (peer, is_message) {
            if self.blocks.contains(&(entry.sender, peer)) {
                return Err(Refused::Blocking);
            }
            withheld = self.blocks.contains(&(peer, entry.sender));
        }
        if let Act::Contact(event) = &entry.act {
            if log.kind != ConversationKind::Personal {
                return Err(Refused::NotMember);
            }
            let block = (entry.sender, event.peer);
            if self.blocks.contains(&block) == (event.what == ContactAct::Block(true)) {
                return Err(Refused::Unchanged);
            }
            self.block(block);
        }
        let log = self.logs.get_mut(&entry.conversation).expect("it was there a moment ago");
        let mut exited: Vec<UserId> = Vec::new();
        for user in &membership.exit {
            if log.read.contains_key(user) && !exited.contains(user) {
                exited.push(*user);
            }
        }
        let asked_to_move = !membership.enter.is_empty() || !membership.exit.is_empty();
        if asked_to_move && entered.is_empty() && exited.is_empty() && !membership.create {
            return Err(Refused::Unchanged);
        }
        let position = log.entries.len() as u64 + 1;
        log.read.insert(entry.sender, position);
        log.read.extend(entered.iter().map(|user| (*user, position)));
        log.read.retain(|user, _| !exited.contains(user));
        if withheld {
            log.withheld.insert(position);
        }
        let conversation = entry.conversation;
        log.entries.push(entry);
        Ok(Appended { entered, exited, ..self.appended(conversation, position) })
    }

    /// Blocks, or no longer.
    fn block(&mut self, (user, peer): (UserId, UserId)) {
        let blocks = self.blocks.insert((user, peer)) || !self.blocks.remove(&(user, peer));
        let direct = self.direct.get(&(user.min(peer), user.max(peer)));
        if let Some(log) = direct.and_then(|direct| self.logs.get_mut(direct)) {
            let end = log.entries.len() as u64;
            log.blocked_at.retain(|other, _| *other != user);
            log.blocked_at.extend(blocks.then_some((user, end)));
        }
    }

    fn duplicate(&self, entry: &NewEntry) -> Option<Result<Appended, Refused>> {
        let same = |other: &NewEntry| (other.id, other.sender) == (entry.id, entry.sender);
        let (conversation, position, former) = self.logs.iter().find_map(|(id, log)| {
            let index = log.entries.iter().position(same)?;
            Some((*id, index as u64 + 1, &log.entries[index]))
        })?;
        // What a contact's entry says is not what it was appended with.
        let same = match (&former.act, &entry.act) {
            (Act::Contact(_), Act::Contact(_)) => true,
            _ => former.content == entry.content,
        };
        if conversation != entry.conversation || !same {
            return Some(Err(Refused::IdReused));
        }
        Some(Ok(Appended { duplicate: true, ..self.appended(conversation, position) }))
    }

    /// The outcome of the entry at a position that moved nobody.
    fn appended(&self, conversation: ConversationId, position: u64) -> Appended {
        let log = &self.logs[&conversation];
        let entry = &log.entries[usize::try_from(position - 1).unwrap()];
        let content = match &entry.act {
            Act::Contact(ContactEvent { peer, what }) => {
                let change = BlockChanged { user: peer.get(), blocked: *what == ContactAct::Block(true) };
                Some(RawContent::from(content::Kind::BlockChanged(change)).as_bytes().clone())
            }
            _ => None,
        };
        let audience = match log.kind {
            ConversationKind::Group => Audience::Group(conversation.group()),
            _ => Audience::Users(log.read.keys().copied().collect()),
        };
        Appended {
            position,
            time_ms: entry.time_ms,
            duplicate: false,
            kind: log.kind,
            audience,
            entered: vec![],
            exited: vec![],
            content,
            withheld: log.withheld.contains(&position),
        }
    }
}
