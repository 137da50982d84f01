//! A request for each limit, one over it; and for what may not be empty, or hold NUL.

use client::{
    EntryId, UserId,
    wire::{self, JoinPolicy, client_frame::Body as Request, content::Kind},
};
use protocol::limits;

use crate::{
    device::{Device, Online},
    process::Process,
};

/// Somebody with a group and a conversation.
pub struct Scene {
    token: String,
    user: UserId,
    online: Online,
    group: u64,
    direct: u64,
}

type Named = (String, Request);

impl Scene {
    pub async fn start(process: &Process) -> Self {
        let name = format!("b{}", &EntryId::generate().to_string().replace('-', "")[8..]);
        let session = client::register(&process.server(), &name, "password", "device").await.unwrap();
        let token = session.access_token.clone();
        let device = Device::new(session);
        let online = device.go_online(&process.server());
        let group = online.client.create_group("group", &[], JoinPolicy::Open, EntryId::generate()).await.unwrap();
        let direct = online.client.open_direct_with(device.user()).await.unwrap();
        Self { token, user: device.user(), online, group: group.id, direct: direct.id }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Writes a conversation that is a long read.
    pub async fn fill(&self, _process: &Process) {
        let conversation = client::ConversationId::new(self.direct);
        for _ in 0..8 {
            self.online.send(conversation, &"x".repeat(limits::TEXT_BYTES_MAX)).await;
        }
    }

    pub fn long_history(&self) -> Request {
        Request::History(wire::History { conversation: self.direct, from: None, limit: limits::PAGE_ENTRIES_MAX })
    }

    pub fn requests(&self) -> Vec<Named> {
        let mut all = self.contents();
        all.extend(self.conversations());
        all.extend(self.groups());
        all.extend(self.people());
        all
    }

    fn send(&self, what: &str, content: wire::Content) -> Named {
        let target = Some(wire::send::Target::Conversation(self.group));
        let send = wire::Send { target, id: id(), content: Some(content.into()), forward_of: None };
        (what.to_owned(), Request::Send(send))
    }

    fn contents(&self) -> Vec<Named> {
        let kind = |kind: Kind| wire::Content { kind: Some(kind), ..wire::Content::default() };
        let text = |body: String| kind(Kind::Text(wire::Text { body }));
        let link = |link: wire::Link| kind(Kind::Link(wire::Link { url: "https://example.org/".into(), ..link }));
        let long_url = format!("https://{}", over(limits::URL_BYTES_MAX));
        let custom = |r#type: String, json: String, fallback: String| {
            kind(Kind::Custom(wire::Custom { r#type, json, fallback }))
        };
        let opaque = |payload: usize, keys: usize, key: usize| {
            let keys = (0..keys as u64).map(|session| (session, vec![7; key].into())).collect();
            kind(Kind::Opaque(wire::Opaque { r#type: "mls".into(), payload: vec![7; payload].into(), keys }))
        };
        let mentions = wire::Mentions { users: (1..=limits::MENTIONS_MAX as u64 + 1).collect(), everyone: false };
        let reaction =
            |reaction: String| kind(Kind::Reaction(wire::Reaction { position: 1, reaction, removed: false }));
        let card = |title: String, avatar: String| {
            kind(Kind::Card(wire::Card { of: Some(wire::card::Of::User(self.user.get())), title, avatar }))
        };
        let none = String::new;
        vec![
            self.send("an empty text", text(none())),
            self.send("a text with NUL", text("a\0b".into())),
            self.send("a long text", text(over(limits::TEXT_BYTES_MAX))),
            self.send("no content", wire::Content::default()),
            self.send("a link to nothing", kind(Kind::Link(wire::Link::default()))),
            self.send("a long link", kind(Kind::Link(wire::Link { url: long_url.clone(), ..Default::default() }))),
            self.send("a long image", link(wire::Link { image: long_url, ..Default::default() })),
            self.send(
                "a long link title",
                link(wire::Link { title: over(limits::LINK_TITLE_CHARS_MAX), ..Default::default() }),
            ),
            self.send(
                "a long link description",
                link(wire::Link { description: over(limits::LINK_DESCRIPTION_CHARS_MAX), ..Default::default() }),
            ),
            self.send("a long card title", card(over(limits::CARD_TITLE_CHARS_MAX), none())),
            self.send("a long card picture", card(none(), over(limits::AVATAR_BYTES_MAX))),
            self.send("a long type", custom(over(limits::CONTENT_TYPE_BYTES_MAX), "{}".into(), none())),
            self.send("no type", custom(none(), "{}".into(), none())),
            self.send("long JSON", custom("t".into(), format!("\"{}\"", over(limits::CUSTOM_JSON_BYTES_MAX)), none())),
            self.send("a long fallback", custom("t".into(), "{}".into(), over(limits::CUSTOM_FALLBACK_CHARS_MAX))),
            self.send("an empty payload", opaque(0, 0, 0)),
            self.send("a long payload", opaque(limits::OPAQUE_PAYLOAD_BYTES_MAX + 1, 0, 0)),
            self.send("many keys", opaque(1, limits::OPAQUE_KEYS_MAX + 1, 1)),
            self.send("a long key", opaque(1, 1, limits::OPAQUE_KEY_BYTES_MAX + 1)),
            self.send("a large content", opaque(limits::OPAQUE_PAYLOAD_BYTES_MAX, 32, limits::OPAQUE_KEY_BYTES_MAX)),
            self.send("many mentions", wire::Content { mentions: Some(mentions), ..text("hi".into()) }),
            self.send("an empty reaction", reaction(none())),
            self.send("a long reaction", reaction(over(limits::REACTION_BYTES_MAX))),
            self.send("a change of position 0", kind(Kind::Recall(wire::Recall { position: 0 }))),
            self.send("a change far away", kind(Kind::Pin(wire::Pin { position: u64::MAX, removed: false }))),
            self.send("what servers write", kind(Kind::GroupDissolved(wire::GroupDissolved {}))),
        ]
    }

    fn conversations(&self) -> Vec<Named> {
        let conversation = self.group;
        let history = |limit: u32| wire::History { conversation, from: None, limit };
        let draft = |text: String| {
            let draft = Some(wire::Draft { text, ..wire::Draft::default() });
            Request::SaveDraft(wire::SaveDraft { id: id(), conversation, draft })
        };
        let search = |query: String, limit: u32| {
            Request::Search(wire::Search { conversation, query, limit, ..wire::Search::default() })
        };
        let sync = |limit: u32, entries: u32, cursor: &str| {
            Request::Sync(wire::Sync { limit, entries, cursor: cursor.into(), ..wire::Sync::default() })
        };
        let marks = vec![wire::Mark { conversation, position: 1 }; limits::DELIVER_MARKS_MAX + 1];
        let delete = |positions: Vec<u64>, up_to: u64| {
            Request::DeleteForMe(wire::DeleteForMe { id: id(), conversation, positions, up_to })
        };
        let histories = vec![history(1); limits::FETCH_HISTORIES_MAX + 1];
        let many = |count: usize| (1..=count as u64 + 1).collect::<Vec<_>>();
        let changes = many(limits::CHANGES_POSITIONS_MAX);
        named(vec![
            ("a long page", Request::History(history(limits::PAGE_ENTRIES_MAX + 1))),
            ("many histories", Request::Fetch(wire::Fetch { histories })),
            ("many heads", sync(limits::SYNC_HEADS_MAX + 1, 0, "")),
            ("many entries of each", sync(0, limits::SYNC_ENTRIES_MAX + 1, "")),
            ("a cursor from elsewhere", sync(0, 0, "99999999999999999999")),
            ("many marks", Request::Deliver(wire::Deliver { marks })),
            (
                "many changes",
                Request::ListChanges(wire::ListChanges { conversation, positions: changes, ..Default::default() }),
            ),
            ("an empty search", search(String::new(), 0)),
            ("a long search", search(over(limits::SEARCH_CHARS_MAX), 0)),
            ("many found", search("x".into(), limits::SEARCH_PAGE_MAX + 1)),
            ("a long draft", draft(over(limits::DRAFT_BYTES_MAX))),
            ("a draft with NUL", draft("a\0b".into())),
            ("many deleted", delete(many(limits::DELETE_POSITIONS_MAX), 0)),
            ("nothing deleted", delete(Vec::new(), 0)),
            ("deleted beyond the end", delete(Vec::new(), u64::MAX)),
        ])
    }

    fn groups(&self) -> Vec<Named> {
        let group = self.group;
        let create = |title: String, members: Vec<u64>| {
            Request::CreateGroup(wire::CreateGroup { id: id(), title, members, ..wire::CreateGroup::default() })
        };
        let update = |change: wire::GroupChanged| {
            Request::UpdateGroup(wire::UpdateGroup { id: id(), group, change: Some(change) })
        };
        let many = || (1..=limits::INVITE_MAX as u64 + 1).collect::<Vec<_>>();
        let members = wire::ListMembers { group, limit: limits::MEMBERS_PAGE_MAX + 1, ..Default::default() };
        let nickname = |nickname: String| Request::SetNickname(wire::SetNickname { id: id(), group, nickname });
        let changed = wire::GroupChanged::default;
        named(vec![
            ("no title", create(String::new(), Vec::new())),
            ("a long title", create(over(limits::TITLE_CHARS_MAX), Vec::new())),
            ("a title with NUL", create("a\0b".into(), Vec::new())),
            ("many members", create("t".into(), many())),
            ("many invited", Request::Invite(wire::Invite { id: id(), group, users: many() })),
            ("no id", Request::SetNickname(wire::SetNickname { id: String::new(), group, nickname: "n".into() })),
            ("many members in a page", Request::ListMembers(members)),
            ("no change", update(changed())),
            (
                "a long description",
                update(wire::GroupChanged {
                    description: Some(over(limits::GROUP_DESCRIPTION_CHARS_MAX)),
                    ..changed()
                }),
            ),
            (
                "a long announcement",
                update(wire::GroupChanged {
                    announcement: Some(over(limits::GROUP_ANNOUNCEMENT_CHARS_MAX)),
                    ..changed()
                }),
            ),
            (
                "a long picture",
                update(wire::GroupChanged {
                    avatar: Some(format!("https:{}", over(limits::AVATAR_BYTES_MAX))),
                    ..changed()
                }),
            ),
            ("a long nickname", nickname(over(limits::NICKNAME_CHARS_MAX))),
            ("a nickname with NUL", nickname("a\0b".into())),
            (
                "muted before 1970",
                Request::MuteMembers(wire::MuteMembers { id: id(), group, users: vec![1], until_ms: -1 }),
            ),
        ])
    }

    fn people(&self) -> Vec<Named> {
        let user = self.user.get();
        let register = |name: String, password: usize| {
            Request::Register(wire::Register { name, password: "p".repeat(password), device: String::new() })
        };
        let profile = |profile: wire::UpdateProfile| Request::UpdateProfile(profile);
        let none = wire::UpdateProfile::default;
        let find = wire::FindUsers { ids: (1..=limits::FIND_USERS_MAX as u64 + 1).collect(), names: Vec::new() };
        let search = |query: String, limit: u32| {
            Request::SearchUsers(wire::SearchUsers { query, limit, ..wire::SearchUsers::default() })
        };
        let remark = |remark: String| Request::SetRemark(wire::SetRemark { id: id(), user, remark });
        let report = wire::Report {
            id: id(),
            what: Some(wire::report::What::User(user)),
            text: over(limits::REPORT_CHARS_MAX),
            ..wire::Report::default()
        };
        let watch = (1..=limits::WATCH_USERS_MAX as u64 + 1).collect();
        let device =
            wire::LogIn { name: "witness".into(), password: "password".into(), device: over(limits::DEVICE_CHARS_MAX) };
        named(vec![
            ("no name", register(String::new(), 8)),
            ("a long name", register(over(limits::NAME_CHARS_MAX), 8)),
            ("a name with NUL", register("a\0b".into(), 8)),
            ("a short password", register("somebody".into(), limits::PASSWORD_BYTES_MIN - 1)),
            ("a long password", register("somebody".into(), limits::PASSWORD_BYTES_MAX + 1)),
            ("a long device", Request::LogIn(device)),
            (
                "a long display name",
                profile(wire::UpdateProfile { display_name: Some(over(limits::DISPLAY_NAME_CHARS_MAX)), ..none() }),
            ),
            (
                "a long avatar",
                profile(wire::UpdateProfile {
                    avatar: Some(format!("https:{}", over(limits::AVATAR_BYTES_MAX))),
                    ..none()
                }),
            ),
            (
                "a long status line",
                profile(wire::UpdateProfile { status_line: Some(over(limits::STATUS_LINE_CHARS_MAX)), ..none() }),
            ),
            (
                "a long language",
                profile(wire::UpdateProfile { language: Some(over(limits::LANGUAGE_BYTES_MAX)), ..none() }),
            ),
            ("a display name with NUL", profile(wire::UpdateProfile { display_name: Some("a\0b".into()), ..none() })),
            ("many users", Request::FindUsers(find)),
            ("an empty search for users", search(String::new(), 0)),
            ("a long search for users", search(over(limits::SEARCH_USERS_QUERY_CHARS_MAX), 0)),
            ("many users found", search("x".into(), limits::SEARCH_USERS_MAX + 1)),
            ("a long remark", remark(over(limits::REMARK_CHARS_MAX))),
            ("a remark with NUL", remark("a\0b".into())),
            ("a long report", Request::Report(report)),
            ("many watched", Request::WatchPresence(wire::WatchPresence { users: watch })),
            (
                "friends with oneself",
                Request::RequestFriend(wire::RequestFriend { id: id(), user, message: String::new() }),
            ),
        ])
    }
}

fn named(requests: Vec<(&str, Request)>) -> Vec<Named> {
    requests.into_iter().map(|(what, request)| (what.to_owned(), request)).collect()
}

/// One more than allowed.
fn over(limit: usize) -> String {
    "x".repeat(limit + 1)
}

fn id() -> String {
    EntryId::generate().to_string()
}
