//! Requests whose parts belong to different logs: taken apart for the logs' owners, answered as one.

use futures_util::future::join_all;
use protocol::{
    Error, Result,
    wire::{self, ErrorCode, send},
};
use rpc::{Channel, Method, Owners, Route};

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
    let header = call.header();
    let mut routes = request.sends.iter().map(route);
    let first = routes.next().unwrap_or(Route::Any);
    if routes.all(|other| other == first) {
        return channel.call(method, first, call.deadline, &header, &request).await;
    }
    let count = request.sends.len();
    let parts = parts(&channel.owners(), request);
    let answer = async |part: &Part| channel.call(method, part.route, call.deadline, &header, &part.request).await;
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

fn route(send: &wire::Send) -> Route {
    match &send.target {
        Some(send::Target::Conversation(conversation)) => Route::Key(*conversation),
        // Whoever is called says that it is wrong: names are resolved by the gateway.
        Some(send::Target::To(_)) | None => Route::Any,
    }
}

/// By one view of the instances: sends to one log must not be parted, or they would overtake each other.
fn parts(owners: &Owners, request: SendRequest) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (place, send) in request.sends.into_iter().enumerate() {
        let route = route(&send);
        let owner = owners.of(route);
        let known = parts.iter().position(|part| part.owner == owner).unwrap_or_else(|| {
            parts.push(Part { owner, route, places: Vec::new(), request: SendRequest::default() });
            parts.len() - 1
        });
        parts[known].places.push(place);
        parts[known].request.sends.push(send);
    }
    parts
}

fn failed(error: Error) -> SendResult {
    SendResult { result: Some(send_result::Result::Error(error.into())) }
}
