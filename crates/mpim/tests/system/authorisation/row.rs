//! A sample of every request, and what each asker is to be answered.

use client::{
    EntryId,
    wire::{self, ErrorCode, Role, client_frame::Body as Request, content::Kind},
};

use super::scene::{Actor, Cell, PASSWORD, new_id, text};

type Outcome = Result<(), ErrorCode>;

/// A year that no test sees.
const FAR_MS: i64 = 4_000_000_000_000;

/// One request of each kind, of `send` one for each kind of content and place, for the asker of a cell.
pub fn samples(cell: &Cell<'_>) -> Vec<Request> {
    let mut samples = accounts(cell);
    samples.extend(conversations(cell));
    samples.extend(groups(cell));
    samples.extend(bots(cell));
    samples
}

fn accounts(cell: &Cell<'_>) -> Vec<Request> {
    let (scene, user) = (cell.scene, cell.scene.account(Actor::Target).id);
    let id = new_id;
    let fresh = format!("n{}", EntryId::generate().to_string().replace('-', "").split_off(8));
    vec![
        Request::Register(wire::Register { name: fresh, password: PASSWORD.into(), device: String::new() }),
        Request::LogIn(wire::LogIn {
            name: scene.writer.name.clone(),
            password: PASSWORD.into(),
            device: String::new(),
        }),
        Request::Refresh(wire::Refresh { refresh_token: "no such token".into(), id: id() }),
        Request::Connect(wire::Connect::default()),
        Request::Ping(wire::Ping {}),
        // With a wrong password: the right one would change the scene.
        Request::ChangePassword(wire::ChangePassword { old_password: "wrong".into(), new_password: PASSWORD.into() }),
        Request::DeleteAccount(wire::DeleteAccount { password: "wrong".into() }),
        Request::ListSessions(wire::ListSessions {}),
        Request::RevokeSession(wire::RevokeSession { session: scene.writer.session }),
        Request::FindUsers(wire::FindUsers { ids: vec![user], names: Vec::new() }),
        Request::SearchUsers(wire::SearchUsers { query: "tar".into(), ..Default::default() }),
        Request::GetAccount(wire::GetAccount {}),
        Request::UpdateProfile(wire::UpdateProfile { status_line: Some("here".into()), ..Default::default() }),
        Request::UpdateSettings(wire::UpdateSettings { id: id(), write_policy: Some(0), invisible: None }),
        // To the name one has.
        Request::Rename(wire::Rename { name: cell.account().name.clone() }),
        Request::RequestFriend(wire::RequestFriend { id: id(), user: scene.writer.id, message: String::new() }),
        Request::AnswerFriend(wire::AnswerFriend { id: id(), user: scene.keeper.id, accept: true }),
        Request::WithdrawFriend(wire::WithdrawFriend { id: id(), user: scene.keeper.id }),
        Request::RemoveFriend(wire::RemoveFriend { id: id(), user: scene.keeper.id }),
        Request::SetRemark(wire::SetRemark { id: id(), user: scene.writer.id, remark: "w".into() }),
        Request::SetBlocked(wire::SetBlocked { id: id(), user: scene.keeper.id, blocked: false }),
        Request::ListContacts(wire::ListContacts::default()),
        Request::WatchPresence(wire::WatchPresence { users: vec![user] }),
        Request::SetAway(wire::SetAway { away: true }),
        Request::Report(wire::Report {
            id: id(),
            what: Some(wire::report::What::Message(wire::ReportedMessage {
                conversation: cell.group,
                position: cell.foreign,
            })),
            reason: wire::ReportReason::Spam.into(),
            text: String::new(),
        }),
        // Asked by a session that is made for it.
        Request::LogOut(wire::LogOut {}),
    ]
}

