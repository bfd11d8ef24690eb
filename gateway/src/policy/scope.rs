//! The names that conditions and templates can use, and their values at one moment.

use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

/// Who a client is. Established once, when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user, from the policy's `identity.user`.
    pub user: Arc<str>,
    /// The tenant, where the policy and the claims give one.
    pub tenant: Option<String>,
}

/// A root of a path in conditions and templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Claims,
    Query,
    User,
    Tenant,
    Item,
    Arg,
    Data,
    Message,
    Now,
    NowMs,
}

/// A root, and names to go down from it: `claims.a.b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) root: Root,
    pub(super) names: Vec<String>,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.name())?;
        self.names.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

/// What a client asks for, and what a policy looks at to decide it.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The verified claims.
    pub claims: &'a Value,
    /// Who it is.
    pub identity: &'a Identity,
    /// The event's first argument.
    pub argument: &'a Value,
    /// The moment.
    pub now: SystemTime,
}

impl<'a> Asking<'a> {
    pub(super) fn scope(&self) -> Scope<'a> {
        Scope {
            claims: Some(self.claims),
            identity: Some(self.identity),
            argument: Some(self.argument),
            ..Scope::empty(self.now)
        }
    }
}

impl Root {
    pub(super) const IDENTITY: &'static [Root] = &[Root::Claims];
    pub(super) const JOIN: &'static [Root] = &[Root::Claims, Root::Query, Root::User, Root::Tenant];
    pub(super) const EACH: &'static [Root] =
        &[Root::Claims, Root::Query, Root::User, Root::Tenant, Root::Item];
    pub(super) const SUBSCRIBE: &'static [Root] =
        &[Root::Claims, Root::User, Root::Tenant, Root::Arg, Root::Data];
    pub(super) const INGEST: &'static [Root] = &[Root::Message, Root::Now, Root::NowMs];
    pub(super) const REPLY: &'static [Root] = &[
        Root::Claims,
        Root::User,
        Root::Tenant,
        Root::Arg,
        Root::Data,
        Root::Now,
        Root::NowMs,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Root::Claims => "claims",
            Root::Query => "query",
            Root::User => "user",
            Root::Tenant => "tenant",
            Root::Item => "item",
            Root::Arg => "arg",
            Root::Data => "data",
            Root::Message => "message",
            Root::Now => "now",
            Root::NowMs => "now_ms",
        }
    }

    /// Whether a client chooses the value freely.
    pub(super) fn is_from_client(self) -> bool {
        matches!(self, Root::Arg | Root::Data | Root::Query)
    }

    /// Finds a root among those that the place allows.
    pub(super) fn find(name: &str, allowed: &[Root]) -> Result<Root, String> {
        allowed.iter().copied().find(|r| r.name() == name).ok_or_else(|| {
            let names: Vec<_> = allowed.iter().map(|r| r.name()).collect();
            format!("{name:?} is not known here; known are {}", names.join(", "))
        })
    }
}

/// The values of the roots. Roots that a place does not have are missing, which makes conditions fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    claims: Option<&'a Value>,
    query: Option<&'a Value>,
    identity: Option<&'a Identity>,
    item: Option<&'a Value>,
    argument: Option<&'a Value>,
    message: Option<&'a Value>,
    now: SystemTime,
    /// The steps that are left, where several evaluations share them.
    steps: Option<&'a Cell<u64>>,
}

impl<'a> Scope<'a> {
    fn empty(now: SystemTime) -> Scope<'a> {
        Scope {
            claims: None,
            query: None,
            identity: None,
            item: None,
            argument: None,
            message: None,
            now,
            steps: None,
        }
    }

    pub(super) fn connect(claims: &'a Value, query: &'a Value, now: SystemTime) -> Scope<'a> {
        Scope {
            claims: Some(claims),
            query: Some(query),
            ..Scope::empty(now)
        }
    }

    pub(super) fn of_message(message: &'a Value, now: SystemTime) -> Scope<'a> {
        Scope {
            message: Some(message),
            ..Scope::empty(now)
        }
    }

    pub(super) fn of(self, identity: &'a Identity) -> Scope<'a> {
        Scope {
            identity: Some(identity),
            ..self
        }
    }

    pub(super) fn with_item(self, item: &'a Value) -> Scope<'a> {
        Scope {
            item: Some(item),
            ..self
        }
    }

    /// The same, with steps for all evaluations together.
    pub(super) fn within(self, steps: &'a Cell<u64>) -> Scope<'a> {
        Scope {
            steps: Some(steps),
            ..self
        }
    }

    /// Takes what an evaluation costs; `false` = there is not so much left.
    pub(super) fn spend(&self, steps: u64) -> bool {
        let Some(shared) = self.steps else { return true };
        let left = shared.get().checked_sub(steps);
        shared.set(left.unwrap_or_default());
        left.is_some()
    }

    /// The value at a path, if there is one.
    pub(super) fn find(&self, path: &Path) -> Option<Cow<'a, Value>> {
        let descend = |value: &'a Value| path.names.iter().try_fold(value, |v, n| v.get(n.as_str()));
        match self.root(path.root)? {
            Cow::Borrowed(value) => descend(value).map(Cow::Borrowed),
            // Owned roots are scalars: they have no inside.
            Cow::Owned(value) => path.names.is_empty().then_some(Cow::Owned(value)),
        }
    }

    /// The value of a root, if it has one now.
    pub(super) fn root(&self, root: Root) -> Option<Cow<'a, Value>> {
        let owned = |v: Value| Some(Cow::Owned(v));
        match root {
            Root::Claims => self.claims.map(Cow::Borrowed),
            Root::Query => self.query.map(Cow::Borrowed),
            Root::Message => self.message.map(Cow::Borrowed),
            Root::User => owned(Value::from(&*self.identity?.user)),
            Root::Tenant => owned(self.identity?.tenant.clone()?.into()),
            Root::Item => self.item.map(Cow::Borrowed),
            Root::Arg | Root::Data => self.argument.map(Cow::Borrowed),
            Root::Now => owned(humantime::format_rfc3339_millis(self.now).to_string().into()),
            Root::NowMs => {
                let since = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
                owned(u64::try_from(since.as_millis()).unwrap_or(u64::MAX).into())
            }
        }
    }
}

/// A value as part of a name: a non-empty text, or a whole number. Nothing else names anything.
pub(super) fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) if n.is_i64() || n.is_u64() => Some(n.to_string()),
        _ => None,
    }
}
