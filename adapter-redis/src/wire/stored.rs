//! What the Redis function puts in front of what it publishes to a room.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{VERSION, WireError};

const STORED: u8 = 8;
const ENVELOPE: u8 = 1;
const HEADER: usize = 3 + size_of::<u64>();

/// A publication with its place among all of its bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Microseconds since 1970 by the clock of Redis; higher than every stamp before it.
    pub stamp: u64,
    /// What was published.
    pub body: StoredBody,
}

/// The two kinds of what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredBody {
    /// A frame, as a node wrote it.
    Frame(Bytes),
    /// An envelope, as a backend wrote it.
    Envelope(Bytes),
}

impl Stored {
    /// Takes the header off; `None` when this is not stored but a plain frame.
    ///
    /// # Errors
    /// When there is a header that cannot be read.
    pub fn decode(bytes: &Bytes) -> Result<Option<Self>, WireError> {
        if bytes.get(1) != Some(&STORED) {
            return Ok(None);
        }
        // The function is of the newest node's build: what it writes is what the build before could read.
        if bytes.first() != Some(&VERSION) {
            return Err(WireError::Version(bytes.first().copied().unwrap_or_default()));
        }
        let (Some(flags), Some(stamp)) = (bytes.get(2), bytes.get(3..HEADER)) else {
            return Err(WireError::Malformed("stored header"));
        };
        let stamp = stamp
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| WireError::Malformed("stored header"))?;
        let body = bytes.slice(HEADER..);
        Ok(Some(Self {
            stamp,
            body: if flags & ENVELOPE == 0 {
                StoredBody::Frame(body)
            } else {
                StoredBody::Envelope(body)
            },
        }))
    }

    /// Whether an envelope is stored, which nobody waits for an answer to.
    pub(crate) fn is_envelope(bytes: &[u8]) -> bool {
        bytes.get(1) == Some(&STORED) && bytes.get(2).is_some_and(|flags| flags & ENVELOPE != 0)
    }

    /// The bytes, as the function writes them.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (flags, body) = match &self.body {
            StoredBody::Frame(body) => (0, body),
            StoredBody::Envelope(body) => (ENVELOPE, body),
        };
        let mut out = BytesMut::with_capacity(HEADER + body.len());
        out.put_slice(&[VERSION, STORED, flags]);
        out.put_u64_le(self.stamp);
        out.put_slice(body);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn bytes_are_frozen() {
        let stored = |body| Stored {
            stamp: 0x0006_57fe_0102_0304,
            body,
        };
        for (stored, golden) in [
            (
                stored(StoredBody::Frame(Bytes::from_static(b"frame"))),
                &b"\x02\x08\x00\x04\x03\x02\x01\xfe\x57\x06\x00frame"[..],
            ),
            (
                stored(StoredBody::Envelope(Bytes::from_static(b"{}"))),
                b"\x02\x08\x01\x04\x03\x02\x01\xfe\x57\x06\x00{}",
            ),
        ] {
            assert_eq!(stored.encode(), golden);
            let is_envelope = matches!(stored.body, StoredBody::Envelope(_));
            assert_eq!(Stored::is_envelope(golden), is_envelope);
            assert_eq!(Stored::decode(&Bytes::from_static(golden)).unwrap(), Some(stored));
        }
    }

    #[test]
    fn what_is_cut_short_or_of_another_version_is_an_error() {
        let whole = b"\x02\x08\x00\x04\x03\x02\x01\xfe\x57\x06\x00";
        for length in 2..whole.len() {
            assert_eq!(
                Stored::decode(&Bytes::from_static(&whole[..length])),
                Err(WireError::Malformed("stored header"))
            );
        }
        assert_eq!(
            Stored::decode(&Bytes::from_static(b"\x03\x08")),
            Err(WireError::Version(3))
        );
        assert_eq!(Stored::decode(&Bytes::from_static(b"\x02\x01")), Ok(None));
        assert_eq!(Stored::decode(&Bytes::new()), Ok(None));
    }
}
