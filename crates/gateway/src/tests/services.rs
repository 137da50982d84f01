//! Services that record what they are asked, and answer from a few tables.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use api::{
    AccountEnd, Announcement, AppendRequest, Arrival, Call, ConnectIdentity, FilterMembersRequest, GroupIds,
    GroupService, Groups, Identity, IncomingTarget, ListGroupsRequest, MessageService, OpenDirectRequest,
    PresenceService, SendRequest, SendResponse, SendResult, Services, Token, UserIds, UserService, Watched,
    send_result,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use protocol::{
    Error, Result,
    wire::{self, *},
};
use tokio::sync::Semaphore;

/// All four services in one.
pub(super) struct Fake {
    pub(super) state: Mutex<State>,
    /// A send whose text is `wait` takes a permit.
    pub(super) sends: Semaphore,
    /// Each look-up of members takes a permit.
    pub(super) checks: Semaphore,
    /// Each watch takes a permit.
    pub(super) watches: Semaphore,
    /// Called within `sync`.
    pub(super) on_sync: Mutex<Option<Arc<dyn Fn() + std::marker::Send + std::marker::Sync>>>,
}

#[derive(Default)]
pub(super) struct State {
    /// Texts, in the order appended, and the size of each batch.
    pub(super) sent: Vec<String>,
    pub(super) batches: Vec<usize>,
    pub(super) groups: HashMap<u64, Vec<u64>>,
    pub(super) members: HashMap<u64, HashSet<u64>>,
    pub(super) checked: Vec<Vec<u64>>,
    /// `+7` for an arrival of user 7, `-7` for a departure.
    pub(super) routes: Vec<String>,
    pub(super) visible: HashSet<u64>,
    /// Of the visible, those of whose changes nobody hears.
    pub(super) unfollowed: HashSet<u64>,
    /// What was announced, and by whom.
    pub(super) announced: Vec<(u64, Announcement)>,
    /// Who typed, searched, saved drafts and the like, by the request's name.
    pub(super) asked: Vec<(&'static str, u64)>,
    pub(super) suspended: Vec<Suspend>,
    pub(super) fail_checks: bool,
    /// When the time of the API keys shown from now on is over, milliseconds since 1970; 0: never.
    pub(super) keys_end_ms: i64,
    /// Sessions that end between the check of their token and the end of `connect`.
    pub(super) ended_meanwhile: HashSet<u64>,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            sends: Semaphore::new(0),
            checks: Semaphore::new(Semaphore::MAX_PERMITS),
            watches: Semaphore::new(Semaphore::MAX_PERMITS),
            on_sync: Mutex::default(),
        })
    }

    fn asked(&self, what: &'static str, call: &Call) -> Result<Done> {
        self.state.lock().asked.push((what, call.caller()?.user.get()));
        Ok(Done {})
    }

    pub(super) fn services(self: &Arc<Self>) -> Services {
        Services { user: self.clone(), message: self.clone(), group: self.clone(), presence: self.clone() }
    }
}

/// A user who is known by the id alone.
pub(super) const DELETED: u64 = 999;

pub(super) fn name_of(user: u64) -> String {
    format!("user-{user}")
}

fn user_of(name: &str) -> Option<u64> {
    name.to_lowercase().strip_prefix("user-")?.parse().ok().filter(|user| (1..=1_000).contains(user))
}

pub(super) fn info(user: u64) -> UserInfo {
    UserInfo { id: user, name: name_of(user), avatar: format!("mpim:{user}"), ..UserInfo::default() }
}

/// A user as services that know only ids write one.
fn nameless(user: u64) -> UserInfo {
    UserInfo { id: user, ..UserInfo::default() }
}

/// Tokens read `<user>.<session>`; API keys `<user>.<key>.<scope>,<scope>`.
fn identify(token: &str) -> Result<Identity> {
    let mut parts = token.split('.');
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    let (user, session) =
        number().zip(number()).ok_or_else(|| Error::new(ErrorCode::Unauthenticated, "that is no token"))?;
    let scopes = parts.flat_map(|scopes| scopes.split(',')).filter_map(Scope::from_str_name).map(Into::into).collect();
    Ok(Identity { user: Some(info(user)), session, scopes, expires_ms: 0 })
}

fn session(name: &str) -> Result<Session> {
    let id = user_of(name).ok_or_else(|| Error::new(ErrorCode::WrongCredentials, "name or password is wrong"))?;
    Ok(Session { id: id * 10, user: Some(info(id)), access_token: format!("{id}.{}", id * 10), ..Session::default() })
}

#[async_trait]
impl UserService for Fake {
    async fn register(&self, _: &Call, request: Register) -> Result<Session> {
        if request.name == "taken" {
            return Err(Error::new(ErrorCode::NameTaken, "the name is taken"));
        }
        session(&request.name)
    }