fn conversations(cell: &Cell<'_>) -> Vec<Request> {
    let (conversation, id) = (cell.group, new_id);
    let target = cell.scene.account(Actor::Target).id;
    let change = |kind: Kind| Request::Send(wire::Send { content: Some(kind.into()), ..text(conversation, "") });
    let edited = Kind::Text(wire::Text { body: "other words".into() });
    vec![
        Request::OpenDirect(wire::OpenDirect { peer: Some(wire::open_direct::Peer::User(target)) }),
        Request::Send(text(conversation, "to the group")),
        Request::Send(text(cell.direct, "to one")),
        change(Kind::Edit(wire::Edit { position: cell.own, content: Some(Box::new(edited.into())) })),
        change(Kind::Recall(wire::Recall { position: cell.foreign })),
        change(Kind::Reaction(wire::Reaction { position: cell.foreign, reaction: "👍".into(), removed: false })),
        change(Kind::Pin(wire::Pin { position: cell.foreign, removed: false })),
        change(Kind::GroupDissolved(wire::GroupDissolved {})),
        Request::History(wire::History { conversation, from: None, limit: 1 }),
        Request::Fetch(wire::Fetch { histories: vec![wire::History { conversation, from: None, limit: 1 }] }),
        Request::Sync(wire::Sync::default()),
        Request::Read(wire::Read { conversation, position: 1 }),
        Request::Deliver(wire::Deliver { marks: vec![wire::Mark { conversation, position: 1 }] }),
        Request::ListReceipts(wire::ListReceipts { conversation, position: cell.own, ..Default::default() }),
        Request::ListChanges(wire::ListChanges { conversation, positions: vec![1], ..Default::default() }),
        Request::ListPins(wire::ListPins { conversation }),
        Request::Search(wire::Search { conversation, query: "words".into(), ..Default::default() }),
        Request::SetConversation(wire::SetConversation { id: id(), conversation, settings: Some(Default::default()) }),
        Request::SaveDraft(wire::SaveDraft {
            id: id(),
            conversation,
            draft: Some(wire::Draft { text: "not yet".into(), ..Default::default() }),
        }),
        Request::DeleteForMe(wire::DeleteForMe { id: id(), conversation, positions: vec![1], up_to: 0 }),
        Request::Typing(wire::Typing { conversation }),
    ]
}

fn groups(cell: &Cell<'_>) -> Vec<Request> {
    let (group, id, scene) = (cell.group, new_id, cell.scene);
    let (writer, keeper) = (scene.writer.id, scene.keeper.id);
    vec![
        Request::CreateGroup(wire::CreateGroup { id: id(), title: "another".into(), ..Default::default() }),
        Request::Invite(wire::Invite { id: id(), group, users: vec![keeper] }),
        Request::JoinGroup(wire::JoinGroup { id: id(), group, ..Default::default() }),
        Request::LeaveGroup(wire::LeaveGroup { id: id(), group }),
        Request::ListMembers(wire::ListMembers { group, ..Default::default() }),
        Request::GetGroup(wire::GetGroup { by: Some(wire::get_group::By::Group(group)) }),
        Request::UpdateGroup(wire::UpdateGroup {
            id: id(),
            group,
            change: Some(wire::GroupChanged { title: Some("new".into()), ..Default::default() }),
        }),
        Request::RemoveMembers(wire::RemoveMembers { id: id(), group, users: vec![writer], ban: false }),
        Request::LiftBans(wire::LiftBans { id: id(), group, users: vec![scene.account(Actor::Banned).id] }),
        Request::ListBans(wire::ListBans { group, ..Default::default() }),
        Request::SetRole(wire::SetRole { id: id(), group, user: writer, role: Role::Admin.into() }),
        Request::TransferGroup(wire::TransferGroup { id: id(), group, user: writer }),
        Request::MuteMembers(wire::MuteMembers { id: id(), group, users: vec![writer], until_ms: FAR_MS }),
        Request::SetNickname(wire::SetNickname { id: id(), group, nickname: "nick".into() }),
        Request::DissolveGroup(wire::DissolveGroup { id: id(), group }),
        Request::AnswerJoin(wire::AnswerJoin { id: id(), group, user: keeper, admit: true }),
        Request::ListJoinRequests(wire::ListJoinRequests { group, ..Default::default() }),
        Request::CreateGroupLink(wire::CreateGroupLink { id: id(), group, expires_ms: FAR_MS, uses_max: 1 }),
        Request::ListGroupLinks(wire::ListGroupLinks { group }),
        Request::RevokeGroupLink(wire::RevokeGroupLink { group, code: "no such code".into() }),
    ]
}

