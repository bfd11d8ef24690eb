//! The names that conditions and templates can use, and their values at one moment.

use std::{
    borrow::Cow,
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
    Now,
    NowMs,
}

impl Root {
    pub(super) const IDENTITY: &'static [Root] = &[Root::Claims];
    pub(super) const JOIN: &'static [Root] = &[Root::Claims, Root::Query, Root::User, Root::Tenant];
    pub(super) const EACH: &'static [Root] =
        &[Root::Claims, Root::Query, Root::User, Root::Tenant, Root::Item];
    pub(super) const SUBSCRIBE: &'static [Root] =
        &[Root::Claims, Root::User, Root::Tenant, Root::Arg, Root::Data];
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
            Root::Now => "now",
            Root::NowMs => "now_ms",
        }
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
    claims: &'a Value,
    query: &'a Value,
    identity: Option<&'a Identity>,
    item: Option<&'a Value>,
    argument: Option<&'a Value>,
    now: SystemTime,
}

impl<'a> Scope<'a> {
    pub(super) fn connect(claims: &'a Value, query: &'a Value, now: SystemTime) -> Scope<'a> {
        Scope {
            claims,
            query,
            identity: None,
            item: None,
            argument: None,
            now,
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

    pub(super) fn with_argument(self, argument: &'a Value) -> Scope<'a> {
        Scope {
            argument: Some(argument),
            ..self
        }
    }

    /// The value of a root, if it has one now.
    pub(super) fn root(&self, root: Root) -> Option<Cow<'a, Value>> {
        let owned = |v: Value| Some(Cow::Owned(v));
        match root {
            Root::Claims => Some(Cow::Borrowed(self.claims)),
            Root::Query => Some(Cow::Borrowed(self.query)),
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
