//! Contacts, and who may write to whom.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{
    RawContent, UserId,
    wire::{FriendAdded, FriendRequest, FriendRequested, Hidden, SettingsChanged, WritePolicy, content},
};

use super::{
    Store,
    changes::{edit, pin, react, recall},
    scene::{NOW_MS, Scene, message, tell},
};
use crate::{
    Act, Appended, Audience, ContactAct, ContactEvent, ContactRow, NewEntry, ReadMark, Refused, SettingsChange,
    UserSettings,
};

fn entry(owner: UserId, peer: UserId, what: ContactAct) -> NewEntry {
    let act = Act::Contact(ContactEvent { peer, what });
    NewEntry { act, content: Bytes::new(), ..message(owner.personal_log(), owner, "") }
}

async fn act(scene: &Scene, owner: UserId, peer: UserId, what: ContactAct) -> Result<Appended, Refused> {
    scene.append(entry(owner, peer, what)).await
}

fn setting(user: UserId, change: SettingsChange) -> NewEntry {
    NewEntry { act: Act::Settings(change), content: Bytes::new(), ..message(user.personal_log(), user, "") }
}

async fn set(scene: &Scene, user: UserId, settings: UserSettings) {
    let UserSettings { write_policy, invisible } = settings;
    let change = SettingsChange { write_policy: Some(write_policy), invisible: Some(invisible) };
    scene.append(setting(user, change)).await.unwrap();
}

/// Carries out the effects that concern contacts.
async fn deliver(scene: &Scene) {
    loop {
        let effects = scene.store.effects(100).await.unwrap();
        if effects.is_empty() {
            return;
        }
        for effect in effects {
            let act = effect.contact.clone().map_or(Act::Tell, Act::Contact);
            let told = NewEntry {
                id: effect.id,
                content: effect.content.clone(),
                act,
                settles: Some(effect.revision),
                ..message(effect.user.personal_log(), effect.user, "")
            };
            let outcome = scene.append(told).await;
            assert!(matches!(outcome, Ok(_) | Err(Refused::Unchanged)), "{effect:?}: {outcome:?}");
        }
    }
}

async fn befriend(scene: &Scene, a: UserId, b: UserId) {
    act(scene, a, b, ContactAct::Request(String::new())).await.unwrap();
    deliver(scene).await;
    act(scene, b, a, ContactAct::Answer(true)).await.unwrap();
    deliver(scene).await;
}

async fn contact(scene: &Scene, owner: UserId, peer: UserId) -> Option<ContactRow> {
    let contacts = scene.store.contacts(owner, UserId::new(0), 100).await.unwrap();
    let found = contacts.into_iter().find(|contact| contact.peer == peer);
    let standing = scene.store.standings(peer, vec![owner]).await.unwrap().pop().unwrap().0;
    let expected = found.clone();
    assert_eq!(standing, expected, "the two ways to ask tell the same");
    found
}

/// What the entries say follows from what the contact was; the other is told by an effect.
pub async fn a_request_makes_friends_once_it_is_accepted(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let request = entry(a, b, ContactAct::Request("hello".into()));
    let asked = scene.append(request.clone()).await.unwrap();
    let says = |user: UserId, received| {
        let kind = FriendRequested { user: user.get(), message: "hello".into(), received };
        RawContent::from(content::Kind::FriendRequested(kind)).as_bytes().clone()
    };
    assert_eq!(asked.content, Some(says(b, false)));
    assert_eq!(scene.append(request).await, Ok(Appended { duplicate: true, ..asked }));
    assert_eq!(act(&scene, a, b, ContactAct::Request(String::new())).await, Err(Refused::Unchanged));
    assert_eq!(act(&scene, b, a, ContactAct::Answer(true)).await, Err(Refused::NothingThere), "it is not there yet");
    let effects = scene.store.effects(10).await.unwrap();
    assert_eq!((effects.len(), effects[0].user, &effects[0].content), (1, b, &says(a, true)));
    let event = ContactEvent { peer: a, what: ContactAct::Requested("hello".into()) };
    assert_eq!(effects[0].contact, Some(event));
    deliver(&scene).await;
    let received = contact(&scene, b, a).await.unwrap();
    assert_eq!((received.request, received.message.as_str()), (FriendRequest::Received, "hello"));
    assert_eq!(received.changed_ms, NOW_MS);

    let answered = act(&scene, b, a, ContactAct::Answer(true)).await.unwrap();
    let added = RawContent::from(content::Kind::FriendAdded(FriendAdded { user: a.get() }));
    assert_eq!(answered.content, Some(added.as_bytes().clone()));
    deliver(&scene).await;
    for (owner, peer) in [(a, b), (b, a)] {
        let row = contact(&scene, owner, peer).await.unwrap();
        assert!(row.friend && row.request == FriendRequest::NoRequest);
        assert_eq!(act(&scene, owner, peer, ContactAct::Request(String::new())).await, Err(Refused::AlreadyFriends));
    }
    act(&scene, a, b, ContactAct::Remove).await.unwrap();
    assert_eq!(act(&scene, a, b, ContactAct::Remove).await, Err(Refused::NothingThere));
    deliver(&scene).await;
    assert_eq!((contact(&scene, a, b).await, contact(&scene, b, a).await), (None, None));
    let elsewhere = NewEntry { conversation: b.personal_log(), ..entry(a, b, ContactAct::Block(true)) };
    assert_eq!(scene.append(elsewhere).await, Err(Refused::NotMember));
}

