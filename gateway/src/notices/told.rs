//! One notice as the webhook is told it, and what becomes of it. Pure; the time is a parameter.

use std::time::Duration;

use adapter_redis::{Notice, NoticeKind, StreamEntry, What};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::webhook::{Answer, CallError};

/// The longest pause after a notice was not taken.
const LONGEST: Duration = Duration::from_secs(30);

/// A notice for the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Different for each notice, and the same whenever it is told again.
    pub(super) id: String,
    /// Whose order has to be kept.
    pub(super) session: String,
    pub(super) kind: NoticeKind,
    pub(super) body: Bytes,
    /// Since when it waits, in milliseconds since 1970.
    pub(super) since_ms: u64,
}

/// What to do after it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// It was taken.
    Done,
    /// It will never be taken, for this reason.
    Refused(String),
    /// This one was not taken.
    Again,
    /// The backend is away, for all notices.
    Away,
}

impl Told {
    /// Of an entry of the stream; `None` when it is not one of ours.
    pub(super) fn of_entry(entry: &StreamEntry) -> Option<Told> {
        let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
        let mut body = Map::new();
        for (name, value) in &entry.fields {
            let (name, value) = (text(name), text(value));
            let value = match &*name {
                "at" | "connected_at" => json!(value.parse::<u64>().ok()?),
                "again" => json!(value == "true"),
                _ => json!(value),
            };
            body.insert(name, value);
        }
        let field = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let kind = kind(&field("type")?)?;
        Some(Told {
            id: field("id")?,
            session: field("session")?,
            kind,
            body: Value::Object(body).to_string().into(),
            since_ms: entry.appended_at_ms(),
        })
    }

    /// Of this node itself, which writes none to a stream.
    pub(super) fn of_notice(notice: &Notice, node: &str) -> Told {
        let (about, connection) = (&notice.about, notice.connection());
        let (kind, at, reason) = match notice.what {
            What::Connected { .. } => (NoticeKind::Connect, about.connected_at, None),
            What::Ended { at, reason } => (NoticeKind::Disconnect, at, Some(reason)),
        };
        let id = format!("{connection}:{}", kind.as_str());
        let mut body = Map::new();
        for (name, value) in [
            ("type", json!(kind.as_str())),
            ("id", json!(id)),
            ("connection", json!(connection)),
            ("node", json!(node)),
            ("at", json!(at)),
            ("session", json!(about.session)),
            ("user", json!(*about.user)),
            ("tenant", json!(about.tenant)),
            ("connected_at", json!(about.connected_at)),
            ("reason", json!(reason)),
        ] {
            if !value.is_null() {
                body.insert(name.to_owned(), value);
            }
        }
        Told {
            id,
            session: about.session.to_string(),
            kind,
            body: Value::Object(body).to_string().into(),
            since_ms: at,
        }
    }
}

/// What follows from an answer, or from none.
pub(super) fn then(answered: &Result<Answer, CallError>) -> Then {
    match answered {
        Ok(answer) => match answer.status {
            200..=299 => Then::Done,
            408 | 425 | 429 => Then::Again,
            status => Then::Refused(format!("status_{status}")),
        },
        Err(error) if error.is_unsent() => Then::Away,
        Err(_) => Then::Again,
    }
}

/// The pause after so many attempts.
pub(super) fn pause(attempts: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(500);
    FIRST
        .saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)))
        .min(LONGEST)
}

fn kind(text: &str) -> Option<NoticeKind> {
    [NoticeKind::Connect, NoticeKind::Disconnect]
        .into_iter()
        .find(|kind| kind.as_str() == text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use adapter_redis::SessionAbout;

    use super::*;

    #[test]
    fn an_entry_becomes_json_with_numbers() {
        let entry = |fields: &[(&'static str, &'static str)]| StreamEntry {
            id: Bytes::from_static(b"1785000000456-3"),
            fields: fields
                .iter()
                .map(|(name, value)| {
                    (
                        Bytes::from_static(name.as_bytes()),
                        Bytes::from_static(value.as_bytes()),
                    )
                })
                .collect(),
        };
        let whole = [
            ("type", "connect"),
            ("id", "s:1:connect"),
            ("connection", "s:1"),
            ("node", "n"),
            ("at", "1785000000123"),
            ("session", "s"),
            ("user", "ann \"ü\""),
            ("connected_at", "1785000000123"),
            ("again", "true"),
        ];
        let told = Told::of_entry(&entry(&whole)).unwrap();
        assert_eq!(
            (&*told.id, &*told.session, told.kind, told.since_ms),
            ("s:1:connect", "s", NoticeKind::Connect, 1_785_000_000_456)
        );
        let body: Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(
            body,
            json!({
                "type": "connect", "id": "s:1:connect", "connection": "s:1", "node": "n", "at": 1_785_000_000_123_u64,
                "session": "s", "user": "ann \"ü\"", "connected_at": 1_785_000_000_123_u64, "again": true,
            })
        );
        for without in ["type", "id", "session"] {
            let fields: Vec<_> = whole.into_iter().filter(|(name, _)| *name != without).collect();
            assert_eq!(Told::of_entry(&entry(&fields)), None, "without {without}");
        }
        assert_eq!(
            Told::of_entry(&entry(&[("type", "other"), ("id", "1"), ("session", "s")])),
            None
        );
    }

    #[test]
    fn without_redis_it_is_the_same_json() {
        let about = Arc::new(SessionAbout {
            session: "s".into(),
            user: "ann".into(),
            tenant: Some("acme".into()),
            connected_at: 7,
        });
        let what = What::Ended {
            reason: "ping_timeout",
            at: 9,
        };
        let notice = Notice {
            about,
            number: 1,
            what,
        };
        let told = Told::of_notice(&notice, "n");
        assert_eq!((&*told.id, told.since_ms), ("s:1:disconnect", 9));
        let body: Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(
            body,
            json!({
                "type": "disconnect", "id": "s:1:disconnect", "connection": "s:1", "node": "n", "at": 9, "session": "s",
                "user": "ann", "tenant": "acme", "connected_at": 7, "reason": "ping_timeout",
            })
        );
    }

    #[test]
    fn what_follows_from_an_answer() {
        let answer = |status| {
            Ok(Answer {
                status,
                body: Bytes::new(),
            })
        };
        for (answered, expected) in [
            (answer(200), Then::Done),
            (answer(204), Then::Done),
            (answer(400), Then::Refused("status_400".to_owned())),
            (answer(410), Then::Refused("status_410".to_owned())),
            (answer(408), Then::Again),
            (answer(425), Then::Again),
            (answer(429), Then::Again),
            (Err(CallError::BadStatus(500)), Then::Again),
            (Err(CallError::BadStatus(302)), Then::Again),
            (Err(CallError::Timeout), Then::Again),
            (Err(CallError::TooLong(9)), Then::Again),
            (Err(CallError::CircuitOpen), Then::Away),
            (Err(CallError::Unreachable("x".to_owned())), Then::Away),
            (Err(CallError::Overloaded), Then::Away),
            (Err(CallError::NotConfigured), Then::Away),
        ] {
            assert_eq!(then(&answered), expected, "{answered:?}");
        }
        let pauses: Vec<u64> = [1, 2, 3, 7, 99].iter().map(|n| pause(*n).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 30, 30]);
    }
}
