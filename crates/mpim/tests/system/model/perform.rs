//! Carries out operations, in the system and in the reference.

use client::{
    ConversationId, UserId,
    wire::{self, ErrorCode, client_frame::Body as Request, content::Kind, server_frame::Body as Answer},
};
use proptest::sample::Index;

use super::{
    Run,
    compare::Touched,
    new_id,
    operations::{Change, ContactAct, Message, MessageKind, Operation, What},
    reference::{Contact, Outcome},
};

const REACTIONS: [&str; 2] = ["👍", "好"];

impl Run {
    pub(super) async fn perform(&mut self, Operation { device, what }: Operation) {
        let user = self.user_of(device);
        self.kept = self.done.len();
        let touched = match what {
            What::Write { conversation, message } => match self.conversation_of(user, conversation) {
                Some(conversation) => self.write(device, conversation, message).await,
                None => Touched::Nothing,
            },
            What::WriteTo { peer, message } => {
                let conversation = self.open_direct(device, self.users[peer]).await;
                self.write(device, conversation, message).await
            }
            What::Forward { from, position, to } => self.forward(device, from, position, to).await,
            What::Change { conversation, position, change } => {
                self.change(device, conversation, position, change).await
            }
            What::Repeat { request } => self.repeat(device, request).await,
            What::CreateGroup { members, policy } => self.create_group(device, members, policy).await,
            What::Group { group, act } => match self.groups.is_empty() {
                true => Touched::Nothing,
                false => self.act_in_group(device, *group.get(&self.groups), act).await,
            },
            What::Contact { peer, act } => self.act_on_contact(device, self.users[peer], act).await,
            What::Account { friends_only, invisible } => self.set_account(device, friends_only, invisible).await,
            What::Settings { conversation, bits } => self.set_conversation(device, conversation, bits).await,
            What::Draft { conversation, text, reply_to } => self.save_draft(device, conversation, text, reply_to).await,
            What::Delete { conversation, positions, up_to } => {
                self.delete(device, conversation, &positions, up_to).await
            }
            What::Read { conversation, position } => self.mark(device, conversation, position, true).await,
            What::Deliver { conversation, position } => self.mark(device, conversation, position, false).await,
            What::SwitchOff => {
                if let Some(online) = self.online[device].take() {
                    online.go_offline().await;
                }
                Touched::Nothing
            }
            What::SwitchOn => {
                self.on(device);
                Touched::Nothing
            }
            What::Restart => {
                let system = self.system.take().unwrap();
                self.system = Some(system.restart().await);
                Touched::Nothing
            }
        };
        self.compare_touched(touched).await;
    }

    /// One of the user's conversations.
    fn conversation_of(&self, user: UserId, index: Index) -> Option<ConversationId> {
        let conversations = self.reference.conversations_of(user);
        if conversations.is_empty() { None } else { Some(*index.get(&conversations)) }
    }

    /// A position of a conversation, or the one after its end.
    fn position(&self, conversation: ConversationId, index: Index) -> u64 {
        1 + index.index(self.reference.logs[&conversation].entries.len() + 1) as u64
    }

    async fn open_direct(&mut self, device: usize, peer: UserId) -> ConversationId {
        let request = Request::OpenDirect(wire::OpenDirect { peer: Some(wire::open_direct::Peer::User(peer.get())) });
        let Ok(Answer::Conversation(conversation)) = self.ask(device, &request).await else { panic!("not opened") };
        let id = ConversationId::new(conversation.id);
        self.reference.open_direct(id, self.user_of(device), peer);
        id
    }

    async fn write(&mut self, device: usize, conversation: ConversationId, message: Message) -> Touched {
        let mentioned: Vec<_> = message.mentions.iter().map(|user| self.users[*user].get()).collect();
        let mentions = wire::Mentions { users: mentioned, everyone: message.everyone };
        let content = wire::Content {
            kind: Some(said(message.kind, &message.text)),
            reply_to: message.reply_to.map_or(0, |index| self.position(conversation, index)),
            mentions: Some(mentions).filter(|mentions| mentions.everyone || !mentions.users.is_empty()),
            ..wire::Content::default()
        };
        self.send(device, conversation, content, None).await
    }

    async fn send(
        &mut self,
        device: usize,
        conversation: ConversationId,
        content: wire::Content,
        forward_of: Option<wire::ForwardOf>,
    ) -> Touched {
        let (user, id) = (self.user_of(device), new_id());
        let expected = self.reference.send(conversation, user, id, content.clone());
        let target = Some(wire::send::Target::Conversation(conversation.get()));
        let send = wire::Send { target, id: id.to_string(), content: Some(content.into()), forward_of };
        let (position, expected) = split(expected);
        // What is forwarded names its original, and does not go by way of the outbox.
        let answer = match send.forward_of {
            Some(_) => self.check(device, Request::Send(send), expected).await,
            None => self.submit(device, send, expected).await,
        };
        if let Some(answer) = answer {
            let Answer::Sent(sent) = answer else { panic!("{answer:?}") };
            assert_eq!(Some(sent.position), position);
            self.reference.log(conversation).entries.last_mut().unwrap().time_ms = sent.time_ms;
        }
        Touched::Conversation(conversation)
    }

