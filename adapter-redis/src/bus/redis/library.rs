//! The step that publishes to a room: a Redis function, or a script with the same body.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand, Value as FredValue};
use tokio::time::Instant;

use super::connection::Connection;
use super::resp::Value;
use super::{Failure, Shared, bus_error};
use crate::bus::{BusError, Receipt};

/// The version of the library. Higher than that of every build before with another text; nodes replace lower ones.
const VERSION: i64 = 1;

const BODY: &str = include_str!("library.lua");

/// How often replacing is tried while other nodes do the same.
const ATTEMPTS: u32 = 5;

/// How this Redis can be asked to publish.
#[derive(Debug, Default)]
pub(super) struct Library {
    way: Mutex<Way>,
    /// One at a time, and in the order of their publications.
    loading: tokio::sync::Mutex<()>,
    clock: Clock,
}

/// What time it is on the server, in microseconds since 1970: as it was told last, and how long ago that is.
///
/// It is behind by the way of the answer, so that a deadline by it is rather too early than too late.
#[derive(Debug, Default)]
struct Clock(Mutex<Option<(Instant, u64)>>);

impl Clock {
    fn set(&self, now_us: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), now_us));
    }

    fn after(&self, wait: Duration) -> Option<u64> {
        let (told, at) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        u64::try_from((told.elapsed() + wait).as_micros())
            .ok()?
            .checked_add(at)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Way {
    #[default]
    Function,
    /// By the hash of the script.
    Script(Bytes),
}

impl Library {
    /// Sees to it that the server has the library in this version or a later one. Where it cannot be loaded, the
    /// script takes its place; where that cannot be either, publishing will be refused, and receiving goes on.
    pub(super) async fn load(&self, shared: &Shared) -> Result<(), Failure> {
        let mut connection = Connection::open(&shared.config, &format!("roomcast-lib-{}", shared.id)).await?;
        let way = match load_function(&mut connection, shared).await? {
            Ok(()) => Way::Function,
            Err(why) => {
                let script = script();
                match connection.ask(&[b"SCRIPT", b"LOAD", script.as_bytes()]).await? {
                    Value::Text(hash) => {
                        tracing::info!(why, "publishing by a script, as the function cannot be loaded");
                        Way::Script(hash)
                    }
                    other => {
                        tracing::error!(function = why, script = ?other, "publications to rooms will be refused");
                        Way::Function
                    }
                }
            }
        };
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = way;
        Ok(())
    }

    /// Publishes a frame to the room of this key.
    pub(super) async fn store(
        &self,
        shared: &Shared,
        client: &Client,
        key: &str,
        frame: Bytes,
        id: Option<&str>,
    ) -> Result<Receipt, BusError> {
        let way = self.way();
        let deadline = self.clock.after(shared.config.command_timeout);
        match self.call(&way, client, key, frame.clone(), id, deadline).await {
            Err(error) if is_missing(&error) => {}
            // We are still here, so that it is the clock that was wrong. Nothing was done.
            Err(error) if error.details().starts_with("ROOMCAST expired") => {
                self.ask_time(client).await?;
                let deadline = self.clock.after(shared.config.command_timeout);
                return receipt(self.call(&way, client, key, frame, id, deadline).await);
            }
            result => return receipt(result),
        }
        // Redis was emptied under us. Nothing was done, so that it can be done again.
        let _turn = self.loading.lock().await;
        let deadline = self.clock.after(shared.config.command_timeout);
        match self
            .call(&self.way(), client, key, frame.clone(), id, deadline)
            .await
        {
            Err(error) if is_missing(&error) => {}
            result => return receipt(result),
        }
        tracing::info!("Redis has lost its function; loading it again");
        self.load(shared).await.map_err(|failure| {
            tracing::warn!(why = failure.why, "the function was not loaded");
            // Not as if there were no link: what is published while there is one takes no other way than Redis.
            BusError::Refused("the function is missing and could not be loaded".to_owned())
        })?;
        let deadline = self.clock.after(shared.config.command_timeout);
        receipt(self.call(&self.way(), client, key, frame, id, deadline).await)
    }

    /// Asks what time it is. To be repeated every few seconds: clocks run apart, and are set.
    pub(super) async fn ask_time(&self, client: &Client) -> Result<(), BusError> {
        let command = CustomCommand::new_static("TIME", ClusterHash::Random, false);
        let time: Vec<u64> = client
            .custom(command, Vec::<FredValue>::new())
            .await
            .map_err(|error| bus_error(&error))?;
        match time.as_slice() {
            [seconds, micros] => {
                self.clock
                    .set(seconds.saturating_mul(1_000_000).saturating_add(*micros));
                Ok(())
            }
            _ => Err(BusError::Refused("TIME answered what it should not".to_owned())),
        }
    }

    async fn call(
        &self,
        way: &Way,
        client: &Client,
        key: &str,
        frame: Bytes,
        id: Option<&str>,
        deadline: Option<u64>,
    ) -> Result<Vec<FredValue>, Error> {
        let (command, what) = match way {
            Way::Function => ("FCALL", FredValue::from_static_str("roomcast_publish")),
            Way::Script(hash) => ("EVALSHA", FredValue::Bytes(hash.clone())),
        };
        let mut args: Vec<FredValue> = vec![
            what,
            FredValue::Integer(1),
            key.into(),
            FredValue::Bytes(frame),
            FredValue::from_static_str("frame"),
            id.unwrap_or_default().into(),
        ];
        args.extend(deadline.map(|deadline| deadline.to_string().into()));
        client
            .custom(
                CustomCommand::new_static(command, ClusterHash::FirstKey, false),
                args,
            )
            .await
    }

    fn way(&self) -> Way {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The text of the library, as `FUNCTION LOAD` takes it.
fn library() -> String {
    format!(
        "#!lua name=roomcast\n{BODY}
redis.register_function{{
  function_name = 'roomcast_publish',
  callback = function(keys, args) return publish(keys, args, true) end,
  flags = {{ 'allow-oom' }},
}}
redis.register_function{{
  function_name = 'roomcast_version',
  callback = function() return {VERSION} end,
  flags = {{ 'no-writes', 'allow-stale' }},
}}
"
    )
}

/// The same as a script.
fn script() -> String {
    format!("#!lua flags=allow-oom\n{BODY}\nreturn publish(KEYS, ARGV, false)\n")
}

/// Loads the library unless it is there in this version or a later one. The inner error says why it cannot be.
///
/// Looking and replacing is one transaction, guarded by a key that each replacing changes: of two nodes of different
/// versions the older one cannot win. (The key is that of a cluster and the library that of the server: two clusters
/// that share one and are upgraded in the same millisecond are not guarded against each other.)
async fn load_function(connection: &mut Connection, shared: &Shared) -> Result<Result<(), String>, Failure> {
    let guard = format!("{}:library", shared.config.prefix);
    let (version, text) = (VERSION.to_string(), library());
    for _ in 0..ATTEMPTS {
        if let Value::Error(error) = connection.ask(&[b"WATCH", guard.as_bytes()]).await? {
            return Ok(Err(String::from_utf8_lossy(&error).into_owned()));
        }
        let there = connection.ask(&[b"FCALL_RO", b"roomcast_version", b"0"]).await?;
        match there {
            Value::Number(there) if there >= VERSION => {
                connection.ask(&[b"UNWATCH"]).await?;
                return Ok(Ok(()));
            }
            Value::Error(error) if !error.starts_with(b"ERR Function not found") => {
                return Ok(Err(String::from_utf8_lossy(&error).into_owned()));
            }
            _ => {}
        }
        connection.ask(&[b"MULTI"]).await?;
        let set = connection
            .ask(&[b"SET", guard.as_bytes(), version.as_bytes()])
            .await?;
        let load = connection
            .ask(&[b"FUNCTION", b"LOAD", b"REPLACE", text.as_bytes()])
            .await?;
        match connection.ask(&[b"EXEC"]).await? {
            // Another node was faster.
            Value::Null => {}
            Value::List(answers) => {
                return Ok(match answers.into_iter().find_map(error_of) {
                    None => Ok(()),
                    Some(error) => Err(error),
                });
            }
            other => {
                let error = [set, load, other].into_iter().find_map(error_of);
                return Ok(Err(error.unwrap_or_default()));
            }
        }
    }
    Ok(Err("other nodes were faster each time".to_owned()))
}

fn error_of(value: Value) -> Option<String> {
    match value {
        Value::Error(error) => Some(String::from_utf8_lossy(&error).into_owned()),
        _ => None,
    }
}

fn is_missing(error: &Error) -> bool {
    let details = error.details();
    details.contains("Function not found") || details.starts_with("NOSCRIPT")
}

fn receipt(answer: Result<Vec<FredValue>, Error>) -> Result<Receipt, BusError> {
    let answer = answer.map_err(|error| bus_error(&error))?;
    let number = |at: usize| answer.get(at).and_then(FredValue::as_u64);
    match (number(0), number(1), number(2)) {
        (Some(stamp), Some(receivers), Some(repeated)) => Ok(Receipt {
            stamp,
            receivers,
            repeated: repeated != 0,
        }),
        _ => Err(BusError::Refused(
            "the function answered what it should not".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_of_its_version() {
        // Who changes the text has to raise VERSION, or nodes in the field keep the old one; then this value.
        let sum = BODY.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!((VERSION, format!("{sum:016x}").as_str()), (1, "1f50f9d3b554250e"));
    }
}
