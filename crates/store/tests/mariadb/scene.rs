//! Users, groups and messages.

use protocol::{
    ConversationId, EntryId, RawContent, SessionId, UserId,
    wire::{Role, Text, content},
};
use store::{
    Act, Headed, Membership, Messages, NewAccount, NewEntry, NewSession, PageRequest, Users,
    mysql::{MysqlConfig, MysqlStore},
};

pub(crate) async fn open(url: &str) -> MysqlStore {
    MysqlStore::open(MysqlConfig { connections_max: 8, ..MysqlConfig::new(url) }).await.unwrap()
}

pub(crate) fn account(id: u64) -> NewAccount {
    NewAccount {
        id: UserId::new(id),
        name: format!("user-{id}"),
        name_key: format!("user-{id}"),
        password_hash: "hash".into(),
        created_ms: 1,
        session: NewSession {
            id: SessionId::new(1_000_000 + id),
            device: "📱".into(),
            created_ms: 1,
            refresh: std::array::from_fn(|at| u8::try_from(id >> (8 * (at % 8)) & 0xff).unwrap()),
            refresh_expires_ms: 1_000,
        },
    }
}

pub(crate) async fn users(store: &MysqlStore, ids: std::ops::Range<u64>) -> Vec<UserId> {
    let mut users = Vec::new();
    for id in ids {
        assert!(store.create_account(account(id), vec![]).await.unwrap());
        users.push(UserId::new(id));
    }
    users
}

pub(crate) fn message(conversation: ConversationId, sender: UserId, body: &str) -> NewEntry {
    NewEntry {
        conversation,
        sender,
        id: EntryId::generate(),
        time_ms: 5,
        content: RawContent::from(content::Kind::Text(Text { body: body.into() })).as_bytes().clone(),
        act: Act::Message { mentions: vec![], mentions_everyone: false, reply_to: 0 },
        settles: None,
    }
}

pub(crate) fn making(group: ConversationId, members: &[UserId]) -> NewEntry {
    let role = |at| if at == 0 { Role::Owner } else { Role::Member };
    let enter = members.iter().enumerate().map(|(at, &user)| (user, role(at))).collect();
    let membership = Membership { create: true, enter, ..Membership::default() };
    NewEntry { act: Act::Membership(membership), ..message(group, members[0], "") }
}

pub(crate) async fn group(store: &MysqlStore, id: u64, members: &[UserId]) -> ConversationId {
    let group = ConversationId::new(id);
    store.append(vec![making(group, members)]).await.unwrap().pop().unwrap().unwrap();
    group
}

/// The ids of a log's entries, in order; asserts that there is no gap.
pub(crate) async fn ids(store: &MysqlStore, reader: UserId, conversation: ConversationId) -> Vec<String> {
    let request = PageRequest { conversation, from: Headed::After(0), limit: u32::MAX };
    let page = store.read_pages(reader, vec![request], usize::MAX).await.unwrap().pop().unwrap().unwrap();
    assert!(page.entries.iter().map(|entry| entry.position).eq(1..=page.last_position), "positions have no gaps");
    page.entries.into_iter().map(|entry| entry.id).collect()
}
