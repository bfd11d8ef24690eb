//! What the backend is asked about clients: whether one may connect, and whether one may enter a room. A backend that
//! gives no answer has not said yes.

mod config;
mod verdict;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use adapter_redis::{NodeId, RoomName};
use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json, value::RawValue};

pub use self::config::{Config, KEYS, LIVE, OnFailure};
use self::verdict::Verdict;
use crate::{
    engine::SocketId,
    policy::Identity,
    refusal::Refusal,
    webhook::{Answer, Call, CallError, Kind, Webhook, Words},
};

/// Asks. Clones are the same, also after [`Hooks::set`].
#[derive(Clone)]
pub struct Hooks {
    node: NodeId,
    next: Arc<AtomicU64>,
    webhook: Webhook,
    config: Arc<ArcSwap<Config>>,
}

/// Whom it is about.
pub(crate) struct Who<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) socket: SocketId,
    /// JSON text.
    pub(crate) claims: &'a str,
}

/// Why a client does not enter a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum No {
    /// The backend said no.
    Denied(Words),
    /// It said nothing that could be understood.
    Silence,
}

impl Hooks {
    /// Asks by this webhook.
    pub fn new(node: &NodeId, webhook: &Webhook, config: Config) -> Hooks {
        Hooks {
            node: node.clone(),
            next: Arc::new(AtomicU64::new(1)),
            webhook: webhook.clone(),
            config: Arc::new(ArcSwap::from_pointee(config)),
        }
    }

    /// From now on it asks like this.
    pub fn set(&self, config: Config) {
        self.config.store(Arc::new(config));
    }

    /// Whether a client may connect, and the rooms that the backend gives it.
    ///
    /// # Errors
    /// [`Refusal::HookRefused`] or [`Refusal::HookUnavailable`].
    pub(crate) async fn connect(
        &self,
        who: &Who<'_>,
        query: &Value,
        address: Option<&str>,
    ) -> Result<Vec<RoomName>, Refusal> {
        let config = self.config.load_full();
        if !config.connect {
            return Ok(Vec::new());
        }
        let mut call = self.call(
            Kind::Connect,
            who,
            &[("query", query.clone()), ("address", address.into())],
        );
        call.patience = Some(config.connect_timeout);
        match self.ask(call).await {
            Some(Verdict::Yes { rooms }) => Ok(rooms),
            Some(Verdict::No(words)) => {
                tracing::debug!(socket.id = %who.socket, code = words.code, "the backend refuses a connection");
                Err(Refusal::HookRefused)
            }
            None if config.on_failure == OnFailure::Allow => Ok(Vec::new()),
            None => Err(Refusal::HookUnavailable),
        }
    }

    /// The question whether a client may enter a room.
    pub(crate) fn question(&self, who: &Who<'_>, event: &str, room: &RoomName, argument: &Value) -> Call {
        let about = [
            ("event", event.into()),
            ("room", room.as_str().into()),
            ("arg", argument.clone()),
        ];
        self.call(Kind::Subscribe, who, &about)
    }

    /// What the backend says to that.
    ///
    /// # Errors
    /// See [`No`].
    pub(crate) async fn may_enter(&self, question: Call) -> Result<(), No> {
        match self.ask(question).await {
            Some(Verdict::Yes { .. }) => Ok(()),
            Some(Verdict::No(words)) => Err(No::Denied(words)),
            None => Err(No::Silence),
        }
    }

    /// `None` = there is no answer that could be understood.
    async fn ask(&self, call: Call) -> Option<Verdict> {
        let (kind, id) = (call.kind.as_str(), call.id.clone());
        let answered = self.webhook.call(call).await;
        let verdict =
            answered
                .map_err(|error: CallError| error.to_string())
                .and_then(|Answer { status, body }| match status {
                    ..300 => verdict::read(&body).map_err(str::to_owned),
                    _ => Err(format!("the backend answered with status {status}")),
                });
        verdict
            .inspect_err(|why| {
                tracing::warn!(
                    kind,
                    webhook.id = id,
                    why,
                    "the backend was asked, and did not say"
                )
            })
            .ok()
    }

    /// Asked again, it is the same question: that changes nothing.
    fn call(&self, kind: Kind, who: &Who<'_>, about: &[(&str, Value)]) -> Call {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{}-{number}", self.node, kind.as_str());
        Call {
            kind,
            body: body(kind, &id, who, about),
            id,
            patience: None,
            is_idempotent: true,
        }
    }
}

fn body(kind: Kind, id: &str, who: &Who<'_>, about: &[(&str, Value)]) -> Bytes {
    let mut body = json!({"type": kind.as_str(), "id": id});
    if let Some(fields) = body.as_object_mut() {
        fields.extend(
            about
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        fields.insert("user".to_owned(), (*who.identity.user).into());
        if let Some(tenant) = &who.identity.tenant {
            fields.insert("tenant".to_owned(), tenant.as_str().into());
        }
        fields.insert("session".to_owned(), who.socket.to_string().into());
    }
    let mut text = body.to_string();
    text.pop();
    // Written by us a moment ago.
    let claims: &RawValue = serde_json::from_str(who.claims).unwrap_or(RawValue::NULL);
    text.push_str(&format!(",\"claims\":{}}}", claims.get()));
    Bytes::from(text)
}

#[cfg(test)]
impl Hooks {
    /// Asks nobody: for tests of what does not ask.
    pub(crate) fn none(metrics: &crate::metrics::Metrics) -> Hooks {
        let webhook = Webhook::new(None, 0, metrics.webhook.clone()).unwrap();
        Hooks::new(&NodeId::random(), &webhook, Config::default())
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked() {
        let identity = Identity {
            user: "ü\"".into(),
            tenant: Some("acme".to_owned()),
        };
        let who = Who {
            identity: &identity,
            socket: "socket-0000000000001".parse().unwrap(),
            claims: r#"{"n":1.0}"#,
        };
        let about = [("event", json!("e")), ("room", json!("r")), ("arg", Value::Null)];
        assert_eq!(
            String::from_utf8(body(Kind::Subscribe, "i", &who, &about).to_vec()).unwrap(),
            r#"{"type":"subscribe","id":"i","event":"e","room":"r","arg":null,"user":"ü\"","tenant":"acme","session":"socket-0000000000001","claims":{"n":1.0}}"#
        );
    }
}
