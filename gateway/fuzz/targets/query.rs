//! The query of a handshake: decoding is total, never makes text longer, and loses nothing that it understood.

#![no_main]

use std::fmt::Write as _;

use gateway::query::pairs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|query: &str| {
    let decoded: Vec<_> = pairs(query).collect();
    let bytes: usize = decoded.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= query.len(), "decoding made the text longer");
    assert!(decoded.len() <= query.split('&').count());
    if !query.contains(['%', '+']) {
        assert!(
            decoded
                .iter()
                .all(|(name, value)| query.contains(name) && query.contains(value))
        );
    }

    let mut encoded = String::new();
    for (name, value) in &decoded {
        escape(&mut encoded, name);
        encoded.push('=');
        escape(&mut encoded, value);
        encoded.push('&');
    }
    let again: Vec<_> = pairs(&encoded).collect();
    assert_eq!(again, decoded);
});

/// Escapes every byte, so that nothing but escapes is left to be understood.
fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        // Writing to a string cannot fail.
        let _ = write!(out, "%{byte:02x}");
    }
}