/// `Done` for what was not done would be a lie.
pub async fn an_id_of_something_else_about_a_contact_is_refused(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, c] = scene.users().await;
    let remark = entry(a, b, ContactAct::Remark("pal".into()));
    scene.append(remark.clone()).await.unwrap();
    let with_its_id = |peer, what| NewEntry { id: remark.id, ..entry(a, peer, what) };
    assert!(scene.append(with_its_id(b, ContactAct::Remark("pal".into()))).await.unwrap().duplicate);
    for (peer, what) in [
        (b, ContactAct::Remark("chum".into())),
        (c, ContactAct::Remark("pal".into())),
        (b, ContactAct::Block(true)),
        (b, ContactAct::Request(String::new())),
    ] {
        assert_eq!(scene.append(with_its_id(peer, what)).await, Err(Refused::IdReused));
    }
}

/// An effect is carried out once, and is settled also where it finds nothing to do.
pub async fn what_finds_nothing_to_change_is_settled(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    act(&scene, b, a, ContactAct::Block(true)).await.unwrap();
    act(&scene, a, b, ContactAct::Request("hi".into())).await.unwrap();
    let effect = scene.store.effects(1).await.unwrap().pop().unwrap();
    let told = NewEntry { id: effect.id, settles: Some(effect.revision), ..entry(b, a, effect.contact.unwrap().what) };
    assert_eq!(scene.append(told.clone()).await, Err(Refused::Unchanged), "the blocked learn nothing");
    assert_eq!(scene.store.effects(1).await.unwrap(), []);
    act(&scene, b, a, ContactAct::Block(false)).await.unwrap();
    assert_eq!(scene.append(told).await, Err(Refused::Unchanged), "it was carried out when it was settled");
    assert_eq!(contact(&scene, b, a).await, None);
}

/// A name for the other is one's own; the same again is nothing new.
pub async fn remarks_are_kept_and_contacts_listed_in_pages(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, c, d] = scene.users().await;
    for peer in [d, b, c] {
        act(&scene, a, peer, ContactAct::Remark("pal".into())).await.unwrap();
    }
    assert_eq!(act(&scene, a, b, ContactAct::Remark("pal".into())).await, Err(Refused::Unchanged));
    act(&scene, a, c, ContactAct::Remark(String::new())).await.unwrap();
    let page = async |after, limit| -> Vec<UserId> {
        let contacts = scene.store.contacts(a, after, limit).await.unwrap();
        contacts.iter().map(|contact| contact.peer).collect()
    };
    assert_eq!(page(UserId::new(0), 10).await, [b, d], "those that are nothing are not listed");
    assert_eq!(page(UserId::new(0), 1).await, [b]);
    assert_eq!(page(b, 10).await, [d]);
    assert_eq!(scene.store.effects(10).await.unwrap(), []);
}

