//! Which conversation, which users: from words to ids.

use anyhow::{Context as _, bail};
use client::{Client, ConversationId, Target, wire};
use protocol::{EntryId, GroupId, UserId};

use crate::commands::client::connection::persist;

/// The words of a command that begin with a user's name, unless a group is named by `--group`.
pub(super) struct Words {
    pub(super) target: Target,
    pub(super) rest: Vec<String>,
}

impl Words {
    /// Takes the name away. `wanted` are the words that have to follow, for the error.
    pub(super) fn split(group: Option<GroupId>, words: Vec<String>, wanted: &[&str]) -> anyhow::Result<Self> {
        let mut rest = words;
        let target = match group {
            Some(group) => Target::Conversation(group.conversation()),
            None if rest.is_empty() => bail!("wanted are NAME and {0}, or --group ID and {0}", wanted.join(" ")),
            None => Target::Name(rest.remove(0)),
        };
        if rest.len() < wanted.len() {
            bail!("wanted are NAME and {0}, or --group ID and {0}", wanted.join(" "));
        }
        Ok(Self { target, rest })
    }

    /// As [`split`](Self::split), with no more words than wanted.
    pub(super) fn exactly(group: Option<GroupId>, words: Vec<String>, wanted: &[&str]) -> anyhow::Result<Self> {
        let split = Self::split(group, words, wanted)?;
        if split.rest.len() > wanted.len() {
            let with = if group.is_some() { "with --group ID there is no NAME; " } else { "" };
            bail!("{with}wanted are {}; what has several words is written in quotes", wanted.join(" "));
        }
        Ok(split)
    }

    /// Takes the next word, which is a message's position.
    pub(super) fn position(&mut self) -> anyhow::Result<u64> {
        position(&self.rest.remove(0))
    }
}

/// A position, as a word.
pub(super) fn position(word: &str) -> anyhow::Result<u64> {
    let position = word.parse().ok().filter(|&position| position > 0);
    position.with_context(|| format!("{word:?} is not a POSITION: a whole number from 1 on is wanted"))
}

/// The conversation, made if it is one with a user and there is none yet; and the name of its kind.
pub(super) async fn conversation(client: &Client, target: &Target) -> anyhow::Result<(ConversationId, &'static str)> {
    match target {
        Target::Conversation(id) => Ok((*id, "group")),
        Target::Name(name) => {
            let conversation = persist(|| client.open_direct(name)).await?;
            Ok((ConversationId::new(conversation.id), "direct"))
        }
    }
}

/// The users of these names, all of them.
pub(super) async fn users(client: &Client, names: &[String]) -> anyhow::Result<Vec<UserId>> {
    let mut users = Vec::with_capacity(names.len());
    for name in names {
        users.push(UserId::new(user(client, name).await?.id));
    }
    Ok(users)
}

/// The user of this name.
pub(super) async fn user(client: &Client, name: &str) -> anyhow::Result<wire::UserInfo> {
    let names = [name.to_owned()];
    let found = persist(|| client.find_users(&names)).await?;
    found.into_iter().next().with_context(|| format!("there is no user {name:?}"))
}

/// The id of the user of this name.
pub(super) async fn user_id(client: &Client, name: &str) -> anyhow::Result<UserId> {
    Ok(UserId::new(user(client, name).await?.id))
}

/// An id for a request that is the same in every try, so that what is tried twice happens once.
pub(super) fn once() -> EntryId {
    EntryId::generate()
}
