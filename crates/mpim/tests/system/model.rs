//! Random operations by random users on random devices: what each is answered, and what everybody sees, compared with a
//! reference after every operation and after every run.

mod compare;
mod group_acts;
mod operations;
mod perform;
mod reference;

use std::time::Duration;

use client::{
    Client, ConversationId, EntryId, Error, Options, UserId,
    wire::{ErrorCode, client_frame::Body as Request, server_frame::Body as Answer},
};
use mpim::embedded::Parts;
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, proptest},
};

use self::{
    operations::{Operation, operation},
    reference::{Outcome, Person, Reference},
};
use crate::{
    device::{Device, Online, PATIENCE},
    in_process::InProcess,
};

const USERS: usize = 4;
const DEVICES_PER_USER: usize = 2;
const DEVICES: usize = USERS * DEVICES_PER_USER;

/// Between two looks at something that is about to be so.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

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

    /// Asks, and compares whether it is refused. What was done may be asked for again later.
    async fn check(&mut self, device: usize, request: Request, expected: Outcome) -> Option<Answer> {
        let answer = self.ask(device, &request).await;
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    /// Everybody is answered what the reference says, and sees it, for every order of things that one can think of.
    #[test]
    fn every_device_ends_with_what_the_reference_holds(operations in vec(operation(), 1..80)) {
        run(operations);
    }
}