/// Of two devices that change one each, both have their way; and what was done is answered as done, however late it is asked
/// for again.
pub async fn settings_change_where_told_though_two_do_so_at_once(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a] = scene.users().await;
    let said = |settings: UserSettings| {
        let UserSettings { write_policy, invisible } = settings;
        let changed = SettingsChanged { write_policy: write_policy.into(), invisible };
        RawContent::from(content::Kind::SettingsChanged(changed)).as_bytes().clone()
    };
    for round in 0..20 {
        let wanted = if round % 2 == 0 {
            UserSettings { write_policy: WritePolicy::Friends, invisible: true }
        } else {
            UserSettings::default()
        };
        let policy = setting(a, SettingsChange { write_policy: Some(wanted.write_policy), invisible: None });
        let invisible = setting(a, SettingsChange { write_policy: None, invisible: Some(wanted.invisible) });
        let (one, other) = tokio::join!(scene.append(policy), scene.append(invisible));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(scene.store.settings(a).await.unwrap(), wanted, "round {round}");
        let last = if one.position > other.position { one } else { other };
        assert_eq!(last.content, Some(said(wanted)), "the later entry tells both");
    }
    let friends = SettingsChange { write_policy: Some(WritePolicy::Friends), invisible: None };
    let first = setting(a, friends);
    let appended = scene.append(first.clone()).await.unwrap();
    let then = UserSettings { write_policy: WritePolicy::Anyone, invisible: true };
    set(&scene, a, then).await;
    let again = scene.append(first.clone()).await;
    assert_eq!(again, Ok(Appended { duplicate: true, ..appended }));
    assert_eq!(scene.store.settings(a).await.unwrap(), then, "what came after it stands");
    let other = SettingsChange { write_policy: Some(WritePolicy::Anyone), invisible: None };
    let reused = NewEntry { id: first.id, ..setting(a, other) };
    assert_eq!(scene.append(reused).await, Err(Refused::IdReused));
    // What was so already is done as well: its retry undoes nothing.
    let so_already = setting(a, other);
    scene.append(so_already.clone()).await.unwrap();
    scene.append(setting(a, friends)).await.unwrap();
    assert!(scene.append(so_already).await.unwrap().duplicate);
    assert_eq!(scene.store.settings(a).await.unwrap().write_policy, WritePolicy::Friends);
}

/// From then on; friends may.
pub async fn strangers_do_not_write_to_those_who_want_friends_only(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    let first = message(direct, a, "hi");
    scene.append(first.clone()).await.unwrap();
    let settings = UserSettings { write_policy: WritePolicy::Friends, invisible: false };
    set(&scene, b, settings).await;
    assert_eq!(scene.store.settings(b).await.unwrap(), settings);
    assert_eq!(scene.store.settings(a).await.unwrap(), UserSettings::default());
    assert_eq!(scene.store.standings(a, vec![b, a]).await.unwrap()[0].1, settings);
    assert_eq!(scene.append(message(direct, a, "hi?")).await, Err(Refused::FriendsOnly));
    assert_eq!(scene.append(react(direct, a, 1)).await, Err(Refused::FriendsOnly));
    assert!(scene.append(first).await.unwrap().duplicate, "what is there is there");
    scene.say(direct, b, "I may").await;
    befriend(&scene, a, b).await;
    scene.say(direct, a, "hi!").await;
    act(&scene, b, a, ContactAct::Remove).await.unwrap();
    assert_eq!(scene.append(message(direct, a, "hi")).await, Err(Refused::FriendsOnly));
    set(&scene, b, UserSettings::default()).await;
    scene.say(direct, a, "hi").await;
    assert_eq!(scene.texts(b, direct).await, ["hi", "I may", "hi!", "hi"]);
}

/// Whoever may not write (any more) may take back, and the other is told of it: a device that has the message and one that
/// comes later are to show the same.
pub async fn a_recall_erases_for_both_whatever_they_are_to_each_other(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    for text in ["one", "two", "three"] {
        scene.say(direct, a, text).await;
    }
    act(&scene, b, a, ContactAct::Block(true)).await.unwrap();
    assert!(!scene.append(recall(direct, a, 1)).await.unwrap().withheld);
    act(&scene, b, a, ContactAct::Block(false)).await.unwrap();
    act(&scene, a, b, ContactAct::Block(true)).await.unwrap();
    assert!(!scene.append(recall(direct, a, 2)).await.unwrap().withheld);
    act(&scene, a, b, ContactAct::Block(false)).await.unwrap();
    set(&scene, b, UserSettings { write_policy: WritePolicy::Friends, invisible: false }).await;
    assert!(!scene.append(recall(direct, a, 3)).await.unwrap().withheld);
    assert_eq!(scene.history(a, direct).await, scene.history(b, direct).await);
    assert_eq!(scene.texts(b, direct).await, [""; 6]);
}

