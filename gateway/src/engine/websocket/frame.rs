//! WebSocket frames (RFC 6455, section 5). Pure.

use bytes::{BufMut, BytesMut};

/// The longest header of a frame that a server sends.
pub(in crate::engine) const HEADER: usize = 10;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message that is under way.
    Continuation,
    /// A message of text begins.
    Text,
    /// A message of bytes begins.
    Binary,
    /// The other side closes.
    Close,
    /// The other side wants a pong.
    Ping,
    /// An answer to a ping.
    Pong,
}

impl Opcode {
    fn read(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        self.bits() >= 8
    }
}

/// The header of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is for.
    pub opcode: Opcode,
    /// Whether it is the last of its message.
    pub is_last: bool,
    /// Whether the message is compressed (RFC 7692); only its first frame says so.
    pub is_compressed: bool,
    /// What the payload is masked with.
    pub mask: [u8; 4],
    /// Bytes of the payload.
    pub payload: u64,
    /// Bytes of the header itself.
    pub size: usize,
}

/// Why a client's bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFrame {
    /// Bits or an opcode that mean nothing here.
    Reserved,
    /// A client must mask what it sends.
    Unmasked,
    /// A control frame that is too long, or is one of several.
    Control,
    /// A length that is written with more bytes than it needs, or with its highest bit.
    Length,
}

/// Reads the header at the beginning of `bytes`; `None` = more of it has to come.
///
/// # Errors
/// [`BadFrame`], as soon as it shows.
pub fn read_header(bytes: &[u8]) -> Result<Option<Header>, BadFrame> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = Opcode::read(first & 0x0f).ok_or(BadFrame::Reserved)?;
    let (is_last, is_compressed) = (first & 0x80 != 0, first & 0x40 != 0);
    if first & 0x30 != 0 || (is_compressed && !matches!(opcode, Opcode::Text | Opcode::Binary)) {
        return Err(BadFrame::Reserved);
    }
    if second & 0x80 == 0 {
        return Err(BadFrame::Unmasked);
    }
    let short = second & 0x7f;
    if opcode.is_control() && (!is_last || short > 125) {
        return Err(BadFrame::Control);
    }
    let (payload, rest) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    let is_long_for_nothing = (short == 126 && payload < 126) || (short == 127 && payload <= 0xffff);
    if is_long_for_nothing || payload >> 63 != 0 {
        return Err(BadFrame::Length);
    }
    let Some((mask, after)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    Ok(Some(Header {
        opcode,
        is_last,
        is_compressed,
        mask: *mask,
        payload,
        size: bytes.len() - after.len(),
    }))
}

/// Takes the mask off `payload`, whose first byte is the `offset`-th of its frame.
pub fn unmask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut mask = mask;
    mask.rotate_left(offset % 4);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Puts the header of a server's frame, which holds a whole message.
pub fn put_header(out: &mut BytesMut, opcode: Opcode, is_compressed: bool, payload: usize) {
    out.put_u8(0x80 | if is_compressed { 0x40 } else { 0 } | opcode.bits());
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(short @ ..=125), _) => out.put_u8(short),
        (_, Ok(length)) => {
            out.put_u8(126);
            out.put_u16(length);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(payload as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(head: &[u8]) -> Vec<u8> {
        [head, &[1, 2, 3, 4]].concat()
    }

    #[test]
    fn headers() {
        let text = Header {
            opcode: Opcode::Text,
            is_last: true,
            is_compressed: false,
            mask: [1, 2, 3, 4],
            payload: 5,
            size: 6,
        };
        let (sixteen, sixty_four) = ([0x82, 0xfe, 1, 0], [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
        for (bytes, expect) in [
            (masked(&[0x81, 0x85]), Ok(text)),
            (
                masked(&[0xc1, 0x85]),
                Ok(Header {
                    is_compressed: true,
                    ..text
                }),
            ),
            (
                masked(&[0x01, 0x85]),
                Ok(Header {
                    is_last: false,
                    ..text
                }),
            ),
            (
                masked(&[0x80, 0x80]),
                Ok(Header {
                    opcode: Opcode::Continuation,
                    payload: 0,
                    ..text
                }),
            ),
            (
                masked(&[0x89, 0xfd]),
                Ok(Header {
                    opcode: Opcode::Ping,
                    payload: 125,
                    ..text
                }),
            ),
            (
                masked(&sixteen),
                Ok(Header {
                    opcode: Opcode::Binary,
                    payload: 256,
                    size: 8,
                    ..text
                }),
            ),
            (
                masked(&sixty_four),
                Ok(Header {
                    opcode: Opcode::Binary,
                    payload: 65_536,
                    size: 14,
                    ..text
                }),
            ),
            (masked(&[0x83, 0x85]), Err(BadFrame::Reserved)),
            (masked(&[0xa1, 0x85]), Err(BadFrame::Reserved)),
            (masked(&[0xc0, 0x85]), Err(BadFrame::Reserved)),
            (masked(&[0xc9, 0x85]), Err(BadFrame::Reserved)),
            (vec![0x81, 0x05], Err(BadFrame::Unmasked)),
            (masked(&[0x09, 0x85]), Err(BadFrame::Control)),
            (masked(&[0x88, 0xfe]), Err(BadFrame::Control)),
            (masked(&[0x82, 0xfe, 0, 125]), Err(BadFrame::Length)),
            (
                masked(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 1, 0]),
                Err(BadFrame::Length),
            ),
            (
                masked(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0]),
                Err(BadFrame::Length),
            ),
        ] {
            assert_eq!(read_header(&bytes), expect.map(Some), "{bytes:x?}");
            // Whatever has not come yet changes nothing but the moment.
            let early = (0..bytes.len()).find_map(|n| read_header(&bytes[..n]).transpose());
            assert!(
                early.is_none_or(|early| early == expect && expect.is_err()),
                "{bytes:x?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_read(payload in 0..200_000_usize, compressed: bool, mask: [u8; 4]) {
            let mut out = BytesMut::new();
            put_header(&mut out, Opcode::Binary, compressed, payload);
            prop_assert!(out.len() <= HEADER);
            out[1] |= 0x80;
            out.extend_from_slice(&mask);
            let header = read_header(&out).unwrap().unwrap();
            prop_assert_eq!((header.payload, header.mask), (payload as u64, mask));
            prop_assert_eq!((header.is_compressed, header.size), (compressed, out.len()));
        }

        #[test]
        fn a_mask_comes_off_in_pieces(bytes: Vec<u8>, mask: [u8; 4], at: prop::sample::Index) {
            let expect: Vec<u8> = bytes.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
            let mut pieces = bytes.clone();
            let at = at.index(bytes.len() + 1);
            unmask(&mut pieces[..at], mask, 0);
            unmask(&mut pieces[at..], mask, at);
            prop_assert_eq!(pieces, expect);
        }
    }
}
