//! Every metric of this crate, with what it does not count.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::envelope::EnvelopeError;

const PUBLISH: &str = "roomcast_publish_total";
const INVALID: &str = "roomcast_publish_invalid_total";
const UNREACHED: &str = "roomcast_publish_unreached_total";
const DROPPED: &str = "roomcast_dropped_total";
const CONNECTED: &str = "roomcast_bus_connected";
const RECEIVED: &str = "roomcast_bus_received_total";
const LAG: &str = "roomcast_bus_lag_seconds";

/// Handles to the metrics of this crate: cheap to clone, and free to use when nobody records.
#[derive(Clone)]
pub struct Metrics {
    publish: [[Counter; Outcome::ALL.len()]; Source::ALL.len()],
    invalid: [[Counter; EnvelopeError::REASONS.len()]; Source::ALL.len()],
    unreached: Counter,
    dropped: [Counter; Dropped::ALL.len()],
    connected: Gauge,
    received_used: Counter,
    received_unused: Counter,
    lag: Histogram,
}

/// The way by which a publication came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// [`Cluster::publish`](crate::Cluster::publish): the API of this node.
    Api,
    /// The channel for backends. Every node counts each of these publications.
    Channel,
    /// The stream of envelopes.
    Stream,
    /// The Redis function, called by a backend. Every node that is subscribed to the room counts it.
    Function,
    /// [`Cluster::relay`](crate::Cluster::relay): a client of this node, and what ends by itself.
    Relay,
    /// A channel of [`RedisConfig::channels`](crate::RedisConfig::channels). Every node counts each of these
    /// publications.
    Foreign,
    /// A stream of others ([`GroupStream::of_others`](crate::GroupStream::of_others)).
    ForeignStream,
    /// A queue of RabbitMQ.
    Queue,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Some sockets got it.
    Reached,
    /// All nodes answered, and no socket got it.
    Unreached,
    /// It was published before, under the same id.
    Repeated,
    /// Nobody counted, or not everybody answered and the others had no socket for it.
    Uncounted,
    /// The bus was away: only sockets of this node could get it.
    Local,
    /// The envelope was refused.
    Invalid,
    /// The bus did not answer.
    Timeout,
    /// The bus refused it.
    Refused,
    /// Nobody was meant: no rule was for the message.
    Unused,
}

/// Why something was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The subscriber was slower than Redis.
    BusLag,
    /// A node's queue was full (memory bus).
    BusQueueFull,
    /// A node's receiver was gone (memory bus).
    BusQueueClosed,
    /// A frame that cannot be read.
    FrameMalformed,
    /// A frame of another version.
    FrameVersion,
    /// A frame of an unknown kind.
    FrameKind,
    /// A frame without a signature, where one is asked for.
    FrameUnsigned,
    /// A frame with a signature of nobody we know.
    FrameForged,
    /// An envelope from Redis that was refused: from the channel for backends, or from the function.
    EnvelopeInvalid,
    /// An `id` or `retain` on the channel for backends; the rest of the envelope was delivered.
    ChannelOptionIgnored,
    /// An answer to another node, because too many wait to be sent, or too many questions are worked on.
    AnswerQueueFull,
    /// An answer to another node, because the bus did not take it.
    AnswerUnsent,
    /// An answer from another node that nobody waits for any more.
    AnswerLate,
    /// A relay for other nodes, because too many wait to be sent.
    RelayQueueFull,
    /// A relay for other nodes, because the bus did not take it, or this node does not run.
    RelayUnsent,
    /// That a relay ends by itself, because too many have to.
    RelayEndingsFull,
    /// A message of a foreign channel that no envelope could be made of.
    Untranslated,
}

