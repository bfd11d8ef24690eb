//! What Redis knows of notices: the stream of them, and of each node what it has announced and not ended.
//!
//! Everything that has to happen together is one call of the script. The keys share a slot of a Redis Cluster.

use std::time::Duration;

use super::Failure;
use super::config::RedisConfig;
use super::connection::Connection;
use super::resp::Value;
use crate::node::NodeId;
use crate::notices::{Batch, Notice, What, connection};

/// The script.
const SCRIPT: &str = include_str!("notices.lua");

/// How many ends of a dead node's sessions are reported at once: Redis does nothing else meanwhile.
const BURIED_AT_ONCE: usize = 256;

/// One connection to the notices of the cluster.
pub(crate) struct NoticeStore {
    connection: Connection,
    node: NodeId,
    /// Says which connection of this node it is: what an earlier one sent, and Redis reads late, must not be done.
    link: String,
    stream: String,
    nodes: String,
    /// What the keys of the nodes begin with.
    announced: String,
    lease: Duration,
    length: String,
}

/// What Redis says of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    text: String,
    pub(crate) standing: Standing,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is known of it.
    Unknown,
    /// It has written so many batches.
    Known(u64),
    /// Its end is being reported.
    Dying,
    /// All of its sessions were reported as lost, after so many batches.
    Buried(u64),
}

/// What a batch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) connects: u64,
    pub(crate) ends: u64,
    /// How many old notices had to make room.
    pub(crate) trimmed: u64,
}

/// Why notices cannot be written now.
#[derive(Debug)]
pub(crate) struct NoticeError {
    /// Redis answered, and said no.
    pub(crate) refused: bool,
    pub(crate) why: String,
}

impl NoticeStore {
    /// Connects. `link` is another one each time.
    pub(crate) async fn open(
        config: &RedisConfig,
        node: &NodeId,
        link: u64,
        lease: Duration,
        length: u64,
    ) -> Result<Self, NoticeError> {
        let connection = Connection::open(config, &format!("roomcast-notices-{node}")).await?;
        let stream = format!("{}:notices", config.prefix);
        // In the slot of the stream, and below the prefix, for the rights of users.
        let below = format!("{stream}:{{{stream}}}");
        Ok(Self {
            connection,
            node: node.clone(),
            link: link.to_string(),
            nodes: format!("{below}:nodes"),
            announced: format!("{below}:of:"),
            stream,
            lease,
            length: length.to_string(),
        })
    }

    /// How this node stands. What it sent over an earlier link and Redis has not read yet will not be done.
    pub(crate) async fn look(&mut self) -> Result<Seen, NoticeError> {
        let (node, link) = (self.node.clone(), self.link.clone());
        let text = match self.run(&node, ["look", node.as_str(), &link]).await? {
            Value::Text(text) => String::from_utf8_lossy(&text).into_owned(),
            _ => String::new(),
        };
        let standing = standing(&text);
        Ok(Seen { text, standing })
    }

    /// The connections that a node has announced and not ended, by session and number.
    pub(crate) async fn announced(&mut self, node: &NodeId) -> Result<Vec<(String, u64)>, NoticeError> {
        let key = format!("{}{node}", self.announced);
        let Value::List(names) = self.connection.command(&[b"HKEYS", key.as_bytes()]).await? else {
            return Ok(Vec::new());
        };
        let name = |name| match name {
            Value::Text(name) => read_connection(&String::from_utf8_lossy(&name)),
            _ => None,
        };
        Ok(names.into_iter().filter_map(name).collect())
    }

    /// Takes the lease, if this node still stands as it was seen, with so many batches written. Whether it did.
    pub(crate) async fn enter(&mut self, seen: &Seen, written: u64) -> Result<bool, NoticeError> {
        let (lease, written) = (self.lease_ms(), written.to_string());
        let (node, link) = (self.node.clone(), self.link.clone());
        let args = ["enter", node.as_str(), &seen.text, &link, &lease, &written];
        Ok(self.run(&node, args).await? == Value::Number(1))
    }

    /// Writes a batch, or none, and renews the lease. `None` when this node does not stand as it believes.
    pub(crate) async fn write(
        &mut self,
        after: u64,
        batch: Option<&Batch>,
    ) -> Result<Option<Written>, NoticeError> {
        let (node, link) = (self.node.clone(), self.link.clone());
        let mut args = vec!["write".to_owned(), node.to_string(), link];
        args.extend([self.lease_ms(), after.to_string(), self.length.clone()]);
        for notice in batch.into_iter().flat_map(|batch| &batch.notices) {
            push(&mut args, notice);
        }
        let answer = self.run(&node, args.iter().map(String::as_str)).await?;
        Ok(numbers(&answer).map(|[connects, ends, trimmed]| Written {
            connects,
            ends,
            trimmed,
        }))
    }

    /// The nodes whose lease has run out, and those that somebody began to bury.
    pub(crate) async fn silent(&mut self) -> Result<Vec<NodeId>, NoticeError> {
        let node = self.node.clone();
        let Value::List(found) = self.run(&node, ["silent"]).await? else {
            return Ok(Vec::new());
        };
        let node = |name| match name {
            Value::Text(name) => NodeId::from_bytes(&name).ok(),
            _ => None,
        };
        Ok(found.into_iter().filter_map(node).collect())
    }

