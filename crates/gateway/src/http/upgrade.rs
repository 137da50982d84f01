//! The handshake of WebSocket (RFC 6455, section 4).

use std::{net::IpAddr, sync::Arc};

use ::http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use protocol::{WEBSOCKET_JSON, WEBSOCKET_PROTOBUF};
use sha1::{Digest as _, Sha1};

use super::{Peer, Upgraded};
use crate::{addresses::Place, frame::Encoding, gateway::Shared, socket::Socket};

/// What the standard has servers add to the client's key.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An upgrade that was agreed on, to be redeemed once the answer is written.
pub(super) struct Promise {
    upgrade: OnUpgrade,
    encoding: Encoding,
    address: IpAddr,
    place: Option<Place>,
}

/// Agrees to speak WebSocket: with the first of the offered sub-protocols that is known here, with JSON if none is
/// offered; not at all if only others are.
pub(super) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    mut request: Request<Body>,
) -> Response {
    let headers = request.headers();
    if request.version() != Version::HTTP_11
        || !lists(headers, &header::CONNECTION, "upgrade")
        || !lists(headers, &header::UPGRADE, "websocket")
    {
        let upgrade = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket")];
        return (StatusCode::UPGRADE_REQUIRED, upgrade, "speak WebSocket here\n").into_response();
    }
    if !lists(headers, &header::SEC_WEBSOCKET_VERSION, "13") {
        let versions = [(header::SEC_WEBSOCKET_VERSION, "13")];
        return (StatusCode::UPGRADE_REQUIRED, versions, "WebSocket version 13 is spoken here\n").into_response();
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return (StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing\n").into_response();
    };
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize());
    let Some((encoding, protocol)) = choose(headers) else {
        let message = format!("the sub-protocols spoken here are {WEBSOCKET_PROTOBUF} and {WEBSOCKET_JSON}\n");
        return (StatusCode::BAD_REQUEST, message).into_response();
    };
    let mut place = None;
    if peer.connection.is_shared {
        place = shared.enter(peer.address);
        if place.is_none() {
            return (StatusCode::TOO_MANY_REQUESTS, "too many connections from your address\n").into_response();
        }
    }
    let upgrade = hyper::upgrade::on(&mut request);
    *peer.connection.promise.lock() = Some(Promise { upgrade, encoding, address: peer.address, place });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

/// The connection's socket, once HTTP has let go of it.
pub(super) async fn redeem(promise: Promise) -> Option<Upgraded> {
    let upgraded = match promise.upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "an upgrade to WebSocket failed");
            return None;
        }
    };
    let parts = upgraded.downcast::<TokioIo<Socket>>().ok()?;
    let incoming = BytesMut::from(parts.read_buf);
    let Promise { encoding, address, place, .. } = promise;
    Some(Upgraded { stream: parts.io.into_inner(), incoming, encoding, address, place })
}

fn choose(headers: &HeaderMap) -> Option<(Encoding, Option<&'static str>)> {
    let mut offered = listed(headers, &header::SEC_WEBSOCKET_PROTOCOL).peekable();
    if offered.peek().is_none() {
        return Some((Encoding::Json, None));
    }
    offered.find_map(|protocol| match protocol {
        WEBSOCKET_PROTOBUF => Some((Encoding::Protobuf, Some(WEBSOCKET_PROTOBUF))),
        WEBSOCKET_JSON => Some((Encoding::Json, Some(WEBSOCKET_JSON))),
        _ => None,
    })
}

fn lists(headers: &HeaderMap, name: &header::HeaderName, wanted: &str) -> bool {
    listed(headers, name).any(|value| value.eq_ignore_ascii_case(wanted))
}

/// The members of a header that is a list.
fn listed<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(protocols: &[&'static str]) -> Option<(Encoding, Option<&'static str>)> {
        let mut headers = HeaderMap::new();
        for protocol in protocols {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        choose(&headers)
    }

    #[test]
    fn the_first_known_sub_protocol_is_chosen() {
        assert_eq!(offer(&[]), Some((Encoding::Json, None)));
        assert_eq!(offer(&["mqtt", "mpim.v1.json"]), Some((Encoding::Json, Some(WEBSOCKET_JSON))));
        let both = offer(&["mqtt, mpim.v1.protobuf,mpim.v1.json"]);
        assert_eq!(both, Some((Encoding::Protobuf, Some(WEBSOCKET_PROTOBUF))));
        assert_eq!(offer(&["mqtt", "mpim.v2.json"]), None);
    }
}
