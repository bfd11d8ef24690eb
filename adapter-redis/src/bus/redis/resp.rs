//! RESP3, as far as a subscriber needs it: commands out, replies and pushes in.
//!
//! Pure. Decoding is total, never copies a payload and allocates no more than a small multiple of what came in.

use bytes::{Buf as _, Bytes, BytesMut};

/// The longest string that is read, and the most bytes of one reply. Redis itself takes no longer command by default.
const MAX_BYTES: usize = 512 * 1024 * 1024;

/// The most elements of one collection, and the deepest nesting: far beyond any answer to what is asked here.
const MAX_ELEMENTS: usize = 1024 * 1024;
const MAX_DEPTH: usize = 8;

/// The longest line. What is long comes as a bulk string.
const MAX_LINE: usize = 64 * 1024;

/// One thing that Redis says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A published message.
    Message { channel: Bytes, payload: Bytes },
    /// The confirmation of a subscription, or of its end.
    Subscription { kind: Kind, channel: Bytes },
    /// A push that is neither.
    OtherPush,
    /// The answer to a command.
    Answer(Value),
}

/// What is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Subscribe,
    Ssubscribe,
    Sunsubscribe,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Number(i64),
    /// A simple or bulk string, or anything else that is text.
    Text(Bytes),
    Error(Bytes),
    /// An array, a set, or a map with its keys and values in turn.
    List(Vec<Value>),
}

/// What came is not RESP3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis said what is not RESP3: {0}")]
pub(super) struct RespError(&'static str);

/// Takes the first whole reply off the front; `None` when more has to be read.
pub(super) fn decode(buffer: &mut BytesMut) -> Result<Option<Reply>, RespError> {
    let Some(length) = whole(buffer)? else {
        return Ok(None);
    };
    let mut reader = Reader(buffer.split_to(length).freeze());
    let (kind, line) = reader.head()?;
    if kind != b'>' {
        return reader
            .value(kind, &line, 0)
            .map(|value| Some(Reply::Answer(value)));
    }
    let count = number(&line)?;
    let name = reader.text()?;
    let kind = match &*name {
        b"message" | b"smessage" if count == 3 => {
            let (channel, payload) = (reader.text()?, reader.text()?);
            return Ok(Some(Reply::Message { channel, payload }));
        }
        b"subscribe" => Kind::Subscribe,
        b"ssubscribe" => Kind::Ssubscribe,
        b"sunsubscribe" => Kind::Sunsubscribe,
        _ => return Ok(Some(Reply::OtherPush)),
    };
    let channel = reader.text()?;
    Ok(Some(Reply::Subscription { kind, channel }))
}

/// What there is to read in bytes that come in such pieces, as text; with the error at the end, if there is one. For the
/// fuzz target.
#[cfg(feature = "test-util")]
pub fn read_replies<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut buffer = BytesMut::new();
    let mut replies = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match decode(&mut buffer) {
                Ok(Some(reply)) => replies.push(format!("{reply:?}")),
                Ok(None) => break,
                Err(error) => {
                    replies.push(error.to_string());
                    return replies;
                }
            }
        }
    }
    replies
}

