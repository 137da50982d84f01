//! What users write: messages, and changes of messages.

use std::time::Duration;

use protocol::{
    Error, RawContent, Result, UserId, limits,
    wire::{self, Content, card, content::Kind},
};
use store::{Act, Change, ChangeKind, content_kind};

use super::Config;
use crate::text;

/// The largest position that a log can have.
pub(super) const POSITION_MAX: u64 = i64::MAX as u64;

/// From when on messages may still be edited or recalled by their senders.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since {
    edit_ms: i64,
    recall_ms: i64,
}

impl Since {
    pub(super) fn of(config: &Config, now_ms: i64) -> Self {
        let since = |within: Duration| match i64::try_from(within.as_millis()) {
            Ok(within_ms) if within_ms > 0 => now_ms.saturating_sub(within_ms),
            _ => i64::MIN,
        };
        Self { edit_ms: since(config.edit_within), recall_ms: since(config.recall_within) }
    }
}

/// What a user may have appended.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) act: Act,
    /// A message that was forwarded, as its sender says: to be checked.
    pub(super) forwarded: Option<(Kind, wire::Forwarded)>,
}

/// Checks a content that a user sends.
pub(super) fn parse(content: Option<&RawContent>, since: Since) -> Result<Written> {
    let raw = content.ok_or_else(|| Error::invalid("content: missing; a text is {\"text\":{\"body\":\"…\"}}"))?;
    let content = view("content", raw)?;
    let change = |target, kind| {
        let target = position("position", target)?;
        Ok(Written { act: Act::Change(Change { target, kind }), forwarded: None })
    };
    match content.kind {
        Some(Kind::Edit(edit)) => {
            let edited = edit.content.as_ref().ok_or_else(|| Error::invalid("content.edit.content: missing"))?;
            let edited = view("content.edit.content", edited)?;
            message("content.edit.content", &edited)?;
            if edited.forwarded.is_some() {
                return Err(Error::invalid("content.edit.content.forwarded: what was edited is one's own words"));
            }
            if edited.reply_to >= edit.position && edited.reply_to > 0 {
                return Err(Error::invalid("content.edit.content.reply_to: a message answers one before it"));
            }
            change(edit.position, ChangeKind::Edit { not_before_ms: since.edit_ms })
        }
        Some(Kind::Recall(recall)) => change(recall.position, ChangeKind::Recall { not_before_ms: since.recall_ms }),
        Some(Kind::Reaction(reaction)) => {
            self::reaction(&reaction.reaction)?;
            change(reaction.position, ChangeKind::React)
        }
        Some(Kind::Pin(pin)) => change(pin.position, ChangeKind::Pin(!pin.removed)),
        _ => {
            let (mentions, mentions_everyone) = message("content", &content)?;
            let reply_to = content.reply_to;
            let forwarded = content.kind.zip(content.forwarded);
            Ok(Written { act: Act::Message { mentions, mentions_everyone, reply_to }, forwarded })
        }
    }
}

/// A message's position, in a request.
pub(super) fn position(field: &str, position: u64) -> Result<u64> {
    if (1..=POSITION_MAX).contains(&position) {
        Ok(position)
    } else {
        Err(Error::invalid(format!("{field}: a message's position is at least 1, not {position}")))
    }
}

fn view(field: &str, raw: &RawContent) -> Result<Content> {
    let size = raw.as_bytes().len();
    if size > limits::CONTENT_BYTES_MAX {
        return Err(Error::limit(&format!("{field}: bytes"), size, limits::CONTENT_BYTES_MAX));
    }
    let content = raw.view().map_err(|error| Error::invalid(format!("{field}: {error}")))?;
    // A kind that this server does not know beside one that it knows would be another thing to those who know both.
    let known = RawContent::from(Content { kind: content.kind.clone(), ..Content::default() });
    if content_kind(raw.as_bytes()) != content_kind(known.as_bytes()) {
        return Err(Error::invalid(format!("{field}: of a kind not known to this server")));
    }
    Ok(content)
}

