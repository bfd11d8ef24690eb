//! Which keys may verify a token. Pure: it knows what the token says of itself, and which keys are here.
//!
//! - An algorithm is verified by keys of its own kind only. No public key ever verifies an HS token, and no key set
//!   brings a secret.
//! - A `kid` belongs to one key. Where a key set has one of that name, that key decides alone: it is not skipped for
//!   another, not even when the algorithm is not its own. The set of the file comes before the one that was fetched.
//! - The configured secrets and the configured public key have no name. They are tried for a token without `kid`, and
//!   for one whose `kid` no set has.
//! - A key of a set that has no name verifies no token that names one.

use jsonwebtoken::DecodingKey;

use super::{Keys, header::Header, jwks::KeySet};
use crate::refusal::Refusal;

/// How many keys are tried for one token. More of one kind have names, or cost everybody time.
pub(super) const MOST: usize = 8;

/// The key set of an identity provider.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fetched<'a> {
    /// None is configured.
    Nowhere,
    /// It could not be fetched yet, or is too old.
    NotYet,
    /// This one.
    Set(&'a KeySet),
}

/// The keys that may verify a token.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    keys: [Option<&'a DecodingKey>; MOST],
    /// What it means when none of them does.
    pub(super) otherwise: Otherwise,
}

/// What it means for a token when no key that is here verifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// It is refused.
    Refused(Refusal),
    /// The identity provider may have its key: it is refused when that was asked and has not.
    Ask(Refusal),
}

impl<'a> Choice<'a> {
    /// Chooses.
    pub(super) fn of(header: &Header, keys: &'a Keys, fetched: Fetched<'a>) -> Choice<'a> {
        let algorithm = header.algorithm;
        if !keys.allow(algorithm) {
            return Choice::nothing(Otherwise::Refused(Refusal::TokenAlgorithm));
        }
        let (file, set) = match fetched {
            Fetched::Set(set) => (keys.file(), Some(set)),
            Fetched::Nowhere | Fetched::NotYet => (keys.file(), None),
        };
        // Whether a key of a set may be the right one: a set brings no secrets.
        let sets = keys.sets_allow(algorithm);
        let may_ask = sets && !matches!(fetched, Fetched::Nowhere);
        let Some(kid) = &header.kid else {
            let of_sets = [file, set].into_iter().flatten().filter(|_| sets);
            let of_sets = of_sets.flat_map(|set| set.fitting(algorithm));
            return Choice::among(keys.unnamed(algorithm).chain(of_sets), |is_empty| {
                match (fetched, is_empty) {
                    (Fetched::NotYet, _) if may_ask => Otherwise::Ask(Refusal::KeysUnavailable),
                    (_, true) => Otherwise::Refused(Refusal::TokenAlgorithm),
                    (_, false) => Otherwise::Refused(Refusal::TokenSignature),
                }
            });
        };
        if let Some(named) = [file, set].into_iter().flatten().find_map(|set| set.named(kid)) {
            return Choice::among(named.verifying(algorithm).into_iter(), |is_empty| {
                Otherwise::Refused(match is_empty {
                    true => Refusal::TokenAlgorithm,
                    false => Refusal::TokenSignature,
                })
            });
        }
        Choice::among(keys.unnamed(algorithm), |is_empty| {
            let refusal = match is_empty {
                true => Refusal::TokenKey,
                false => Refusal::TokenSignature,
            };
            if may_ask {
                Otherwise::Ask(refusal)
            } else {
                Otherwise::Refused(refusal)
            }
        })
    }

    /// The keys, in the order in which they are tried.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a DecodingKey> {
        self.keys.iter().copied().flatten()
    }

    fn nothing(otherwise: Otherwise) -> Choice<'a> {
        Choice {
            keys: [None; MOST],
            otherwise,
        }
    }

    fn among(
        mut keys: impl Iterator<Item = &'a DecodingKey>,
        otherwise: impl FnOnce(bool) -> Otherwise,
    ) -> Choice<'a> {
        let keys = std::array::from_fn(|_| keys.next());
        let is_empty = matches!(keys.first(), Some(None));
        Choice {
            keys,
            otherwise: otherwise(is_empty),
        }
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