/// Writes a command behind what is there.
pub(super) fn encode<'a>(out: &mut Vec<u8>, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
    head(out, b'*', parts.len());
    for part in parts {
        head(out, b'$', part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

fn head(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    out.extend_from_slice(length.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The length of the first reply, if all of it is there. Payloads are stepped over.
fn whole(buffer: &[u8]) -> Result<Option<usize>, RespError> {
    let mut at = 0_usize;
    let mut left = 1_usize;
    while left > 0 {
        left -= 1;
        let Some(rest) = buffer.get(at..) else {
            return Ok(None);
        };
        let line = memchr::memchr(b'\n', rest);
        if line.unwrap_or(rest.len()) > MAX_LINE {
            return Err(RespError("an endless line"));
        }
        let Some(end) = line else {
            return Ok(None);
        };
        let (Some(kind), Some(line)) = (rest.first(), rest.get(1..end.saturating_sub(1))) else {
            return Err(RespError("an empty line"));
        };
        at += end + 1;
        match kind {
            b'$' | b'=' | b'!' => {
                if let Some(length) = length(line)? {
                    at = at.saturating_add(length + 2);
                }
            }
            b'*' | b'~' | b'>' => left = left.saturating_add(elements(line)?),
            b'%' => left = left.saturating_add(2 * elements(line)?),
            // An attribute belongs to the reply behind it.
            b'|' => left = left.saturating_add(2 * elements(line)? + 1),
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
            _ => return Err(RespError("an unknown type")),
        }
        if left > MAX_ELEMENTS || at > MAX_BYTES {
            return Err(RespError("more than is ever asked for"));
        }
    }
    Ok((at <= buffer.len()).then_some(at))
}

/// The length of a string; `None` for the null of RESP2.
fn length(line: &[u8]) -> Result<Option<usize>, RespError> {
    if line == b"-1" {
        return Ok(None);
    }
    let length = usize::try_from(number(line)?).map_err(|_| RespError("a length below zero"))?;
    if length > MAX_BYTES {
        return Err(RespError("a string that is too long"));
    }
    Ok(Some(length))
}

fn elements(line: &[u8]) -> Result<usize, RespError> {
    if line == b"-1" {
        return Ok(0);
    }
    let count = usize::try_from(number(line)?).map_err(|_| RespError("a count below zero"))?;
    if count > MAX_ELEMENTS {
        return Err(RespError("too many elements"));
    }
    Ok(count)
}

fn number(line: &[u8]) -> Result<i64, RespError> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.parse().ok())
        .ok_or(RespError("a number that is none"))
}

/// A reply that is whole.
struct Reader(Bytes);

impl Reader {
    fn head(&mut self) -> Result<(u8, Bytes), RespError> {
        let end = memchr::memchr(b'\n', &self.0).ok_or(RespError("cut short"))?;
        let mut line = self.0.split_to(end + 1);
        line.truncate(end.saturating_sub(1));
        if line.is_empty() {
            return Err(RespError("an empty line"));
        }
        let kind = line.get_u8();
        Ok((kind, line))
    }

    fn text(&mut self) -> Result<Bytes, RespError> {
        let (kind, line) = self.head()?;
        match self.value(kind, &line, 0)? {
            Value::Text(text) => Ok(text),
            _ => Err(RespError("a push without its text")),
        }
    }

    fn value(&mut self, kind: u8, line: &Bytes, depth: usize) -> Result<Value, RespError> {
        if depth > MAX_DEPTH {
            return Err(RespError("nested too deeply"));
        }
        Ok(match kind {
            b'+' | b',' | b'#' | b'(' => Value::Text(line.clone()),
            b'-' => Value::Error(line.clone()),
            b':' => Value::Number(number(line)?),
            b'_' => Value::Null,
            b'$' | b'=' | b'!' => match length(line)? {
                None => Value::Null,
                Some(length) => {
                    if self.0.len() < length + 2 {
                        return Err(RespError("cut short"));
                    }
                    let text = self.0.split_to(length);
                    self.0.advance(2);
                    if kind == b'!' {
                        Value::Error(text)
                    } else {
                        Value::Text(text)
                    }
                }
            },
            b'*' if &**line == b"-1" => Value::Null,
            b'*' | b'~' | b'>' => self.list(elements(line)?, depth)?,
            b'%' => self.list(2 * elements(line)?, depth)?,
            b'|' => {
                self.list(2 * elements(line)?, depth)?;
                let (kind, line) = self.head()?;
                self.value(kind, &line, depth + 1)?
            }
            _ => return Err(RespError("an unknown type")),
        })
    }

    fn list(&mut self, count: usize, depth: usize) -> Result<Value, RespError> {
        (0..count)
            .map(|_| {
                let (kind, line) = self.head()?;
                self.value(kind, &line, depth + 1)
            })
            .collect::<Result<_, _>>()
            .map(Value::List)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn text(text: &'static str) -> Value {
        Value::Text(Bytes::from_static(text.as_bytes()))
    }

    fn check(bytes: &str, expected: &Reply) {
        let mut buffer = BytesMut::from(format!("{bytes}+next\r\n").as_bytes());
        assert_eq!(
            decode(&mut buffer).as_ref(),
            Ok(&Some(expected.clone())),
            "{bytes:?}"
        );
        assert_eq!(buffer, "+next\r\n", "{bytes:?}");
        for cut in 0..bytes.len() {
            let mut buffer = BytesMut::from(bytes.get(..cut).unwrap().as_bytes());
            assert_eq!(decode(&mut buffer), Ok(None), "{bytes:?} cut to {cut}");
            assert_eq!(buffer.len(), cut, "nothing is taken before all is there");
        }
    }

    #[test]
    fn what_redis_says() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        check(
            ">3\r\n$8\r\nsmessage\r\n$3\r\nr:1\r\n$5\r\na\r\nb\n\r\n",
            &Reply::Message {
                channel: bytes("r:1"),
                payload: bytes("a\r\nb\n"),
            },
        );
        check(
            ">3\r\n$10\r\nssubscribe\r\n$1\r\nc\r\n:1\r\n",
            &Reply::Subscription {
                kind: Kind::Ssubscribe,
                channel: bytes("c"),
            },
        );
        check(">2\r\n$10\r\ninvalidate\r\n_\r\n", &Reply::OtherPush);
        for (said, value) in [
            ("+OK\r\n", text("OK")),
            ("-NOPERM no\r\n", Value::Error(bytes("NOPERM no"))),
            ("!3\r\nERR\r\n", Value::Error(bytes("ERR"))),
            (":-12\r\n", Value::Number(-12)),
            ("_\r\n", Value::Null),
            ("$-1\r\n", Value::Null),
            ("$0\r\n\r\n", text("")),
            (
                "*2\r\n+a\r\n*0\r\n",
                Value::List(vec![text("a"), Value::List(vec![])]),
            ),
            (
                "%1\r\n+a\r\n:1\r\n",
                Value::List(vec![text("a"), Value::Number(1)]),
            ),
            ("|1\r\n+ttl\r\n:1\r\n+a\r\n", text("a")),
        ] {
            check(said, &Reply::Answer(value));
        }
    }

    #[test]
    fn what_is_no_resp_is_an_error() {
        for said in [
            "\r\n",
            "?\r\n",
            "$x\r\n",
            "$-2\r\n",
            "*99999999\r\n",
            ":\r\n",
            "$600000000\r\n",
            ">1\r\n:1\r\n",
        ] {
            assert!(decode(&mut BytesMut::from(said)).is_err(), "{said:?}");
        }
    }

    #[test]
    fn a_command_is_written_as_redis_reads_it() {
        let mut out = Vec::new();
        encode(&mut out, [&b"SSUBSCRIBE"[..], b"a\r\n"].into_iter());
        assert_eq!(out, b"*2\r\n$10\r\nSSUBSCRIBE\r\n$3\r\na\r\n\r\n");
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut buffer) {}
        }

        #[test]
        fn decoding_near_resp_is_total(text in "(>3|\\*2|\\$3|\\$8|smessage|abc|:1|%1|\\|1|_|\r\n|-1){0,30}") {
            let mut buffer = BytesMut::from(text.as_bytes());
            while let Ok(Some(_)) = decode(&mut buffer) {}
        }
    }
}
