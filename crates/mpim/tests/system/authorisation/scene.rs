//! The askers, and the place of each cell.

use std::net::SocketAddr;

use client::{
    EntryId,
    wire::{self, ErrorCode, Role, client_frame::Body as Request, content::Kind},
};
use mpim::embedded::Parts;
use serde_json::Value;

use crate::{
    http::{Answer, ask, post},
    in_process::InProcess,
};

pub const PASSWORD: &str = "correct horse";

/// Who asks. The target is the user that requests about a user are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The target of requests itself, a plain member of the group.
    Target,
    /// The same user on another device.
    OtherDevice,
    /// A device of the target whose session was ended.
    RevokedDevice,
    /// Has nothing to do with anybody.
    Stranger,
    /// The target has blocked this one.
    Blocked,
    /// The target has refused to be this one's friend.
    Refused,
    /// Has left the group.
    Former,
    /// Was put out of the group for good.
    Banned,
    Member,
    /// A member who may not write for now.
    Muted,
    Admin,
    Owner,
    /// A bot, member of the group, with a key for everything.
    Bot,
    /// The same bot with a key that is good for its profile only.
    BotWithoutScope,
    /// A member whose account was suspended.
    Suspended,
}

impl Actor {
    pub const ALL: [Self; 15] = [
        Self::Target,
        Self::OtherDevice,
        Self::RevokedDevice,
        Self::Stranger,
        Self::Blocked,
        Self::Refused,
        Self::Former,
        Self::Banned,
        Self::Member,
        Self::Muted,
        Self::Admin,
        Self::Owner,
        Self::Bot,
        Self::BotWithoutScope,
        Self::Suspended,
    ];
}

/// An account and a token of it.
#[derive(Debug, Clone)]
pub struct Account {
    pub id: u64,
    pub name: String,
    pub token: String,
    pub session: u64,
}

/// The accounts, which all cells share.
pub struct Scene {
    system: InProcess,
    pub address: SocketAddr,
    accounts: Vec<Account>,
    /// A member of every group who writes in it, and belongs to no row.
    pub writer: Account,
    /// The bot's owner, who is nobody else.
    pub keeper: Account,
    /// What `keeper` has made for the bot.
    pub key: u64,
}

impl Scene {
    pub async fn start() -> Self {
        let system = InProcess::start(Parts::default()).await;
        let address = system.address();
        let target = register(address, "target").await;
        let (other, revoked) = (log_in(address, "target").await, log_in(address, "target").await);
        let revoke = wire::RevokeSession { session: revoked.session };
        must(address, &target, Request::RevokeSession(revoke)).await;
        let keeper = register(address, "keeper").await;
        let bot = wire::CreateBot { id: new_id(), name: "bot".into(), display_name: String::new() };
        let bot = number(&must(address, &keeper, Request::CreateBot(bot)).await["user"]["id"]);
        let key = async |scopes: &[wire::Scope]| {
            let scopes = scopes.iter().map(|&scope| scope.into()).collect();
            let create = wire::CreateApiKey { id: new_id(), bot, label: "key".into(), scopes, expires_ms: 0 };
            let key = must(address, &keeper, Request::CreateApiKey(create)).await;
            let token = key["secret"].as_str().unwrap().to_owned();
            Account { id: bot, name: "bot".into(), token, session: number(&key["id"]) }
        };
        use wire::Scope::{Contacts, Groups, Profile, Read, Write};
        let (bot_with, bot_without) = (key(&[Read, Write, Groups, Contacts, Profile]).await, key(&[Profile]).await);
        let mut accounts = Vec::new();
        for actor in Actor::ALL {
            accounts.push(match actor {
                Actor::Target => target.clone(),
                Actor::OtherDevice => other.clone(),
                Actor::RevokedDevice => revoked.clone(),
                Actor::Bot => bot_with.clone(),
                Actor::BotWithoutScope => bot_without.clone(),
                actor => register(address, &format!("{actor:?}").to_lowercase()).await,
            });
        }
        let writer = register(address, "writer").await;
        let scene = Self { system, address, accounts, writer, key: bot_without.session, keeper };
        scene.acquaint().await;
        scene
    }