    async fn log_in(&self, _: &Call, request: LogIn) -> Result<Session> {
        session(&request.name)
    }

    async fn refresh(&self, _: &Call, _: Refresh) -> Result<Session> {
        session("user-1")
    }

    async fn authenticate(&self, _: &Call, token: Token) -> Result<Identity> {
        identify(&token.token)
    }

    async fn connect(&self, _: &Call, token: Token) -> Result<ConnectIdentity> {
        let mut identity = identify(&token.token)?;
        if !identity.scopes.is_empty() {
            identity.expires_ms = self.state.lock().keys_end_ms;
        }
        let identity = Some(identity);
        Ok(ConnectIdentity { identity, resume_token: token.token, resume_expires_ms: 5 })
    }

    async fn check_session(&self, _: &Call, identity: Identity) -> Result<Done> {
        if self.state.lock().ended_meanwhile.contains(&identity.session) {
            return Err(Error::new(ErrorCode::SessionEnded, "this session has ended"));
        }
        Ok(Done {})
    }

    async fn change_password(&self, _: &Call, _: ChangePassword) -> Result<Done> {
        Err(Error::unavailable("the disk is away"))
    }

    async fn list_sessions(&self, call: &Call, _: ListSessions) -> Result<Sessions> {
        let id = call.caller()?.session.get();
        Ok(Sessions { sessions: vec![SessionInfo { id, current: true, ..SessionInfo::default() }] })
    }

    async fn revoke_session(&self, _: &Call, _: RevokeSession) -> Result<Done> {
        Err(Error::new(ErrorCode::Forbidden, "not yours"))
    }

    async fn log_out(&self, call: &Call, _: LogOut) -> Result<Done> {
        call.caller().map(|_| Done {})
    }

    async fn find_users(&self, _: &Call, request: FindUsers) -> Result<Users> {
        let by_name = request.names.iter().filter_map(|name| user_of(name));
        let by_id = request.ids.iter().copied().filter(|id| (1..=1_000).contains(id));
        let of_id = |id| UserInfo { deleted: id == DELETED, ..info(id) };
        Ok(Users { users: by_id.map(of_id).chain(by_name.map(info)).collect(), next_page: String::new() })
    }

    async fn search_users(&self, call: &Call, _: SearchUsers) -> Result<Users> {
        self.asked("search_users", call).map(|_| Users::default())
    }

    async fn update_profile(&self, call: &Call, request: UpdateProfile) -> Result<Account> {
        let display_name = request.display_name.unwrap_or_default();
        let user = UserInfo { display_name, ..info(call.caller()?.user.get()) };
        Ok(Account { user: Some(user), ..Account::default() })
    }

    async fn rename(&self, call: &Call, request: Rename) -> Result<Account> {
        let user = UserInfo { name: request.name, ..info(call.caller()?.user.get()) };
        Ok(Account { user: Some(user), ..Account::default() })
    }

    async fn update_settings(&self, _: &Call, _: UpdateSettings) -> Result<Account> {
        Ok(Account::default())
    }

    async fn set_blocked(&self, call: &Call, request: SetBlocked) -> Result<Done> {
        if request.user == 404 {
            return Err(Error::not_found("user 404"));
        }
        self.asked("set_blocked", call)
    }

    async fn remove_friend(&self, call: &Call, _: RemoveFriend) -> Result<Done> {
        self.asked("remove_friend", call)
    }

    async fn request_friend(&self, call: &Call, _: RequestFriend) -> Result<Done> {
        self.asked("request_friend", call)
    }

    async fn delete_account(&self, call: &Call, request: DeleteAccount) -> Result<AccountEnd> {
        // The password says what is in the way.
        let owned = request.password.split(',').filter_map(|id| id.parse().ok()).collect();
        self.asked("delete_account", call).map(|_| AccountEnd { owned })
    }

    async fn list_bots(&self, _: &Call, _: ListBots) -> Result<Bots> {
        Ok(Bots::default())
    }

    async fn create_bot(&self, call: &Call, _: CreateBot) -> Result<Bot> {
        self.asked("create_bot", call).map(|_| Bot::default())
    }

    async fn report(&self, call: &Call, _: Report) -> Result<Done> {
        self.asked("report", call)
    }

    /// The bot of the token `hook-<user>` writes into conversation 77.
    async fn open_incoming_webhook(&self, _: &Call, token: Token) -> Result<IncomingTarget> {
        let bot = token.token.strip_prefix("hook-").and_then(|bot| bot.parse().ok());
        let bot = bot.ok_or_else(|| Error::not_found("such a webhook"))?;
        let scopes = vec![Scope::Write.into()];
        let identity = Identity { user: Some(info(bot)), session: 1, scopes, expires_ms: 0 };
        Ok(IncomingTarget { identity: Some(identity), conversation: 77 })
    }