    /// Reports the end of all that a node has announced, if its lease has run out and this node's has not, or if somebody
    /// has begun to. That others do the same at this moment is harmless.
    pub(crate) async fn bury(&mut self, dead: &NodeId) -> Result<Written, NoticeError> {
        let (me, length) = (self.node.clone(), self.length.clone());
        let mut written = Written::default();
        let mut left = Vec::new();
        loop {
            let batch: Vec<String> = left.split_off(left.len().saturating_sub(BURIED_AT_ONCE));
            let first = ["bury", me.as_str(), dead.as_str(), &length];
            let args = first.into_iter().chain(batch.iter().map(String::as_str));
            let answer = self.run(dead, args).await?;
            let Some([ends, trimmed, done]) = numbers(&answer) else {
                return Ok(written); // It lives.
            };
            written.ends += ends;
            written.trimmed += trimmed;
            if done == 1 {
                return Ok(written);
            }
            if left.is_empty() {
                // The node can announce nothing any more, so what is there now is all there is.
                let announced = self.announced(dead).await?;
                left = announced
                    .into_iter()
                    .map(|(session, number)| connection(&session, number))
                    .collect();
                if left.is_empty() {
                    return Ok(written);
                }
            }
        }
    }

    /// This node stops. What it could not report is left to the others, at once.
    pub(crate) async fn leave(&mut self) -> Result<(), NoticeError> {
        let (node, link) = (self.node.clone(), self.link.clone());
        self.run(&node, ["leave", node.as_str(), &link]).await?;
        Ok(())
    }

    async fn run<'a>(
        &mut self,
        node: &NodeId,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Result<Value, NoticeError> {
        let announced = format!("{}{node}", self.announced);
        let mut parts: Vec<&[u8]> = vec![b"EVAL", SCRIPT.as_bytes(), b"3"];
        parts.extend([&self.stream, &self.nodes, &announced].map(|key| key.as_bytes()));
        for arg in args {
            parts.push(arg.as_bytes());
        }
        Ok(self.connection.command(&parts).await?)
    }

    fn lease_ms(&self) -> String {
        self.lease.as_millis().to_string()
    }
}

/// Takes a connection's name apart.
fn read_connection(name: &str) -> Option<(String, u64)> {
    let (session, number) = name.rsplit_once(':')?;
    Some((session.to_owned(), number.parse().ok()?))
}

fn push(args: &mut Vec<String>, notice: &Notice) {
    let about = &notice.about;
    let connection = notice.connection();
    match notice.what {
        What::Connected { again } => {
            let since = about.connected_at.to_string();
            let mut fields = vec!["session", &about.session, "user", &about.user];
            if let Some(tenant) = &about.tenant {
                fields.extend(["tenant", tenant]);
            }
            fields.extend(["connected_at", &since]);
            let fields = serde_json::Value::from(fields).to_string();
            let again = if again { "1" } else { "0" };
            args.extend(["connect".to_owned(), connection, since, fields, again.to_owned()]);
        }
        What::Ended { reason, at } => {
            args.extend(["end".to_owned(), connection, at.to_string(), reason.to_owned()]);
        }
    }
}

fn standing(text: &str) -> Standing {
    let mut parts = text.split(' ');
    let till: Option<i64> = parts.next().and_then(|till| till.parse().ok());
    let written = parts.nth(1).and_then(|written| written.parse().ok());
    match (till, written) {
        (Some(0), Some(_)) => Standing::Dying,
        (Some(..0), Some(written)) => Standing::Buried(written),
        (Some(_), Some(written)) => Standing::Known(written),
        _ => Standing::Unknown,
    }
}

fn numbers(answer: &Value) -> Option<[u64; 3]> {
    let Value::List(parts) = answer else {
        return None;
    };
    let number = |at| match parts.get(at) {
        Some(Value::Number(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    Some([number(0)?, number(1)?, number(2)?])
}

impl From<Failure> for NoticeError {
    fn from(failure: Failure) -> Self {
        Self {
            refused: failure.refused,
            why: failure.why,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;
    use crate::notices::About;

    #[test]
    fn how_a_node_stands() {
        for (text, expected) in [
            ("", Standing::Unknown),
            ("nonsense", Standing::Unknown),
            ("1785000000123 4 17", Standing::Known(17)),
            ("0 4 17", Standing::Dying),
            ("-1785000000123 4 17", Standing::Buried(17)),
        ] {
            assert_eq!(standing(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_script_gets_is_what_backends_will_read() {
        let about = Arc::new(About {
            session: "Zk3bPfLFdWmqCkpX".into(),
            user: "ann \"42\" :ü".into(),
            tenant: Some("acme".into()),
            connected_at: 1_785_000_000_123,
        });
        let mut args = Vec::new();
        for what in [
            What::Connected { again: true },
            What::Ended {
                reason: "ping_timeout",
                at: 1_785_000_000_456,
            },
        ] {
            let about = Arc::clone(&about);
            push(
                &mut args,
                &Notice {
                    about,
                    number: 7,
                    what,
                },
            );
        }
        assert_eq!(
            args,
            [
                "connect",
                "Zk3bPfLFdWmqCkpX:7",
                "1785000000123",
                r#"["session","Zk3bPfLFdWmqCkpX","user","ann \"42\" :ü","tenant","acme","connected_at","1785000000123"]"#,
                "1",
                "end",
                "Zk3bPfLFdWmqCkpX:7",
                "1785000000456",
                "ping_timeout",
            ]
        );
        assert_eq!(
            read_connection("Zk3bPfLFdWmqCkpX:7"),
            Some(("Zk3bPfLFdWmqCkpX".to_owned(), 7))
        );
        assert_eq!(read_connection("nonsense"), None);
    }
}
