//! What the backend gets of a client's event: an entry of the stream, or the body of a request. Pure.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use adapter_redis::{Fields, RoomName};
use bytes::Bytes;
use serde_json::Value;

use crate::policy::Identity;

/// An event for the backend.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) event: String,
    /// JSON texts, as they came, with markers for bytes.
    pub(crate) arguments: Vec<String>,
    /// JSON text.
    pub(crate) claims: Arc<str>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) session: String,
    pub(crate) at: SystemTime,
    /// Until then somebody waits for an answer.
    pub(crate) deadline: SystemTime,
}

impl Message {
    pub(super) fn size(&self) -> usize {
        let arguments = self.arguments.iter().map(String::len).sum::<usize>();
        self.event.len() + self.claims.len() + arguments
    }

    /// The fields of its entry. `reply` is where the answer is waited for, if it is.
    pub(super) fn entry(&self, reply: Option<&RoomName>) -> Fields {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let mut fields = vec![
            ("event", bytes(&self.event)),
            ("data", bytes(self.data())),
            ("user", bytes(&self.identity.user)),
            ("session", bytes(&self.session)),
            ("claims", bytes(&self.claims)),
            ("id", bytes(&self.id)),
            ("deadline", Bytes::from(milliseconds(self.deadline).to_string())),
        ];
        fields.extend(self.args().map(|args| ("args", Bytes::from(args))));
        fields.extend(self.identity.tenant.as_deref().map(|t| ("tenant", bytes(t))));
        fields.extend(reply.map(|room| ("reply", bytes(room.as_str()))));
        fields
    }

    /// The body of its request. What came as JSON text is in it as it came.
    pub(super) fn body(&self) -> Bytes {
        let text = |text: &str| Value::from(text).to_string();
        let mut body = format!(
            r#"{{"type":"event","id":{},"event":{},"data":{}"#,
            text(&self.id),
            text(&self.event),
            self.data()
        );
        let mut add = |name: &str, value: &str| {
            body.push_str(",\"");
            body.push_str(name);
            body.push_str("\":");
            body.push_str(value);
        };
        if let Some(args) = self.args() {
            add("args", &args);
        }
        add("user", &text(&self.identity.user));
        if let Some(tenant) = &self.identity.tenant {
            add("tenant", &text(tenant));
        }
        add("session", &text(&self.session));
        add("claims", &self.claims);
        add("time", &text(&time(self.at)));
        body.push('}');
        Bytes::from(body)
    }

    /// The first argument; one that is not there is null.
    fn data(&self) -> &str {
        self.arguments.first().map_or("null", String::as_str)
    }

    /// All of them, where there is more than one.
    fn args(&self) -> Option<String> {
        (self.arguments.len() > 1).then(|| format!("[{}]", self.arguments.join(",")))
    }
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

fn milliseconds(at: SystemTime) -> u128 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adapter_redis::NodeId;

    use super::*;

    fn message(arguments: &[&str], tenant: Option<&str>) -> Message {
        let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        Message {
            id: "0123456789abcdef-7".to_owned(),
            event: "say \"hi\"".to_owned(),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            claims: r#"{"sub":"ü"}"#.into(),
            identity: Arc::new(Identity {
                user: "ü".into(),
                tenant: tenant.map(str::to_owned),
            }),
            session: "s".to_owned(),
            at,
            deadline: at + Duration::from_secs(5),
        }
    }

    #[test]
    fn entries() {
        let fields = |message: &Message, reply| -> Vec<(String, String)> {
            let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
            let fields = message.entry(reply).into_iter();
            fields
                .map(|(name, value)| (name.to_owned(), text(value)))
                .collect()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let data = r#"{ "n": 1.0, "big":12345678901234567890123}"#;
        let mut expect = vec![
            pair("event", "say \"hi\""),
            pair("data", data),
            pair("user", "ü"),
            pair("session", "s"),
            pair("claims", r#"{"sub":"ü"}"#),
            pair("id", "0123456789abcdef-7"),
            pair("deadline", "1700000005123"),
        ];
        assert_eq!(fields(&message(&[data], None), None), expect);
        let room = RoomName::of_replies(&NodeId::parse("0123456789abcdef").unwrap());
        expect.push(pair("args", &format!("[{data},null]")));
        expect.push(pair("tenant", "t"));
        expect.push(pair("reply", "roomcast:reply:0123456789abcdef"));
        assert_eq!(fields(&message(&[data, "null"], Some("t")), Some(&room)), expect);
        assert_eq!(fields(&message(&[], None), None)[1], pair("data", "null"));
    }

    #[test]
    fn bodies() {
        let body = |message: &Message| String::from_utf8(message.body().to_vec()).unwrap();
        assert_eq!(
            body(&message(&[r#"{ "n": 1.0}"#], None)),
            r#"{"type":"event","id":"0123456789abcdef-7","event":"say \"hi\"","data":{ "n": 1.0},"user":"ü","session":"s","claims":{"sub":"ü"},"time":"2023-11-14T22:13:20.123Z"}"#
        );
        let many = body(&message(&["1", "{}"], Some("t\"")));
        assert!(
            many.contains(r#""data":1,"args":[1,{}],"user":"ü","tenant":"t\"","#),
            "{many}"
        );
        assert!(serde_json::from_str::<Value>(&many).is_ok());
    }
}
