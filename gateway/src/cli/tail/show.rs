//! A line for people. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use super::merge::Line;

/// Rooms that are named; of others it is said how many there are.
const ROOMS: usize = 3;
/// Characters of a node's id: enough to tell a few dozen apart.
const NODE: usize = 4;

/// The line; a hop stands below what it belongs to.
pub(super) fn text(line: &Line, is_hop: bool) -> String {
    let mut parts: Vec<String> = Vec::new();
    let texts = |name| Some(clean(line.text(name))).filter(|text| !text.is_empty());
    let number = |name: &str| line.value.get(name).and_then(Value::as_f64);
    parts.push(match texts("from") {
        Some(from) => format!("{} {}", clean(line.text("source")), short(&from)),
        None => clean(line.text("source")),
    });
    parts.push(rooms(line));
    parts.push(match (texts("event"), texts("emit")) {
        (Some(event), Some(emit)) if event != emit => format!("{event} -> {emit}"),
        (event, emit) => event.or(emit).unwrap_or_default(),
    });
    parts.extend(texts("user").map(|user| format!("user {user}")));
    parts.extend(texts("session").map(|session| format!("session {session}")));
    parts.extend(texts("to").map(|to| format!("to {to}")));
    parts.extend(texts("outcome"));
    parts.extend(texts("reason"));
    parts.extend(
        number("lines").map(|lines| format!("{lines} lines were not shown: more than could be sent")),
    );
    parts.extend(number("bytes").map(|bytes| format!("{bytes} bytes")));
    if let Some(bus) = number("bus_ms") {
        let subscribers = number("subscribers").unwrap_or_default();
        parts.push(format!("-> bus {bus} ms -> {}", count(subscribers, "subscriber")));
    }
    parts.extend(hops(line));
    if line.value.get("complete") == Some(&Value::Bool(false)) {
        parts.push("incomplete".to_owned());
    }
    if let Some(entry) = number("since_entry_ms") {
        let bus = number("since_bus_ms").map_or_else(String::new, |bus| format!(" ({bus} ms after the bus)"));
        parts.push(format!("{entry} ms after entry{bus}"));
    }
    if line.value.get("nodes").is_none() {
        parts.extend(number("sockets").map(|sockets| format!("-> {}", count(sockets, "socket"))));
    }
    parts.extend(number("took_ms").map(|took| format!("in {took} ms")));
    parts.extend(texts("publication").map(|name| format!("#{name}")));
    parts.extend(texts("version").map(|version| format!("version {version}")));
    parts.extend(
        line.value
            .get("data")
            .filter(|data| data.is_array())
            .map(|data| clean(&data.to_string())),
    );
    parts.extend(texts("data_cut").map(|data| format!("{data}\u{2026}")));
    parts.retain(|part| !part.is_empty());
    let time = line.text("at").get(11..23).unwrap_or_default();
    let sign = if is_hop { "  " } else { "" };
    format!(
        "{time}Z {:NODE$} {sign}{:<10} {}",
        short(&clean(line.text("node"))),
        clean(line.kind()),
        parts.join("  ")
    )
}

fn rooms(line: &Line) -> String {
    let rooms = line.value.get("rooms").and_then(Value::as_array);
    let rooms: Vec<&str> = rooms.into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = rooms.iter().take(ROOMS).copied().collect::<Vec<_>>().join(",");
    if rooms.len() > ROOMS {
        let _ = write!(text, ",+{}", rooms.len() - ROOMS);
    }
    clean(&text)
}

/// `-> k3fA 1 + c3d4 2 sockets`
fn hops(line: &Line) -> Option<String> {
    let nodes = line.value.get("nodes")?.as_array()?;
    let hop = |node: &Value| {
        let sockets = node.get("sockets").and_then(Value::as_u64).unwrap_or_default();
        let id = node.get("node").and_then(Value::as_str).unwrap_or_default();
        format!("{} {sockets}", short(&clean(id)))
    };
    let hops: Vec<String> = nodes.iter().map(hop).collect();
    Some(format!("-> {} sockets", hops.join(" + ")))
}

fn count(number: f64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1.0 { "" } else { "s" })
}

fn short(node: &str) -> String {
    node.chars().take(NODE).collect()
}

/// Names come from anybody: what would move a terminal's cursor is shown as what it is.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            clean.extend(character.escape_unicode());
        } else {
            clean.push(character);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, hop, expect) in [
            (
                r#"{"at":"2027-01-15T08:00:00.123456Z","node":"k3fAxxxxxxxxxxxx","kind":"publish","source":"api","publication":"17","rooms":["user:42"],"event":"news","outcome":"reached","sockets":3,"bus_ms":0.812,"subscribers":2,"nodes":[{"node":"k3fAxxxxxxxxxxxx","sockets":1},{"node":"c3d4xxxxxxxxxxxx","sockets":2}],"complete":true,"took_ms":1.9}"#,
                false,
                "08:00:00.123Z k3fA publish    api  user:42  news  reached  -> bus 0.812 ms -> 2 subscribers  -> k3fA 1 + c3d4 2 sockets  in 1.9 ms  #17",
            ),
            (
                r#"{"at":"2027-01-15T08:00:00.124000Z","node":"c3d4xxxxxxxxxxxx","kind":"delivery","source":"node","from":"k3fAxxxxxxxxxxxx","publication":"17","rooms":["user:42"],"event":"news","sockets":1,"since_entry_ms":2.5,"since_bus_ms":1.0,"took_ms":0.044,"data":[{"a":"b"}]}"#,
                true,
                "08:00:00.124Z c3d4   delivery   node k3fA  user:42  news  2.5 ms after entry (1 ms after the bus)  -> 1 socket  in 0.044 ms  #17  [{\"a\":\"b\"}]",
            ),
            (
                r#"{"at":"2027-01-15T08:00:00.124000Z","node":"n","kind":"refusal","source":"client","event":"a\u001b[2Jb","user":"4\n2","session":"s","reason":"not_allowed"}"#,
                false,
                "08:00:00.124Z n    refusal    client  a\\u{1b}[2Jb  user 4\\u{a}2  session s  not_allowed",
            ),
            (
                r#"{"at":"2027-01-15T08:00:00.124000Z","node":"n","kind":"connect","rooms":["a","b","c","d","e"]}"#,
                false,
                "08:00:00.124Z n    connect    a,b,c,+2",
            ),
            (
                r#"{"at":"2027-01-15T08:00:00.124000Z","node":"n","kind":"missed","lines":7}"#,
                false,
                "08:00:00.124Z n    missed     7 lines were not shown: more than could be sent",
            ),
            (
                r#"{"at":"2027-01-15T08:00:00.124000Z","node":"n","kind":"relay","event":"typing:start","emit":"typing:indicator","data_cut":"\"xx"}"#,
                false,
                "08:00:00.124Z n    relay      typing:start -> typing:indicator  \"xx\u{2026}",
            ),
            ("{}", false, "Z                 "),
        ] {
            let line = Line::read(line.as_bytes()).unwrap();
            assert_eq!(text(&line, hop).trim_end(), expect.trim_end());
        }
    }
}
