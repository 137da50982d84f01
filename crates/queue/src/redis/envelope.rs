//! What travels on a channel: publications of one publisher, numbered; and, on gateways' channels, notes about routes.
//!
//! Big-endian: a byte that tells the kind, then the fields as they stand in [`Envelope`]; payloads with their length.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::UserId;

const PUBLICATIONS: u8 = 1;
const HOLDING: u8 = 2;
const OPENED: u8 = 3;

/// A decoded envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Envelope {
    /// So many publications, perhaps none, of which the first has this number in its series.
    Publications { series: u64, first: u64, sent_us: u64, payloads: Vec<Bytes> },
    /// A user's route over this gateway was changed.
    Holding(Holding),
    /// The gateway was opened, and this is the opening's number.
    Opened(u64),
}

/// How a route was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) user: UserId,
    /// Of the lease it was bound for.
    pub(super) term: u64,
    /// When, by the clock of the server that keeps the user's routes.
    pub(super) at: u64,
    pub(super) route: Route,
}

/// What a gateway is to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Gone = 0,
    Away = 1,
    There = 2,
}

/// An envelope that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an envelope of {0} bytes cannot be read")]
pub(super) struct Malformed(usize);

/// Encodes an [`Envelope::Publications`].
pub(super) fn publications(series: u64, first: u64, sent_us: u64, payloads: &[Bytes]) -> Bytes {
    const HEAD: usize = 1 + 3 * 8 + 4;
    let bytes: usize = payloads.iter().map(|payload| 4 + payload.len()).sum();
    let mut buffer = BytesMut::with_capacity(HEAD + bytes);
    buffer.put_u8(PUBLICATIONS);
    buffer.put_u64(series);
    buffer.put_u64(first);
    buffer.put_u64(sent_us);
    buffer.put_u32(u32::try_from(payloads.len()).expect("an envelope holds a batch, which is bounded"));
    for payload in payloads {
        buffer.put_u32(u32::try_from(payload.len()).expect("Redis takes no value of 4 GiB"));
        buffer.put_slice(payload);
    }
    buffer.freeze()
}

impl Holding {
    /// Encodes an [`Envelope::Holding`].
    pub(super) fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        buffer.put_u8(HOLDING);
        buffer.put_u64(self.user.get());
        buffer.put_u64(self.term);
        buffer.put_u64(self.at);
        buffer.put_u8(self.route as u8);
        buffer.freeze()
    }
}

/// Encodes an [`Envelope::Opened`].
pub(super) fn opened(opening: u64) -> Bytes {
    let mut buffer = BytesMut::new();
    buffer.put_u8(OPENED);
    buffer.put_u64(opening);
    buffer.freeze()
}

/// Decodes; payloads share the memory of `bytes`.
pub(super) fn decode(bytes: Bytes) -> Result<Envelope, Malformed> {
    let length = bytes.len();
    read(bytes).ok_or(Malformed(length))
}

fn read(mut bytes: Bytes) -> Option<Envelope> {
    let envelope = match bytes.try_get_u8().ok()? {
        PUBLICATIONS => {
            let (series, first, sent_us) =
                (bytes.try_get_u64().ok()?, bytes.try_get_u64().ok()?, bytes.try_get_u64().ok()?);
            let mut payloads = Vec::new();
            for _ in 0..bytes.try_get_u32().ok()? {
                let length = bytes.try_get_u32().ok()? as usize;
                if length > bytes.len() {
                    return None;
                }
                payloads.push(bytes.split_to(length));
            }
            Envelope::Publications { series, first, sent_us, payloads }
        }
        HOLDING => {
            let user = UserId::new(bytes.try_get_u64().ok()?);
            let (term, at) = (bytes.try_get_u64().ok()?, bytes.try_get_u64().ok()?);
            let route = match bytes.try_get_u8().ok()? {
                0 => Route::Gone,
                1 => Route::Away,
                2 => Route::There,
                _ => return None,
            };
            Envelope::Holding(Holding { user, term, at, route })
        }
        OPENED => Envelope::Opened(bytes.try_get_u64().ok()?),
        _ => return None,
    };
    bytes.is_empty().then_some(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_come_back_as_they_were_and_cut_short_not_at_all() {
        let payloads = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let holding = Holding { user: UserId::new(5), term: 6, at: 7, route: Route::Away };
        let cases = [
            (publications(1, 2, 3, &payloads), Envelope::Publications { series: 1, first: 2, sent_us: 3, payloads }),
            (publications(1, 2, 3, &[]), Envelope::Publications { series: 1, first: 2, sent_us: 3, payloads: vec![] }),
            (holding.encode(), Envelope::Holding(holding)),
            (opened(9), Envelope::Opened(9)),
        ];
        for (bytes, envelope) in cases {
            assert_eq!(decode(bytes.clone()), Ok(envelope));
            for length in 0..bytes.len() {
                assert!(decode(bytes.slice(..length)).is_err());
            }
            assert!(decode([&bytes[..], b"x"].concat().into()).is_err());
        }
    }
}