fn bots(cell: &Cell<'_>) -> Vec<Request> {
    let (id, bot) = (new_id, cell.scene.account(Actor::Bot).id);
    let name = format!("b{}", EntryId::generate().to_string().replace('-', "").split_off(8));
    vec![
        Request::CreateBot(wire::CreateBot { id: id(), name, display_name: String::new() }),
        Request::ListBots(wire::ListBots {}),
        Request::DeleteBot(wire::DeleteBot { bot }),
        Request::CreateApiKey(wire::CreateApiKey {
            id: id(),
            bot,
            label: "mine".into(),
            scopes: vec![wire::Scope::Read.into()],
            expires_ms: 0,
        }),
        Request::ListApiKeys(wire::ListApiKeys { bot }),
        Request::RevokeApiKey(wire::RevokeApiKey { bot, key: cell.scene.key }),
        Request::CreateWebhook(wire::CreateWebhook { id: id(), bot, url: "https://example.com/".into() }),
        Request::ListWebhooks(wire::ListWebhooks { bot }),
        Request::DeleteWebhook(wire::DeleteWebhook { webhook: 1 }),
        Request::ListDeadLetters(wire::ListDeadLetters { webhook: 1, ..Default::default() }),
        Request::Redeliver(wire::Redeliver { webhook: 1, letters: Vec::new() }),
        Request::CreateIncomingWebhook(wire::CreateIncomingWebhook {
            id: id(),
            bot,
            conversation: cell.group,
            label: "mine".into(),
        }),
        Request::ListIncomingWebhooks(wire::ListIncomingWebhooks { bot }),
        Request::DeleteIncomingWebhook(wire::DeleteIncomingWebhook { webhook: 1 }),
    ]
}

/// What the asker is to be answered. No arm for «all others»: whoever adds a request decides.
pub fn outcome(request: &Request, actor: Actor) -> Outcome {
    use ErrorCode::{Conflict, Forbidden, Invalid, NotFound, Unauthenticated, UnknownRequest};
    match request {
        // Before there is anybody to ask: the same for all.
        Request::Register(_) | Request::LogIn(_) | Request::Ping(_) => Ok(()),
        Request::Refresh(_) => Err(Unauthenticated),
        // Over HTTP.
        Request::Connect(_) | Request::WatchPresence(_) | Request::SetAway(_) => Err(UnknownRequest),

        // For people only.
        Request::ListSessions(_) | Request::Rename(_) | Request::CreateBot(_) | Request::ListBots(_) => {
            person(actor, Ok(()))
        }
        Request::LogOut(_) => person(actor, Ok(())),
        Request::ChangePassword(_) | Request::DeleteAccount(_) => person(actor, Err(Forbidden)),
        Request::RevokeSession(_)
        | Request::DeleteBot(_)
        | Request::CreateApiKey(_)
        | Request::ListApiKeys(_)
        | Request::RevokeApiKey(_)
        | Request::CreateWebhook(_)
        | Request::ListWebhooks(_)
        | Request::DeleteWebhook(_)
        | Request::ListDeadLetters(_)
        | Request::Redeliver(_)
        | Request::CreateIncomingWebhook(_)
        | Request::ListIncomingWebhooks(_)
        | Request::DeleteIncomingWebhook(_) => person(actor, Err(NotFound)),

        // For everybody with an account, of another user or of nobody in particular.
        Request::FindUsers(_)
        | Request::SearchUsers(_)
        | Request::SetRemark(_)
        | Request::SetBlocked(_)
        | Request::ListContacts(_)
        | Request::OpenDirect(_)
        | Request::Sync(_)
        | Request::Fetch(_)
        | Request::Read(_)
        | Request::Deliver(_)
        | Request::CreateGroup(_)
        | Request::RequestFriend(_)
        | Request::GetGroup(_) => anybody(actor, Ok(())),
        Request::GetAccount(_) | Request::UpdateProfile(_) | Request::UpdateSettings(_) => match actor {
            Actor::BotWithoutScope => Ok(()),
            actor => anybody(actor, Ok(())),
        },
        Request::AnswerFriend(_) | Request::WithdrawFriend(_) | Request::RemoveFriend(_) => {
            anybody(actor, Err(Conflict))
        }

        Request::Send(send) => sent(send, actor),

        // For members.
        Request::History(_)
        | Request::ListChanges(_)
        | Request::ListPins(_)
        | Request::Search(_)
        | Request::SetConversation(_)
        | Request::SaveDraft(_)
        | Request::DeleteForMe(_)
        | Request::Typing(_)
        | Request::ListMembers(_)
        | Request::Invite(_)
        | Request::SetNickname(_)
        | Request::Report(_) => member(actor, Ok(())),
        Request::ListReceipts(_) => member(actor, Ok(())),
        Request::LeaveGroup(_) => match actor {
            Actor::Owner => Err(Forbidden),
            actor => member(actor, Ok(())),
        },
        Request::JoinGroup(_) => match actor {
            Actor::Banned => Err(ErrorCode::Banned),
            actor => anybody(actor, Ok(())),
        },

        // For owner and admins, or the owner alone.
        // Nobody lifts their own.
        Request::LiftBans(_) if actor == Actor::Banned => Err(Invalid),
        Request::UpdateGroup(_)
        | Request::RemoveMembers(_)
        | Request::LiftBans(_)
        | Request::ListBans(_)
        | Request::MuteMembers(_)
        | Request::ListJoinRequests(_)
        | Request::CreateGroupLink(_)
        | Request::ListGroupLinks(_) => admin(actor, Ok(())),
        Request::AnswerJoin(_) => admin(actor, Err(Conflict)),
        Request::RevokeGroupLink(_) => admin(actor, Err(NotFound)),
        Request::SetRole(_) | Request::TransferGroup(_) | Request::DissolveGroup(_) => match actor {
            Actor::Admin => Err(Forbidden),
            actor => admin(actor, Ok(())),
        },
    }
}

