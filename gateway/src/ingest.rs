//! Messages of backends' own channels: the policy says what becomes of them.

use std::time::SystemTime;

use adapter_redis::{Envelope, Limits, Translate, Untranslated};

use crate::{
    policy::{Ingested, NotIngested},
    rules::Rules,
};

/// Makes envelopes by the `[[ingest]]` rules of the policy in force.
#[derive(Debug)]
pub(crate) struct Ingesting {
    rules: Rules,
    limits: Limits,
}

impl Ingesting {
    pub(crate) fn new(rules: Rules, limits: Limits) -> Ingesting {
        Ingesting { rules, limits }
    }

    fn envelope(&self, ingested: &Ingested) -> Result<Envelope, Untranslated> {
        let Ingested { room, event, data } = ingested;
        Envelope::from_parts(&[room.as_str()], event.as_str(), &[data], &self.limits).map_err(|error| {
            Untranslated {
                reason: error.reason(),
            }
        })
    }
}

impl Translate for Ingesting {
    fn translate(&self, channel: &str, payload: &[u8]) -> Vec<Result<Envelope, Untranslated>> {
        let found = self.rules.policy().ingest(channel, payload, SystemTime::now());
        let refused = |why: NotIngested| Untranslated { reason: why.as_str() };
        let made = found
            .into_iter()
            .map(|result| self.envelope(&result.map_err(refused)?));
        made.collect()
    }
}