/// Checks a message; whom it mentions, and whether everyone. Whoever is mentioned and is no member hears nothing of it:
/// in a direct conversation that is everybody but the peer.
fn message(field: &str, content: &Content) -> Result<(Vec<UserId>, bool)> {
    let at = |rest: &str| format!("{field}.{rest}");
    match &content.kind {
        Some(Kind::Text(text)) => body(&at("text.body"), &text.body)?,
        Some(Kind::Link(link)) => self::link(&at("link"), link)?,
        Some(Kind::Card(card)) => self::card(&at("card"), card)?,
        Some(Kind::Custom(custom)) => self::custom(&at("custom"), custom)?,
        Some(Kind::Opaque(opaque)) => self::opaque(&at("opaque"), opaque)?,
        Some(_) => {
            return Err(Error::invalid(format!(
                "{field}: not a kind to be written here; allowed are text, link, card, custom, opaque"
            )));
        }
        None => {
            return Err(Error::invalid(format!(
                "{field}: no kind known to this server; allowed are text, link, card, custom, opaque"
            )));
        }
    }
    if content.reply_to > 0 {
        position(&at("reply_to"), content.reply_to)?;
    }
    let Some(mentions) = &content.mentions else { return Ok((Vec::new(), false)) };
    if mentions.users.len() > limits::MENTIONS_MAX {
        return Err(Error::limit(&at("mentions.users"), mentions.users.len(), limits::MENTIONS_MAX));
    }
    let mut users: Vec<UserId> = mentions.users.iter().copied().map(UserId::new).collect();
    users.sort_unstable();
    users.dedup();
    if users.first().is_some_and(|user| user.get() == 0) {
        return Err(Error::invalid(at("mentions.users: 0 is nobody's id")));
    }
    Ok((users, mentions.everyone))
}

fn body(field: &str, body: &str) -> Result<()> {
    if body.is_empty() {
        return Err(Error::invalid(format!("{field}: a text may not be empty")));
    }
    text::at_most_bytes(field, body, limits::TEXT_BYTES_MAX)?;
    text::no_nul(field, body)
}

fn link(field: &str, link: &wire::Link) -> Result<()> {
    web_address(&format!("{field}.url"), &link.url)?;
    if !link.image.is_empty() {
        web_address(&format!("{field}.image"), &link.image)?;
    }
    let title = format!("{field}.title");
    text::at_most_chars(&title, &link.title, limits::LINK_TITLE_CHARS_MAX)?;
    text::no_nul(&title, &link.title)?;
    let description = format!("{field}.description");
    text::at_most_chars(&description, &link.description, limits::LINK_DESCRIPTION_CHARS_MAX)?;
    text::no_nul(&description, &link.description)
}

/// An address that clients may open without a second thought: `javascript:` and the like are none.
fn web_address(field: &str, url: &str) -> Result<()> {
    text::at_most_bytes(field, url, limits::URL_BYTES_MAX)?;
    let scheme_ends = url.find("://").unwrap_or(0);
    let (scheme, rest) = url.split_at(scheme_ends);
    let host = rest.trim_start_matches("://").split(['/', '?', '#']).next().unwrap_or_default();
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    if !is_web || host.is_empty() {
        return Err(Error::invalid(format!("{field}: not an address that begins with https:// or http:// and a host")));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid(format!("{field}: an address may not hold spaces or controls")));
    }
    text::no_controls(field, url)
}

fn card(field: &str, card: &wire::Card) -> Result<()> {
    match card.of {
        Some(card::Of::User(id) | card::Of::Group(id)) if id > 0 => {}
        _ => return Err(Error::invalid(format!("{field}: names neither a user nor a group"))),
    }
    let title = format!("{field}.title");
    text::at_most_chars(&title, &card.title, limits::CARD_TITLE_CHARS_MAX)?;
    text::no_controls(&title, &card.title)?;
    text::avatar(&format!("{field}.avatar"), &card.avatar).map(drop)
}

fn custom(field: &str, custom: &wire::Custom) -> Result<()> {
    content_type(&format!("{field}.type"), &custom.r#type)?;
    let json = format!("{field}.json");
    text::at_most_bytes(&json, &custom.json, limits::CUSTOM_JSON_BYTES_MAX)?;
    serde_json::from_str::<serde::de::IgnoredAny>(&custom.json)
        .map_err(|error| Error::invalid(format!("{json}: not well-formed JSON: {error}")))?;
    let depth = depth(&custom.json);
    if depth > limits::CUSTOM_JSON_DEPTH_MAX {
        // Programs that read it would run out of stack.
        return Err(Error::limit(&format!("{json}: depth"), depth, limits::CUSTOM_JSON_DEPTH_MAX));
    }
    let fallback = format!("{field}.fallback");
    text::at_most_chars(&fallback, &custom.fallback, limits::CUSTOM_FALLBACK_CHARS_MAX)?;
    text::no_nul(&fallback, &custom.fallback)
}

/// How many arrays and objects of well-formed JSON are within each other.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest): (usize, usize) = (0, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth -= 1,
            _ => {}
        }
    }
    deepest
}