/// By its content, and whether it goes to the group.
fn sent(send: &wire::Send, actor: Actor) -> Outcome {
    use ErrorCode::{Invalid, Muted};
    let kind = send.content.as_ref().and_then(|content| content.view().ok()?.kind);
    match kind {
        // To the target in person: the blocked are answered as everybody is.
        Some(Kind::Text(text)) if text.body == "to one" => anybody(actor, Ok(())),
        Some(Kind::GroupDissolved(_)) => anybody(actor, Err(Invalid)),
        Some(Kind::Recall(_)) => admin(actor, Ok(())),
        Some(Kind::Pin(_)) if actor == Actor::Muted => Err(Muted),
        Some(Kind::Pin(_)) => admin(actor, Ok(())),
        _ if actor == Actor::Muted => Err(Muted),
        _ => member(actor, Ok(())),
    }
}

/// For sessions: no key opens it, whatever its scopes.
fn person(actor: Actor, outcome: Outcome) -> Outcome {
    match actor {
        Actor::Bot | Actor::BotWithoutScope => Err(ErrorCode::ScopeMissing),
        actor => anybody(actor, outcome),
    }
}

/// For everybody whose log-in is good, with a scope if it is a key.
fn anybody(actor: Actor, outcome: Outcome) -> Outcome {
    match actor {
        Actor::RevokedDevice => Err(ErrorCode::SessionEnded),
        Actor::Suspended => Err(ErrorCode::Suspended),
        Actor::BotWithoutScope => Err(ErrorCode::ScopeMissing),
        _ => outcome,
    }
}

/// For the group's members.
fn member(actor: Actor, outcome: Outcome) -> Outcome {
    match actor {
        Actor::Stranger | Actor::Blocked | Actor::Refused | Actor::Former | Actor::Banned => Err(ErrorCode::NotMember),
        actor => anybody(actor, outcome),
    }
}

/// For the group's owner and admins.
fn admin(actor: Actor, outcome: Outcome) -> Outcome {
    match actor {
        Actor::Owner | Actor::Admin => outcome,
        actor => member(actor, Err(ErrorCode::Forbidden)),
    }
}
