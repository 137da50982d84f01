//! Finding messages: by what they say, by what was done to them.

use api::Call;
use protocol::{
    ConversationId, Error, Result, UserId, limits,
    wire::{self, Content, Entry, content::Kind},
};
use tokio::time::Instant;
use unicode_normalization::UnicodeNormalization as _;

use super::{
    Service,
    content::{POSITION_MAX, position},
    views::within_answer,
};
use crate::text::{self, bounded};

/// Entries looked at in one step.
const STEP_ENTRIES: u32 = 250;
/// Text compared in one search, in bytes after folding: about a tenth of a second's work. Before it, a text may be the twelfth
/// part: there are characters that fold to eighteen.
const BYTES_MAX: usize = 8 * 1024 * 1024;

impl Service {
    pub(super) async fn find(&self, call: &Call, request: wire::Search) -> Result<wire::Found> {
        let user = call.caller()?.user;
        text::not_blank("query", &request.query)?;
        text::at_most_chars("query", &request.query, limits::SEARCH_CHARS_MAX)?;
        let limit = bounded("limit", request.limit, limits::SEARCH_PAGE_DEFAULT, limits::SEARCH_PAGE_MAX)? as usize;
        let conversation = ConversationId::new(request.conversation);
        let key = folded(&request.query);
        let mut before = request.before.min(POSITION_MAX);
        let (mut entries, mut looked_at, mut compared, mut answer_bytes) = (Vec::new(), 0, 0, 0);
        loop {
            let scan = self.store.scan(user, conversation, before, STEP_ENTRIES).await?;
            let scan = scan.ok_or_else(Error::not_member)?;
            before = scan.next_before;
            looked_at += STEP_ENTRIES;
            let step = compared_aside(key.clone(), scan.messages, BYTES_MAX - compared).await?;
            compared += step.bytes;
            before = step.stopped_at.unwrap_or(before);
            for entry in step.matching {
                answer_bytes += content_bytes(&entry) + store::ENTRY_BYTES;
                if !entries.is_empty() && answer_bytes > limits::PAGE_BYTES_MAX {
                    return Ok(found(entries));
                }
                entries.push(entry);
                if entries.len() == limit {
                    return Ok(found(entries));
                }
            }
            let is_enough = looked_at >= limits::SEARCH_ENTRIES_MAX || compared >= BYTES_MAX;
            if before == 0 || is_enough || call.deadline <= Instant::now() {
                return Ok(wire::Found { entries, next_before: before });
            }
        }
    }

    pub(super) async fn changes(&self, call: &Call, request: wire::ListChanges) -> Result<wire::Entries> {
        let user = call.caller()?.user;
        let count = request.positions.len();
        if count > limits::CHANGES_POSITIONS_MAX {
            return Err(Error::limit("positions", count, limits::CHANGES_POSITIONS_MAX));
        }
        for at in &request.positions {
            position("positions", *at)?;
        }
        let limit = bounded("limit", request.limit, limits::PAGE_ENTRIES_DEFAULT, limits::PAGE_ENTRIES_MAX)?;
        let conversation = ConversationId::new(request.conversation);
        let after = request.after.min(POSITION_MAX);
        let changes = self.store.changes(user, conversation, request.positions, after, limit).await?;
        Ok(wire::Entries { entries: within_answer(changes.ok_or_else(Error::not_member)?) })
    }

    pub(super) async fn pins(&self, user: UserId, conversation: ConversationId) -> Result<wire::Entries> {
        let pins = self.store.pins(user, conversation, limits::PINS_MAX).await?;
        Ok(wire::Entries { entries: within_answer(pins.ok_or_else(Error::not_member)?) })
    }
}

/// A full answer: the next one goes on before its last entry.
fn found(entries: Vec<Entry>) -> wire::Found {
    // There is nothing before the first position.
    let next_before = entries.last().map(|entry| entry.position).filter(|position| *position > 1).unwrap_or(0);
    wire::Found { entries, next_before }
}

fn content_bytes(entry: &Entry) -> usize {
    entry.content.as_ref().map_or(0, |content| content.as_bytes().len())
}

/// What became of comparing some messages.
#[derive(Debug, Default)]
struct Compared {
    matching: Vec<Entry>,
    /// How much was compared, at most what was allowed: that is what it takes to stop.
    bytes: usize,
    /// The position of the last message that was compared, if there are others for which there was no room.
    stopped_at: Option<u64>,
}

