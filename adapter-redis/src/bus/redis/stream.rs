//! A connection to a stream that nodes read in turn.
//!
//! All nodes read as the same consumer of the same group, and a lease says whose turn it is: so entries are dealt with
//! in the order of the stream, and what a node had in hand when it died is still that consumer's, for the next one.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Failure;
use super::config::RedisConfig;
use super::connection::Connection;
use super::resp::Value;
use crate::node::NodeId;
use crate::stream::{GroupStream, Refused, StreamEntry};

/// How many entries are taken at once.
const COUNT: &[u8] = b"128";

/// For how long a node has the stream for itself without saying so again.
const LEASE: Duration = Duration::from_secs(5);

/// How many refused entries are kept.
const KEPT: &[u8] = b"1000";

/// One connection to one stream.
pub(crate) struct StreamConnection<'a> {
    connection: Connection,
    node: NodeId,
    stream: &'a GroupStream,
    block: String,
    /// What an earlier reader had in hand is read first.
    history: bool,
    mine: bool,
    /// When the lease was taken or renewed last.
    renewed: Instant,
}

/// An entry of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    Entry(StreamEntry),
    /// It is in hand and not in the stream any more: somebody deleted it.
    Gone(Bytes),
}

/// Why the stream cannot be read now.
#[derive(Debug)]
pub(crate) struct StreamError {
    /// Redis answered, and said no: it will say so again until somebody changes it.
    pub(crate) refused: bool,
    pub(crate) why: String,
}

impl<'a> StreamConnection<'a> {
    /// Connects; makes the group where there is none.
    pub(crate) async fn open(
        config: &RedisConfig,
        node: &NodeId,
        stream: &'a GroupStream,
    ) -> Result<Self, StreamError> {
        let connection = Connection::open(config, &format!("roomcast-ingest-{node}")).await?;
        // Shorter than what is waited for an answer.
        let block = (config.command_timeout / 2)
            .min(Duration::from_secs(1))
            .as_millis();
        let mut stream = Self {
            connection,
            node: node.clone(),
            stream,
            block: block.max(1).to_string(),
            history: true,
            mine: false,
            renewed: Instant::now(),
        };
        stream.make_group().await?;
        Ok(stream)
    }

    /// Whether it is this node's turn, which holds for five seconds.
    pub(crate) async fn turn(&mut self) -> Result<bool, StreamError> {
        let (lease, node) = (self.stream.lease.as_bytes(), self.node.as_str().as_bytes());
        let time = LEASE.as_millis().to_string();
        let taken = self
            .connection
            .command(&[b"SET", lease, node, b"NX", b"PX", time.as_bytes()])
            .await?;
        let mine = match taken {
            Value::Text(_) => true,
            _ => {
                self.connection.command(&[b"GET", lease]).await? == Value::Text(Bytes::copy_from_slice(node))
            }
        };
        if mine {
            // Between the two commands the lease may have passed to another: then both read for one turn, and the ids
            // of the entries keep that from being seen.
            self.connection
                .command(&[b"PEXPIRE", lease, time.as_bytes()])
                .await?;
        }
        self.renewed = Instant::now();
        // Whoever had it meanwhile may have left something in hand.
        self.history |= mine && !self.mine;
        self.mine = mine;
        Ok(mine)
    }

    /// Ends this node's turn, so that another need not wait for the lease to run out.
    pub(crate) async fn hand_over(&mut self) -> Result<(), StreamError> {
        if self.still_mine().await? {
            self.connection
                .command(&[b"DEL", self.stream.lease.as_bytes()])
                .await?;
            self.mine = false;
        }
        Ok(())
    }

    /// As [`StreamConnection::turn`], without asking for a fifth of the time that it holds.
    pub(crate) async fn still_mine(&mut self) -> Result<bool, StreamError> {
        if self.mine && self.renewed.elapsed() < LEASE / 5 {
            return Ok(true);
        }
        self.turn().await
    }

    /// The next entries, in their order; none after a while without any.
    pub(crate) async fn next(&mut self) -> Result<Vec<StreamEntry>, StreamError> {
        if self.history {
            let found = self.read(b"0").await?;
            self.history = !found.is_empty();
            if self.history {
                return self.without_gone(found).await;
            }
        }
        let found = self.read(b">").await?;
        self.without_gone(found).await
    }

    /// As [`StreamConnection::next`], without those up to the last that is in hand.
    pub(crate) async fn next_after(&mut self, last: &Bytes) -> Result<Vec<StreamEntry>, StreamError> {
        if self.history {
            let found = self.read(last).await?;
            if !found.is_empty() {
                return self.without_gone(found).await;
            }
            self.history = false;
        }
        let found = self.read(b">").await?;
        self.without_gone(found).await
    }

    async fn without_gone(&mut self, found: Vec<Read>) -> Result<Vec<StreamEntry>, StreamError> {
        let (mut entries, mut gone) = (Vec::with_capacity(found.len()), Vec::new());
        for read in found {
            match read {
                Read::Entry(entry) => entries.push(entry),
                Read::Gone(id) => gone.push(id),
            }
        }
        if !gone.is_empty() && !self.stream.delete {
            let stream = &*self.stream.key;
            let count = gone.len();
            tracing::warn!(
                stream,
                count,
                "entries were deleted from the stream before they were dealt with"
            );
        }
        self.done(&gone).await?;
        Ok(entries)
    }

