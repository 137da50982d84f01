//! Where a webhook begins that has no positions yet: what was said before it was made is not posted.

use client::{Client, ConversationId, Error, wire};
use store::{WebhookRow, WebhookState};

/// Entries looked at in one request while looking for where to begin.
const PAGE: u32 = 100;

/// Positions of the last entries that are older than the webhook, for all conversations that have any.
pub(crate) async fn baseline(client: &Client, hook: &WebhookRow) -> Result<WebhookState, Error> {
    let mut positions = Vec::new();
    let mut pages = client.heads();
    while let Some(heads) = pages.next().await? {
        for head in heads {
            let Some(conversation) = &head.conversation else { continue };
            let id = ConversationId::new(conversation.id);
            let before = match conversation.kind() {
                wire::ConversationKind::Personal => head.last_position,
                _ => last_before(client, id, head.last_position, hook.created_ms).await?,
            };
            positions.push((id, before));
        }
    }
    positions.retain(|&(_, position)| position > 0);
    Ok(WebhookState { cursor: String::new(), positions })
}

/// Goes back from the end; usually one page tells, as the webhook is new.
async fn last_before(client: &Client, id: ConversationId, last: u64, created_ms: i64) -> Result<u64, Error> {
    let mut before = last + 1;
    while before > 1 {
        let page = client.history_before(id, before, PAGE).await?;
        if let Some(older) = page.entries.iter().rev().find(|entry| entry.time_ms < created_ms) {
            return Ok(older.position);
        }
        match page.entries.first() {
            Some(first) => before = first.position,
            None => break,
        }
    }
    Ok(0)
}
