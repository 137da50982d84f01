//! A configuration file, TOML or INI, is read, or its mistakes are told.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mpim::config::Config;

fuzz_target!(|input: (bool, &str)| {
    let path = Path::new(if input.0 { "mpim.toml" } else { "mpim.ini" });
    if let Err(mistakes) = Config::read(Some((path, input.1)), std::iter::empty()) {
        assert!(!mistakes.to_string().is_empty());
    }
});
