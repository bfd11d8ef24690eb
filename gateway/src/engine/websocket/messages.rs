//! A client's messages, out of the bytes as they come. Pure.
//!
//! Nothing is held for a client that sends whole frames: they are read where the bytes lie. What has not come as a whole is
//! kept, and takes no more memory than what has come.

use std::ops::ControlFlow;

use super::frame::{BadFrame, Opcode, read_header, unmask};

/// Something that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// It wants a pong with the same bytes.
    Ping(&'a [u8]),
    /// It answered a ping.
    Pong,
    /// It closes, and why.
    Close(Option<u16>),
}

/// Why a client's bytes are no messages: nothing that it sends afterwards can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// They are no frames.
    Frame(BadFrame),
    /// A message began in the middle of another, or went on without a beginning.
    Order,
    /// Text that is not UTF-8.
    Text,
    /// A compressed message that cannot be inflated.
    Deflated,
    /// A message that is longer than allowed.
    TooLong,
}

impl Broken {
    /// The status of the close frame that says so (RFC 6455, section 7.4.1).
    pub fn status(self) -> u16 {
        match self {
            Broken::Frame(_) | Broken::Order => 1002,
            Broken::Text | Broken::Deflated => 1007,
            Broken::TooLong => 1009,
        }
    }
}

/// Inflates a message to a number of bytes at most, or says why it does not.
pub type Inflate = fn(&[u8], usize) -> Result<Vec<u8>, Broken>;

/// What is known of the messages that have not come as a whole.
#[derive(Debug, Default)]
pub struct Messages {
    /// The bytes of a frame that has not come as a whole.
    pending: Vec<u8>,
    /// The frames of a message whose last one has not come.
    begun: Option<Box<Begun>>,
}

#[derive(Debug)]
struct Begun {
    is_text: bool,
    is_compressed: bool,
    bytes: Vec<u8>,
}

/// What messages may be.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Bytes of a message at most, inflated.
    pub max: usize,
    /// Whether messages may be compressed, and how they are inflated.
    pub inflate: Option<Inflate>,
}

