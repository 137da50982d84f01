//! Whatever comes over TCP is frames, or ends the connection.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| gateway::fuzzing::tcp(bytes));