fn opaque(field: &str, opaque: &wire::Opaque) -> Result<()> {
    content_type(&format!("{field}.type"), &opaque.r#type)?;
    let size = opaque.payload.len();
    if size == 0 {
        return Err(Error::invalid(format!("{field}.payload: may not be empty")));
    }
    if size > limits::OPAQUE_PAYLOAD_BYTES_MAX {
        return Err(Error::limit(&format!("{field}.payload: bytes"), size, limits::OPAQUE_PAYLOAD_BYTES_MAX));
    }
    let keys = opaque.keys.len();
    if keys > limits::OPAQUE_KEYS_MAX {
        return Err(Error::limit(&format!("{field}.keys"), keys, limits::OPAQUE_KEYS_MAX));
    }
    if let Some(size) = opaque.keys.values().map(bytes::Bytes::len).find(|size| *size > limits::OPAQUE_KEY_BYTES_MAX) {
        return Err(Error::limit(&format!("{field}.keys: bytes of one"), size, limits::OPAQUE_KEY_BYTES_MAX));
    }
    Ok(())
}

fn content_type(field: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("{field}: missing; such as \"com.example.poll\"")));
    }
    text::at_most_bytes(field, name, limits::CONTENT_TYPE_BYTES_MAX)?;
    if name.chars().all(|c| c.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(Error::invalid(format!("{field}: allowed are the visible ASCII characters but the space")))
    }
}

