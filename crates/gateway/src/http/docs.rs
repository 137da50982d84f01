//! `GET /api/docs`: the HTTP interface, described for people, on one page that needs nothing from elsewhere.

mod words;

use std::fmt::Write as _;

use ::http::{HeaderMap, header};
use axum::{
    extract::RawQuery,
    response::{Html, IntoResponse as _, Response},
};
use serde_json::Value;

use self::words::{CHINESE, ENGLISH, Words};
use super::{
    description::{Enum, Field, Kind, Message, PROTOCOL},
    openapi::{ADMIN, example, summary, tag},
    page,
};
use crate::dispatch::table::{Access, ROWS, Row};

const HEAD: &str = include_str!("docs/head.html");
/// Nothing may come from elsewhere, and nothing runs.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// The page, in the language that the query names (`?lang=zh`), else in the one that the browser prefers.
pub(super) async fn show(RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let words = match query.as_deref() {
        Some("lang=zh") => &CHINESE,
        Some("lang=en") => &ENGLISH,
        _ if page::wants_chinese(&headers) => &CHINESE,
        _ => &ENGLISH,
    };
    let page = whole(words, page::host(&headers));
    let told = [
        (header::VARY, "accept-language"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (told, Html(page)).into_response()
}

fn whole(words: &Words, host: &str) -> String {
    let mut writer = Writer { words, host, page: String::new() };
    writer.put(format_args!("<!doctype html>\n<html lang=\"{}\">\n<title>{}</title>\n", words.language, words.title));
    writer.put(format_args!("{HEAD}<main>\n<h1>{}</h1>\n<p>{}</p>\n", words.title, words.introduction));
    writer.navigation();
    let mut topic = None;
    for row in ROWS {
        if topic != Some(row.topic) {
            topic = Some(row.topic);
            let name = tag(row.topic);
            writer.put(format_args!("<h2 id=\"topic-{name}\">{}</h2>\n", words.topic(name)));
        }
        writer.request(row);
    }
    writer.hooks();
    writer.administration();
    writer.types();
    writer.put(format_args!("</main>\n"));
    writer.page
}

/// What is being written. All text that is not of this crate's own making is the protocol's, and is escaped.
struct Writer<'a> {
    words: &'a Words,
    host: &'a str,
    page: String,
}

impl Writer<'_> {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.page.write_fmt(text);
    }

    fn navigation(&mut self) {
        let words = self.words;
        self.put(format_args!("<nav>\n"));
        for (name, title) in words.topics {
            self.put(format_args!("<a href=\"#topic-{name}\">{title}</a>\n"));
        }
        self.put(format_args!(
            "<a href=\"#hooks\">{}</a>\n<a href=\"#administration\">{}</a>\n<a href=\"#types\">{}</a>\n",
            words.hooks, words.administration, words.messages
        ));
        self.put(format_args!("</nav>\n<p class=\"muted\">{}: ", words.for_programs));
        self.put(format_args!("<a href=\"/api/v1/openapi.json\">openapi.json</a> · {}</p>\n", words.other));
    }

    fn request(&mut self, row: &Row) {
        let words = self.words;
        let needs = match row.access {
            Access::Anybody => words.nobody.to_owned(),
            Access::LoggedIn => words.any_key.to_owned(),
            Access::Scope(scope) => format!("{} {}", words.scope, scope.as_str_name()),
            Access::Session => words.session.to_owned(),
        };
        let tags: &[&str] = if row.needs_socket { &[&needs, words.socket] } else { &[&needs] };
        self.operation(row.name, row.name, tags, (row.message, row.answer), row.access != Access::Anybody);
    }

    /// One operation. `path` is what follows `/api/v1/`.
    fn operation(&mut self, id: &str, path: &str, tags: &[&str], (message, answer): (&str, &str), has_token: bool) {
        let words = self.words;
        let comment = PROTOCOL.message(message).map_or("", |message| message.comment.as_str());
        let tags: String = tags.iter().map(|tag| format!(" <span class=\"tag\">{tag}</span>")).collect();
        self.put(format_args!(
            "<span id=\"{message}\"></span><details id=\"{id}\"><summary><code>{path}</code>{}{tags}</summary><div>\n",
            escaped(&summary(path, comment))
        ));
        self.comment(comment);
        self.put(format_args!("<h3>{}</h3>\n", words.request));
        if let Some(message) = PROTOCOL.message(message) {
            self.fields(message);
        }
        self.put(format_args!("<h3>{}</h3>\n<p><a href=\"#{answer}\"><code>{answer}</code></a></p>\n", words.answer));
        self.curl(path, has_token, &example(&PROTOCOL, message));
        self.put(format_args!("</div></details>\n"));
    }

    fn curl(&mut self, path: &str, has_token: bool, body: &Value) {
        let token = if has_token { " -H \"Authorization: Bearer $TOKEN\"" } else { "" };
        let command = format!(
            "curl http://{}/api/v1/{path}{token} \\\n  -H 'Content-Type: application/json' -d '{body}'",
            self.host
        );
        self.put(format_args!("<h3>{}</h3>\n<pre>{}</pre>\n", self.words.try_it, escaped(&command)));
    }

    fn hooks(&mut self) {
        let words = self.words;
        self.put(format_args!(
            "<h2 id=\"hooks\">{}</h2>\n<details id=\"post_incoming_webhook\"><summary>",
            words.hooks
        ));
        self.put(format_args!("<code>hooks/TOKEN</code> <span class=\"tag\">{}</span></summary><div>\n", words.nobody));
        self.put(format_args!("<p>{}</p>\n<h3>{}</h3>\n", words.hook_text, words.answer));
        self.put(format_args!("<p><a href=\"#Sent\"><code>Sent</code></a></p>\n"));
        self.curl("hooks/$TOKEN", false, &serde_json::json!({ "text": "The nightly build has passed" }));
        self.put(format_args!("</div></details>\n"));
    }

    fn administration(&mut self) {
        let words = self.words;
        self.put(format_args!("<h2 id=\"administration\">{}</h2>\n", words.administration));
        for (name, message, answer) in ADMIN {
            let path = format!("admin/{name}");
            self.operation(&format!("admin_{name}"), &path, &[words.admin], (message, answer), true);
        }
    }

    /// All that requests and answers hold, to be linked to.
    fn types(&mut self) {
        self.put(format_args!("<h2 id=\"types\">{}</h2>\n", self.words.messages));
        let requests = ROWS.iter().map(|row| row.message).chain(ADMIN.iter().map(|row| row.1));
        let answers = ROWS.iter().map(|row| row.answer).chain(ADMIN.iter().map(|row| row.2));
        let own: Vec<&str> = requests.clone().collect();
        for name in PROTOCOL.reachable(requests.chain(answers).chain(["Error"])) {
            match (PROTOCOL.message(name), PROTOCOL.of_enum(name)) {
                // Shown with the request.
                (Some(_), _) if own.contains(&name) => {}
                (Some(message), _) => self.message(message),
                (None, Some(of)) => self.enumeration(of),
                (None, None) => {}
            }
        }
    }

    fn message(&mut self, message: &Message) {
        self.put(format_args!("<details id=\"{0}\"><summary><code>{0}</code></summary><div>\n", message.name));
        self.comment(&message.comment);
        self.fields(message);
        self.put(format_args!("</div></details>\n"));
    }

    fn enumeration(&mut self, of: &Enum) {
        self.put(format_args!("<details id=\"{0}\"><summary><code>{0}</code></summary><div>\n", of.name));
        self.comment(&of.comment);
        self.put(format_args!("<div class=\"table\"><table>\n"));
        for value in &of.values {
            let comment = escaped(&value.comment);
            self.put(format_args!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{comment}</td></tr>\n",
                value.name, value.number
            ));
        }
        self.put(format_args!("</table></div>\n</div></details>\n"));
    }

    fn comment(&mut self, comment: &str) {
        for paragraph in comment.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            self.put(format_args!("<p>{}</p>\n", escaped(paragraph)));
        }
    }

    fn fields(&mut self, message: &Message) {
        let words = self.words;
        if message.fields.is_empty() {
            return self.put(format_args!("<p class=\"muted\">{}</p>\n", words.no_fields));
        }
        self.put(format_args!(
            "<div class=\"table\"><table>\n<tr><th>{}</th><th>{}</th><th>{}</th></tr>\n",
            words.field, words.kind, words.meaning
        ));
        for (i, field) in message.fields.iter().enumerate() {
            let is_choice = message.choices.iter().any(|choice| choice.len() > 1 && choice.contains(&i));
            let kind = self.kind(field, is_choice);
            let comment = escaped(&field.comment);
            self.put(format_args!("<tr><td><code>{}</code></td><td>{kind}</td><td>{comment}</td></tr>\n", field.name));
        }
        self.put(format_args!("</table></div>\n"));
    }

    fn kind(&self, field: &Field, is_choice: bool) -> String {
        let words = self.words;
        let kind = kind_name(&field.kind);
        let list = if field.is_repeated { format!("{} ", words.list_of) } else { String::new() };
        let is_optional = field.has_presence && !matches!(field.kind, Kind::Message(_));
        let note = match (is_choice, is_optional) {
            (true, _) => format!(" <span class=\"muted\">({})</span>", words.one_of),
            (false, true) => format!(" <span class=\"muted\">({})</span>", words.optional),
            (false, false) => String::new(),
        };
        format!("{list}{kind}{note}")
    }
}

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Text => "string".to_owned(),
        Kind::Bytes => "bytes (base64)".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::Whole { bits, is_signed } => format!("{}int{bits}", if *is_signed { "" } else { "u" }),
        Kind::Message(name) | Kind::Enum(name) => format!("<a href=\"#{name}\">{name}</a>"),
        Kind::Map(value) => format!("{{ uint64: {} }}", kind_name(value)),
    }
}

/// Text as it stands in a page; what is quoted as code there is code here.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let parts = text.split('`').enumerate();
    parts.map(|(i, part)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_request_is_on_the_page_in_both_languages_and_no_link_leads_nowhere() {
        for words in [&ENGLISH, &CHINESE] {
            let page = whole(words, "chat.example:8080");
            let parts = |before: &str| -> HashSet<String> {
                page.split(before).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
            };
            let ids = parts(" id=\"");
            for row in ROWS {
                assert!(ids.contains(row.name), "{}", row.name);
                assert!(page.contains(&format!("http://chat.example:8080/api/v1/{}", row.name)));
            }
            for link in parts("href=\"#") {
                assert!(ids.contains(&link), "{link}");
            }
            assert!(page.contains(words.topic("groups")));
            assert!(!page.contains("<script") && !page.contains("src="));
        }
    }

    #[test]
    fn text_cannot_bring_markup_into_the_page() {
        assert_eq!(escaped("a <b> & `c<d`"), "a &lt;b&gt; &amp; <code>c&lt;d</code>");
    }
}