impl Messages {
    /// Takes bytes, which it changes, and hands out what came with them. When `take` breaks, what follows is given up.
    ///
    /// # Errors
    /// [`Broken`]; messages before that were handed out.
    pub fn read(
        &mut self,
        bytes: &mut [u8],
        rules: Rules,
        mut take: impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Broken> {
        if self.pending.is_empty() {
            let (used, flow) = self.frames(bytes, rules, &mut take)?;
            if flow.is_continue() {
                self.pending
                    .extend_from_slice(bytes.get(used..).unwrap_or_default());
            }
            return Ok(flow);
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let (used, flow) = self.frames(&mut pending, rules, &mut take)?;
        if flow.is_continue() {
            // Of a long frame only what comes behind it is kept, not the room that it took.
            self.pending = match pending.get(used..) {
                Some(rest) if used > 0 => rest.to_vec(),
                _ => pending,
            };
        }
        Ok(flow)
    }

    /// Bytes of memory that it takes to keep what has not come as a whole.
    pub fn held(&self) -> usize {
        self.pending.capacity() + self.begun.as_ref().map_or(0, |begun| begun.bytes.capacity())
    }

    /// Whether something is awaited that has begun.
    pub fn is_in_the_middle(&self) -> bool {
        !self.pending.is_empty() || self.begun.is_some()
    }

    /// Reads all whole frames, and says how many bytes they were.
    fn frames(
        &mut self,
        bytes: &mut [u8],
        rules: Rules,
        take: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), Broken> {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let Some(header) = read_header(rest).map_err(Broken::Frame)? else {
                return Ok((used, ControlFlow::Continue(())));
            };
            let before = match header.opcode {
                Opcode::Continuation => self.begun.as_ref().map_or(0, |b| b.bytes.len()),
                _ => 0,
            };
            let length = usize::try_from(header.payload).map_err(|_| Broken::TooLong)?;
            if length > rules.max.saturating_sub(before)
                && !matches!(header.opcode, Opcode::Ping | Opcode::Pong | Opcode::Close)
            {
                return Err(Broken::TooLong);
            }
            if header.is_compressed && rules.inflate.is_none() {
                return Err(Broken::Frame(BadFrame::Reserved));
            }
            let end = header.size.saturating_add(length);
            let Some(payload) = rest.get_mut(header.size..end) else {
                return Ok((used, ControlFlow::Continue(())));
            };
            unmask(payload, header.mask, 0);
            used += end;
            let flow = match header.opcode {
                Opcode::Ping => take(Message::Ping(payload)),
                Opcode::Pong => take(Message::Pong),
                Opcode::Close => {
                    let status = payload.first_chunk::<2>().map(|s| u16::from_be_bytes(*s));
                    take(Message::Close(status))
                }
                Opcode::Text | Opcode::Binary if self.begun.is_some() => return Err(Broken::Order),
                Opcode::Text | Opcode::Binary if header.is_last => whole(
                    header.opcode == Opcode::Text,
                    header.is_compressed,
                    payload,
                    rules,
                    take,
                )?,
                Opcode::Text | Opcode::Binary => {
                    self.begun = Some(Box::new(Begun {
                        is_text: header.opcode == Opcode::Text,
                        is_compressed: header.is_compressed,
                        bytes: payload.to_vec(),
                    }));
                    ControlFlow::Continue(())
                }
                Opcode::Continuation => {
                    let begun = self.begun.as_mut().ok_or(Broken::Order)?;
                    begun.bytes.extend_from_slice(payload);
                    match header.is_last.then(|| self.begun.take()).flatten() {
                        Some(all) => whole(all.is_text, all.is_compressed, &all.bytes, rules, take)?,
                        None => ControlFlow::Continue(()),
                    }
                }
            };
            if flow.is_break() {
                return Ok((used, flow));
            }
        }
    }
}

fn whole(
    is_text: bool,
    is_compressed: bool,
    bytes: &[u8],
    rules: Rules,
    take: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Broken> {
    let inflated;
    let bytes = match rules.inflate.filter(|_| is_compressed) {
        Some(inflate) => {
            inflated = inflate(bytes, rules.max)?;
            inflated.as_slice()
        }
        None => bytes,
    };
    if is_text {
        let text = std::str::from_utf8(bytes).map_err(|_| Broken::Text)?;
        Ok(take(Message::Text(text)))
    } else {
        Ok(take(Message::Binary(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::websocket::deflate::{deflate, inflate};

    const RULES: Rules = Rules {
        max: 1000,
        inflate: None,
    };

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 0, 250, 3];
        let mut bytes = match payload.len() {
            n @ 0..126 => vec![first, 0x80 | n as u8],
            n => [&[first, 0xfe][..], &(n as u16).to_be_bytes()].concat(),
        };
        bytes.extend(mask);
        let at = bytes.len();
        bytes.extend(payload);
        unmask(&mut bytes[at..], mask, 0);
        bytes
    }

    fn read(pieces: &[&[u8]]) -> (Vec<String>, Result<bool, Broken>) {
        read_by(pieces, RULES)
    }

    fn read_by(pieces: &[&[u8]], rules: Rules) -> (Vec<String>, Result<bool, Broken>) {
        let (mut messages, mut seen) = (Messages::default(), Vec::new());
        for piece in pieces {
            let result = messages.read(&mut piece.to_vec(), rules, |message| {
                seen.push(format!("{message:?}"));
                ControlFlow::Continue(())
            });
            if let Err(broken) = result {
                return (seen, Err(broken));
            }
        }
        (seen, Ok(messages.is_in_the_middle()))
    }

    #[test]
    fn messages_and_what_breaks_them() {
        let long = vec![b'x'; 1001];
        for (frames, expect, end) in [
            (vec![frame(0x81, b"2")], vec!["Text(\"2\")"], Ok(false)),
            (vec![frame(0x82, &[1])], vec!["Binary([1])"], Ok(false)),
            (
                vec![
                    frame(0x01, b"a\xc3"),
                    frame(0x89, b"!"),
                    frame(0x00, b""),
                    frame(0x80, b"\xa4b"),
                ],
                vec!["Ping([33])", "Text(\"aäb\")"],
                Ok(false),
            ),
            (
                vec![frame(0x8a, b"x"), frame(0x88, b"")],
                vec!["Pong", "Close(None)"],
                Ok(false),
            ),
            (
                vec![frame(0x88, b"\x03\xe9bye")],
                vec!["Close(Some(1001))"],
                Ok(false),
            ),
            (vec![frame(0x01, b"a")], vec![], Ok(true)),
            (vec![frame(0x80, b"a")], vec![], Err(Broken::Order)),
            (
                vec![frame(0x01, b"a"), frame(0x81, b"b")],
                vec![],
                Err(Broken::Order),
            ),
            (vec![frame(0x81, b"\xc3(")], vec![], Err(Broken::Text)),
            (
                vec![frame(0x01, b"a\xc3"), frame(0x80, b"(")],
                vec![],
                Err(Broken::Text),
            ),
            (vec![frame(0x82, &long)], vec![], Err(Broken::TooLong)),
            (
                vec![frame(0x02, &long[..500]), frame(0x80, &long[..501])],
                vec![],
                Err(Broken::TooLong),
            ),
            (
                vec![frame(0xc1, b"a")],
                vec![],
                Err(Broken::Frame(BadFrame::Reserved)),
            ),
            (
                vec![vec![0x82, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 1, 2, 3, 4]],
                vec![],
                Err(Broken::TooLong),
            ),
        ] {
            let bytes = frames.concat();
            assert_eq!(
                read(&[&bytes]),
                (expect.iter().map(ToString::to_string).collect(), end)
            );
            let each: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(
                read(&each),
                (expect.iter().map(ToString::to_string).collect(), end)
            );
        }
    }

    #[test]
    fn compressed_messages() {
        let rules = Rules {
            max: 1000,
            inflate: Some(inflate),
        };
        let text = "a long, long, long, long text ä";
        let deflated = deflate(&[text.as_bytes()]).unwrap();
        let (begin, end) = deflated.split_at(5);
        let (bomb, bytes) = (deflate(&[&[0; 1001]]).unwrap(), deflate(&[&[255; 100]]).unwrap());
        let (expect, reserved) = (format!("Text({text:?})"), Err(Broken::Frame(BadFrame::Reserved)));
        for (frames, expect, end) in [
            (vec![frame(0xc1, &deflated)], vec![expect.clone()], Ok(false)),
            (
                vec![frame(0x41, begin), frame(0x89, b""), frame(0x80, end)],
                vec!["Ping([])".to_owned(), expect.clone()],
                Ok(false),
            ),
            // Who agreed on it need not do it; and it is said in the first frame alone.
            (
                vec![frame(0x81, b"2"), frame(0xc1, &deflated), frame(0x81, b"3")],
                vec!["Text(\"2\")".to_owned(), expect, "Text(\"3\")".to_owned()],
                Ok(false),
            ),
            (vec![frame(0x41, begin), frame(0xc0, end)], vec![], reserved),
            (vec![frame(0xc9, b"")], vec![], reserved),
            (vec![frame(0xc1, b"Hello")], vec![], Err(Broken::Deflated)),
            (vec![frame(0xc1, begin)], vec![], Err(Broken::Deflated)),
            (vec![frame(0xc1, &bytes)], vec![], Err(Broken::Text)),
            (vec![frame(0xc2, &bomb)], vec![], Err(Broken::TooLong)),
            (
                vec![frame(0x42, &bomb[..4]), frame(0x80, &bomb[4..])],
                vec![],
                Err(Broken::TooLong),
            ),
        ] {
            let whole = frames.concat();
            let single: Vec<&[u8]> = whole.chunks(1).collect();
            for pieces in [vec![whole.as_slice()], single] {
                assert_eq!(read_by(&pieces, rules), (expect.clone(), end), "{frames:x?}");
            }
        }
    }

    #[test]
    fn who_breaks_gets_nothing_more() {
        let mut bytes = [frame(0x81, b"1"), frame(0x81, b"2")].concat();
        let mut seen = 0;
        let flow = Messages::default().read(&mut bytes, RULES, |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!((flow, seen), (Ok(ControlFlow::Break(())), 1));
    }

    #[test]
    fn a_frame_that_was_announced_takes_no_memory() {
        let mut messages = Messages::default();
        let rules = Rules {
            max: usize::MAX,
            inflate: None,
        };
        let mut announced = [0x82, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 1, 2, 3, 4];
        let _ = messages.read(&mut announced, rules, |_| ControlFlow::Continue(()));
        assert!(messages.held() < 100);
        assert!(size_of::<Messages>() <= 32, "each connection has one");
    }

    #[test]
    fn a_long_frame_leaves_no_room_behind() {
        let (mut messages, long) = (Messages::default(), vec![0; 1000]);
        let mut bytes = [frame(0x82, &long), frame(0x82, &long)].concat();
        let (first, rest) = bytes.split_at_mut(900);
        for piece in [first, &mut rest[..200]] {
            let _ = messages.read(piece, RULES, |_| ControlFlow::Continue(()));
        }
        assert!(
            messages.is_in_the_middle() && messages.held() < 200,
            "{}",
            messages.held()
        );
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_bytes_come(bytes: Vec<u8>, sizes in prop::collection::vec(1..20_usize, 1..20)) {
            let mut pieces = Vec::new();
            let (mut rest, mut sizes) = (bytes.as_slice(), sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(read(&pieces), read(&[&bytes]));
        }
    }
}
