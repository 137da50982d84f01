//! Random operations by random users on random devices: what each is answered, and what everybody sees, compared with a
//! reference after every operation and after every run.

mod compare;
mod group_acts;
mod operations;
mod perform;
mod reference;

use client::{
    Client, ConversationId, EntryId, Error, Options, SendError, Target, UserId,
    wire::{self, ErrorCode, JoinPolicy, client_frame::Body as Request, server_frame::Body as Answer},
};
use mpim::embedded::Parts;
use proptest::prelude::{ProptestConfig, proptest};

use self::{
    operations::{Operation, anything, between_two, in_groups},
    reference::{Outcome, Person, Reference},
};
use crate::{
    device::{Device, LOOK_AGAIN, Online, PATIENCE},
    in_process::InProcess,
};

const USERS: usize = 4;
const DEVICES_PER_USER: usize = 2;
const DEVICES: usize = USERS * DEVICES_PER_USER;

/// Something that was done, to be asked for again.
#[derive(Debug, Clone)]
struct Done {
    user: UserId,
    request: Request,
    /// A send: where it is stored.
    position: Option<u64>,
}

struct Run {
    system: Option<InProcess>,
    devices: Vec<Device>,
    online: Vec<Option<Online>>,
    users: Vec<UserId>,
    /// For each user, a session that is always there, to look at what the server says.
    observers: Vec<Online>,
    reference: Reference,
    groups: Vec<ConversationId>,
    done: Vec<Done>,
    /// So much of it was done before the operation that is under way.
    kept: usize,
}

impl Run {
    async fn start() -> Self {
        let system = InProcess::start(Parts::default()).await;
        let server = system.server();
        let (mut devices, mut observers) = (Vec::new(), Vec::new());
        for user in 0..USERS {
            let name = format!("user{user}");
            devices.push(Device::register(&server, &name).await);
            devices.push(Device::log_in(&server, &name).await);
            let observer = Device::log_in(&server, &name).await;
            let options = Options::new(server.clone(), observer.profile.clone());
            observers.push(observer.go_online_with(Options { catch_up: false, ..options }));
        }
        let users: Vec<_> = devices.iter().step_by(DEVICES_PER_USER).map(Device::user).collect();
        let mut reference = Reference::default();
        reference.users.extend(users.iter().map(|user| (*user, Person::default())));
        let mut run = Self {
            system: Some(system),
            devices,
            online: Vec::new(),
            users,
            observers,
            reference,
            groups: Vec::new(),
            done: Vec::new(),
            kept: 0,
        };
        run.online = (0..DEVICES).map(|device| Some(run.connect(device))).collect();
        run
    }

    fn connect(&self, device: usize) -> Online {
        let system = self.system.as_ref().unwrap();
        let server = if device.is_multiple_of(2) { system.server() } else { system.tcp_server() };
        self.devices[device].go_online(&server)
    }

    /// The device, switched on if it was off.
    fn on(&mut self, device: usize) -> Client {
        if self.online[device].is_none() {
            self.online[device] = Some(self.connect(device));
        }
        self.online[device].as_ref().unwrap().client.clone()
    }

    fn user_of(&self, device: usize) -> UserId {
        self.users[device / DEVICES_PER_USER]
    }

    fn observer(&self, user: UserId) -> &Client {
        let index = self.users.iter().position(|known| *known == user).unwrap();
        &self.observers[index].client
    }

    /// Asks, and asks again with the same words as long as it is not known what came of it.
    async fn ask(&mut self, device: usize, request: &Request) -> Result<Answer, ErrorCode> {
        let client = self.on(device);
        settled(&client, request).await
    }

    /// Sends as applications do: by way of the outbox, which tries as long as it takes.
    async fn submit(&mut self, device: usize, send: wire::Send, expected: Outcome) -> Option<Answer> {
        let client = self.on(device);
        let Some(wire::send::Target::Conversation(conversation)) = send.target else { panic!("{send:?}") };
        let target = Target::Conversation(ConversationId::new(conversation));
        let outcome = client.send(target, send.content.clone().unwrap(), send.id.parse().unwrap()).await;
        let answer = match outcome {
            Ok(sent) => Ok(Answer::Sent(sent)),
            Err(SendError::NotStored { error: Error::Refused(error) }) => Err(error.code()),
            Err(error) => panic!("{send:?}: {error:?}"),
        };
        self.take(device, Request::Send(send), answer, expected)
    }

