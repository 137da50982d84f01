//! Requests whose parts belong to different logs: taken apart for the logs' owners, answered as one.

use futures_util::future::join_all;
use protocol::{
    Error, Result,
    wire::{ErrorCode, send},
};
use rpc::{Channel, Method, Route};

use crate::{Call, SendRequest, SendResponse, SendResult, send_result};

/// Those sends of a request that one instance appends, in their order.
struct Part {
    owner: Option<u64>,
    route: Route,
    places: Vec<usize>,
    request: SendRequest,
}

/// Sends each to the owner of its log. The order within a log is kept; logs have none among each other. If an owner does not answer,
/// its sends fail and the others do not.
pub(crate) async fn sends(
    channel: &Channel,
    method: &Method,
    call: &Call,
    request: SendRequest,
) -> Result<SendResponse> {
    let count = request.sends.len();
    let mut parts = parts(channel, request);
    let header = call.header();
    let answer = async |part: &Part| channel.call(method, part.route, call.deadline, &header, &part.request).await;
    if parts.len() == 1 {
        return answer(&parts.remove(0)).await;
    }
    let answers = join_all(parts.iter().map(answer)).await;
    let mut results = vec![None; count];
    for (part, answer) in parts.into_iter().zip(answers) {
        let mut answered = answer.map(|answer: SendResponse| answer.results.into_iter());
        for place in part.places {
            results[place] = match &mut answered {
                Ok(answered) => answered.next(),
                Err(error) => Some(failed(error.clone())),
            };
        }
    }
    let missing = || failed(Error::new(ErrorCode::OutcomeUnknown, "the message service did not say what became of it"));
    Ok(SendResponse { results: results.into_iter().map(|result| result.unwrap_or_else(missing)).collect() })
}

fn parts(channel: &Channel, request: SendRequest) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (place, send) in request.sends.into_iter().enumerate() {
        let route = match &send.target {
            Some(send::Target::Conversation(conversation)) => Route::Key(*conversation),
            // The log is known once the name is.
            Some(send::Target::To(name)) => Route::text(name),
            None => Route::Any,
        };
        let owner = channel.owner(route);
        match parts.iter_mut().find(|part| part.owner == owner) {
            Some(part) => {
                part.places.push(place);
                part.request.sends.push(send);
            }
            None => {
                parts.push(Part { owner, route, places: vec![place], request: SendRequest { sends: vec![send] } });
            }
        }
    }
    if parts.is_empty() {
        parts.push(Part { owner: None, route: Route::Any, places: Vec::new(), request: SendRequest::default() });
    }
    parts
}

fn failed(error: Error) -> SendResult {
    SendResult { result: Some(send_result::Result::Error(error.into())) }
}