    /// What the target has done to the askers, and those who run the server to one.
    async fn acquaint(&self) {
        let (target, id) = (self.account(Actor::Target), self.account(Actor::Target).id);
        let block = wire::SetBlocked { id: new_id(), user: self.account(Actor::Blocked).id, blocked: true };
        must(self.address, target, Request::SetBlocked(block)).await;
        let request = wire::RequestFriend { id: new_id(), user: id, message: String::new() };
        must(self.address, self.account(Actor::Refused), Request::RequestFriend(request)).await;
        // The request arrives in the target's log a moment later.
        let refuse = wire::AnswerFriend { id: new_id(), user: self.account(Actor::Refused).id, accept: false };
        let refused = async {
            while ask(self.address, Some(&target.token), Request::AnswerFriend(refuse.clone())).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(crate::device::PATIENCE, refused).await.expect("the request arrives");
        let key = self.system.admin_key();
        let suspend = serde_json::json!({"name": self.account(Actor::Suspended).name, "suspended": true}).to_string();
        let (status, answer) = post(self.address, "/api/v1/admin/suspend", Some(&key), &suspend).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub fn account(&self, actor: Actor) -> &Account {
        let place = Actor::ALL.iter().position(|&of| of == actor).unwrap();
        &self.accounts[place]
    }

    pub async fn stop(self) {
        self.system.stop().await;
    }
}

/// One asker's place for one request.
pub struct Cell<'s> {
    pub scene: &'s Scene,
    pub actor: Actor,
    pub group: u64,
    /// A message in the group by the writer, and one by the asker if the asker may write.
    pub foreign: u64,
    pub own: u64,
    /// The asker's conversation with the target.
    pub direct: u64,
}

impl<'s> Cell<'s> {
    pub async fn new(scene: &'s Scene, actor: Actor) -> Self {
        let (address, owner) = (scene.address, scene.account(Actor::Owner));
        let members = [Actor::Target, Actor::Former, Actor::Banned, Actor::Member, Actor::Muted, Actor::Admin];
        let mut members: Vec<u64> = members.iter().map(|&actor| scene.account(actor).id).collect();
        members.extend([scene.account(Actor::Bot).id, scene.account(Actor::Suspended).id, scene.writer.id]);
        let create = wire::CreateGroup { id: new_id(), title: "group".into(), members, join_policy: 0 };
        let group = number(&must(address, owner, Request::CreateGroup(create)).await["id"]);
        let (admin, muted) = (scene.account(Actor::Admin).id, scene.account(Actor::Muted).id);
        let role = wire::SetRole { id: new_id(), group, user: admin, role: Role::Admin.into() };
        must(address, owner, Request::SetRole(role)).await;
        let own = match actor {
            Actor::Bot | Actor::BotWithoutScope => write(address, scene.account(Actor::Bot), group).await,
            actor => write(address, scene.account(actor), group).await,
        };
        let mute = wire::MuteMembers { id: new_id(), group, users: vec![muted], until_ms: i64::MAX };
        must(address, owner, Request::MuteMembers(mute)).await;
        let leave = wire::LeaveGroup { id: new_id(), group };
        must(address, scene.account(Actor::Former), Request::LeaveGroup(leave)).await;
        let users = vec![scene.account(Actor::Banned).id];
        let ban = wire::RemoveMembers { id: new_id(), group, users, ban: true };
        must(address, owner, Request::RemoveMembers(ban)).await;
        let foreign = write(address, &scene.writer, group).await.expect("a member writes");
        let peer = wire::open_direct::Peer::User(scene.account(Actor::Target).id);
        let open = Request::OpenDirect(wire::OpenDirect { peer: Some(peer) });
        let asker = if actor == Actor::BotWithoutScope { Actor::Bot } else { actor };
        let direct = ask(address, Some(&scene.account(asker).token), open).await;
        let direct = direct.map_or(0, |conversation| number(&conversation["id"]));
        Self { scene, actor, group, foreign, own: own.unwrap_or(foreign), direct }
    }

    pub fn account(&self) -> &Account {
        self.scene.account(self.actor)
    }

    /// Asks as this cell's asker.
    pub async fn ask(&self, request: Request) -> Result<(), ErrorCode> {
        let shared = self.account();
        // The other cells still need the session that all share.
        let has_another =
            !matches!(self.actor, Actor::RevokedDevice | Actor::Suspended | Actor::Bot | Actor::BotWithoutScope);
        let token = match request {
            Request::LogOut(_) if has_another => log_in(self.scene.address, &shared.name).await.token,
            _ => shared.token.clone(),
        };
        ask(self.scene.address, Some(&token), request).await.map(drop)
    }
}

async fn write(address: SocketAddr, account: &Account, conversation: u64) -> Option<u64> {
    let send = text(conversation, "words");
    let sent = ask(address, Some(&account.token), Request::Send(send)).await.ok()?;
    Some(number(&sent["position"]))
}

/// A new text.
pub fn text(conversation: u64, body: &str) -> wire::Send {
    wire::Send {
        target: Some(wire::send::Target::Conversation(conversation)),
        id: new_id(),
        content: Some(Kind::Text(wire::Text { body: body.into() }).into()),
        forward_of: None,
    }
}

pub fn new_id() -> String {
    EntryId::generate().to_string()
}

/// A number of an answer's JSON, which is text from 64 bits on.
pub fn number(value: &Value) -> u64 {
    value.as_str().expect("a number of 64 bits").parse().unwrap()
}

async fn must(address: SocketAddr, account: &Account, request: Request) -> Value {
    let answer: Answer = ask(address, Some(&account.token), request.clone()).await;
    answer.unwrap_or_else(|code| panic!("{}: {code:?} to {request:?}", account.name))
}

async fn register(address: SocketAddr, name: &str) -> Account {
    let register = wire::Register { name: name.into(), password: PASSWORD.into(), device: "first".into() };
    account(&ask(address, None, Request::Register(register)).await.unwrap())
}

async fn log_in(address: SocketAddr, name: &str) -> Account {
    let log_in = wire::LogIn { name: name.into(), password: PASSWORD.into(), device: "other".into() };
    account(&ask(address, None, Request::LogIn(log_in)).await.unwrap())
}

fn account(session: &Value) -> Account {
    Account {
        id: number(&session["user"]["id"]),
        name: session["user"]["name"].as_str().unwrap().into(),
        token: session["accessToken"].as_str().unwrap().into(),
        session: number(&session["id"]),
    }
}
