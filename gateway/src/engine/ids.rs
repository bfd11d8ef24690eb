//! Ids: 20 characters out of `A-Za-z0-9-_`, which are 120 random bits. Pure, but for the bits.
//!
//! A session has two that have nothing to do with each other. The Engine.IO session id is a secret of its client: who knows
//! it can poll in its place. The socket id is public.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    str::FromStr,
};

const LENGTH: usize = 20;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An id. The upper eight bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u128);

/// A table by id. Ids are random, and nobody can choose one: they are their own hashes.
pub(super) type ById<T> = HashMap<Id, T, BuildHasherDefault<Itself>>;

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64((self.0 ^ (self.0 >> 56)) as u64);
    }
}

/// See [`ById`].
#[derive(Debug, Default)]
pub(super) struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write(&mut self, bytes: &[u8]) {
        // An id does not come here.
        self.0 = bytes
            .iter()
            .fold(self.0, |n, byte| n.rotate_left(8) ^ u64::from(*byte));
    }
}

impl Id {
    /// Two ids from the system's random numbers.
    ///
    /// # Errors
    /// When the system has none to give.
    pub(super) fn pair() -> Result<(Id, Id), getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let (first, second) = bytes.split_at(16);
        Ok((Id::of(first), Id::of(second)))
    }

    /// A number that differs between most ids.
    pub(super) fn spread(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    fn of(bytes: &[u8]) -> Id {
        let number = bytes.iter().fold(0_u128, |n, byte| n << 8 | u128::from(*byte));
        Id(number >> 8)
    }

    /// For tests of what is above the engine.
    #[cfg(test)]
    pub(super) const fn numbered(number: u128) -> Id {
        Id(number)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; LENGTH];
        for (place, byte) in text.iter_mut().rev().enumerate() {
            let digit = (self.0 >> (6 * place) & 63) as usize;
            *byte = ALPHABET.get(digit).copied().unwrap_or_default();
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a secret: who wants to see it says so.
        f.write_str("Id")
    }
}

/// The text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoId;

impl FromStr for Id {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Id, NoId> {
        if text.len() != LENGTH {
            return Err(NoId);
        }
        text.bytes()
            .try_fold(0_u128, |number, byte| {
                let digit = match byte {
                    b'A'..=b'Z' => byte - b'A',
                    b'a'..=b'z' => byte - b'a' + 26,
                    b'0'..=b'9' => byte - b'0' + 52,
                    b'-' => 62,
                    b'_' => 63,
                    _ => return Err(NoId),
                };
                Ok(number << 6 | u128::from(digit))
            })
            .map(Id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_text() {
        for (number, text) in [
            (0, "AAAAAAAAAAAAAAAAAAAA"),
            (1, "AAAAAAAAAAAAAAAAAAAB"),
            ((1 << 120) - 1, "____________________"),
            (62 << 6 | 26, "AAAAAAAAAAAAAAAAAA-a"),
        ] {
            assert_eq!(Id(number).to_string(), text);
            assert_eq!(text.parse(), Ok(Id(number)));
        }
        for text in [
            "",
            "AAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAA=",
        ] {
            assert_eq!(text.parse::<Id>(), Err(NoId), "{text}");
        }
    }

    #[test]
    fn no_two_are_the_same_and_none_is_shown_by_chance() {
        let (a, b) = Id::pair().unwrap();
        let (c, d) = Id::pair().unwrap();
        assert!(a != b && c != d && a != c && b != d);
        assert!(a.0 >> 120 == 0 && a.to_string().parse() == Ok(a));
        assert!(!format!("{a:?}").contains(&a.to_string()));
    }
}
