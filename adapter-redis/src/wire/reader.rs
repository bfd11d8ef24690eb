//! Taking a frame apart from front to back, without trusting a single length in it.

use bytes::Bytes;

use super::WireError;

/// The part of a frame that is not read yet. Every error names the part of the frame that was expected.
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(frame: &'a Bytes) -> Self {
        Self { frame, rest: frame }
    }

    pub(super) fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(WireError::Malformed(what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, WireError> {
        let (byte, rest) = self.rest.split_first().ok_or(WireError::Malformed(what))?;
        self.rest = rest;
        Ok(*byte)
    }

    /// An unsigned LEB128 of at most 64 bits.
    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, WireError> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WireError::Malformed(what))
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, WireError> {
        let length = self.length(1, what)?;
        std::str::from_utf8(self.take(length, what)?).map_err(|_| WireError::Malformed(what))
    }

    /// A length and that many bytes, shared with the frame.
    pub(super) fn bytes(&mut self, what: &'static str) -> Result<Bytes, WireError> {
        let length = self.length(1, what)?;
        let start = self.frame.len() - self.rest.len();
        self.take(length, what)?;
        Ok(self.frame.slice(start..start + length))
    }

    pub(super) fn list<T>(
        &mut self,
        what: &'static str,
        item: impl Fn(&str) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.length(1, what)?;
        (0..count).map(|_| item(self.text(what)?)).collect()
    }

    pub(super) fn hashes(&mut self, what: &'static str) -> Result<Vec<u64>, WireError> {
        let count = self.length(size_of::<u64>(), what)?;
        let bytes = self.take(count * size_of::<u64>(), what)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|bytes| u64::from_le_bytes(*bytes))
            .collect())
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        let bytes = self.take(size_of::<u64>(), what)?;
        bytes
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| WireError::Malformed(what))
    }

    pub(super) fn u128(&mut self, what: &'static str) -> Result<u128, WireError> {
        let bytes = self.take(size_of::<u128>(), what)?;
        bytes
            .try_into()
            .map(u128::from_be_bytes)
            .map_err(|_| WireError::Malformed(what))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left, shared with the frame.
    pub(super) fn rest(&mut self) -> Bytes {
        let rest = self.frame.slice(self.frame.len() - self.rest.len()..);
        self.rest = &[];
        rest
    }

    /// A count of items that take at least `least` bytes each: more than there is room for is malformed, which bounds
    /// what is allocated for them.
    fn length(&mut self, least: usize, what: &'static str) -> Result<usize, WireError> {
        let length = usize::try_from(self.number(what)?).map_err(|_| WireError::Malformed(what))?;
        if length > self.rest.len() / least {
            return Err(WireError::Malformed(what));
        }
        Ok(length)
    }
}
