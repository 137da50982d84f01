//! Whether what the server says and the devices show is what the reference holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use client::{
    Client, ConversationId, Error, GroupId, UserId,
    fold::{ConversationView, MessageView},
    wire::{self, ErrorCode, FriendRequest, Role},
};

use super::{
    DEVICES, DEVICES_PER_USER, LOOK_AGAIN, Run,
    reference::{Contact, Log, Shown},
};
use crate::device::{Folded, PATIENCE};

/// What an operation may have changed.
#[derive(Debug)]
pub enum Touched {
    Nothing,
    Conversation(ConversationId),
    Contacts(UserId, UserId),
    Everything,
}

impl Run {
    /// The cheap comparison, after each operation.
    pub(super) async fn compare_touched(&mut self, touched: Touched) {
        match touched {
            Touched::Nothing => {}
            Touched::Conversation(id) => self.compare_conversation(id).await,
            Touched::Contacts(user, peer) => {
                self.until_contacts(user).await;
                self.until_contacts(peer).await;
            }
            Touched::Everything => {
                let conversations: Vec<_> = self.reference.logs.keys().copied().collect();
                for id in conversations {
                    self.compare_conversation(id).await;
                }
                for user in self.users.clone() {
                    self.until_contacts(user).await;
                }
            }
        }
    }

    /// The heads of its members, and the devices that are on.
    async fn compare_conversation(&self, id: ConversationId) {
        let Some(log) = self.reference.logs.get(&id) else { return };
        for user in log.members.keys() {
            let heads = heads(self.observer(*user)).await;
            compare_head(log, id, *user, heads.get(&id.get()));
        }
        for device in 0..DEVICES {
            let user = self.user_of(device);
            if self.online[device].is_some() && log.members.contains_key(&user) && log.end() > 0 {
                let what = format!("{id} at device {device} as far as {}", log.end());
                let own = log.own(user);
                let arrived = |folded: &Folded| folded.last(id) >= log.end() && has_deleted(folded, id, &own);
                self.devices[device].until_folded(&what, arrived).await;
                compare_view(log, user, &self.devices[device].folded().view(id).unwrap(), device);
            }
        }
    }

