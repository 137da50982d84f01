//! The page that tells a person with a browser what runs here.

use ::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse as _, Response};

const HEAD: &str = include_str!("page/head.html");
const ENGLISH: &str = include_str!("page/en.html");
const CHINESE: &str = include_str!("page/zh.html");

/// The page in Chinese or English, whichever the browser prefers; the other one follows.
pub(super) async fn show(headers: HeaderMap) -> Response {
    let (first, second) = if wants_chinese(&headers) { (CHINESE, ENGLISH) } else { (ENGLISH, CHINESE) };
    let host = host(&headers);
    let page = format!("{HEAD}{first}<hr>\n{second}</main>\n").replace("{{host}}", host);
    ([(header::VARY, "accept-language"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], Html(page)).into_response()
}

/// Whether the browser prefers Chinese.
pub(super) fn wants_chinese(headers: &HeaderMap) -> bool {
    prefers_chinese(headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default())
}

/// The host by which the browser knows this server, to be shown in a page.
pub(super) fn host(headers: &HeaderMap) -> &str {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_plain(host) { host } else { "127.0.0.1:8080" }
}

/// Whether a host may stand in a page as it is.
fn is_plain(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
}

/// Whether Chinese comes before English in an `Accept-Language`.
fn prefers_chinese(accepted: &str) -> bool {
    let weight = |wanted: &str| {
        accepted
            .split(',')
            .filter_map(|range| {
                let (tag, weight) = range.split_once(";q=").unwrap_or((range, "1"));
                let is_wanted = tag.trim().get(..2).is_some_and(|language| language.eq_ignore_ascii_case(wanted));
                is_wanted.then(|| weight.trim().parse::<f32>().unwrap_or(0.0))
            })
            .fold(0.0, f32::max)
    };
    let (chinese, english) = (weight("zh"), weight("en"));
    let comes_first = accepted.find("zh") < accepted.find("en") || english == 0.0;
    chinese > english || chinese > 0.0 && chinese == english && comes_first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_the_browser_prefers() {
        for chinese in ["zh", "zh-CN,zh;q=0.9,en;q=0.8", "en;q=0.5, zh-TW", "zh,en"] {
            assert!(prefers_chinese(chinese), "{chinese}");
        }
        for english in ["", "en", "en-GB,en;q=0.9,zh;q=0.8", "de", "en,zh", "天"] {
            assert!(!prefers_chinese(english), "{english}");
        }
    }

    #[test]
    fn a_host_cannot_bring_markup_into_the_page() {
        assert!(is_plain("chat.example:8080") && is_plain("[::1]:8080"));
        assert!(!is_plain("<script>") && !is_plain("a b") && !is_plain(""));
    }
}
