//! A connection of our own to Redis, for what has to be exact: subscriptions, and loading the function.

use std::time::Duration;

use bytes::BytesMut;
use fred::types::config::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::Failure;
use super::config::RedisConfig;
use super::resp::{self, Reply, Value};

/// How much is read at once.
const READ: usize = 64 * 1024;

/// A connection that speaks RESP3 and is logged in.
pub(super) struct Connection {
    reading: Reading,
    writing: OwnedWriteHalf,
    limit: Duration,
}

/// The half that is read.
pub(super) struct Reading {
    stream: OwnedReadHalf,
    buffer: BytesMut,
}

impl Connection {
    /// Connects, and logs in where the configuration says so. `name` is for `CLIENT LIST`.
    pub(super) async fn open(config: &RedisConfig, name: &str) -> Result<Self, Failure> {
        let client = config
            .client_config()
            .map_err(|error| Failure::other(&error.to_string()))?;
        let ServerConfig::Centralized { server } = &client.server else {
            return Err(Failure::other("this kind of server is not supported"));
        };
        let limit = config.command_timeout;
        let address = (&*server.host, server.port);
        let stream = timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| Failure::other("connecting took too long"))?
            .map_err(|error| Failure::other(&error.to_string()))?;
        // Small commands must not wait for one another. Without it they do, and nothing else breaks.
        let _ = stream.set_nodelay(true);
        let (read, writing) = stream.into_split();
        let mut connection = Self {
            reading: Reading {
                stream: read,
                buffer: BytesMut::with_capacity(READ),
            },
            writing,
            limit,
        };
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = &client.password {
            let user = client.username.as_deref().unwrap_or("default");
            hello.extend([b"AUTH", user.as_bytes(), password.as_bytes()]);
        }
        hello.extend([&b"SETNAME"[..], name.as_bytes()]);
        connection.command(&hello).await?;
        // Keys have to lie where the commands' client puts them; channels are the same in all databases.
        if let Some(database) = client.database.filter(|database| *database != 0) {
            connection
                .command(&[b"SELECT", database.to_string().as_bytes()])
                .await?;
        }
        Ok(connection)
    }

    /// Sends a command and waits for its answer; an answer that is an error is a [`Failure`].
    pub(super) async fn command(&mut self, parts: &[&[u8]]) -> Result<Value, Failure> {
        match self.ask(parts).await? {
            Value::Error(error) => Err(Failure::answer(&String::from_utf8_lossy(&error))),
            value => Ok(value),
        }
    }

    /// As [`Connection::command`], with errors as answers like others.
    pub(super) async fn ask(&mut self, parts: &[&[u8]]) -> Result<Value, Failure> {
        let mut out = Vec::new();
        resp::encode(&mut out, parts.iter().copied());
        let answer = async {
            self.writing
                .write_all(&out)
                .await
                .map_err(|error| Failure::other(&error.to_string()))?;
            loop {
                if let Reply::Answer(value) = self.reading.next().await? {
                    return Ok(value);
                }
            }
        };
        timeout(self.limit, answer)
            .await
            .unwrap_or_else(|_| Err(Failure::other("Redis did not answer in time")))
    }

    pub(super) fn into_halves(self) -> (Reading, OwnedWriteHalf) {
        (self.reading, self.writing)
    }
}

impl Reading {
    /// The next thing that Redis says. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Reply, Failure> {
        loop {
            if let Some(reply) =
                resp::decode(&mut self.buffer).map_err(|error| Failure::other(&error.to_string()))?
            {
                return Ok(reply);
            }
            self.buffer.reserve(READ);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(Failure::other("the connection was closed")),
                Ok(_) => {}
                Err(error) => return Err(Failure::other(&error.to_string())),
            }
        }
    }
}
