//! A frame in JSON is read or refused; what was read is the same after writing and reading again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use protocol::wire::ClientFrame;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = serde_json::from_slice::<ClientFrame>(bytes)
        // A content of bytes that are none has no JSON.
        && let Ok(text) = serde_json::to_vec(&frame)
    {
        let again: ClientFrame = serde_json::from_slice(&text).expect("what was written can be read");
        assert_eq!(again.encode_to_vec(), frame.encode_to_vec());
    }
});