impl Metrics {
    /// Registers everything with the current recorder of the `metrics` crate, with its description, at zero.
    #[must_use]
    pub fn register() -> Self {
        describe();
        Self {
            publish: Source::ALL.map(|source| {
                Outcome::ALL.map(
                    |outcome| counter!(PUBLISH, "source" => source.label(), "outcome" => outcome.label()),
                )
            }),
            invalid: Source::ALL.map(|source| {
                EnvelopeError::REASONS
                    .map(|reason| counter!(INVALID, "source" => source.label(), "reason" => reason))
            }),
            unreached: counter!(UNREACHED),
            dropped: Dropped::ALL.map(|reason| counter!(DROPPED, "reason" => reason.label())),
            connected: gauge!(CONNECTED),
            received_used: counter!(RECEIVED, "used" => "true"),
            received_unused: counter!(RECEIVED, "used" => "false"),
            lag: histogram!(LAG),
        }
    }

    /// Handles that record nothing.
    #[must_use]
    pub fn noop() -> Self {
        Self {
            publish: Source::ALL.map(|_| Outcome::ALL.map(|_| Counter::noop())),
            invalid: Source::ALL.map(|_| EnvelopeError::REASONS.map(|_| Counter::noop())),
            unreached: Counter::noop(),
            dropped: Dropped::ALL.map(|_| Counter::noop()),
            connected: Gauge::noop(),
            received_used: Counter::noop(),
            received_unused: Counter::noop(),
            lag: Histogram::noop(),
        }
    }

    /// Counts an envelope that was refused. For [`Source::Api`] whoever parses the envelope calls this; envelopes from
    /// the channel are counted here already.
    pub fn invalid(&self, source: Source, error: &EnvelopeError) {
        self.publish(source, Outcome::Invalid);
        let reason = EnvelopeError::REASONS
            .iter()
            .position(|reason| *reason == error.reason());
        if let Some(counter) = reason.and_then(|reason| self.invalid.get(source as usize)?.get(reason)) {
            counter.increment(1);
        }
    }

    /// Counts a message of others that no envelope can be made of, for which nothing of it was published.
    pub fn untranslated(&self, source: Source) {
        self.publish(source, Outcome::Invalid);
    }

    /// Counts a message of others that was for nobody.
    pub fn unused(&self, source: Source) {
        self.publish(source, Outcome::Unused);
    }

    pub(crate) fn publish(&self, source: Source, outcome: Outcome) {
        if let Some(counter) = self
            .publish
            .get(source as usize)
            .and_then(|source| source.get(outcome as usize))
        {
            counter.increment(1);
        }
    }

    pub(crate) fn unreached(&self) {
        self.unreached.increment(1);
    }

    pub(crate) fn dropped(&self, reason: Dropped, count: u64) {
        if let Some(counter) = self.dropped.get(reason as usize) {
            counter.increment(count);
        }
    }

    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(if connected { 1.0 } else { 0.0 });
    }

    pub(crate) fn received(&self, used: bool) {
        if used {
            &self.received_used
        } else {
            &self.received_unused
        }
        .increment(1);
    }

    pub(crate) fn lag(&self, seconds: f64) {
        self.lag.record(seconds);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Source {
    // In the order of the enum: the position is the index of the handle.
    const ALL: [Self; 8] = [
        Self::Api,
        Self::Channel,
        Self::Stream,
        Self::Function,
        Self::Relay,
        Self::Foreign,
        Self::ForeignStream,
        Self::Queue,
    ];

    /// The label of metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Channel => "channel",
            Self::Stream => "stream",
            Self::Function => "function",
            Self::Relay => "relay",
            Self::Foreign => "ingest",
            Self::ForeignStream => "ingest_stream",
            Self::Queue => "amqp",
        }
    }
}

impl Outcome {
    const ALL: [Self; 9] = [
        Self::Reached,
        Self::Unreached,
        Self::Repeated,
        Self::Uncounted,
        Self::Local,
        Self::Invalid,
        Self::Timeout,
        Self::Refused,
        Self::Unused,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Unreached => "unreached",
            Self::Repeated => "repeated",
            Self::Uncounted => "uncounted",
            Self::Local => "local",
            Self::Invalid => "invalid",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Unused => "unused",
        }
    }
}

