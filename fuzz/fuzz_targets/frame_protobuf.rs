//! A frame in protobuf is read or refused; what was read is the same after writing and reading again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use protocol::wire::{ClientFrame, ServerFrame};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = ClientFrame::decode(bytes) {
        let again = ClientFrame::decode(frame.encode_to_vec().as_slice()).expect("what was written can be read");
        assert_eq!(again.encode_to_vec(), frame.encode_to_vec());
    }
    // What clients read.
    if let Ok(frame) = ServerFrame::decode(bytes) {
        let _ = serde_json::to_vec(&frame);
    }
});