    /// Asks, and compares whether it is refused. What was done may be asked for again later.
    async fn check(&mut self, device: usize, request: Request, expected: Outcome) -> Option<Answer> {
        let answer = self.ask(device, &request).await;
        self.take(device, request, answer, expected)
    }

    fn take(
        &mut self,
        device: usize,
        request: Request,
        answer: Result<Answer, ErrorCode>,
        expected: Outcome,
    ) -> Option<Answer> {
        match (answer, expected) {
            (Ok(answer), Ok(())) => {
                // Who asks again to be let in, after a refusal, asks again.
                let asks_anew = matches!(&answer, Answer::Joined(joined) if joined.waiting);
                if asks_anew {
                    return Some(answer);
                }
                let position = if let Answer::Sent(sent) = &answer { Some(sent.position) } else { None };
                self.done.push(Done { user: self.user_of(device), request, position });
                Some(answer)
            }
            (Err(code), Err(expected)) if expected.contains(&code) => None,
            (answer, expected) => panic!("{request:?} by {}: {answer:?}, not {expected:?}", self.user_of(device)),
        }
    }

    /// What was so already when it was asked for left no trace: asked for again, it may do something.
    fn forget_last(&mut self) {
        if self.done.len() > self.kept {
            self.done.truncate(self.kept);
        }
    }

    async fn end(self) {
        for online in self.online.into_iter().flatten().chain(self.observers) {
            online.go_offline().await;
        }
        self.system.unwrap().stop().await;
    }
}

async fn settled(client: &Client, request: &Request) -> Result<Answer, ErrorCode> {
    let tried = async {
        loop {
            match client.request(request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(Error::Refused(error)) if (error.code() as i32) < 300 => return Err(error.code()),
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap_or_else(|_| panic!("not answered: {request:?}"))
}

fn new_id() -> EntryId {
    EntryId::generate()
}

fn run(operations: Vec<Operation>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut run = Run::start().await;
        for operation in operations {
            run.perform(operation).await;
        }
        run.compare().await;
        run.end().await;
    });
}

/// A few cases of each, or as many as `PROPTEST_CASES` says: the long form of the check looks further.
fn cases() -> ProptestConfig {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 8 };
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(cases())]

    /// Everybody is answered what the reference says, and sees it, for every order of things that one can think of.
    #[test]
    fn every_device_ends_with_what_the_reference_holds(operations in anything()) {
        run(operations);
    }

    #[test]
    fn groups_are_to_all_what_the_reference_holds(operations in in_groups()) {
        run(operations);
    }

    #[test]
    fn two_users_are_to_each_other_what_the_reference_holds(operations in between_two()) {
        run(operations);
    }
}

/// What is deleted is messages, not what happened to the group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_deletes_all_messages_still_knows_the_group_on_a_device_that_comes_later() {
    let system = InProcess::start(Parts::default()).await;
    let server = system.server();
    let (first, later) = (Device::register(&server, "ann").await, Device::log_in(&server, "ann").await);
    let online = first.go_online(&server);
    let group = online.client.create_group("group", &[], JoinPolicy::Open, new_id()).await.unwrap();
    let group = ConversationId::new(group.id);
    let end = online.send(group, "to be deleted").await.position;
    online.client.delete_for_me(group, Vec::new(), end, new_id()).await.unwrap();
    let online_later = later.go_online(&server);
    later
        .until_folded("the group", |folded| folded.last(group) >= end && folded.affairs.deleted(group).is_some())
        .await;
    let view = later.folded().view(group).unwrap();
    assert_eq!(view.group().title(), Some("group"));
    assert_eq!(view.group().members().map(|member| member.user).collect::<Vec<_>>(), [first.user()]);
    assert_eq!(view.messages().count(), 0);
    online.go_offline().await;
    online_later.go_offline().await;
    system.stop().await;
}
