//! The name of a channel: whatever is taken for one of ours has exactly the name that we would give it.

#![no_main]

use adapter_redis::{Channel, NodeId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // The first line is the prefix, which operators choose.
    let (prefix, name) = text.split_once('\n').unwrap_or(("roomcast", text));
    for prefix in [prefix, "roomcast"] {
        if let Some(channel) = Channel::parse(prefix, name) {
            assert_eq!(channel.name(prefix), name);
        }
    }
    match NodeId::parse(name) {
        Ok(id) => {
            assert_eq!(id.as_str(), name);
            let own = Channel::Node(id);
            assert_eq!(Channel::parse(prefix, &own.name(prefix)), Some(own));
        }
        Err(_) => assert!(Channel::parse("p", &format!("p:node:{name}")).is_none()),
    }
});
