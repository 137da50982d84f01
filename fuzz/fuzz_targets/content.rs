//! A content is accepted or refused, its kind told, its bytes kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use protocol::RawContent;

fuzz_target!(|bytes: &[u8]| {
    let content = RawContent::from_bytes(bytes.to_vec().into());
    let accepted = services::fuzzing::accepts(&content);
    if accepted {
        let kind = store::content_kind(bytes);
        assert!((1..90).contains(&kind) || (112..=115).contains(&kind), "people write messages and their changes: {kind}");
    }
    if let Ok(again) = RawContent::decode(bytes) {
        assert_eq!(again.view().is_ok(), RawContent::decode(again.as_bytes().as_ref()).unwrap().view().is_ok());
    }
});
