//! Forwarding: nobody puts words into another's mouth.

use protocol::{
    ConversationId, EntryId, Error, Result, UserId, limits,
    wire::{self, Entry, content::Kind},
};
use store::{Headed, Messages, PageRequest};

use super::content::position;

/// Changes of a message in one step of looking for an edit.
const CHANGES_STEP: u32 = 500;
/// Steps at most: a message that more was done to is forwarded as it was first only.
const CHANGES_STEPS_MAX: usize = 10;

/// What a message says of where it comes from.
pub(super) struct Claim {
    pub(super) sender: UserId,
    pub(super) id: EntryId,
    pub(super) of: Option<wire::ForwardOf>,
    /// The content and the mark, if it bears one.
    pub(super) forwarded: Option<(Kind, wire::Forwarded)>,
}

impl Claim {
    /// Refuses what is not so, but for what was sent before: that stands, whatever became of the original.
    pub(super) async fn check(&self, store: &dyn Messages) -> Result<()> {
        match (&self.forwarded, &self.of) {
            (None, None) => Ok(()),
            (Some(_), None) => {
                Err(Error::invalid("forward_of: missing; a content with `forwarded` is sent with the original's place"))
            }
            (None, Some(_)) => Err(Error::invalid(
                "content.forwarded: missing; with `forward_of` it names the original's sender and time",
            )),
            (Some((kind, mark)), Some(of)) => match self.check_original(store, of, kind, mark).await {
                Err(_) if store.find_entry(self.sender, self.id).await?.is_some() => Ok(()),
                outcome => outcome,
            },
        }
    }

    async fn check_original(
        &self,
        store: &dyn Messages,
        of: &wire::ForwardOf,
        kind: &Kind,
        mark: &wire::Forwarded,
    ) -> Result<()> {
        let conversation = ConversationId::new(of.conversation);
        let place = position("forward_of.position", of.position)?;
        let page = PageRequest { conversation, from: Headed::After(place - 1), limit: 1 };
        let mut pages = store.read_pages(self.sender, vec![page], limits::PAGE_BYTES_MAX).await?;
        let page = pages.pop().flatten().ok_or_else(Error::not_member)?;
        let original = page.entries.into_iter().find(|entry| entry.position == place);
        let original = original.ok_or_else(|| Error::not_found("forward_of: a message at this position"))?;
        let first = original.content.as_ref().and_then(|content| content.view().ok()).unwrap_or_default();
        let Some(said) = first.kind.filter(is_message) else {
            return Err(Error::invalid("forward_of: there is no message at this position that could be forwarded"));
        };
        let by_sender = mark.sender == original.sender && mark.time_ms == original.time_ms;
        // Whoever forwards a forward may name whom it came from in the first place; but an edit of it is not theirs.
        let by_first_sender = first.forwarded.as_ref() == Some(mark);
        if !by_sender && !by_first_sender {
            return Err(Error::invalid("content.forwarded: not the sender and time of the message that is forwarded"));
        }
        if said == *kind || by_sender && self.was_edited_to(store, conversation, &original, kind).await? {
            return Ok(());
        }
        Err(Error::invalid("content: not what the message that is forwarded says, or said"))
    }

    async fn was_edited_to(
        &self,
        store: &dyn Messages,
        conversation: ConversationId,
        original: &Entry,
        kind: &Kind,
    ) -> Result<bool> {
        let mut after = original.position;
        for _ in 0..CHANGES_STEPS_MAX {
            let changes = store
                .changes(self.sender, conversation, vec![original.position], after, CHANGES_STEP)
                .await?
                .ok_or_else(Error::not_member)?;
            if changes.iter().any(|change| edited(change).as_ref() == Some(kind)) {
                return Ok(true);
            }
            match changes.last() {
                Some(last) if changes.len() >= CHANGES_STEP as usize => after = last.position,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }
}

fn is_message(kind: &Kind) -> bool {
    matches!(kind, Kind::Text(_) | Kind::Link(_) | Kind::Card(_) | Kind::Custom(_) | Kind::Opaque(_))
}

fn edited(change: &Entry) -> Option<Kind> {
    match change.content.as_ref()?.view().ok()?.kind? {
        Kind::Edit(edit) => edit.content?.view().ok()?.kind,
        _ => None,
    }
}
