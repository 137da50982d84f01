//! Frames between instances: whatever bytes come, they are frames or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rpc::fuzzing::frames(bytes));
