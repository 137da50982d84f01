//! Users, conversations and entries for the tests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use protocol::{
    ConversationId, EntryId, RawContent, SessionId, UserId,
    wire::{Role, Text, content},
};

use super::Store;
use crate::{
    Act, ApiKeyRow, Appended, HeadRow, Headed, Membership, NewAccount, NewApiKey, NewBot, NewEntry, NewSession, Page,
    PageRequest, Refused, Revision, TokenHash,
};

/// A time for what the tests make, milliseconds since 1970.
pub(super) const NOW_MS: i64 = 1_800_000_000_000;
/// How long refresh tokens of the tests live.
pub(super) const TOKEN_MS: i64 = 1_000_000;

/// A store, and numbers not used yet.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) store: Arc<dyn Store>,
    last_number: Arc<AtomicU64>,
}

impl Scene {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, last_number: Arc::default() }
    }

    /// A number that was not used yet, larger than those before.
    pub(super) fn number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) async fn user(&self, name: &str) -> UserId {
        let account = self.account(name);
        let id = account.id;
        assert!(self.store.create_account(account, Vec::new()).await.unwrap(), "{name} is a new name");
        id
    }

    pub(super) async fn users<const N: usize>(&self) -> [UserId; N] {
        let mut users = [UserId::new(0); N];
        for (i, user) in users.iter_mut().enumerate() {
            *user = self.user(&format!("user-{i}")).await;
        }
        users
    }

    pub(super) fn account(&self, name: &str) -> NewAccount {
        NewAccount {
            id: UserId::new(self.number()),
            name: name.into(),
            name_key: name.to_lowercase(),
            password_hash: format!("hash of {name}"),
            created_ms: NOW_MS,
            session: self.session(NOW_MS),
        }
    }

    pub(super) fn session(&self, created_ms: i64) -> NewSession {
        let number = self.number();
        NewSession {
            id: SessionId::new(number),
            device: format!("device {number}"),
            created_ms,
            refresh: token(number),
            refresh_expires_ms: created_ms + TOKEN_MS,
        }
    }

    pub(super) async fn bot(&self, owner: UserId, name: &str) -> UserId {
        let made = self.store.create_bot(self.new_bot(owner, name), usize::MAX).await.unwrap();
        UserId::new(made.unwrap().user.id)
    }

    pub(super) fn new_bot(&self, owner: UserId, name: &str) -> NewBot {
        NewBot {
            id: UserId::new(self.number()),
            request: EntryId::generate(),
            owner,
            name: name.into(),
            name_key: name.to_lowercase(),
            display_name: String::new(),
            created_ms: NOW_MS,
        }
    }

    pub(super) async fn api_key(&self, bot: UserId, expires_ms: i64) -> NewApiKey {
        let key = self.new_api_key(bot, expires_ms);
        assert!(self.store.create_api_key(key.clone(), usize::MAX, NOW_MS).await.unwrap());
        key
    }

    pub(super) fn new_api_key(&self, bot: UserId, expires_ms: i64) -> NewApiKey {
        let number = self.number();
        let id = SessionId::new(number);
        let row = ApiKeyRow { id, bot, label: format!("key {number}"), scopes: 6, created_ms: NOW_MS, expires_ms };
        NewApiKey { row, request: EntryId::generate(), hash: token(number) }
    }

    pub(super) async fn direct(&self, a: UserId, b: UserId) -> ConversationId {
        self.store.open_direct(a, b, ConversationId::new(self.number())).await.unwrap()
    }

    /// A group with its first entry, by the first of its members, who owns it.
    pub(super) async fn group(&self, members: &[UserId]) -> ConversationId {
        let group = ConversationId::new(self.number());
        let appended = self.append(making(group, members)).await.unwrap();
        assert_eq!(appended.position, 1);
        group
    }

    pub(super) async fn append(&self, entry: NewEntry) -> Result<Appended, Refused> {
        self.store.append(vec![entry]).await.unwrap().pop().unwrap()
    }

    pub(super) async fn say(&self, conversation: ConversationId, sender: UserId, text: &str) -> Appended {
        self.append(message(conversation, sender, text)).await.unwrap()
    }

    /// The whole log as one of its readers sees it.
    pub(super) async fn history(&self, reader: UserId, conversation: ConversationId) -> Option<Page> {
        let page = PageRequest { conversation, from: Headed::After(0), limit: 1_000_000 };
        self.store.read_pages(reader, vec![page], usize::MAX).await.unwrap().pop().unwrap()
    }

    /// The texts of the log as one of its readers sees it.
    pub(super) async fn texts(&self, reader: UserId, conversation: ConversationId) -> Vec<String> {
        let page = self.history(reader, conversation).await.unwrap();
        assert_eq!(page.last_position, page.entries.last().map_or(0, |entry| entry.position));
        page.entries.iter().map(|entry| entry.content.as_ref().unwrap().text().unwrap_or_default()).collect()
    }

    /// All of a user's heads.
    pub(super) async fn heads(&self, user: UserId, since: Revision, entries: u32) -> (Vec<HeadRow>, Revision) {
        self.store.heads(user, since, None, 1_000_000, entries).await.unwrap()
    }

    pub(super) async fn head(&self, user: UserId, conversation: ConversationId) -> Option<HeadRow> {
        let (heads, _) = self.heads(user, Revision(0), 0).await;
        heads.into_iter().find(|head| head.conversation == conversation)
    }
}

pub(super) fn token(number: u64) -> TokenHash {
    let mut token = [7; 32];
    token[..8].copy_from_slice(&number.to_be_bytes());
    token
}

pub(super) fn text(text: &str) -> Bytes {
    RawContent::from(content::Kind::Text(Text { body: text.into() })).as_bytes().clone()
}

pub(super) fn message(conversation: ConversationId, sender: UserId, body: &str) -> NewEntry {
    NewEntry {
        conversation,
        sender,
        id: EntryId::generate(),
        time_ms: NOW_MS,
        content: text(body),
        act: Act::Message { mentions: vec![], mentions_everyone: false, reply_to: 0 },
        settles: None,
    }
}

/// An entry that changes who is a member.
pub(super) fn change(
    conversation: ConversationId,
    sender: UserId,
    create: bool,
    enter: &[UserId],
    exit: &[UserId],
) -> NewEntry {
    let enter = enter.iter().map(|&user| (user, Role::Member)).collect();
    moving(conversation, sender, Membership { create, enter, exit: exit.to_vec(), ..Membership::default() })
}

/// An entry that does this to a group.
pub(super) fn moving(group: ConversationId, sender: UserId, membership: Membership) -> NewEntry {
    NewEntry { act: Act::Membership(membership), ..tell(group, sender, "") }
}

/// An entry that only tells.
pub(super) fn tell(conversation: ConversationId, sender: UserId, body: &str) -> NewEntry {
    NewEntry { act: Act::Tell, ..message(conversation, sender, body) }
}

/// The first entry of a group.
pub(super) fn making(group: ConversationId, members: &[UserId]) -> NewEntry {
    let role = |at| if at == 0 { Role::Owner } else { Role::Member };
    let enter = members.iter().enumerate().map(|(at, &user)| (user, role(at))).collect();
    moving(group, members[0], Membership { create: true, enter, ..Membership::default() })
}

/// Numbers that look random but are the same for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.index(items.len())]
    }
}