    /// Waits until the server says of the user's contacts what the reference does.
    async fn until_contacts(&self, user: UserId) {
        let expected: BTreeMap<UserId, Contact> = self.contacts_of(user);
        let client = self.observer(user);
        let agreed = async {
            loop {
                let told = client.contacts(None, 0).await.map(|contacts| contacts.iter().map(contact).collect());
                if told.as_ref().is_ok_and(|told: &BTreeMap<_, _>| *told == expected) {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(PATIENCE / 9, agreed).await.is_err() {
            panic!("contacts of {user}: {:?}, not {expected:?}", client.contacts(None, 0).await);
        }
    }

    fn contacts_of(&self, user: UserId) -> BTreeMap<UserId, Contact> {
        let contacts = self.reference.users[&user].contacts.iter().filter(|(_, contact)| !contact.is_nothing());
        contacts.map(|(peer, contact)| (*peer, contact.clone())).collect()
    }

    /// Everything, at the end of a run.
    pub(super) async fn compare(&mut self) {
        for device in 0..DEVICES {
            self.on(device);
        }
        for user in self.users.clone() {
            self.until_contacts(user).await;
        }
        for device in 0..DEVICES {
            self.compare_device(device).await;
        }
        let logs: Vec<_> = self.reference.logs.keys().copied().collect();
        for id in logs {
            self.compare_conversation(id).await;
            self.compare_answers(id).await;
        }
        for user in self.users.clone() {
            let heads = heads(self.observer(user)).await;
            let logs = self.reference.logs.iter();
            let mine = logs.filter(|(_, log)| log.members.contains_key(&user) && log.end() > 0).map(|(id, _)| id.get());
            let expected: BTreeSet<u64> = mine.chain([user.get()]).collect();
            assert_eq!(heads.into_keys().collect::<BTreeSet<_>>(), expected, "heads of {user}");
        }
        for device in (0..DEVICES).step_by(DEVICES_PER_USER) {
            let user = self.user_of(device);
            let end = heads(self.observer(user)).await[&user.get()].last_position;
            for device in device..device + DEVICES_PER_USER {
                let what = format!("the personal log of device {device} as far as {end}");
                self.devices[device].until_folded(&what, |folded| folded.affairs.last() >= end).await;
            }
            let (one, other) = (self.devices[device].folded(), self.devices[device + 1].folded());
            assert_eq!(one.affairs, other.affairs, "the devices of a user agree");
        }
    }

    /// The device's affairs, and that it saw no more of a group than there was when its user left.
    async fn compare_device(&self, device: usize) {
        let user = self.user_of(device);
        let person = &self.reference.users[&user];
        let contacts = self.contacts_of(user);
        let groups: BTreeSet<u64> = person.groups.iter().fold(BTreeSet::new(), |mut groups, (group, entered)| {
            if *entered {
                groups.insert(group.get())
            } else {
                groups.remove(&group.get())
            };
            groups
        });
        let requests: BTreeMap<(u64, UserId), String> = self.requests_told(user);
        let settled = |folded: &Folded| {
            let affairs = &folded.affairs;
            let told: BTreeMap<_, _> = affairs.contacts().map(|told| contact_view(&told)).collect();
            let asked: BTreeMap<_, _> = affairs
                .join_requests()
                .filter(|request| request.user == user)
                .map(|request| ((request.group.get(), request.user), request.message.to_owned()))
                .collect();
            let settings = affairs.settings().copied().unwrap_or_default();
            let expected = (super::perform::write_policy(person.friends_only), person.invisible);
            (settings.write_policy(), settings.invisible) == expected
                && told == contacts
                && affairs.groups().map(GroupId::get).collect::<BTreeSet<_>>() == groups
                && asked == requests
                && self.reference.logs.iter().all(|(id, log)| {
                    let own = log.own(user);
                    let draft = affairs.draft_of(*id).map(|draft| (draft.text.clone(), draft.reply_to));
                    affairs.settings_of(*id) == own.settings.as_ref()
                        && draft == own.draft
                        && has_deleted(folded, *id, &own)
                })
        };
        let what = format!("the affairs of device {device}: contacts {contacts:?}, groups {groups:?}, {requests:?}");
        self.devices[device].until_folded(&what, settled).await;
        let seen = self.devices[device].logs();
        for (id, log) in &self.reference.logs {
            let end =
                if log.members.contains_key(&user) { log.end() } else { log.left.get(&user).copied().unwrap_or(0) };
            let seen = seen.get(id).map_or(0, Vec::len);
            assert!(seen as u64 <= end, "device {device} saw {seen} of {end} entries of {id}");
        }
    }

    /// The user's own requests to be let in.
    fn requests_told(&self, user: UserId) -> BTreeMap<(u64, UserId), String> {
        let mut told = BTreeMap::new();
        for (id, log) in &self.reference.logs {
            let requests = log.group.iter().flat_map(|group| &group.requests);
            told.extend(
                requests.filter(|(by, _)| **by == user).map(|(by, (first, _))| ((id.get(), *by), first.clone())),
            );
        }
        told
    }

    /// What the server answers when it is asked about a conversation.
    async fn compare_answers(&self, id: ConversationId) {
        let log = &self.reference.logs[&id];
        for (user, member) in &log.members {
            let client = self.observer(*user);
            let pins: BTreeSet<u64> = client.pins(id).await.unwrap().iter().map(|entry| entry.position).collect();
            let pinned: BTreeSet<u64> = (1..=log.end()).filter(|position| log.is_pinned(*position, *user)).collect();
            assert_eq!(pins, pinned, "pins in {id} for {user}");
            let Some(group) = &log.group else { continue };
            let told = client.group(id.group()).await.unwrap();
            let me = told.me.clone().unwrap();
            assert_eq!(told.conversation.as_ref().unwrap().title, group.title);
            assert_eq!(told.announcement, group.announcement);
            assert_eq!(told.join_policy(), group.policy);
            assert_eq!(
                (told.admins_invite, told.muted, told.dissolved),
                (group.admins_invite, group.muted, group.dissolved)
            );
            assert_eq!(told.members, log.members.len() as u64);
            assert_eq!((me.role(), me.nickname.as_str()), (member.role, member.nickname.as_str()));
            let members = client.members(id.group(), None, 0).await.unwrap();
            let roster = members.members.iter().map(|member| {
                let user = UserId::new(member.user.as_ref().unwrap().id);
                (user, member.role(), member.nickname.clone(), member.muted_until_ms > 0)
            });
            assert_eq!(roster.collect::<Vec<_>>(), log.roster(), "members of {id}");
            self.compare_for_admins(id, client, member.role).await;
        }
        for user in self.users.iter().filter(|user| !log.members.contains_key(user)) {
            let refused = self.observer(*user).history_after(id, 0, 1).await.unwrap_err();
            assert!(matches!(refused, Error::Refused(error) if error.code() == ErrorCode::NotMember));
        }
    }

    async fn compare_for_admins(&self, id: ConversationId, client: &Client, role: Role) {
        let group = self.reference.group(id);
        let (bans, requests) =
            (client.bans(id.group(), None, 0).await, client.join_requests(id.group(), None, 0).await);
        if role < Role::Admin {
            bans.expect_err("for owner and admins");
            requests.expect_err("for owner and admins");
            return;
        }
        let bans: BTreeSet<_> = bans.unwrap().iter().map(|user| UserId::new(user.id)).collect();
        assert_eq!(bans, group.bans, "bans of {id}");
        let requests = requests.unwrap();
        let requests =
            requests.iter().map(|asked| (UserId::new(asked.user.as_ref().unwrap().id), asked.message.clone()));
        let expected = group.requests.iter().map(|(user, (_, last))| (*user, last.clone()));
        assert_eq!(requests.collect::<BTreeMap<_, _>>(), expected.collect(), "requests to join {id}");
    }
}

async fn heads(client: &Client) -> HashMap<u64, wire::Head> {
    let read = async {
        'again: loop {
            let (mut heads, mut pages) = (HashMap::new(), client.heads());
            loop {
                match pages.next().await {
                    Ok(Some(page)) => {
                        heads.extend(page.into_iter().map(|head| (head.conversation.as_ref().unwrap().id, head)));
                    }
                    Ok(None) => return heads,
                    Err(_) => {
                        tokio::time::sleep(LOOK_AGAIN).await;
                        continue 'again;
                    }
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("heads in time")
}

fn compare_head(log: &Log, id: ConversationId, user: UserId, head: Option<&wire::Head>) {
    if log.end() == 0 {
        assert!(head.is_none_or(|head| head.last_position == 0), "{head:?}");
        return;
    }
    let head = head.unwrap_or_else(|| panic!("{user} has no head of {id}"));
    let (member, own) = (&log.members[&user], log.own(user));
    assert_eq!(head.last_position, log.end(), "last position of {id}");
    assert_eq!(head.read_position, member.read, "read position of {user} in {id}");
    assert_eq!((head.unread, head.unread_mentions), log.unread(user), "unread and mentions of {user} in {id}");
    assert_eq!(head.role(), member.role, "role of {user} in {id}");
    assert_eq!(head.settings, own.settings, "settings of {user} in {id}");
    assert_eq!(head.draft.as_ref().map(|draft| (draft.text.clone(), draft.reply_to)), own.draft);
    assert_eq!(head.deleted_up_to, own.deleted_up_to);
    if log.group.is_none() {
        let peer = (head.peer_delivered_position, head.peer_read_position);
        assert_eq!(peer, log.peer_positions(user), "how far the other is, for {user} in {id}");
    }
}

fn has_deleted(folded: &Folded, id: ConversationId, own: &super::reference::Own) -> bool {
    let deleted = folded.affairs.deleted(id).cloned().unwrap_or_default();
    deleted.up_to == own.deleted_up_to && deleted.positions == own.deleted
}

/// The view of a member's device that has seen all of the log.
fn compare_view(log: &Log, user: UserId, view: &ConversationView, device: usize) {
    let shown: Vec<_> = view.messages().filter(MessageView::is_message).map(|message| self::shown(&message)).collect();
    assert_eq!(shown, log.shown(user), "what device {device} shows");
    let Some(group) = &log.group else { return };
    let told = view.group();
    assert_eq!(told.title(), Some(group.title.as_str()), "at device {device}");
    assert_eq!(told.announcement().unwrap_or_default(), group.announcement, "at device {device}");
    assert_eq!(told.muted().unwrap_or_default(), group.muted, "at device {device}");
    assert_eq!(told.admins_invite().unwrap_or_default(), group.admins_invite, "at device {device}");
    assert_eq!(told.is_dissolved(), group.dissolved, "at device {device}");
    let members = told.members();
    let members =
        members.map(|member| (member.user, member.role, member.nickname.to_owned(), member.muted_until_ms > 0));
    assert_eq!(members.collect::<Vec<_>>(), log.roster(), "members at device {device}");
}

fn shown(message: &MessageView<'_>) -> Shown {
    let mut shown = Shown {
        position: message.position(),
        id: message.id().parse().unwrap(),
        sender: message.sender(),
        says: message.content().cloned(),
        edits: message.former().len(),
        reactions: message.reactions().into_iter().map(|(reaction, by)| (reaction.to_owned(), by)).collect(),
        pinned: message.is_pinned(),
        reply_to: message.reply_to().unwrap_or(0),
        forwarded: message.forwarded().copied(),
    };
    if message.is_recalled() {
        // Whether the answer to what is gone is still known depends on when the device was on.
        (shown.reply_to, shown.forwarded) = (0, None);
    }
    shown
}

fn contact(told: &wire::Contact) -> (UserId, Contact) {
    let contact = Contact {
        friend: told.friend,
        request: told.request(),
        message: told.message.clone(),
        remark: told.remark.clone(),
        blocked: told.blocked,
    };
    (UserId::new(told.user.as_ref().unwrap().id), contact)
}

fn contact_view(told: &client::fold::ContactView<'_>) -> (UserId, Contact) {
    let request = told.request.map_or(FriendRequest::NoRequest, |request| {
        if request.received { FriendRequest::Received } else { FriendRequest::Sent }
    });
    let contact = Contact {
        friend: told.friend,
        request,
        message: told.request.map_or_else(String::new, |request| request.message.clone()),
        remark: told.remark.to_owned(),
        blocked: told.blocked,
    };
    (told.user, contact)
}
