//! What generated clients and servers share: [`Call`] as it travels.

use std::net::IpAddr;

use prost::Message;
use protocol::{SessionId, UserId};
use rpc::Route;
use tokio::time::Instant;

use crate::{Call, CallHeader, Caller, ConnectionId, Scopes};

impl Call {
    /// As it travels in front of a request; the deadline is the frame's.
    pub(crate) fn header(&self) -> CallHeader {
        let (user, session, scopes) =
            self.caller.map_or((0, 0, 0), |caller| (caller.user.get(), caller.session.get(), caller.scopes.bits()));
        let address = match self.address {
            None => Vec::new(),
            Some(IpAddr::V4(address)) => address.octets().into(),
            Some(IpAddr::V6(address)) => address.octets().into(),
        };
        let origin = self.origin.map_or(0, |ConnectionId(origin)| origin);
        CallHeader { user, session, scopes, origin, address: address.into() }
    }

    fn received(header: &CallHeader, deadline: Instant) -> Self {
        let caller = (header.user != 0).then(|| Caller {
            user: UserId::new(header.user),
            session: SessionId::new(header.session),
            scopes: Scopes::from_bits(header.scopes),
        });
        let address = match header.address.len() {
            4 => header.address[..].try_into().ok().map(|octets: [u8; 4]| octets.into()),
            16 => header.address[..].try_into().ok().map(|octets: [u8; 16]| octets.into()),
            _ => None,
        };
        let origin = (header.origin != 0).then_some(ConnectionId(header.origin));
        Self { caller, origin, address, deadline }
    }
}

/// To the owner of the caller's personal log; without a caller, to anybody.
pub(crate) fn by_caller(call: &Call) -> Route {
    call.caller.map_or(Route::Any, |caller| Route::Key(caller.user.personal_log().get()))
}

/// Who calls, what is asked, and whom to answer; `None` if it could not be read, of which the caller has been told.
pub(crate) fn open<M: Message + Default>(request: rpc::Request) -> Option<(Call, M, rpc::Reply)> {
    let deadline = request.deadline();
    let (header, message, reply) = request.open::<CallHeader, M>()?;
    Some((Call::received(&header, deadline), message, reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_on_arrival_what_it_was_when_it_left() {
        let caller = Caller { user: UserId::new(7), session: SessionId::new(8), scopes: Scopes::of_identity(&[1, 3]) };
        for caller in [None, Some(caller), Some(Caller { scopes: Scopes::ALL, ..caller })] {
            for address in [None, Some("10.1.2.3".parse().unwrap()), Some("2001:db8::1".parse().unwrap())] {
                for origin in [None, Some(ConnectionId(9))] {
                    let call = Call { caller, origin, address, deadline: Instant::now() };
                    let header = CallHeader::decode(call.header().encode_to_vec().as_slice()).unwrap();
                    let arrived = Call::received(&header, call.deadline);
                    assert_eq!(arrived.caller, caller);
                    assert_eq!(arrived.origin, origin);
                    assert_eq!(arrived.address, address);
                }
            }
        }
    }
}
