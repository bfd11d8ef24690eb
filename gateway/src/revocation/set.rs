//! Which tokens are revoked, and until when. Pure: the time is a parameter.

use std::collections::HashMap;

use adapter_redis::Tokens;

use crate::auth::Credential;

/// Revocations by `jti` and by user. Of several of one user, what is refused by one of them is refused by the set.
///
/// Order and repetition do not matter: the later end counts, and of a user's the later time. That may refuse an old token
/// for longer than it was asked for, and never for less.
#[derive(Debug, Default)]
pub(super) struct Set {
    ids: HashMap<Box<str>, Entry>,
    users: HashMap<Box<str>, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Of a user's; 0 for the others.
    issued_before: u64,
    until_ms: u64,
    /// When it was last seen in the shared set, in looks at it; 0 = never.
    look: u32,
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// It refuses what was not refused before, or for longer.
    News,
    /// It was covered by what is there, or is over.
    Known,
    /// There is no place for it.
    Full,
}

/// Whether a token is among those that a revocation is about.
pub(super) fn is_among(tokens: &Tokens, user: &str, token: &Credential) -> bool {
    match tokens {
        Tokens::Jti { jti } => token.id.as_deref() == Some(jti),
        Tokens::User {
            user: revoked,
            issued_before,
        } => revoked == user && is_before(token, *issued_before),
    }
}

/// A token that does not say when it was issued may be an old one.
fn is_before(token: &Credential, time: u64) -> bool {
    token.issued_at.is_none_or(|issued_at| issued_at < time)
}

impl Set {
    /// Whether the id of this token is revoked.
    pub(super) fn has_id(&self, token: &Credential, now_ms: u64) -> bool {
        let entry = token.id.as_deref().and_then(|id| self.ids.get(id));
        entry.is_some_and(|entry| entry.until_ms > now_ms)
    }

    /// Whether this token of the user is revoked.
    pub(super) fn has_user(&self, user: &str, token: &Credential, now_ms: u64) -> bool {
        let entry = self.users.get(user);
        entry.is_some_and(|entry| entry.until_ms > now_ms && is_before(token, entry.issued_before))
    }

    /// Takes a revocation in. A new one needs a `place`.
    pub(super) fn merge(
        &mut self,
        tokens: &Tokens,
        until_ms: u64,
        now_ms: u64,
        place: impl FnOnce() -> bool,
    ) -> Merged {
        if until_ms <= now_ms {
            return Merged::Known;
        }
        let (entries, name, issued_before) = match tokens {
            Tokens::Jti { jti } => (&mut self.ids, jti, 0),
            Tokens::User { user, issued_before } => (&mut self.users, user, *issued_before),
        };
        let new = Entry {
            issued_before,
            until_ms,
            look: 0,
        };
        let Some(entry) = entries.get_mut(name.as_str()) else {
            if !place() {
                return Merged::Full;
            }
            entries.insert(name.as_str().into(), new);
            return Merged::News;
        };
        // What is over has no say any more.
        let merged = if entry.until_ms <= now_ms {
            new
        } else {
            Entry {
                issued_before: entry.issued_before.max(issued_before),
                until_ms: entry.until_ms.max(until_ms),
                look: entry.look,
            }
        };
        if *entry == merged {
            return Merged::Known;
        }
        *entry = Entry { look: 0, ..merged };
        Merged::News
    }

    /// The shared set has it like this: whether that is all that is known of it here.
    pub(super) fn seen(&mut self, tokens: &Tokens, until_ms: u64, look: u32) -> bool {
        let (entry, issued_before) = match tokens {
            Tokens::Jti { jti } => (self.ids.get_mut(jti.as_str()), 0),
            Tokens::User { user, issued_before } => (self.users.get_mut(user.as_str()), *issued_before),
        };
        let entry = entry.filter(|e| e.issued_before == issued_before && e.until_ms <= until_ms);
        entry.map(|entry| entry.look = look).is_some()
    }

    /// Whether another revocation of the same user says more than this one.
    pub(super) fn is_superseded(&self, tokens: &Tokens) -> bool {
        match tokens {
            Tokens::Jti { .. } => false,
            Tokens::User { user, issued_before } => {
                let entry = self.users.get(user.as_str());
                entry.is_some_and(|entry| entry.issued_before > *issued_before)
            }
        }
    }

    /// What that look at the shared set has not shown.
    pub(super) fn unseen(&self, look: u32, now_ms: u64) -> Vec<(Tokens, u64)> {
        let is_unseen = |entry: &Entry| entry.look != look && entry.until_ms > now_ms;
        let ids = self.ids.iter().filter(|(_, entry)| is_unseen(entry));
        let ids = ids.map(|(id, entry)| {
            (
                Tokens::Jti {
                    jti: (**id).to_owned(),
                },
                entry.until_ms,
            )
        });
        let users = self.users.iter().filter(|(_, entry)| is_unseen(entry));
        let users = users.map(|(user, entry)| {
            let tokens = Tokens::User {
                user: (**user).to_owned(),
                issued_before: entry.issued_before,
            };
            (tokens, entry.until_ms)
        });
        ids.chain(users).collect()
    }

    /// Forgets what is over; how many that were.
    pub(super) fn expire(&mut self, now_ms: u64) -> usize {
        let before = self.len();
        for entries in [&mut self.ids, &mut self.users] {
            entries.retain(|_, entry| entry.until_ms > now_ms);
            // What a flood needed is not kept for ever.
            if entries.capacity() > 64 && entries.len() < entries.capacity() / 4 {
                entries.shrink_to_fit();
            }
        }
        before - self.len()
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len() + self.users.len()
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
