//! What users do, at random.

use std::collections::BTreeSet;

use client::wire::JoinPolicy;
use proptest::{
    collection::{btree_set, vec},
    prelude::{Just, Strategy, any, prop_oneof},
    sample::Index,
};

use super::{DEVICES, USERS};

/// Devices, users, conversations and messages are chosen among those there are when it happens.
#[derive(Debug, Clone)]
pub struct Operation {
    pub device: usize,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Write {
        conversation: Index,
        message: Message,
    },
    WriteTo {
        peer: usize,
        message: Message,
    },
    Forward {
        from: Index,
        position: Index,
        to: Index,
    },
    Change {
        conversation: Index,
        position: Index,
        change: Change,
    },
    /// Something that was done long ago is asked for again, from whichever device of its user.
    Repeat {
        request: Index,
    },
    CreateGroup {
        members: BTreeSet<usize>,
        policy: JoinPolicy,
    },
    Group {
        group: Index,
        act: GroupAct,
    },
    Contact {
        peer: usize,
        act: ContactAct,
    },
    Account {
        friends_only: Option<bool>,
        invisible: Option<bool>,
    },
    Settings {
        conversation: Index,
        bits: u8,
    },
    Draft {
        conversation: Index,
        text: String,
        reply_to: Index,
    },
    Delete {
        conversation: Index,
        positions: Vec<Index>,
        up_to: Option<Index>,
    },
    Read {
        conversation: Index,
        position: Index,
    },
    Deliver {
        conversation: Index,
        position: Index,
    },
    SwitchOff,
    SwitchOn,
    Restart,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub text: String,
    pub kind: MessageKind,
    pub reply_to: Option<Index>,
    pub mentions: BTreeSet<usize>,
    pub everyone: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum MessageKind {
    Text,
    Link,
    Custom,
}

#[derive(Debug, Clone)]
pub enum Change {
    Edit { text: String, kind: MessageKind },
    Recall,
    React { reaction: usize, removed: bool },
    Pin { removed: bool },
}

#[derive(Debug, Clone)]
pub enum GroupAct {
    Invite(usize),
    Join(String),
    JoinByLink(Index),
    Answer(usize, bool),
    Leave,
    Remove(usize, bool),
    Lift(usize),
    Role(usize, bool),
    Transfer(usize),
    Mute(usize, bool),
    Title(String),
    Announcement(String),
    Policy(JoinPolicy),
    AdminsInvite(bool),
    MuteAll(bool),
    Nickname(String),
    Dissolve,
    Link(u32),
    RevokeLink(Index),
}

#[derive(Debug, Clone)]
pub enum ContactAct {
    Request(String),
    Answer(bool),
    Withdraw,
    Remove,
    Remark(String),
    Block(bool),
}

/// Some of everything.
pub fn anything() -> impl Strategy<Value = Vec<Operation>> {
    vec(by(0..DEVICES, prop_oneof![6 => messages(), 4 => groups(), 3 => contacts(), 3 => own(), 2 => system()]), 1..80)
}

/// What happens to few groups that are there from the beginning, and in them.
pub fn in_groups() -> impl Strategy<Value = Vec<Operation>> {
    let create = by(
        0..DEVICES,
        (btree_set(0..USERS, 2..USERS), policy()).prop_map(|(members, policy)| What::CreateGroup { members, policy }),
    );
    let act = prop_oneof![20 => group_acts(), 3 => messages(), 3 => own(), 2 => system(), 1 => contacts()];
    (create, vec(by(0..DEVICES, act), 1..120)).prop_map(|(create, acts)| [create].into_iter().chain(acts).collect())
}

/// What happens between two users.
pub fn between_two() -> impl Strategy<Value = Vec<Operation>> {
    let act = prop_oneof![6 => messages(), 6 => contacts(), 3 => own(), 2 => system()];
    vec(by(0..2 * super::DEVICES_PER_USER, act), 1..120)
        .prop_map(|operations| operations.into_iter().map(of_two).collect())
}

fn by(devices: std::ops::Range<usize>, what: impl Strategy<Value = What>) -> impl Strategy<Value = Operation> {
    (devices, what).prop_map(|(device, what)| Operation { device, what })
}

/// The same with one of the first two users.
fn of_two(mut operation: Operation) -> Operation {
    match &mut operation.what {
        What::WriteTo { peer, .. } | What::Contact { peer, .. } => *peer %= 2,
        _ => {}
    }
    operation
}

fn text() -> impl Strategy<Value = String> {
    "[a-z天气🙂 ]{0,11}[a-z天]"
}

/// What the server does not trim.
fn line() -> impl Strategy<Value = String> {
    "[a-z天气🙂]{1,12}"
}

fn kind() -> impl Strategy<Value = MessageKind> {
    prop_oneof![6 => Just(MessageKind::Text), 1 => Just(MessageKind::Link), 1 => Just(MessageKind::Custom)]
}

fn message() -> impl Strategy<Value = Message> {
    let reply_to = proptest::option::weighted(0.2, any::<Index>());
    let mentions = prop_oneof![3 => Just(BTreeSet::new()), 1 => btree_set(0..USERS, 1..3)];
    (text(), kind(), reply_to, mentions, proptest::bool::weighted(0.1))
        .prop_map(|(text, kind, reply_to, mentions, everyone)| Message { text, kind, reply_to, mentions, everyone })
}

fn messages() -> impl Strategy<Value = What> {
    let index = any::<Index>;
    let removed = || proptest::bool::weighted(0.3);
    let change = prop_oneof![
        3 => (text(), kind()).prop_map(|(text, kind)| Change::Edit { text, kind }),
        2 => Just(Change::Recall),
        3 => (0..2_usize, removed()).prop_map(|(reaction, removed)| Change::React { reaction, removed }),
        2 => removed().prop_map(|removed| Change::Pin { removed }),
    ];
    prop_oneof![
        4 => (index(), message()).prop_map(|(conversation, message)| What::Write { conversation, message }),
        3 => (0..USERS, message()).prop_map(|(peer, message)| What::WriteTo { peer, message }),
        6 => (index(), index(), change)
            .prop_map(|(conversation, position, change)| What::Change { conversation, position, change }),
        1 => (index(), index(), index()).prop_map(|(from, position, to)| What::Forward { from, position, to }),
        2 => index().prop_map(|request| What::Repeat { request }),
    ]
}

fn policy() -> impl Strategy<Value = JoinPolicy> {
    prop_oneof![
        2 => Just(JoinPolicy::Open),
        1 => Just(JoinPolicy::ByInvitation),
        2 => Just(JoinPolicy::ByApproval)
    ]
}

fn group_acts() -> impl Strategy<Value = What> {
    let user = || 0..USERS;
    let act = prop_oneof![
        3 => user().prop_map(GroupAct::Invite),
        3 => line().prop_map(GroupAct::Join),
        1 => any::<Index>().prop_map(GroupAct::JoinByLink),
        2 => (user(), any::<bool>()).prop_map(|(user, admit)| GroupAct::Answer(user, admit)),
        2 => Just(GroupAct::Leave),
        2 => (user(), any::<bool>()).prop_map(|(user, ban)| GroupAct::Remove(user, ban)),
        1 => user().prop_map(GroupAct::Lift),
        3 => (user(), any::<bool>()).prop_map(|(user, admin)| GroupAct::Role(user, admin)),
        1 => user().prop_map(GroupAct::Transfer),
        2 => (user(), any::<bool>()).prop_map(|(user, muted)| GroupAct::Mute(user, muted)),
        1 => line().prop_map(GroupAct::Title),
        1 => line().prop_map(GroupAct::Announcement),
        1 => policy().prop_map(GroupAct::Policy),
        1 => any::<bool>().prop_map(GroupAct::AdminsInvite),
        1 => any::<bool>().prop_map(GroupAct::MuteAll),
        1 => line().prop_map(GroupAct::Nickname),
        1 => Just(GroupAct::Dissolve),
        1 => (0..3_u32).prop_map(GroupAct::Link),
        1 => any::<Index>().prop_map(GroupAct::RevokeLink),
    ];
    (any::<Index>(), act).prop_map(|(group, act)| What::Group { group, act })
}

fn groups() -> impl Strategy<Value = What> {
    prop_oneof![
        1 => (btree_set(0..USERS, 0..USERS), policy()).prop_map(|(members, policy)| What::CreateGroup { members, policy }),
        5 => group_acts(),
    ]
}

fn contacts() -> impl Strategy<Value = What> {
    let act = prop_oneof![
        4 => line().prop_map(ContactAct::Request),
        3 => any::<bool>().prop_map(ContactAct::Answer),
        1 => Just(ContactAct::Withdraw),
        1 => Just(ContactAct::Remove),
        1 => "[a-z]{0,3}".prop_map(ContactAct::Remark),
        2 => any::<bool>().prop_map(ContactAct::Block),
    ];
    prop_oneof![
        8 => (0..USERS, act).prop_map(|(peer, act)| What::Contact { peer, act }),
        1 => (proptest::option::of(proptest::bool::weighted(0.3)), proptest::option::of(any::<bool>()))
            .prop_map(|(friends_only, invisible)| What::Account { friends_only, invisible }),
    ]
}

fn own() -> impl Strategy<Value = What> {
    let index = any::<Index>;
    prop_oneof![
        2 => (index(), 0..32_u8).prop_map(|(conversation, bits)| What::Settings { conversation, bits }),
        2 => (index(), "[a-z天]{0,4}", index())
            .prop_map(|(conversation, text, reply_to)| What::Draft { conversation, text, reply_to }),
        2 => (index(), vec(index(), 0..3), proptest::option::weighted(0.3, index()))
            .prop_map(|(conversation, positions, up_to)| What::Delete { conversation, positions, up_to }),
        2 => (index(), index()).prop_map(|(conversation, position)| What::Read { conversation, position }),
        1 => (index(), index()).prop_map(|(conversation, position)| What::Deliver { conversation, position }),
    ]
}

fn system() -> impl Strategy<Value = What> {
    prop_oneof![3 => Just(What::SwitchOff), 3 => Just(What::SwitchOn), 1 => Just(What::Restart)]
}
