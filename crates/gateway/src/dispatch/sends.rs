//! Sends, in batches that keep their order.

use std::collections::HashMap;

use api::{Call, SendRequest, SendResult, send_result};
use futures_util::future::join_all;
use protocol::{
    ConversationId, Error, Result, UserName,
    limits::FIND_USERS_MAX,
    wire::{self, ErrorCode, FindUsers, UserInfo, send::Target},
};

use super::Dispatch;

impl Dispatch {
    pub(super) async fn send(&self, call: &Call, send: wire::Send) -> Result<wire::Sent> {
        self.sends(call, vec![send]).await.pop().unwrap_or_else(|| Err(no_result()))
    }

    /// A result for each send, in the same order; what fails does not stop the others.
    pub(super) async fn sends(&self, call: &Call, mut sends: Vec<wire::Send>) -> Vec<Result<wire::Sent>> {
        let mut failures: Vec<Option<Error>> = vec![None; sends.len()];
        self.resolve(call, &mut sends, &mut failures).await;
        let requests: Vec<_> =
            sends.into_iter().zip(&failures).filter(|(_, failure)| failure.is_none()).map(|(send, _)| send).collect();
        let expected = requests.len();
        let results = if requests.is_empty() {
            Vec::new()
        } else {
            match self.services.message.send(call, SendRequest { sends: requests }).await {
                Ok(response) => response.results.into_iter().map(result).collect(),
                Err(error) => vec![Err(error); expected],
            }
        };
        let mut results = results.into_iter();
        let next = |failure: Option<Error>| match failure {
            Some(error) => Err(error),
            None => results.next().unwrap_or_else(|| Err(no_result())),
        };
        failures.into_iter().map(next).collect()
    }

    /// Puts the direct conversation in the place of each name, or the reason why there is none into `failures`. Now that they are
    /// known, these count against the conversations' rates as all do.
    async fn resolve(&self, call: &Call, sends: &mut [wire::Send], failures: &mut [Option<Error>]) {
        let mut wanted: HashMap<String, Result<u64>> = HashMap::new();
        for name in sends.iter().filter_map(name) {
            wanted.insert(name.to_owned(), Err(Error::not_found(format_args!("user {name:?}"))));
        }
        if wanted.is_empty() {
            return;
        }
        self.open(call, &mut wanted).await;
        for (send, failure) in sends.iter_mut().zip(failures) {
            let Some(found) = name(send).and_then(|name| wanted.get(name)) else { continue };
            let admitted = found.clone().and_then(|conversation| {
                self.admission.conversation(ConversationId::new(conversation)).map(|()| conversation)
            });
            match admitted {
                Ok(conversation) => send.target = Some(Target::Conversation(conversation)),
                Err(error) => *failure = Some(error),
            }
        }
    }

    /// Finds who bears these names and opens the conversation with each. A failure here means that certainly nothing
    /// was stored, as nothing was sent.
    async fn open(&self, call: &Call, wanted: &mut HashMap<String, Result<u64>>) {
        let mut by_key: HashMap<String, Vec<String>> = HashMap::new();
        for (name, conversation) in &mut *wanted {
            match name.parse::<UserName>() {
                Ok(valid) => by_key.entry(valid.key()).or_default().push(name.clone()),
                Err(error) => *conversation = Err(Error::invalid(format!("to: {error}"))),
            }
        }
        let mut users = Vec::new();
        // One spelling of each name is enough.
        let spellings: Vec<(String, String)> =
            by_key.iter().filter_map(|(key, names)| Some((key.clone(), names.first()?.clone()))).collect();
        for spellings in spellings.chunks(FIND_USERS_MAX) {
            let names = spellings.iter().map(|(_, name)| name.clone()).collect();
            match self.services.user.find_users(call, FindUsers { ids: Vec::new(), names }).await {
                Ok(found) => users.extend(found.users),
                Err(error) => {
                    for name in spellings.iter().flat_map(|(key, _)| by_key.remove(key).unwrap_or_default()) {
                        wanted.insert(name, Err(error.clone()));
                    }
                }
            }
        }
        let opened = join_all(users.into_iter().map(|user| async move {
            let key = user.name.parse::<UserName>().map(|name| name.key()).unwrap_or_default();
            (key, self.conversation_with(call, user).await)
        }));
        for (key, conversation) in opened.await {
            for name in by_key.remove(&key).unwrap_or_default() {
                wanted.insert(name, conversation.clone());
            }
        }
    }

    async fn conversation_with(&self, call: &Call, user: UserInfo) -> Result<u64> {
        Ok(self.open_direct_with(call, user).await?.id)
    }
}

fn name(send: &wire::Send) -> Option<&str> {
    match &send.target {
        Some(Target::To(name)) => Some(name),
        _ => None,
    }
}

fn result(result: SendResult) -> Result<wire::Sent> {
    match result.result {
        Some(send_result::Result::Sent(sent)) => Ok(sent),
        Some(send_result::Result::Error(error)) => Err(error.into()),
        None => Err(no_result()),
    }
}

fn no_result() -> Error {
    Error::new(ErrorCode::OutcomeUnknown, "the message service gave no result; retry with the same id")
}