fn reaction(reaction: &str) -> Result<()> {
    let field = "content.reaction.reaction";
    text::at_most_bytes(field, reaction, limits::REACTION_BYTES_MAX)?;
    text::not_blank(field, reaction)?;
    text::no_controls(field, reaction)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parse(kind: Kind) -> Result<Written> {
        parse_content(Content { kind: Some(kind), ..Content::default() })
    }

    fn parse_content(content: Content) -> Result<Written> {
        super::parse(Some(&content.into()), Since { edit_ms: 5, recall_ms: 6 })
    }

    fn text(body: impl Into<String>) -> Kind {
        Kind::Text(wire::Text { body: body.into() })
    }

    #[test]
    fn a_text_has_1_byte_to_64_kib_and_no_nul() {
        for good in ["a".to_owned(), "天".repeat(20_000), "x".repeat(limits::TEXT_BYTES_MAX)] {
            parse(text(good)).unwrap();
        }
        for wrong in [String::new(), "x".repeat(limits::TEXT_BYTES_MAX + 1), "a\0b".into()] {
            parse(text(wrong)).unwrap_err();
        }
        let since = Since { edit_ms: 0, recall_ms: 0 };
        super::parse(None, since).unwrap_err();
        super::parse(Some(&RawContent::default()), since).unwrap_err();
        super::parse(Some(&RawContent::from_bytes(vec![0x0a, 3, 0x0a, 1, 0xff].into())), since).unwrap_err();
    }

    #[test]
    fn what_only_the_server_writes_is_refused() {
        for kind in [
            Kind::GroupCreated(Default::default()),
            Kind::Recalled(Default::default()),
            Kind::Hidden(Default::default()),
            Kind::FriendAdded(Default::default()),
        ] {
            parse(kind).unwrap_err();
        }
    }

    #[test]
    fn a_kind_unknown_here_beside_a_known_one_is_refused_and_other_unknown_fields_are_kept() {
        let since = Since { edit_ms: 0, recall_ms: 0 };
        let mut bytes = RawContent::from(text("hi")).as_bytes().to_vec();
        prost::encoding::uint64::encode(60, &1, &mut bytes);
        super::parse(Some(&RawContent::from_bytes(bytes.clone().into())), since).unwrap();
        prost::encoding::bytes::encode(200, &vec![], &mut bytes);
        super::parse(Some(&RawContent::from_bytes(bytes.into())), since).unwrap_err();
    }

    #[test]
    fn links_lead_to_the_web() {
        let link = |url: &str| parse(Kind::Link(wire::Link { url: url.into(), ..Default::default() }));
        for good in ["https://example.org", "HTTP://例え.jp/路径?q=1#a"] {
            link(good).unwrap();
        }
        for wrong in [
            "",
            "https://",
            "https:///path",
            "javascript:alert(1)",
            "javascript://x.org/%0aalert(1)",
            "example.org",
            "ftp://a",
            "https://a b",
            "https://a\u{202e}b",
            "https://a\n",
        ] {
            link(wrong).unwrap_err();
        }
        link(&format!("https://a/{}", "x".repeat(limits::URL_BYTES_MAX))).unwrap_err();
        let image = wire::Link { url: "https://a".into(), image: "data:x".into(), ..Default::default() };
        parse(Kind::Link(image)).unwrap_err();
    }

    #[test]
    fn a_custom_message_holds_json_and_an_opaque_one_bytes() {
        let custom = |r#type: &str, json: &str| {
            parse(Kind::Custom(wire::Custom { r#type: r#type.into(), json: json.into(), ..Default::default() }))
        };
        custom("com.example.poll", r#"{"question": "tea?", "answers": [1, 2]}"#).unwrap();
        for (r#type, json) in [("", "{}"), ("a b", "{}"), ("a", ""), ("a", "{"), ("a", "{} {}")] {
            custom(r#type, json).unwrap_err();
        }
        let nested = |depth: usize| format!("{}{}", r#"{"a":["#.repeat(depth / 2), "]}".repeat(depth / 2));
        custom("a", &nested(limits::CUSTOM_JSON_DEPTH_MAX)).unwrap();
        custom("a", r#"{"a\\\"[[[": "[[\"[[\\", "b": [[]]}"#).unwrap();
        assert_eq!(depth(r#"{"a\\\"[[[": "[[\"[[\\", "b": [[]]}"#), 3);
        for deep in [nested(limits::CUSTOM_JSON_DEPTH_MAX + 2), nested(10_000)] {
            assert_eq!(custom("a", &deep).unwrap_err().code(), wire::ErrorCode::LimitExceeded);
        }
        let opaque = |payload: usize, keys: u64, key: usize| {
            let keys = (0..keys).map(|session| (session, vec![1; key].into())).collect::<BTreeMap<_, _>>();
            parse(Kind::Opaque(wire::Opaque { r#type: "mls.v1".into(), payload: vec![7; payload].into(), keys }))
        };
        opaque(1, 2, 32).unwrap();
        opaque(0, 0, 0).unwrap_err();
        opaque(limits::OPAQUE_PAYLOAD_BYTES_MAX + 1, 0, 0).unwrap_err();
        opaque(1, 1 + limits::OPAQUE_KEYS_MAX as u64, 1).unwrap_err();
        opaque(1, 1, limits::OPAQUE_KEY_BYTES_MAX + 1).unwrap_err();
    }

    #[test]
    fn a_card_names_somebody() {
        parse(Kind::Card(wire::Card { of: Some(card::Of::User(7)), title: "Ann".into(), ..Default::default() }))
            .unwrap();
        parse(Kind::Card(wire::Card { title: "Ann".into(), ..Default::default() })).unwrap_err();
    }

    #[test]
    fn mentions_are_counted_once_each_and_bounded() {
        let content = |users: Vec<u64>| Content {
            kind: Some(text("hi")),
            mentions: Some(wire::Mentions { users, everyone: true }),
            ..Content::default()
        };
        let Act::Message { mentions, mentions_everyone, .. } = parse_content(content(vec![9, 7, 9])).unwrap().act
        else {
            panic!("a message")
        };
        assert_eq!((mentions, mentions_everyone), (vec![UserId::new(7), UserId::new(9)], true));
        parse_content(content((1..=101).collect())).unwrap_err();
        parse_content(content(vec![0])).unwrap_err();
    }

    #[test]
    fn changes_name_a_message_and_say_what_is_allowed() {
        let edit = |position, content: Content| {
            parse(Kind::Edit(wire::Edit { position, content: Some(Box::new(content.into())) }))
        };
        let new = || Content { kind: Some(text("new")), ..Content::default() };
        let Act::Change(change) = edit(3, new()).unwrap().act else { panic!("a change") };
        assert_eq!(change, Change { target: 3, kind: ChangeKind::Edit { not_before_ms: 5 } });
        edit(0, new()).unwrap_err();
        edit(3, Content { reply_to: 2, ..new() }).unwrap();
        edit(3, Content { reply_to: 3, ..new() }).unwrap_err();
        edit(3, Content { forwarded: Some(wire::Forwarded { sender: 1, time_ms: 1 }), ..new() }).unwrap_err();
        edit(3, Content { kind: Some(Kind::Recall(wire::Recall { position: 1 })), ..Content::default() }).unwrap_err();
        parse(Kind::Edit(wire::Edit { position: 3, content: None })).unwrap_err();
        let Act::Change(change) = parse(Kind::Recall(wire::Recall { position: 2 })).unwrap().act else { panic!() };
        assert_eq!(change.kind, ChangeKind::Recall { not_before_ms: 6 });
        let react = |reaction: &str| {
            parse(Kind::Reaction(wire::Reaction { position: 1, reaction: reaction.into(), removed: false }))
        };
        for good in ["👍", "👨‍👩‍👧", "+1", "好"] {
            react(good).unwrap();
        }
        for wrong in ["", " ", "\u{200d}", "a\nb", "a\u{202e}", &"x".repeat(33)] {
            react(wrong).unwrap_err();
        }
    }
}