/// For ever, also after the block; they count for nobody, and cannot be changed by who does not see them.
pub async fn what_the_blocked_write_is_withheld(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    scene.say(direct, a, "before").await;
    act(&scene, b, a, ContactAct::Block(true)).await.unwrap();
    assert_eq!(act(&scene, b, a, ContactAct::Block(true)).await, Err(Refused::Unchanged));
    let mention = Act::Message { mentions: vec![b], mentions_everyone: false, reply_to: 0 };
    let entry = NewEntry { act: mention, ..message(direct, a, "during") };
    let during = scene.append(entry.clone()).await.unwrap();
    assert!(during.withheld);
    assert_eq!(scene.append(entry).await, Ok(Appended { duplicate: true, ..during }));
    assert!(scene.append(edit(direct, a, 1, "edited")).await.unwrap().withheld);
    assert!(scene.append(pin(direct, a, 1, true)).await.unwrap().withheld);
    assert_eq!(scene.append(message(direct, b, "hi")).await, Err(Refused::Blocking));
    let head = scene.head(b, direct).await.unwrap();
    assert_eq!((head.last_position, head.unread, head.unread_mentions), (4, 1, 0));

    act(&scene, b, a, ContactAct::Block(false)).await.unwrap();
    assert!(!scene.append(message(direct, a, "after")).await.unwrap().withheld);
    assert_eq!(scene.texts(a, direct).await, ["before", "during", "", "", "after"]);
    let hidden = RawContent::from(content::Kind::Hidden(Hidden {}));
    let shown = scene.history(b, direct).await.unwrap().entries;
    let is_hidden: Vec<bool> = shown.iter().map(|entry| entry.content.as_ref() == Some(&hidden)).collect();
    assert_eq!(is_hidden, [false, true, true, true, false]);
    let (heads, _) = scene.heads(b, crate::Revision(0), 10).await;
    let head = heads.into_iter().find(|head| head.conversation == direct).unwrap();
    assert_eq!((head.entries, head.unread), (shown, 2));
    let changes = scene.store.changes(b, direct, vec![1], 0, 10).await.unwrap().unwrap();
    assert!(changes.iter().all(|entry| entry.content.as_ref() == Some(&hidden)));
    assert_eq!(scene.store.pins(b, direct, 10).await.unwrap().unwrap(), []);
    assert_eq!(scene.store.pins(a, direct, 10).await.unwrap().unwrap().len(), 1);
    let scanned = async |reader| -> Vec<String> {
        let scan = scene.store.scan(reader, direct, 0, 10).await.unwrap().unwrap();
        scan.messages.iter().map(|entry| entry.content.as_ref().unwrap().text().unwrap()).collect()
    };
    assert_eq!(scanned(b).await, ["after", "before"]);
    assert_eq!(scanned(a).await, ["after", "during", "edited"]);
    assert_eq!(scene.append(react(direct, b, 2)).await, Err(Refused::NoSuchMessage));
    for change in [edit(direct, a, 2, "said after all"), react(direct, a, 2), pin(direct, a, 2, true)] {
        assert!(scene.append(change).await.unwrap().withheld, "the block is over, but not for this message");
    }
    assert!(scene.append(recall(direct, a, 2)).await.unwrap().withheld, "of what the other never saw");
    // Both are the same to themselves.
    let notes = scene.direct(b, b).await;
    act(&scene, b, b, ContactAct::Block(true)).await.unwrap();
    assert!(!scene.append(message(notes, b, "note")).await.unwrap().withheld);
}

/// What is pinned is what the pins and removals say that one sees, also where those of the other are withheld.
pub async fn each_of_two_sees_the_pins_that_the_log_tells(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    for body in ["1", "2"] {
        scene.say(direct, a, body).await;
    }
    let set = async |by, target, on| scene.append(pin(direct, by, target, on)).await;
    let shown = async |reader| -> Vec<u64> {
        let pinned = scene.store.pins(reader, direct, 10).await.unwrap().unwrap();
        pinned.iter().map(|entry| entry.position).collect()
    };
    set(b, 1, true).await.unwrap();
    act(&scene, b, a, ContactAct::Block(true)).await.unwrap();
    // Taken back for the blocked alone, of what was there before, and of what the blocked pinned.
    assert!(set(a, 1, false).await.unwrap().withheld);
    assert_eq!((shown(a).await, shown(b).await), (vec![], vec![1]));
    assert_eq!(set(a, 1, false).await, Err(Refused::NothingThere));
    set(a, 2, true).await.unwrap();
    assert_eq!((shown(a).await, shown(b).await), (vec![2], vec![1]));
    set(a, 2, false).await.unwrap();
    set(a, 1, true).await.unwrap();
    set(a, 1, false).await.unwrap();
    assert_eq!((shown(a).await, shown(b).await), (vec![], vec![1]));
    set(a, 2, true).await.unwrap();
    act(&scene, b, a, ContactAct::Block(false)).await.unwrap();
    assert_eq!(set(b, 2, false).await, Err(Refused::NothingThere), "nobody learns what was withheld");
    // The other way round, with what is left of the first.
    act(&scene, a, b, ContactAct::Block(true)).await.unwrap();
    set(b, 2, true).await.unwrap();
    assert_eq!((shown(a).await, shown(b).await), (vec![2], vec![2, 1]));
    set(b, 1, false).await.unwrap();
    act(&scene, a, b, ContactAct::Block(false)).await.unwrap();
    set(a, 2, false).await.unwrap();
    assert_eq!((shown(a).await, shown(b).await), (vec![], vec![]));
    set(a, 1, true).await.unwrap();
    assert_eq!((shown(a).await, shown(b).await), (vec![1], vec![1]));
}