    /// The entries were dealt with: they are deleted where that is wanted, and then let go of. Whoever dies in between
    /// leaves entries in hand that are gone, which the next reader lets go of; the other way round they would stay in the
    /// stream for ever.
    pub(crate) async fn done(&mut self, ids: &[Bytes]) -> Result<(), StreamError> {
        if ids.is_empty() {
            return Ok(());
        }
        let (stream, group) = (self.stream.key.as_bytes(), self.stream.group.as_bytes());
        let ids = ids.iter().map(|id| &**id);
        if self.stream.delete {
            let del: Vec<&[u8]> = [&b"XDEL"[..], stream].into_iter().chain(ids.clone()).collect();
            self.connection.command(&del).await?;
        }
        let ack: Vec<&[u8]> = [b"XACK", stream, group].into_iter().chain(ids).collect();
        self.connection.command(&ack).await?;
        Ok(())
    }

    /// Nothing will ever become of the entry: it is put aside, with the reason.
    pub(crate) async fn refuse(&mut self, entry: &StreamEntry, refused: &Refused) -> Result<(), StreamError> {
        let mut put: Vec<&[u8]> = vec![
            b"XADD",
            self.stream.refused.as_bytes(),
            b"MAXLEN",
            b"~",
            KEPT,
            b"*",
            refused.name.as_bytes(),
            &refused.text,
            b"reason",
            refused.reason.as_bytes(),
            b"id",
            &entry.id,
        ];
        if let Some(source) = &self.stream.source {
            put.extend([&b"source"[..], source.as_bytes()]);
        }
        self.connection.command(&put).await?;
        self.done(std::slice::from_ref(&entry.id)).await
    }

    async fn read(&mut self, from: &[u8]) -> Result<Vec<Read>, StreamError> {
        let group = self.stream.group.as_bytes();
        let command: [&[u8]; 11] = [
            b"XREADGROUP",
            b"GROUP",
            group,
            group,
            b"COUNT",
            COUNT,
            b"BLOCK",
            self.block.as_bytes(),
            b"STREAMS",
            self.stream.key.as_bytes(),
            from,
        ];
        match self.connection.ask(&command).await? {
            Value::Error(error) if error.starts_with(b"NOGROUP") => {
                // Redis was emptied.
                self.make_group().await?;
                Ok(Vec::new())
            }
            Value::Error(error) => Err(Failure::answer(&String::from_utf8_lossy(&error)).into()),
            answer => Ok(entries(answer)),
        }
    }

    async fn make_group(&mut self) -> Result<(), StreamError> {
        let command: [&[u8]; 6] = [
            b"XGROUP",
            b"CREATE",
            self.stream.key.as_bytes(),
            self.stream.group.as_bytes(),
            b"0",
            b"MKSTREAM",
        ];
        match self.connection.ask(&command).await? {
            Value::Error(error) if !error.starts_with(b"BUSYGROUP") => {
                Err(Failure::answer(&String::from_utf8_lossy(&error)).into())
            }
            _ => Ok(()),
        }
    }
}

/// The answer is a map from the one stream to its entries: `[stream, [[id, [field, value, …]], …]]`.
fn entries(answer: Value) -> Vec<Read> {
    let Value::List(streams) = answer else {
        return Vec::new();
    };
    let Some(Value::List(entries)) = streams.into_iter().nth(1) else {
        return Vec::new();
    };
    entries.into_iter().filter_map(entry).collect()
}

fn entry(entry: Value) -> Option<Read> {
    let Value::List(parts) = entry else {
        return None;
    };
    let mut parts = parts.into_iter();
    let Some(Value::Text(id)) = parts.next() else {
        return None;
    };
    // An entry that was deleted while it was in hand has no fields.
    let Some(Value::List(texts)) = parts.next() else {
        return Some(Read::Gone(id));
    };
    let mut texts = texts.into_iter();
    let mut fields = Vec::with_capacity(texts.len() / 2);
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        if let (Value::Text(name), Value::Text(value)) = (name, value) {
            fields.push((name, value));
        }
    }
    Some(Read::Entry(StreamEntry { id, fields }))
}

impl From<Failure> for StreamError {
    fn from(failure: Failure) -> Self {
        Self {
            refused: failure.refused,
            why: failure.why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Value {
        Value::Text(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let fields = Value::List(vec![text("other"), text("1"), text("envelope"), text("{}")]);
        let answer = Value::List(vec![
            text("roomcast:ingest"),
            Value::List(vec![
                Value::List(vec![text("1-0"), fields]),
                Value::List(vec![text("2-0"), Value::Null]),
            ]),
        ]);
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let whole = StreamEntry {
            id: bytes("1-0"),
            fields: vec![(bytes("other"), bytes("1")), (bytes("envelope"), bytes("{}"))],
        };
        assert_eq!(entries(answer), [Read::Entry(whole), Read::Gone(bytes("2-0"))]);
        for nothing in [
            Value::Null,
            Value::List(vec![]),
            text("x"),
            Value::List(vec![text("x"), text("y")]),
        ] {
            assert!(entries(nothing).is_empty());
        }
    }
}
