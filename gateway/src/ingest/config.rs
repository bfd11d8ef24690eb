//! Where messages of backends can be had: RabbitMQ. Redis is that of the cluster.

use std::fmt;

use adapter_redis::GroupStream;

use crate::{
    config::ClusterConfig,
    policy::{IngestSource, Policy},
    settings::{Key, Kind, Reader},
};

const URL: &str = "amqp.url";
const URL_FILE: &str = "amqp.url_file";
const PREFETCH: &str = "amqp.prefetch";
const DECLARE: &str = "amqp.declare";

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: URL,
        kind: Kind::Secret,
        default: "",
        doc: "`amqp://[user:password@]host[:port][/vhost]`, or `amqps://`, of the RabbitMQ for `[[ingest]]` rules with `amqp:`.",
    },
    Key {
        path: URL_FILE,
        kind: Kind::Path,
        default: "",
        doc: "A file with that URL instead.",
    },
    Key {
        path: PREFETCH,
        kind: Kind::Number,
        default: "256",
        doc: "How many messages of a queue a node may have in hand, 1 to 65535.",
    },
    Key {
        path: DECLARE,
        kind: Kind::Bool,
        default: "true",
        doc: "Whether the node makes queues that do not exist, and those for refused messages. Otherwise they have to be there.",
    },
];

/// How many streams and queues may be read.
const MAX_SOURCES: usize = 64;

/// What the node is told of backends' messages.
#[derive(Debug, Clone)]
pub struct Config {
    /// RabbitMQ, where there is one.
    pub broker: Option<Broker>,
}

/// How to reach RabbitMQ, and what to do there. `Debug` does not show the URL: it holds a password.
#[derive(Clone)]
pub struct Broker {
    /// The URL, which was checked.
    pub url: String,
    /// How many messages of a queue may be in hand.
    pub prefetch: u16,
    /// Whether queues are made.
    pub declare: bool,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        let prefetch = reader.number(PREFETCH);
        let valid = u16::try_from(prefetch).ok().filter(|prefetch| *prefetch > 0);
        if valid.is_none() {
            reader.problem(PREFETCH, &prefetch.to_string(), "a number from 1 to 65535");
        }
        let declare = reader.boolean(DECLARE);
        let broker = url(reader).map(|url| Broker {
            url,
            prefetch: valid.unwrap_or(1),
            declare,
        });
        Config { broker }
    }
}

fn url(reader: &mut Reader) -> Option<String> {
    let in_file = !reader.string(URL_FILE).is_empty();
    let direct = reader.string(URL);
    let (key, url) = match (direct.is_empty(), in_file) {
        (false, true) => {
            reader.say(format!("{URL} and {URL_FILE} are both set; keep one"));
            return None;
        }
        (false, false) => (URL, direct),
        (true, true) => (URL_FILE, reader.file(URL_FILE)?),
        (true, false) => return None,
    };
    match check_url(&url) {
        Ok(()) => Some(url),
        Err(expected) => {
            // Never with what was seen.
            reader.say(format!("{key}: expected {expected}"));
            None
        }
    }
}

#[cfg(feature = "amqp")]
fn check_url(url: &str) -> Result<(), &'static str> {
    super::amqp::check_url(url)
}

#[cfg(not(feature = "amqp"))]
fn check_url(_: &str) -> Result<(), &'static str> {
    Err("nothing: this build cannot read queues, it was made without the feature `amqp`")
}

/// Whether everything that a policy takes messages from can be had.
pub(crate) fn check(reader: &mut Reader, policy: &Policy, config: &Config, cluster: &ClusterConfig) {
    let mut count = 0;
    for source in policy.ingest_sources() {
        let problem = match &source {
            IngestSource::Channel(_) => continue,
            IngestSource::Stream(name) => match &cluster.redis {
                None => Some("there is no Redis to read it from; set redis.url".to_owned()),
                Some(redis) => GroupStream::is_reserved(&redis.prefix, name).then(|| {
                    "it begins with redis.prefix; name a stream of somebody else, or change the prefix"
                        .to_owned()
                }),
            },
            IngestSource::Queue(_) if cfg!(not(feature = "amqp")) => {
                Some("this build cannot read queues; it was made without the feature `amqp`".to_owned())
            }
            IngestSource::Queue(_) => config
                .broker
                .is_none()
                .then(|| format!("there is no RabbitMQ to read it from; set {URL} or {URL_FILE}")),
        };
        if let Some(problem) = problem {
            reader.say(format!("policy: [[ingest]] source \"{source}\": {problem}"));
        }
        count += 1;
    }
    if count > MAX_SOURCES {
        reader.say(format!(
            "policy: [[ingest]] names {count} streams and queues; the limit is {MAX_SOURCES}"
        ));
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("prefetch", &self.prefetch)
            .field("declare", &self.declare)
            .finish_non_exhaustive()
    }
}