    async fn suspend(&self, call: &Call, request: Suspend) -> Result<Done> {
        assert!(call.caller.is_none());
        self.state.lock().suspended.push(request);
        Ok(Done {})
    }

    async fn list_reports(&self, _: &Call, request: ListReports) -> Result<Reports> {
        let report = FiledReport { id: 5, closed: request.closed, ..FiledReport::default() };
        Ok(Reports { reports: vec![report] })
    }

    async fn close_report(&self, _: &Call, request: CloseReport) -> Result<Done> {
        Err(Error::not_found(format_args!("report {}", request.report)))
    }
}

#[async_trait]
impl MessageService for Fake {
    async fn send(&self, _: &Call, request: SendRequest) -> Result<SendResponse> {
        let text = |send: &Send| send.content.as_ref().and_then(protocol::RawContent::text).unwrap_or_default();
        let texts: Vec<String> = request.sends.iter().map(text).collect();
        self.state.lock().batches.push(texts.len());
        let mut results = Vec::new();
        for (send, text) in request.sends.into_iter().zip(texts) {
            if text == "wait" {
                self.sends.acquire().await.unwrap().forget();
            }
            // Lets others run, so that a batch takes its time.
            tokio::task::yield_now().await;
            let conversation = match send.target {
                Some(send::Target::Conversation(conversation)) => conversation,
                None => 404,
                other => panic!("the gateway resolves names: {other:?}"),
            };
            let mut state = self.state.lock();
            state.sent.push(text);
            let position = state.sent.len() as u64;
            let result = if conversation == 404 {
                send_result::Result::Error(Error::not_member().into())
            } else {
                send_result::Result::Sent(Sent { conversation, position, time_ms: 77 })
            };
            results.push(SendResult { result: Some(result) });
        }
        Ok(SendResponse { results })
    }

    async fn append(&self, _: &Call, _: AppendRequest) -> Result<Sent> {
        unreachable!("for services only")
    }

    async fn open_direct(&self, _: &Call, request: OpenDirectRequest) -> Result<Conversation> {
        let peer = Some(nameless(request.peer));
        Ok(Conversation {
            id: 10_000 + request.peer,
            kind: ConversationKind::Direct.into(),
            peer,
            ..Default::default()
        })
    }

    async fn history(&self, _: &Call, request: History) -> Result<HistoryPage> {
        if request.conversation == 1 {
            std::future::pending::<()>().await;
        }
        let content = Some(wire::content::Kind::Text(Text { body: "天气 \u{1f326}".into() }).into());
        let entry = Entry { position: 1 << 60, id: "x".into(), sender: 7, time_ms: 9, content };
        let size = if request.limit == 500 { 500 } else { 1 };
        Ok(HistoryPage { conversation: request.conversation, entries: vec![entry; size], last_position: 1 << 60 })
    }

    async fn fetch(&self, _: &Call, _: Fetch) -> Result<Fetched> {
        Ok(Fetched::default())
    }

