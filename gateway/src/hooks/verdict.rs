//! What a backend says about a client. Pure.

use adapter_redis::{MAX_ROOMS, RoomName};
use serde_json::Value;

use crate::webhook::Words;

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Yes, and into these rooms, each once.
    Yes { rooms: Vec<RoomName> },
    /// No, and why.
    No(Words),
}

/// Reads an answer; in doubt it is none.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(body: &[u8]) -> Result<Verdict, &'static str> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| "the answer is not JSON")?;
    match answer.get("allow") {
        Some(Value::Bool(false)) => Ok(Verdict::No(Words::of(&answer))),
        Some(Value::Bool(true)) => rooms(answer.get("rooms")).map(|rooms| Verdict::Yes { rooms }),
        _ => Err("the answer has no `allow` that is true or false"),
    }
}

fn rooms(value: Option<&Value>) -> Result<Vec<RoomName>, &'static str> {
    let names = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(names)) if names.len() <= MAX_ROOMS => names,
        Some(_) => return Err("`rooms` of the answer is no list of at most 128 names"),
    };
    let mut rooms: Vec<RoomName> = Vec::with_capacity(names.len());
    for name in names {
        let room = name.as_str().and_then(|name| RoomName::new(name).ok());
        let room = room.filter(|room| !room.is_reserved());
        let room = room.ok_or("`rooms` of the answer holds what is no name of a room")?;
        if !rooms.contains(&room) {
            rooms.push(room);
        }
    }
    Ok(rooms)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn yes(rooms: &[&str]) -> Result<Verdict, &'static str> {
        let rooms = rooms.iter().map(|name| RoomName::new(name).unwrap()).collect();
        Ok(Verdict::Yes { rooms })
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        let no = |code: Option<&str>, message: Option<&str>| {
            Ok(Verdict::No(Words {
                code: code.map(str::to_owned),
                message: message.map(str::to_owned),
            }))
        };
        let many = |count: usize| json!({"allow": true, "rooms": (0..count).map(|n| n.to_string()).collect::<Vec<_>>()});
        for (answer, expect) in [
            (json!({"allow": true}), yes(&[])),
            (json!({"allow": true, "rooms": null, "more": 1}), yes(&[])),
            (json!({"allow": true, "rooms": ["a", "b", "a"]}), yes(&["a", "b"])),
            (json!({"allow": false}), no(None, None)),
            (
                json!({"allow": false, "code": "banned", "message": "for a week", "rooms": 5}),
                no(Some("banned"), Some("for a week")),
            ),
        ] {
            assert_eq!(read(answer.to_string().as_bytes()), expect, "{answer}");
        }
        assert!(read(many(128).to_string().as_bytes()).is_ok());
        for answer in [
            many(129),
            json!({}),
            json!([true]),
            json!({"allow": "true"}),
            json!({"allow": 1}),
            json!({"allow": null}),
            json!({"allow": true, "rooms": "a"}),
            json!({"allow": true, "rooms": [1]}),
            json!({"allow": true, "rooms": ["a{b}"]}),
            json!({"allow": true, "rooms": ["roomcast:reply:0123456789abcdef"]}),
        ] {
            assert!(read(answer.to_string().as_bytes()).is_err(), "{answer}");
        }
        for text in ["", "true", "{\"allow\":true", "\u{7f}"] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
