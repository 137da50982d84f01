//! `POST /api/v1/hooks/TOKEN`: incoming webhooks. Whoever has the URL posts into one conversation, as a bot.

use std::sync::Arc;

use ::api::{IncomingTarget, Token};
use axum::{
    Extension,
    extract::{Path, State, rejection::BytesRejection},
    response::Response,
};
use bytes::Bytes;
use protocol::{
    EntryId, Error, RawContent, Result,
    wire::{Send, ServerFrame, Text, client_frame::Body as Request, content, send::Target},
};
use serde_json::{Map, Value};
use tokio::time::timeout_at;

use super::{
    Peer,
    api::{call, caller, inner_json, object, respond},
    refusal::unread_body,
};
use crate::{dispatch, gateway::Shared, json::read_json};

/// What such requests are called in metrics.
const KIND: &str = "incoming_webhook";

/// Sends what came, and answers as `send` does.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(token): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unread_body(&rejection),
    };
    let answer = async {
        let prepared = async {
            let mut send = message(object(&body)?)?;
            let mut call = call(&shared, &peer)?;
            let opened = shared.dispatch.services().user.open_incoming_webhook(&call, Token { token });
            let IncomingTarget { identity, conversation } =
                timeout_at(call.deadline, opened).await.unwrap_or_else(|_| Err(dispatch::late(true)))?;
            let caller = caller(identity.unwrap_or_default())?;
            send.target = Some(Target::Conversation(conversation));
            call.caller = Some(caller);
            shared.admission.send(caller.user, &send)?;
            Ok((call, send))
        };
        let (call, send) = prepared.await.or_else(|error| shared.dispatch.settle(KIND, Err(error)))?;
        let answer = shared.dispatch.answer(&call, Request::Send(send)).await?;
        inner_json(&ServerFrame { request: 0, body: Some(answer) })
    };
    respond(answer.await)
}

/// The message in a body: `text`, or any `content`; `id` if it is to be stored once however often it is posted.
fn message(mut body: Map<String, Value>) -> Result<Send> {
    let id = match body.remove("id") {
        None | Some(Value::Null) => EntryId::generate().to_string(),
        Some(Value::String(id)) => id,
        Some(_) => return Err(Error::invalid("id has to be a text: a UUID")),
    };
    let content: RawContent = match (body.remove("text"), body.remove("content")) {
        (Some(Value::String(body)), None) => content::Kind::Text(Text { body }).into(),
        (None, Some(content @ Value::Object(_))) => {
            read_json(content).map_err(|error| Error::invalid(format!("content: {error}")))?
        }
        _ => {
            let forms = r#"the body has to be {"text": "…"} or {"content": {…}}, with an "id" if it may come twice"#;
            return Err(Error::invalid(forms));
        }
    };
    Ok(Send { id, content: Some(content), ..Send::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Send> {
        message(serde_json::from_value(body).unwrap())
    }

    #[test]
    fn a_message_is_a_text_or_a_content_and_has_an_id_in_any_case() {
        let text = read(json!({"text": "天气"})).unwrap();
        assert_eq!(text.content.unwrap().text().unwrap(), "天气");
        assert!(text.id.parse::<EntryId>().is_ok());
        let content = read(json!({"content": {"text": {"body": "x"}}, "id": "mine", "later": 1})).unwrap();
        assert_eq!((content.content.unwrap().text().unwrap(), content.id.as_str()), ("x".into(), "mine"));
    }

    #[test]
    fn what_is_neither_or_both_is_refused() {
        for wrong in [
            json!({}),
            json!({"text": 1}),
            json!({"content": "x"}),
            json!({"content": {"text": 1}}),
            json!({"text": "x", "content": {"text": {"body": "x"}}}),
            json!({"text": "x", "id": 7}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
