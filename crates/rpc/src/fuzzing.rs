//! For `fuzz/`: what parses bytes of a peer.

use bytes::BytesMut;

use crate::wire::{Frame, Head};

/// Takes all frames off the bytes, and opens them.
pub fn frames(bytes: &[u8]) {
    let mut read = BytesMut::from(bytes);
    while let Ok(Some(frame)) = Frame::take(&mut read) {
        if let Ok((head, header, body)) = Head::take(frame.payload.clone()) {
            assert!(header.len() + body.len() < frame.payload.len(), "{head:?}");
        }
        let _ = frame.error();
    }
}