/// Compares away from the threads that serve everybody.
async fn compared_aside(key: String, messages: Vec<Entry>, bytes_max: usize) -> Result<Compared> {
    if messages.is_empty() {
        return Ok(Compared::default());
    }
    tokio::task::spawn_blocking(move || compared(&key, messages, bytes_max))
        .await
        .map_err(|error| Error::unavailable("the search broke off").with_source(error))
}

/// Compares messages, those first that come first, until `bytes_max` were compared; one at least.
fn compared(key: &str, messages: Vec<Entry>, bytes_max: usize) -> Compared {
    let (mut matching, mut bytes) = (Vec::new(), 0);
    let mut messages = messages.into_iter();
    for entry in messages.by_ref() {
        let position = entry.position;
        bytes += content_bytes(&entry);
        if says(&entry, key, &mut bytes) {
            matching.push(entry);
        }
        if bytes >= bytes_max {
            let stopped_at = (messages.len() > 0).then_some(position);
            return Compared { matching, bytes: bytes_max, stopped_at };
        }
    }
    Compared { matching, bytes, stopped_at: None }
}

/// Whether the entry says this; the bytes that were compared for it are counted.
fn says(entry: &Entry, key: &str, bytes: &mut usize) -> bool {
    let view = entry.content.as_ref().and_then(|content| content.view().ok());
    let Some(Content { kind: Some(kind), .. }) = view else { return false };
    let mut holds = |text: &str| {
        let text = folded(text);
        *bytes += text.len();
        text.contains(key)
    };
    match kind {
        Kind::Text(text) => holds(&text.body),
        Kind::Link(link) => holds(&link.title) || holds(&link.description) || holds(&link.url),
        Kind::Card(card) => holds(&card.title),
        Kind::Custom(custom) => holds(&custom.fallback),
        _ => false,
    }
}

/// What does not differ by case or compatible forms of characters.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        text.nfkc().collect::<String>().to_lowercase().nfkc().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind) -> Entry {
        Entry { content: Some(kind.into()), ..Entry::default() }
    }

    #[test]
    fn case_and_compatible_forms_do_not_matter() {
        let text = |body: &str| entry(Kind::Text(wire::Text { body: body.into() }));
        for (body, query) in [
            ("Hello World", "O WOR"),
            ("Ｔｅａ at five", "tea"),
            ("CAFE\u{301}", "café"),
            ("今天天气好", "天气"),
            ("Straße", "STRAßE"),
        ] {
            assert!(says(&text(body), &folded(query), &mut 0), "{body} {query}");
        }
        assert!(!says(&text("tea"), &folded("coffee"), &mut 0));
    }

    #[test]
    fn links_cards_and_fallbacks_are_found_and_opaque_bytes_are_not() {
        let link = wire::Link { url: "https://example.org/x".into(), title: "Rust".into(), ..Default::default() };
        for query in ["EXAMPLE.org", "rust"] {
            assert!(says(&entry(Kind::Link(link.clone())), &folded(query), &mut 0));
        }
        assert!(says(&entry(Kind::Card(wire::Card { title: "Ann".into(), ..Default::default() })), "ann", &mut 0));
        let custom = wire::Custom { json: r#"{"a":"secret"}"#.into(), fallback: "A poll".into(), ..Default::default() };
        assert!(says(&entry(Kind::Custom(custom.clone())), "poll", &mut 0));
        assert!(!says(&entry(Kind::Custom(custom)), "secret", &mut 0));
        let opaque = wire::Opaque { r#type: "mls".into(), payload: "tea".into(), ..Default::default() };
        assert!(!says(&entry(Kind::Opaque(opaque)), "tea", &mut 0));
    }

    #[test]
    fn a_search_ends_early_where_short_texts_fold_to_long_ones() {
        let long = |position| Entry { position, ..entry(Kind::Text(wire::Text { body: "\u{fdfa}".repeat(1_000) })) };
        let messages: Vec<_> = (1..=9).rev().map(long).collect();
        let step = compared("x", messages.clone(), 80_000);
        assert_eq!((step.bytes, step.stopped_at), (80_000, Some(7)), "each is 3,000 bytes, and 33,000 to compare");
        // It gets on, however little is allowed, and does not stop where it is done.
        assert_eq!(compared("x", messages.clone(), 1).stopped_at, Some(9));
        assert_eq!(compared("x", messages[8..].to_vec(), 1).stopped_at, None);
        assert_eq!(compared("x", messages, usize::MAX).stopped_at, None);
    }
}
