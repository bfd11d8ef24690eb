//! An event's text from a client: what is handed on is a part of what came, and can be read back.

#![no_main]

use bytes::Bytes;
use gateway::engine::Event;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, value::RawValue};

fuzz_target!(|text: &str| {
    let attachments = vec![Bytes::from_static(b"1"), Bytes::from_static(b"22")];
    let Ok(event) = Event::parse(text, attachments.clone()) else {
        return;
    };
    assert!(event.size() <= text.len() + 3, "larger than what came");
    assert!(attachments.starts_with(&event.first_attachments()));

    let Some(first) = event.first_text() else {
        assert_eq!(event.first(), Value::Null);
        return;
    };
    let (all, part) = (text.as_bytes().as_ptr_range(), first.as_bytes().as_ptr_range());
    assert!(
        all.start <= part.start && part.end <= all.end,
        "copied, not a part of the text"
    );
    assert!(
        serde_json::from_str::<&RawValue>(first).is_ok(),
        "an echo would not be JSON"
    );

    // What an echo sends is what another client would understand in the same way.
    let echo = format!("[{},{first}]", Value::from(event.name()));
    let Ok(again) = Event::parse(&echo, Vec::new()) else {
        panic!("an echo is malformed: {echo}");
    };
    assert_eq!(again.name(), event.name());
    assert_eq!(again.first_text(), Some(first));
    assert_eq!(again.first(), event.first());
});
