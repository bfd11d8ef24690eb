//! The keys of what is forwarded.

use crate::settings::{Key, Kind, Reader};

const STREAM_MAX_LENGTH: &str = "forward.stream_max_length";

/// The keys of this module.
pub const KEYS: &[Key] = &[Key {
    path: STREAM_MAX_LENGTH,
    kind: Kind::Number,
    default: "100000",
    doc: "About how many events of clients are kept in the stream `<prefix>:inbound`; the oldest go first, whether a backend has read them or not.",
}];

/// How much is kept for backends.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Entries of the stream.
    pub stream_max_length: u32,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        let stream_max_length = reader.number(STREAM_MAX_LENGTH);
        if stream_max_length == 0 {
            reader.problem(STREAM_MAX_LENGTH, "0", "1 or more");
        }
        Config { stream_max_length }
    }
}