    async fn forward(&mut self, device: usize, from: Index, position: Index, to: Index) -> Touched {
        let user = self.user_of(device);
        let (Some(from), Some(to)) = (self.conversation_of(user, from), self.conversation_of(user, to)) else {
            return Touched::Nothing;
        };
        let shown = self.reference.logs[&from].shown(user);
        let shown: Vec<_> = shown.into_iter().filter(|message| message.says.is_some()).collect();
        if shown.is_empty() {
            return Touched::Nothing;
        }
        let original = position.get(&shown);
        let time_ms = self.reference.logs[&from].at(original.position).unwrap().time_ms;
        // What was forwarded before and not edited since names whom it came from first.
        let first = original.forwarded.filter(|_| original.edits == 0);
        let forwarded = first.unwrap_or(wire::Forwarded { sender: original.sender.get(), time_ms });
        let content =
            wire::Content { kind: original.says.clone(), forwarded: Some(forwarded), ..wire::Content::default() };
        let of = wire::ForwardOf { conversation: from.get(), position: original.position };
        self.send(device, to, content, Some(of)).await
    }

    async fn change(&mut self, device: usize, conversation: Index, position: Index, change: Change) -> Touched {
        let Some(conversation) = self.conversation_of(self.user_of(device), conversation) else {
            return Touched::Nothing;
        };
        let position = self.position(conversation, position);
        let kind = match change {
            Change::Edit { text, kind } => {
                let content = Some(Box::new(said(kind, &text).into()));
                Kind::Edit(wire::Edit { position, content })
            }
            Change::Recall => Kind::Recall(wire::Recall { position }),
            Change::React { reaction, removed } => {
                Kind::Reaction(wire::Reaction { position, reaction: REACTIONS[reaction].into(), removed })
            }
            Change::Pin { removed } => Kind::Pin(wire::Pin { position, removed }),
        };
        self.send(device, conversation, wire::Content { kind: Some(kind), ..Default::default() }, None).await
    }

    /// What was done once is answered as it was then, and done no second time.
    async fn repeat(&mut self, device: usize, request: Index) -> Touched {
        let user = self.user_of(device);
        let mine: Vec<_> = self.done.iter().filter(|done| done.user == user).cloned().collect();
        if mine.is_empty() {
            return Touched::Nothing;
        }
        let done = request.get(&mine);
        match self.ask(device, &done.request).await {
            Ok(Answer::Sent(sent)) => assert_eq!(Some(sent.position), done.position, "stored once"),
            Ok(_) => {}
            // These leave no entry that would tell what their id did: what was allowed then may be without sense now.
            Err(code) if matches!(done.request, Request::RevokeGroupLink(_)) || is_refusal(&done.request) => {
                assert!((code as i32) < 200, "{code:?}");
            }
            Err(code) => panic!("{:?} again, by {user}: {code:?}", done.request),
        }
        Touched::Everything
    }

    async fn act_on_contact(&mut self, device: usize, peer: UserId, act: ContactAct) -> Touched {
        let user = self.user_of(device);
        if user == peer {
            return Touched::Nothing;
        }
        let (id, to) = (new_id().to_string(), peer.get());
        let before = self.contact_pair(user, peer);
        let (request, expected) = match act {
            ContactAct::Request(message) => (
                Request::RequestFriend(wire::RequestFriend { id, user: to, message: message.clone() }),
                self.reference.request_friend(user, peer, &message),
            ),
            ContactAct::Answer(accept) => (
                Request::AnswerFriend(wire::AnswerFriend { id, user: to, accept }),
                self.reference.answer_friend(user, peer, accept),
            ),
            ContactAct::Withdraw => (
                Request::WithdrawFriend(wire::WithdrawFriend { id, user: to }),
                self.reference.withdraw_friend(user, peer),
            ),
            ContactAct::Remove => {
                (Request::RemoveFriend(wire::RemoveFriend { id, user: to }), self.reference.remove_friend(user, peer))
            }
            ContactAct::Remark(remark) => {
                self.reference.remark(user, peer, &remark);
                (Request::SetRemark(wire::SetRemark { id, user: to, remark }), Ok(()))
            }
            ContactAct::Block(blocked) => {
                self.reference.block(user, peer, blocked);
                (Request::SetBlocked(wire::SetBlocked { id, user: to, blocked }), Ok(()))
            }
        };
        self.check(device, request, expected).await;
        if self.contact_pair(user, peer) == before {
            self.forget_last();
        }
        Touched::Contacts(user, peer)
    }

    fn contact_pair(&self, user: UserId, peer: UserId) -> [Contact; 2] {
        [self.reference.contact(user, peer), self.reference.contact(peer, user)]
    }

