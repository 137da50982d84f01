//! Whatever comes over a WebSocket is frames, or ends the connection.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, u16, &[u8])| gateway::fuzzing::websocket(input.2, input.1.into(), input.0));
