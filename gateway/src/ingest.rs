//! Messages of backends' own channels, streams and queues: the policy says what becomes of them.
//!
//! What comes by a channel comes to every node, and is translated for the cluster (`Ingesting`). Streams and queues are
//! read here (`Readers`): a message is published to the cluster and acknowledged after that.

#[cfg(feature = "amqp")]
mod amqp;
mod config;
mod entry;
mod publishing;
mod readers;
mod streams;

use std::time::SystemTime;

use adapter_redis::{Envelope, Limits, Translate, Untranslated};

pub(crate) use self::config::check;
pub use self::config::{Broker, Config, KEYS};
pub(crate) use self::readers::Readers;
use crate::{
    policy::{IngestSource, Ingested, NotIngested},
    rules::Rules,
};

/// Makes envelopes by the `[[ingest]]` rules of the policy in force.
#[derive(Debug, Clone)]
pub(crate) struct Ingesting {
    rules: Rules,
    limits: Limits,
}

impl Ingesting {
    pub(crate) fn new(rules: Rules, limits: Limits) -> Ingesting {
        Ingesting { rules, limits }
    }

    /// What becomes of a message: an envelope, or what is wrong, for each rule that is for it, with the rule's number.
    fn envelopes(
        &self,
        source: &IngestSource,
        message: &[u8],
    ) -> impl Iterator<Item = (usize, Result<Envelope, Untranslated>)> {
        let found = self.rules.policy().ingest(source, message, SystemTime::now());
        let refused = |why: NotIngested| Untranslated { reason: why.as_str() };
        found
            .into_iter()
            .map(move |(rule, result)| (rule, result.map_err(refused).and_then(|i| self.envelope(&i))))
    }

    fn envelope(&self, ingested: &Ingested) -> Result<Envelope, Untranslated> {
        let Ingested {
            room,
            event,
            data,
            id,
        } = ingested;
        let made = Envelope::from_parts(&[room.as_str()], event.as_str(), &[data], &self.limits);
        let mut envelope = made.map_err(|error| Untranslated {
            reason: error.reason(),
        })?;
        envelope.identify(id.as_deref().unwrap_or_default());
        Ok(envelope)
    }
}

impl Translate for Ingesting {
    fn translate(&self, channel: &str, payload: &[u8]) -> Vec<Result<Envelope, Untranslated>> {
        let source = IngestSource::Channel(channel.to_owned());
        self.envelopes(&source, payload).map(|(_, made)| made).collect()
    }
}
