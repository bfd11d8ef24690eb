//! A backend's envelope: its payload is passed on byte for byte, becomes a packet that clients can read, and survives
//! the way to other nodes.

#![no_main]

use std::collections::HashSet;

use adapter_redis::{
    Envelope, EnvelopeError, Frame, Handling, Limits, MAX_ATTACHMENTS, MAX_ROOMS, Message, NodeId,
    Publication,
};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use serde_json::value::RawValue;

const UNLIMITED: Limits = Limits { max_event_bytes: 0 };

fuzz_target!(|json: &[u8]| {
    match Envelope::parse(json, &UNLIMITED) {
        Ok(envelope) => {
            payload(&envelope, json);
            limits(&envelope, json);
            way(envelope);
        }
        Err(error) => {
            assert!(EnvelopeError::REASONS.contains(&error.reason()));
            assert!(
                error.to_string().len() < 1_000,
                "an answer grows with what was sent: {error}"
            );
        }
    }
});

fn payload(envelope: &Envelope, json: &[u8]) {
    let args = envelope.args.json();
    assert!(memmem::find(json, args).is_some(), "the payload was rewritten");
    let rooms: HashSet<_> = envelope.rooms.iter().collect();
    assert!(rooms.len() == envelope.rooms.len() && (1..=MAX_ROOMS).contains(&rooms.len()));

    let packet = envelope.args.to_packet(&envelope.event);
    // Not as values: numbers beyond 64 bits are fine for JSON and for clients.
    let items: Vec<&RawValue> = match serde_json::from_str(&packet.text) {
        Ok(items) => items,
        Err(error) => panic!("the packet is not JSON: {error}: {}", packet.text),
    };
    let event = items
        .first()
        .and_then(|event| serde_json::from_str::<String>(event.get()).ok());
    assert_eq!(event.as_deref(), Some(envelope.event.as_str()));
    assert_eq!(
        items.len() == 1,
        args.is_empty(),
        "arguments come from nowhere, or are lost"
    );

    assert_eq!(packet.attachments.is_empty(), !envelope.args.is_binary());
    assert!(packet.attachments.len() <= MAX_ATTACHMENTS);
    // In JSON this text can be nothing but an object: inside of a string its quotes would be escaped.
    let placeholders: Vec<_> = packet
        .text
        .split(r#"{"_placeholder":true,"num":"#)
        .skip(1)
        .collect();
    assert_eq!(placeholders.len(), packet.attachments.len());
    for (number, rest) in placeholders.iter().enumerate() {
        assert!(
            rest.starts_with(&format!("{number}}}")),
            "placeholders are out of order"
        );
    }
}

fn limits(envelope: &Envelope, json: &[u8]) {
    let limited = |max_event_bytes| Envelope::parse(json, &Limits { max_event_bytes });
    assert_eq!(limited(json.len()).as_ref(), Ok(envelope));
    let (bytes, limit) = (json.len(), json.len() - 1);
    assert_eq!(limited(limit), Err(EnvelopeError::TooLarge { bytes, limit }));
}

/// What was accepted here has to arrive as it is elsewhere.
fn way(envelope: Envelope) {
    let sender = match NodeId::parse("node-A_456789xyz") {
        Ok(sender) => sender,
        Err(error) => panic!("{error}"),
    };
    let frame = Frame::Publication {
        handling: Handling {
            request: envelope.count.then_some(300),
            ..Handling::default()
        },
        publication: Publication {
            rooms: envelope.rooms,
            except: envelope.except,
            namespace: envelope.namespace,
            volatile: envelope.volatile,
            event: envelope.event,
            args: envelope.args,
            published_at_ms: 1_785_000_000_123,
            stamp: None,
            trace: None,
        },
    };
    assert_eq!(
        Message::decode(&frame.encode(&sender)),
        Ok(Message { sender, frame })
    );
}