    async fn set_account(&mut self, device: usize, friends_only: Option<bool>, invisible: Option<bool>) -> Touched {
        let user = self.user_of(device);
        let id = new_id().to_string();
        let settings =
            wire::UpdateSettings { id, write_policy: friends_only.map(write_policy).map(Into::into), invisible };
        let person = self.reference.users.get_mut(&user).unwrap();
        person.friends_only = friends_only.unwrap_or(person.friends_only);
        person.invisible = invisible.unwrap_or(person.invisible);
        self.check(device, Request::UpdateSettings(settings), Ok(())).await;
        Touched::Nothing
    }

    async fn set_conversation(&mut self, device: usize, conversation: Index, bits: u8) -> Touched {
        let user = self.user_of(device);
        let Some(conversation) = self.conversation_of(user, conversation) else { return Touched::Nothing };
        let bit = |bit: u8| bits & bit != 0;
        let settings = wire::ConversationSettings {
            pinned: bit(1),
            muted: bit(2),
            mentions_notify: bit(4),
            hidden: bit(8),
            marked_unread: bit(16),
        };
        self.reference.log(conversation).own.entry(user).or_default().settings = Some(settings);
        let request = wire::SetConversation {
            id: new_id().to_string(),
            conversation: conversation.get(),
            settings: Some(settings),
        };
        self.check(device, Request::SetConversation(request), Ok(())).await;
        Touched::Conversation(conversation)
    }

    async fn save_draft(&mut self, device: usize, conversation: Index, text: String, reply_to: Index) -> Touched {
        let user = self.user_of(device);
        let Some(conversation) = self.conversation_of(user, conversation) else { return Touched::Nothing };
        // One that answers nothing, if there is no text to be the answer.
        let reply_to = if text.is_empty() { 0 } else { self.position(conversation, reply_to) };
        let expected =
            if reply_to > self.reference.log(conversation).end() { Err(vec![ErrorCode::Invalid]) } else { Ok(()) };
        if expected.is_ok() {
            let draft = Some((text.clone(), reply_to)).filter(|(text, _)| !text.is_empty());
            self.reference.log(conversation).own.entry(user).or_default().draft = draft;
        }
        let draft = Some(wire::Draft { text, reply_to, time_ms: 0 });
        let request = wire::SaveDraft { id: new_id().to_string(), conversation: conversation.get(), draft };
        self.check(device, Request::SaveDraft(request), expected).await;
        Touched::Conversation(conversation)
    }

    async fn delete(
        &mut self,
        device: usize,
        conversation: Index,
        positions: &[Index],
        up_to: Option<Index>,
    ) -> Touched {
        let user = self.user_of(device);
        let Some(conversation) = self.conversation_of(user, conversation) else { return Touched::Nothing };
        let positions: Vec<_> = positions.iter().map(|index| self.position(conversation, *index)).collect();
        let up_to = up_to.map_or(0, |index| self.position(conversation, index));
        let expected = self.reference.delete(conversation, user, &positions, up_to);
        let request =
            wire::DeleteForMe { id: new_id().to_string(), conversation: conversation.get(), positions, up_to };
        self.check(device, Request::DeleteForMe(request), expected).await;
        Touched::Conversation(conversation)
    }

    async fn mark(&mut self, device: usize, conversation: Index, position: Index, read: bool) -> Touched {
        let user = self.user_of(device);
        let Some(id) = self.conversation_of(user, conversation) else { return Touched::Nothing };
        let position = self.position(id, position);
        let log = self.reference.log(id);
        let request = if read {
            log.read(user, position);
            Request::Read(wire::Read { conversation: id.get(), position })
        } else {
            log.deliver(user, position);
            Request::Deliver(wire::Deliver { marks: vec![wire::Mark { conversation: id.get(), position }] })
        };
        self.check(device, request, Ok(())).await;
        // A position beyond the end means another one when the end has moved.
        self.forget_last();
        Touched::Conversation(id)
    }
}

fn is_refusal(request: &Request) -> bool {
    matches!(request, Request::AnswerJoin(wire::AnswerJoin { admit: false, .. }))
}

pub(super) fn write_policy(friends_only: bool) -> wire::WritePolicy {
    if friends_only { wire::WritePolicy::Friends } else { wire::WritePolicy::Anyone }
}

fn said(kind: MessageKind, text: &str) -> Kind {
    match kind {
        MessageKind::Text => Kind::Text(wire::Text { body: text.into() }),
        MessageKind::Link => {
            let url = "https://example.org/".into();
            Kind::Link(wire::Link { url, title: text.trim().into(), ..Default::default() })
        }
        MessageKind::Custom => {
            let json = serde_json::to_string(text).unwrap();
            Kind::Custom(wire::Custom { r#type: "com.example.note".into(), json, fallback: text.into() })
        }
    }
}

/// The value, and whether there is one.
pub(super) fn split<T>(outcome: Outcome<T>) -> (Option<T>, Outcome) {
    match outcome {
        Ok(value) => (Some(value), Ok(())),
        Err(codes) => (None, Err(codes)),
    }
}
