//! Where messages of `[[ingest]]` rules come from: `channel:NAME`, `stream:NAME`, `amqp:QUEUE`.

use std::fmt;

/// The longest name, in bytes. Queues of AMQP may have 255, and a place for refused messages has a longer name.
const LONGEST: usize = 256;
const LONGEST_QUEUE: usize = 240;

/// A place where backends put messages of their own shape.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IngestSource {
    /// A channel of Redis, which every node hears.
    Channel(String),
    /// A stream of Redis, which one node reads at a time.
    Stream(String),
    /// A queue of RabbitMQ.
    Queue(String),
}

impl IngestSource {
    pub(super) fn parse(text: &str) -> Result<IngestSource, String> {
        let Some((kind, name)) = text.split_once(':') else {
            return Err(Self::unknown(text));
        };
        let (make, noun, longest): (fn(String) -> IngestSource, _, _) = match kind {
            "channel" => (IngestSource::Channel, "a channel", LONGEST),
            "stream" => (IngestSource::Stream, "a stream", LONGEST),
            "amqp" => (IngestSource::Queue, "a queue", LONGEST_QUEUE),
            _ => return Err(Self::unknown(text)),
        };
        if name.is_empty() || name.len() > longest || name.chars().any(char::is_control) {
            return Err(format!(
                "the name of {noun} has 1 to {longest} bytes, none of them a control character"
            ));
        }
        if kind == "amqp" && name.starts_with("amq.") {
            return Err(format!(
                "{text:?}: names of queues that begin with amq. belong to the broker"
            ));
        }
        Ok(make(name.to_owned()))
    }

    fn unknown(text: &str) -> String {
        format!(
            "{text:?} is unknown; write \"channel:\" or \"stream:\" and a name in Redis, or \"amqp:\" and the name of a queue"
        )
    }

    /// The channel, stream or queue.
    pub fn name(&self) -> &str {
        match self {
            IngestSource::Channel(name) | IngestSource::Stream(name) | IngestSource::Queue(name) => name,
        }
    }

    pub(super) fn is_channel(&self) -> bool {
        matches!(self, IngestSource::Channel(_))
    }
}

/// As it is written in the file.
impl fmt::Display for IngestSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            IngestSource::Channel(_) => "channel",
            IngestSource::Stream(_) => "stream",
            IngestSource::Queue(_) => "amqp",
        };
        write!(f, "{kind}:{}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_kind_and_a_name_as_it_is() {
        for (text, expect) in [
            ("channel:a:b c", IngestSource::Channel("a:b c".into())),
            (
                "stream:waba.agent-portal.events",
                IngestSource::Stream("waba.agent-portal.events".into()),
            ),
            ("amqp:äöü", IngestSource::Queue("äöü".into())),
        ] {
            let source = IngestSource::parse(text).unwrap();
            assert_eq!(source, expect);
            assert_eq!(source.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_source_says_why() {
        for (text, why) in [
            ("waba", "is unknown"),
            ("kafka:waba", "is unknown"),
            ("", "is unknown"),
            ("channel:", "a channel has 1 to 256 bytes"),
            ("stream:a\nb", "a stream has 1 to 256 bytes"),
            ("amqp:amq.gen-x", "belong to the broker"),
        ] {
            let error = IngestSource::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let long = |kind: &str, bytes| format!("{kind}:{}", "x".repeat(bytes));
        assert!(IngestSource::parse(&long("channel", 256)).is_ok());
        assert!(IngestSource::parse(&long("stream", 257)).is_err());
        assert!(IngestSource::parse(&long("amqp", 240)).is_ok());
        assert!(IngestSource::parse(&long("amqp", 241)).is_err());
    }
}
