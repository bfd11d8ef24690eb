//! The keys of the API, and what each of them may do.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderMap, header::AUTHORIZATION};
use subtle::{Choice, ConstantTimeEq};

use crate::settings::{Key, Kind, Reader};

const ADMIN_KEYS: &str = "api.keys";
const PUBLISH_KEYS: &str = "api.publish_keys";
const READ_KEYS: &str = "api.read_keys";

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: ADMIN_KEYS,
        kind: Kind::SecretList,
        default: "",
        doc: "Keys that open the whole API, of any length, sent as `Authorization: Bearer KEY`. Without a key of any \
              kind the API answers nobody.",
    },
    Key {
        path: PUBLISH_KEYS,
        kind: Kind::SecretList,
        default: "",
        doc: "Keys that may publish, ask clients with `/request`, and answer them with `/reply`; nothing else.",
    },
    Key {
        path: READ_KEYS,
        kind: Kind::SecretList,
        default: "",
        doc: "Keys that may look (`GET`); nothing else.",
    },
];

/// Those that a running node takes over: all of them.
pub const LIVE: &[&str] = &[ADMIN_KEYS, PUBLISH_KEYS, READ_KEYS];

/// What a key may do, and what a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything.
    Admin,
    /// Events to clients, and their answers.
    Publish,
    /// Looking.
    Read,
}

impl Scope {
    /// All of them, the widest first.
    pub(super) const ALL: [Scope; 3] = [Scope::Admin, Scope::Publish, Scope::Read];

    /// The word for it in documents and problems.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Scope::Admin => "admin",
            Scope::Publish => "publish",
            Scope::Read => "read",
        }
    }

    /// Where its keys are configured.
    pub(super) fn path(self) -> &'static str {
        match self {
            Scope::Admin => ADMIN_KEYS,
            Scope::Publish => PUBLISH_KEYS,
            Scope::Read => READ_KEYS,
        }
    }

    /// Whether a key of this scope opens what asks for `needed`.
    pub(super) fn opens(self, needed: Scope) -> bool {
        self == Scope::Admin || self == needed
    }
}

/// The keys that open the API. Compared in constant time; never shown. Clones are the same, also after [`ApiKeys::set`].
#[derive(Clone, Default)]
pub struct ApiKeys(Arc<ArcSwap<Vec<(Scope, String)>>>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.0.load().len())
    }
}

impl ApiKeys {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> ApiKeys {
        let mut all: Vec<(Scope, String)> = Vec::new();
        for scope in Scope::ALL {
            let keys = reader.list(scope.path());
            if keys
                .iter()
                .any(|k| k.trim().is_empty() || !k.bytes().all(|b| b.is_ascii_graphic()))
            {
                reader.problem(
                    scope.path(),
                    "",
                    "a list of non-empty keys of visible ASCII characters",
                );
            }
            for key in keys {
                if let Some((other, _)) = all.iter().find(|(other, k)| *other != scope && *k == key) {
                    reader.say(format!(
                        "{}: holds a key that {} holds, too; a key has one scope: keep it in one of the lists",
                        scope.path(),
                        other.path()
                    ));
                }
                all.push((scope, key));
            }
        }
        ApiKeys::from(all)
    }

    /// From now on the other's keys open the API, and no more these.
    pub fn set(&self, other: &ApiKeys) {
        self.0.store(other.0.load_full());
    }

    /// Whether there is any key at all.
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// One of the keys that may publish, for a command on the same machine.
    pub fn to_publish(&self) -> Option<String> {
        self.one_of(Scope::Publish)
    }

    /// Likewise, one that may look.
    pub fn to_read(&self) -> Option<String> {
        self.one_of(Scope::Read)
    }

    /// Likewise, one that opens everything.
    pub fn to_administer(&self) -> Option<String> {
        self.one_of(Scope::Admin)
    }

    fn one_of(&self, needed: Scope) -> Option<String> {
        let keys = self.0.load();
        let mut keys = keys.iter();
        keys.find(|(scope, _)| scope.opens(needed))
            .map(|(_, key)| key.clone())
    }

    /// What the key among the headers may do; `None` for no key and for a wrong one. Takes as long for a wrong key as
    /// for a right one of its length, whichever it is: all keys are compared.
    pub(super) fn scope(&self, headers: &HeaderMap) -> Option<Scope> {
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, key)| key.trim());
        let mut found = Scope::ALL.map(|scope| (scope, Choice::from(0)));
        for (of, key) in self.0.load().iter() {
            let is_it = key.as_bytes().ct_eq(given.as_bytes());
            for (scope, found) in &mut found {
                *found |= is_it & Choice::from(u8::from(scope == of));
            }
        }
        found
            .into_iter()
            .find_map(|(scope, found)| bool::from(found).then_some(scope))
    }
}

impl From<Vec<(Scope, String)>> for ApiKeys {
    fn from(keys: Vec<(Scope, String)>) -> ApiKeys {
        ApiKeys(Arc::new(ArcSwap::from_pointee(keys)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_scope_and_nothing_else_has() {
        let keys = [
            (Scope::Admin, "all"),
            (Scope::Publish, "pub"),
            (Scope::Read, "get"),
        ];
        let keys = ApiKeys::from(keys.map(|(scope, key)| (scope, key.to_owned())).to_vec());
        for (header, expect) in [
            (None, None),
            (Some(""), None),
            (Some("Bearer"), None),
            (Some("Bearer "), None),
            (Some("Bearer al"), None),
            (Some("Bearer alll"), None),
            (Some("Basic all"), None),
            (Some("all"), None),
            (Some("Bearer all"), Some(Scope::Admin)),
            (Some("bearer  all"), Some(Scope::Admin)),
            (Some("Bearer pub"), Some(Scope::Publish)),
            (Some("Bearer get"), Some(Scope::Read)),
        ] {
            let headers = header.map(|h| (AUTHORIZATION, h.parse().unwrap()));
            assert_eq!(keys.scope(&headers.into_iter().collect()), expect, "{header:?}");
        }
        assert_eq!(ApiKeys::default().scope(&HeaderMap::new()), None);
        assert_eq!(keys.to_publish().as_deref(), Some("all"));
        let (same, header) = (keys.clone(), "Bearer new".parse().unwrap());
        let headers = [(AUTHORIZATION, header)].into_iter().collect();
        keys.set(&ApiKeys::from(vec![(Scope::Read, "new".to_owned())]));
        assert_eq!(same.scope(&headers), Some(Scope::Read), "clones are the same");
    }

    #[test]
    fn admin_opens_everything_and_the_others_their_own() {
        for key in Scope::ALL {
            for needed in Scope::ALL {
                assert_eq!(key.opens(needed), key == Scope::Admin || key == needed);
            }
        }
    }
}