impl Dropped {
    const ALL: [Self; 17] = [
        Self::BusLag,
        Self::BusQueueFull,
        Self::BusQueueClosed,
        Self::FrameMalformed,
        Self::FrameVersion,
        Self::FrameKind,
        Self::FrameUnsigned,
        Self::FrameForged,
        Self::EnvelopeInvalid,
        Self::ChannelOptionIgnored,
        Self::AnswerQueueFull,
        Self::AnswerUnsent,
        Self::AnswerLate,
        Self::RelayQueueFull,
        Self::RelayUnsent,
        Self::RelayEndingsFull,
        Self::Untranslated,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::BusLag => "bus_lag",
            Self::BusQueueFull => "bus_queue_full",
            Self::BusQueueClosed => "bus_queue_closed",
            Self::FrameMalformed => "frame_malformed",
            Self::FrameVersion => "frame_version",
            Self::FrameKind => "frame_kind",
            Self::FrameUnsigned => "frame_unsigned",
            Self::FrameForged => "frame_forged",
            Self::EnvelopeInvalid => "envelope_invalid",
            Self::ChannelOptionIgnored => "channel_option_ignored",
            Self::AnswerQueueFull => "answer_queue_full",
            Self::AnswerUnsent => "answer_unsent",
            Self::AnswerLate => "answer_late",
            Self::RelayQueueFull => "relay_queue_full",
            Self::RelayUnsent => "relay_unsent",
            Self::RelayEndingsFull => "relay_endings_full",
            Self::Untranslated => "untranslated",
        }
    }
}

impl From<crate::wire::WireError> for Dropped {
    fn from(error: crate::wire::WireError) -> Self {
        use crate::wire::WireError;
        match error {
            WireError::Version(_) => Self::FrameVersion,
            WireError::Kind(_) => Self::FrameKind,
            WireError::Malformed(_) => Self::FrameMalformed,
            WireError::Unsigned => Self::FrameUnsigned,
            WireError::Forged => Self::FrameForged,
        }
    }
}

fn describe() {
    describe_counter!(
        PUBLISH,
        "Publications by source and outcome, counted on the node that took them. A publication on the channel for \
         backends or on a foreign one (ingest) is counted by every node, and one by the function by every node that is \
         subscribed to its room: reached when this node had a socket for it, uncounted when it had none. So are relays, \
         by the node of their client; an end that comes by itself is one, of each node that did not wait for another."
    );
    describe_counter!(
        INVALID,
        "Envelopes that were refused, by reason. Not counted: bodies that were not envelopes at all."
    );
    describe_counter!(
        UNREACHED,
        "Counted publications that no socket of any node got. Not counted: publications by the channel, the \
         function or the stream (no node knows about all others), with \"count\": false, or when a node did not answer."
    );
    describe_counter!(
        DROPPED,
        "What was dropped, by reason. Not counted: what a peer or a backend sent while the link to the bus was down."
    );
    describe_gauge!(
        CONNECTED,
        "1 while messages go out to the bus and come back, else 0."
    );
    describe_counter!(
        RECEIVED,
        "Publications received from the bus, by whether a socket of this node got them. Not counted: probes, \
         heartbeats, answers, and what could not be read."
    );
    describe_histogram!(
        LAG,
        Unit::Seconds,
        "From a peer's accepting a publication to its receipt here, by the clocks of both; less than zero counts as \
         zero. Not measured: this node's own publications, and what comes by the channel for backends or a foreign one, which \
         bears no time."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arrays of handles are indexed by the enums.
    #[test]
    fn handles_are_in_the_order_of_their_enum() {
        assert!(
            Source::ALL
                .iter()
                .enumerate()
                .all(|(at, source)| *source as usize == at)
        );
        assert!(
            Outcome::ALL
                .iter()
                .enumerate()
                .all(|(at, outcome)| *outcome as usize == at)
        );
        assert!(
            Dropped::ALL
                .iter()
                .enumerate()
                .all(|(at, reason)| *reason as usize == at)
        );
    }

    #[test]
    fn without_a_recorder_nothing_breaks() {
        for metrics in [Metrics::noop(), Metrics::register()] {
            metrics.invalid(Source::Api, &EnvelopeError::NoRoom);
            metrics.dropped(Dropped::AnswerLate, 1);
            metrics.publish(Source::Channel, Outcome::Refused);
        }
    }
}