    async fn sync(&self, call: &Call, _: Sync) -> Result<SyncPage> {
        let on_sync = self.on_sync.lock().clone();
        if let Some(on_sync) = on_sync {
            on_sync();
            // Time for what was published to come through.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
        let user = call.caller()?.user.get();
        let groups = self.state.lock().groups.get(&user).cloned().unwrap_or_default();
        let head = |conversation| Head { conversation: Some(conversation), last_position: 3, ..Head::default() };
        let peer = Some(nameless(9));
        let direct = Conversation { id: 10_009, kind: ConversationKind::Direct.into(), peer, ..Default::default() };
        let groups = groups.into_iter().map(|id| Conversation {
            id,
            kind: ConversationKind::Group.into(),
            ..Default::default()
        });
        let heads = std::iter::once(direct).chain(groups).map(head).collect();
        Ok(SyncPage { heads, next_page: String::new(), cursor: "42".into() })
    }

    async fn read(&self, _: &Call, _: Read) -> Result<Done> {
        Ok(Done {})
    }

    async fn typing(&self, call: &Call, _: Typing) -> Result<Done> {
        self.asked("typing", call)
    }

    async fn save_draft(&self, call: &Call, _: SaveDraft) -> Result<Done> {
        self.asked("save_draft", call)
    }

    async fn list_bans(&self, _: &Call, _: ListBans) -> Result<UserIds> {
        Ok(UserIds { ids: vec![8, 2_000] })
    }

    async fn list_receipts(&self, _: &Call, _: ListReceipts) -> Result<Receipts> {
        let receipt = Receipt { user: Some(nameless(8)), ..Receipt::default() };
        Ok(Receipts { members: 1, receipts: vec![receipt], ..Receipts::default() })
    }

    async fn list_groups(&self, call: &Call, _: ListGroupsRequest) -> Result<GroupIds> {
        let user = call.caller()?.user.get();
        Ok(GroupIds { ids: self.state.lock().groups.get(&user).cloned().unwrap_or_default() })
    }

    async fn list_members(&self, _: &Call, request: ListMembers) -> Result<Members> {
        let member = |id| Member { user: Some(nameless(id)), ..Member::default() };
        let mut ids: Vec<u64> = self.state.lock().members.get(&request.group).into_iter().flatten().copied().collect();
        ids.sort_unstable();
        Ok(Members { total: ids.len() as u64, members: ids.into_iter().map(member).collect() })
    }

    async fn filter_members(&self, _: &Call, mut request: FilterMembersRequest) -> Result<UserIds> {
        self.checks.acquire().await.unwrap().forget();
        request.users.sort_unstable();
        let mut state = self.state.lock();
        state.checked.push(request.users.clone());
        if state.fail_checks {
            return Err(Error::unavailable("the database is away"));
        }
        let members = state.members.get(&request.conversation).cloned().unwrap_or_default();
        Ok(UserIds { ids: request.users.into_iter().filter(|user| members.contains(user)).collect() })
    }

    async fn filter_visible(&self, _: &Call, request: UserIds) -> Result<UserIds> {
        Ok(request)
    }
}

#[async_trait]
impl GroupService for Fake {
    async fn create_group(&self, _: &Call, request: CreateGroup) -> Result<Conversation> {
        Ok(Conversation { id: 5_000, title: request.title, ..Default::default() })
    }

    async fn invite(&self, _: &Call, _: Invite) -> Result<Done> {
        Ok(Done {})
    }

    async fn join_group(&self, _: &Call, request: JoinGroup) -> Result<Joined> {
        Err(Error::not_found(format_args!("group {}", request.group)))
    }

    async fn leave_group(&self, _: &Call, _: LeaveGroup) -> Result<Done> {
        Err(Error::not_member())
    }

    async fn get_group(&self, call: &Call, request: GetGroup) -> Result<GroupInfo> {
        let Some(get_group::By::Group(id)) = request.by else { return Err(Error::invalid("by is missing")) };
        let me = Member { user: Some(nameless(call.caller()?.user.get())), ..Member::default() };
        let conversation = Conversation { id, title: "the title".into(), ..Conversation::default() };
        Ok(GroupInfo { conversation: Some(conversation), me: (id == 300).then_some(me), ..GroupInfo::default() })
    }

    async fn list_join_requests(&self, _: &Call, _: ListJoinRequests) -> Result<JoinRequests> {
        let request = JoinRequest { user: Some(nameless(9)), ..JoinRequest::default() };
        Ok(JoinRequests { requests: vec![request] })
    }

    async fn find_groups(&self, _: &Call, request: GroupIds) -> Result<Groups> {
        let title = |id| Conversation {
            id,
            title: format!("group-{id}"),
            avatar: format!("mpim:{id}"),
            ..Conversation::default()
        };
        Ok(Groups { groups: request.ids.into_iter().map(title).collect() })
    }
}

#[async_trait]
impl PresenceService for Fake {
    async fn arrive(&self, call: &Call, arrival: Arrival) -> Result<Done> {
        let user = call.caller()?.user;
        tokio::task::yield_now().await;
        self.state.lock().routes.push(format!("+{user}{}", if arrival.away { " away" } else { "" }));
        Ok(Done {})
    }

    async fn leave(&self, call: &Call, _: Arrival) -> Result<Done> {
        let user = call.caller()?.user;
        tokio::task::yield_now().await;
        self.state.lock().routes.push(format!("-{user}"));
        Ok(Done {})
    }

    async fn announce(&self, call: &Call, announcement: Announcement) -> Result<Done> {
        self.state.lock().announced.push((call.caller()?.user.get(), announcement));
        Err(Error::unavailable("nobody minds"))
    }

    async fn watch(&self, _: &Call, request: WatchPresence) -> Result<Watched> {
        self.watches.acquire().await.unwrap().forget();
        let state = self.state.lock();
        let mut followed: Vec<u64> = request.users.into_iter().filter(|user| state.visible.contains(user)).collect();
        let presences = followed.iter().map(|&user| Presence { user, seen_ms: 1, ..Presence::default() }).collect();
        followed.retain(|user| !state.unfollowed.contains(user));
        Ok(Watched { presences: Some(Presences { presences }), followed })
    }
}
