//! A client's packet of text: `<type>[<attachments>-][<namespace>,][<ack id>][JSON]`. Pure.
//!
//! The JSON is not read here but for its first sign: what an event says is its reader's business, and much of it goes
//! through untouched.

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The client wants into a namespace.
    Connect,
    /// The client leaves it.
    Disconnect,
    /// An event.
    Event,
    /// The answer to one of the server's.
    Ack,
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// How many packets of bytes belong to it.
    pub attachments: usize,
    /// The namespace, with its slash.
    pub namespace: &'a str,
    /// The number under which an answer is awaited, or given.
    pub id: Option<i64>,
    /// JSON, or nothing. An event's and an ack's begins an array, a CONNECT's an object.
    pub data: &'a str,
}

/// The text is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPacket;

/// The only namespace that needs no name.
pub const MAIN: &str = "/";

/// Attachments of a packet at most, as clients have it.
pub const MOST_ATTACHMENTS: usize = 10;

/// Brackets in brackets at most. Readers of JSON that call themselves for each would not survive many more, and what one
/// client sends, others may have to read.
pub const DEEPEST: usize = 128;

/// Digits of an ack's number at most: more is no number that a client could count to.
const LONGEST_ID: usize = 18;

/// The highest number of an ack.
pub const MOST_ID: i64 = 10_i64.pow(LONGEST_ID as u32) - 1;

/// Reads a packet.
///
/// # Errors
/// [`BadPacket`], also for what only a server may send.
pub fn read(text: &str) -> Result<Packet<'_>, BadPacket> {
    let mut signs = text.chars();
    let (kind, is_binary) = match signs.next() {
        Some('0') => (Kind::Connect, false),
        Some('1') => (Kind::Disconnect, false),
        Some('2') => (Kind::Event, false),
        Some('3') => (Kind::Ack, false),
        Some('5') => (Kind::Event, true),
        Some('6') => (Kind::Ack, true),
        _ => return Err(BadPacket),
    };
    let rest = signs.as_str();
    let (attachments, rest) = if is_binary {
        let (count, rest) = rest.split_once('-').ok_or(BadPacket)?;
        (number(count).ok_or(BadPacket)?, rest)
    } else {
        (0, rest)
    };
    if is_binary && !(1..=MOST_ATTACHMENTS as i64).contains(&attachments) {
        return Err(BadPacket);
    }
    let (namespace, rest) = match rest.strip_prefix('/') {
        Some(_) => rest.split_once(',').unwrap_or(rest.split_at(rest.len())),
        None => (MAIN, rest),
    };
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (id, data) = rest.split_at(digits);
    let id = match digits {
        0 => None,
        _ => Some(number(id).ok_or(BadPacket)?),
    };
    let is_ok = match (kind, data.as_bytes().first()) {
        (Kind::Connect, first) => id.is_none() && matches!(first, None | Some(b'{')),
        (Kind::Disconnect, first) => id.is_none() && first.is_none(),
        (Kind::Event, Some(b'[')) => true,
        (Kind::Ack, Some(b'[')) => id.is_some(),
        (Kind::Event | Kind::Ack, _) => false,
    };
    // Most packets have too few brackets for it to matter how they stand, which is quickly counted.
    let is_bracket = |byte: &u8| matches!(byte, b'[' | b'{');
    let is_deep =
        || data.as_bytes().iter().filter(|byte| is_bracket(byte)).count() > DEEPEST && depth(data) > DEEPEST;
    if !is_ok || is_deep() {
        return Err(BadPacket);
    }
    Ok(Packet {
        kind,
        attachments: usize::try_from(attachments).map_err(|_| BadPacket)?,
        namespace,
        id,
        data,
    })
}

fn number(digits: &str) -> Option<i64> {
    let is_number = (1..=LONGEST_ID).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// How deep brackets are in one another. The text need not be JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(data: &str) -> Packet<'_> {
        Packet {
            kind: Kind::Event,
            attachments: 0,
            namespace: "/",
            id: None,
            data,
        }
    }

    #[test]
    fn packets() {
        let connect = Packet {
            kind: Kind::Connect,
            ..event("")
        };
        let ack = Packet {
            kind: Kind::Ack,
            id: Some(7),
            ..event("[1]")
        };
        for (text, expect) in [
            ("0", connect),
            (
                r#"0{"token":"x"}"#,
                Packet {
                    data: r#"{"token":"x"}"#,
                    ..connect
                },
            ),
            (
                "0/admin,",
                Packet {
                    namespace: "/admin",
                    ..connect
                },
            ),
            (
                "0/admin",
                Packet {
                    namespace: "/admin",
                    ..connect
                },
            ),
            (
                "0/admin?x=1,{}",
                Packet {
                    namespace: "/admin?x=1",
                    data: "{}",
                    ..connect
                },
            ),
            (
                "1",
                Packet {
                    kind: Kind::Disconnect,
                    ..event("")
                },
            ),
            (
                "1/admin,",
                Packet {
                    kind: Kind::Disconnect,
                    namespace: "/admin",
                    ..event("")
                },
            ),
            (r#"2["a"]"#, event(r#"["a"]"#)),
            (
                r#"20["a"]"#,
                Packet {
                    id: Some(0),
                    ..event(r#"["a"]"#)
                },
            ),
            (
                r#"2/n,12["a"]"#,
                Packet {
                    id: Some(12),
                    namespace: "/n",
                    ..event(r#"["a"]"#)
                },
            ),
            (r#"2["connected"]"#, event(r#"["connected"]"#)),
            ("37[1]", ack),
            (
                "61-7[1]",
                Packet {
                    attachments: 1,
                    ..ack
                },
            ),
            (
                r#"510-["a"]"#,
                Packet {
                    attachments: 10,
                    ..event(r#"["a"]"#)
                },
            ),
        ] {
            assert_eq!(read(text), Ok(expect), "{text}");
        }
    }

    #[test]
    fn what_is_no_packet() {
        let deep = format!("2{}", "[".repeat(DEEPEST + 1));
        for text in [
            "",
            "4",
            "4{}",
            "7",
            "x",
            "é",
            "2",
            "2{}",
            "2x",
            "2-1[]",
            "3[1]",
            "37{}",
            "37",
            "0[]",
            "01{}",
            "1{}",
            "11",
            "5[\"a\"]",
            "50-[\"a\"]",
            "511-[\"a\"]",
            "5-[\"a\"]",
            "51[\"a\"]",
            "5x-[\"a\"]",
            "5-1-[\"a\"]",
            "21234567890123456789[\"a\"]",
            "2/n[\"a\"]",
            &deep,
        ] {
            assert_eq!(read(text), Err(BadPacket), "{text}");
        }
        let not_too_deep = format!("2{}", "[".repeat(DEEPEST));
        assert!(read(&not_too_deep).is_ok());
        assert_eq!(depth(r#"["[[[\"[[",{"a":[]}]"#), 3);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_is_lost(text in "[0-7][0-9]{0,2}-?(/[a-z]{0,3},)?[0-9]{0,3}.{0,20}") {
            if let Ok(packet) = read(&text) {
                prop_assert!(text.ends_with(packet.data));
            }
        }
    }
}
