//! Streams of backends.

use adapter_redis::{Consume, RefusedEntry, StreamEntry, Verdict};

use super::{
    entry,
    publishing::{Became, Message, Publishing},
};
use crate::policy::IngestSource;

/// The field under which a refused message is kept.
const KEPT_AS: &str = "message";

/// Deals with the entries of one stream.
pub(super) struct StreamConsumer {
    pub(super) publishing: Publishing,
    pub(super) source: IngestSource,
}

impl Consume for StreamConsumer {
    async fn consume(&self, entries: &[StreamEntry]) -> Vec<Verdict> {
        let texts: Vec<_> = entries
            .iter()
            .map(|entry| (entry::message(&entry.fields), String::from_utf8_lossy(&entry.id)))
            .collect();
        let messages = texts.iter().map(|(text, key)| Message { text, key });
        let became = self.publishing.publish(&self.source, messages).await;
        let verdict = |(became, (text, _))| match became {
            Became::Done => Verdict::Done,
            Became::NotNow => Verdict::NotNow,
            Became::Refused(reason) => Verdict::Refused(RefusedEntry {
                reason: reason.into(),
                name: KEPT_AS,
                text,
            }),
        };
        became.into_iter().zip(texts).map(verdict).collect()
    }
}
