//! The keys of notices.

use crate::settings::{Key, Kind, Reader};

const TO: &str = "notices.to";
const STREAM_MAX_LENGTH: &str = "notices.stream_max_length";
const WEBHOOK_URL: &str = "webhook.url";

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: TO,
        kind: Kind::String,
        default: "off",
        doc: "Who is told of each client that connects or disconnects: `off`; `stream`, the stream `<prefix>:notices` in Redis; `webhook`, by way of that stream where there is Redis.",
    },
    Key {
        path: STREAM_MAX_LENGTH,
        kind: Kind::Number,
        default: "100000",
        doc: "How many notices that stream holds, about; the oldest make room.",
    },
];

/// Who is told who connects and disconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Nobody.
    Off,
    /// Whoever reads the stream.
    Stream,
    /// The webhook.
    Webhook,
}

/// What a node is told of notices.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Who is told.
    pub to: To,
    /// How many notices the stream holds.
    pub stream_max_length: u32,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader, has_redis: bool) -> Config {
        let to = match &*reader.string(TO) {
            "off" => To::Off,
            "stream" => To::Stream,
            "webhook" => To::Webhook,
            other => {
                reader.problem(TO, other, "\"off\", \"stream\" or \"webhook\"");
                To::Off
            }
        };
        if to == To::Stream && !has_redis {
            reader.say(format!(
                "{TO}: \"stream\" needs Redis, and redis.url is empty; set redis.url, or choose \"webhook\""
            ));
        }
        if to == To::Webhook && reader.string(WEBHOOK_URL).is_empty() {
            reader.say(format!("{TO}: \"webhook\" needs one; set {WEBHOOK_URL}"));
        }
        let stream_max_length = reader.number(STREAM_MAX_LENGTH);
        if stream_max_length == 0 {
            reader.problem(STREAM_MAX_LENGTH, "0", "a number above zero");
        }
        Config {
            to,
            stream_max_length,
        }
    }
}
