//! Compressed messages (RFC 7692, section 7.2). Each is compressed by itself: nothing is kept from one to the next, so
//! that neither side holds anything for a connection that waits. Pure.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::messages::Broken;

/// What a compressed message ends with, and what is not sent of it: a stored block without anything.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// The tail, and a last block without anything. Its end comes only where a block may begin, so that it shows whether the
/// message was whole.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
/// Memory for an inflated message, at first.
const FIRST: usize = 1024;

/// Higher ones save a percent at the most, for twice the time.
const LEVEL: u32 = 4;

/// Compresses a message that consists of these parts; `None` = it would not become shorter.
pub fn deflate(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length.checked_add(TAIL.len())?);
    // A new one for each message: it is shared by all who get it, and a compressor is a quarter of a megabyte.
    let mut compressor = Compress::new(Compression::new(LEVEL), false);
    let last = parts.len().checked_sub(1)?;
    for (number, part) in parts.iter().enumerate() {
        let flush = match number == last {
            true => FlushCompress::Sync,
            false => FlushCompress::None,
        };
        let before = compressor.total_in();
        compressor.compress_vec(part, &mut out, flush).ok()?;
        let is_taken = compressor.total_in() - before == part.len() as u64;
        // Full means that more may have to come.
        if !is_taken || out.len() == out.capacity() {
            return None;
        }
    }
    let shorter = out.strip_suffix(&TAIL)?.len();
    out.truncate(shorter);
    (shorter < length).then_some(out)
}

/// Inflates a message to `max` bytes at most. What is longer takes no more memory than what is allowed.
///
/// # Errors
/// [`Broken::TooLong`], or [`Broken::Deflated`] when it is none.
pub fn inflate(bytes: &[u8], max: usize) -> Result<Vec<u8>, Broken> {
    // One more than allowed shows that it is too long.
    let most = max.saturating_add(1);
    let mut inflater = Decompress::new(false);
    let mut out = Vec::new();
    for (input, is_end) in [(bytes, false), (&END[..], true)] {
        let mut rest = input;
        loop {
            if out.len() == out.capacity() {
                let more = out.len().max(FIRST).min(most.saturating_sub(out.len()));
                out.reserve_exact(more);
            }
            let before = inflater.total_in();
            let status = inflater
                .decompress_vec(rest, &mut out, FlushDecompress::None)
                .map_err(|_| Broken::Deflated)?;
            let used = usize::try_from(inflater.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(used..).unwrap_or_default();
            if out.len() > max {
                return Err(Broken::TooLong);
            }
            match status {
                Status::StreamEnd => return may_end(rest, is_end).then_some(out).ok_or(Broken::Deflated),
                // It wants more of the input, or more room.
                Status::Ok | Status::BufError if out.len() == out.capacity() => {}
                Status::Ok | Status::BufError if rest.is_empty() => break,
                Status::Ok => {}
                Status::BufError => return Err(Broken::Deflated),
            }
        }
    }
    Err(Broken::Deflated)
}

/// Whether what is left behind the last block may be left. A sender that ends its last block itself puts the beginning of
/// an empty one behind it (section 7.2.3.4).
fn may_end(rest: &[u8], is_end: bool) -> bool {
    match is_end {
        true => rest.is_empty(),
        false => rest == [0],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples of RFC 7692, section 7.2.3, and what is none.
    #[test]
    fn examples_and_what_is_broken() {
        let broken = Err(Broken::Deflated);
        for (bytes, expect) in [
            (&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], Ok("Hello")),
            (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", Ok("Hello")),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", Ok("Hello")),
            (
                b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
                Ok("Hello"),
            ),
            (b"\x00", Ok("")),
            // A message that needs the one before it.
            (b"\xf2\x00\x11\x00\x00", broken),
            (b"", broken),
            (b"\xf2\x48\xcd\xc9\xc9\x07", broken),
            (b"\xf2\x48\xcd\xc9", broken),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00", broken),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00\x00", broken),
            (
                b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
                broken,
            ),
            (b"\x07", broken),
            (b"Hello", broken),
            (b"\x78\x9c\xf2\x48\xcd\xc9\xc9\x07\x00", broken),
        ] {
            let inflated = inflate(bytes, 100);
            let text = inflated.as_deref().map(|b| std::str::from_utf8(b).unwrap());
            assert_eq!(text.map_err(|b| *b), expect, "{bytes:x?}");
        }
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_a_message_may() {
        let bomb = deflate(&[&vec![b'0'; 10 << 20]]).unwrap();
        assert!(bomb.len() < 20_000);
        let max = 100_000;
        assert_eq!(inflate(&bomb, max), Err(Broken::TooLong));
        let largest = deflate(&[&vec![b'0'; max]]).unwrap();
        let inflated = inflate(&largest, max).unwrap();
        assert_eq!((inflated.len(), inflated.capacity()), (max, max + 1));
        assert_eq!(inflate(&largest, max - 1), Err(Broken::TooLong));
        let tiny = inflate(&deflate(&[&[b'0'; 50]]).unwrap(), usize::MAX).unwrap();
        assert!(tiny.capacity() <= FIRST);
    }

    #[test]
    fn what_would_not_become_shorter_is_left() {
        for text in [&b""[..], b"4", b"42[\"a\",1]"] {
            assert_eq!(deflate(&[text]), None);
        }
        assert_eq!(deflate(&[]), None);
    }

    proptest! {
        #[test]
        fn what_is_deflated_is_inflated(
            pieces in prop::collection::vec(("[a-z]{1,12}", 1..60_usize), 0..20),
            noise: Vec<u8>,
            max in 1..20_000_usize,
        ) {
            let text: String = pieces.iter().map(|(word, count)| word.repeat(*count)).collect();
            let whole = [b"4", text.as_bytes(), &noise].concat();
            let Some(bytes) = deflate(&[b"4", text.as_bytes(), &noise]) else {
                return Ok(());
            };
            prop_assert!(bytes.len() < whole.len() && !bytes.ends_with(&TAIL));
            // As anybody else would read it.
            let mut other = flate2::read::DeflateDecoder::new(std::io::Cursor::new([&bytes, &END[..]].concat()));
            let mut read = Vec::new();
            std::io::Read::read_to_end(&mut other, &mut read).unwrap();
            prop_assert_eq!(&read, &whole);
            match inflate(&bytes, max) {
                Ok(inflated) => prop_assert!(inflated == whole && whole.len() <= max),
                Err(broken) => prop_assert!(broken == Broken::TooLong && whole.len() > max),
            }
        }

        #[test]
        fn what_anybody_deflates_is_inflated(text: Vec<u8>, level in 0..10_u32, copies in 1..50_usize) {
            let text = text.repeat(copies);
            let mut other = flate2::write::DeflateEncoder::new(Vec::new(), Compression::new(level));
            std::io::Write::write_all(&mut other, &text).unwrap();
            std::io::Write::flush(&mut other).unwrap();
            let bytes = other.get_ref().strip_suffix(&TAIL).unwrap();
            prop_assert_eq!(inflate(bytes, text.len()), Ok(text));
        }

        #[test]
        fn anything_may_come(bytes: Vec<u8>, max in 1..2_000_usize) {
            if let Ok(inflated) = inflate(&bytes, max) {
                prop_assert!(inflated.len() <= max);
            }
        }
    }
}
