//! A name is accepted or refused; the key of a key is that key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::UserName;

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<UserName>() {
        assert_eq!(name.as_str().parse::<UserName>().expect("a name stays one").key(), name.key());
    }
});
