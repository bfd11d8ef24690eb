//! One client of the run, by either transport.

mod polling;

use std::time::Duration;

use loadtest::{Client as WebSocket, ClientError, Connect, Event};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::plan::Seat;
use polling::Polling;

pub(crate) use polling::with_cookies;

/// Where clients connect.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// `http://host:port`
    pub(crate) target: String,
    /// `/socket.io/`
    pub(crate) path: String,
}

/// An HTTP request that a client has made, for goose's statistics.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) error: Option<String>,
}

/// Connected, and in all rooms that it asked for.
pub(crate) enum Client {
    WebSocket(Box<WebSocket>),
    Polling(Polling),
}

/// The receive buffer of clients that are going to be slow, in bytes. With the kernel's own, seconds would go by before
/// a server notices.
const SMALL: u32 = 4096;

impl Client {
    pub(crate) async fn by_websocket(door: &Door, token: &str, seat: &Seat) -> Result<Self, String> {
        let address = door.target.strip_prefix("http://").unwrap_or(&door.target);
        let mut connect = Connect::to(address).path(door.path.as_str()).token(token);
        if seat.slow {
            connect = connect.receive_buffer(SMALL);
        }
        let client = connect.open().await.map_err(|error| error.to_string())?;
        for (event, arg) in &seat.subscriptions {
            let answer = client.call(event, &[json!(arg)]).await;
            admitted(event, &answer.map_err(|error| format!("{event}: {error}"))?)?;
        }
        Ok(Self::WebSocket(Box::new(client)))
    }

    /// `http` keeps cookies, so that a load balancer finds the node again.
    pub(crate) async fn by_polling(
        door: &Door,
        token: &str,
        seat: &Seat,
        http: reqwest::Client,
        samples: mpsc::Sender<Sample>,
    ) -> Result<Self, String> {
        let polling = Polling::open(door, token, seat, http, samples).await?;
        Ok(Self::Polling(polling))
    }

    /// The next event, or why there will be none.
    pub(crate) async fn next(&mut self) -> Result<Event, String> {
        match self {
            Self::Polling(client) => client.next().await,
            Self::WebSocket(client) => loop {
                match client.next().await {
                    Ok(event) => return Ok(event),
                    Err(ClientError::Timeout) => {}
                    Err(error) => return Err(error.to_string()),
                }
            },
        }
    }

    pub(crate) async fn emit(&self, event: &str, data: Value) -> Result<(), String> {
        match self {
            Self::Polling(client) => client.emit(event, data).await,
            Self::WebSocket(client) => {
                let sent = client.emit(event, &[data]).await;
                sent.map_err(|error| error.to_string())
            }
        }
    }

    pub(crate) fn read_slowly(&self, pause: Duration) {
        match self {
            Self::Polling(client) => client.read_slowly(pause),
            Self::WebSocket(client) => client.read_slowly(pause),
        }
    }

    /// Says goodbye; dropping it instead is a crash.
    pub(crate) async fn close(self) {
        match self {
            Self::Polling(client) => client.close().await,
            Self::WebSocket(client) => client.close().await,
        }
    }
}

/// The answer to a subscription: `{ok: true}`, or else why not.
fn admitted(event: &str, answer: &[Value]) -> Result<(), String> {
    let answer = answer.first().unwrap_or(&Value::Null);
    if answer.get("ok") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    let code = answer
        .get("code")
        .and_then(Value::as_str)
        .unwrap_or("no answer that is known");
    Err(format!("{event} was refused: {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert_eq!(admitted("join", &[json!({"ok": true, "room": "a"})]), Ok(()));
        let refused = admitted("join", &[json!({"ok": false, "code": "not_allowed"})]).unwrap_err();
        assert_eq!(refused, "join was refused: not_allowed");
        for answer in [vec![], vec![json!("ok")], vec![json!({"ok": 1})]] {
            assert!(admitted("join", &answer).is_err());
        }
    }
}