/// As long as the block lasts, what was known before stays all that is known.
pub async fn the_blocked_are_not_told_of_reading(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    scene.say(direct, a, "1").await;
    let mark = |user, position| vec![ReadMark { conversation: direct, user, position }];
    scene.store.mark_read(mark(b, 1)).await.unwrap();
    scene.say(direct, a, "2").await;
    act(&scene, b, a, ContactAct::Block(true)).await.unwrap();
    scene.say(direct, a, "3").await;
    let (_, before) = scene.heads(a, crate::Revision(0), 0).await;
    let delivered = scene.store.mark_delivered(mark(b, 3)).await.unwrap().pop().unwrap().unwrap();
    assert_eq!((delivered.position, delivered.audience), (3, Audience::Users(vec![b])));
    let read = scene.store.mark_read(mark(b, 3)).await.unwrap().pop().unwrap().unwrap();
    assert_eq!((read.position, read.audience), (3, Audience::Users(vec![b])));
    assert!(scene.heads(a, before, 0).await.0.is_empty());
    let told = async || {
        let head = scene.head(a, direct).await.unwrap();
        (head.peer_read_position, head.peer_delivered_position)
    };
    assert_eq!(told().await, (2, 2), "the log's end when it began");
    let counts = async |position| {
        let counts = scene.store.receipts(a, direct, position).await.unwrap().unwrap();
        (counts.members, counts.delivered, counts.read)
    };
    assert_eq!((counts(2).await, counts(3).await), ((1, 1, 1), (1, 0, 0)));
    let page = scene.store.members(a, direct, UserId::new(0), 10, false).await.unwrap().unwrap();
    assert_eq!((page.members[1].user, page.members[1].read_position), (b, 2));
    assert_eq!(scene.head(b, direct).await.unwrap().read_position, 3);
    act(&scene, b, a, ContactAct::Block(false)).await.unwrap();
    assert_eq!(scene.heads(a, before, 0).await.0.len(), 1);
    assert_eq!(told().await, (3, 3));
    assert_eq!(counts(3).await, (1, 0, 0), "what was withheld never arrives");
}

/// A block holds in a conversation that is opened after it.
pub async fn a_block_holds_in_a_conversation_opened_later(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    act(&scene, b, a, ContactAct::Block(true)).await.unwrap();
    let direct = scene.direct(a, b).await;
    assert!(scene.append(message(direct, a, "hi")).await.unwrap().withheld);
    let mark = vec![ReadMark { conversation: direct, user: b, position: 1 }];
    scene.store.mark_read(mark).await.unwrap();
    assert_eq!(scene.head(a, direct).await.unwrap().peer_read_position, 0);
    assert_eq!(scene.head(b, direct).await.unwrap().unread, 0);
}

/// Friends are seen without a word; the invisible by nobody, and not by those whom they block.
pub async fn friends_are_visible_and_the_invisible_are_not(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, c] = scene.users().await;
    befriend(&scene, a, b).await;
    let with_c = scene.direct(a, c).await;
    scene.say(with_c, c, "hi").await;
    let seen = async || scene.store.filter_visible(a, vec![b, c]).await.unwrap();
    assert_eq!(seen().await, [b, c]);
    set(&scene, b, UserSettings { invisible: true, ..UserSettings::default() }).await;
    assert_eq!(seen().await, [c]);
    set(&scene, b, UserSettings::default()).await;
    act(&scene, c, a, ContactAct::Block(true)).await.unwrap();
    assert_eq!(seen().await, [b]);
    // Whoever ends a friendship ends it for both, before the other is told.
    act(&scene, a, b, ContactAct::Remove).await.unwrap();
    assert_eq!(seen().await, []);
    assert_eq!(scene.store.filter_visible(b, vec![a]).await.unwrap(), []);
    assert_eq!(scene.append(tell(with_c, a, "a tell is no message")).await.unwrap().position, 2);
}
