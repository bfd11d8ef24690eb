//! Who is who and who may be in which room: the policy file, compiled once, asked often. Pure.
//!
//! The policy decides, `session.rs` obeys. A condition that fails to evaluate means no; what the file does not
//! name does not exist. Everything in the file is checked when it is loaded.

mod condition;
mod file;
mod reply;
mod scope;
mod template;

use std::{collections::HashMap, fmt, time::SystemTime};

use adapter_redis::{EventName, RoomName};
use serde_json::Value;

pub use reply::{Answer, Reply};
pub use scope::Identity;

use self::{condition::Expression, scope::Scope, template::Template};
use crate::{auth::Claims, refusal::Refusal};

/// The name that stands for the bundled example where a policy file is asked for.
pub const BUILTIN: &str = "builtin:whatsapp-crm";

/// The bundled example, which `serve --dev` runs with.
pub const WHATSAPP_CRM: &str = include_str!("../policies/whatsapp-crm.toml");

/// A compiled policy file.
#[derive(Debug)]
pub struct Policy {
    user: Expression,
    tenant: Option<Expression>,
    joins: Vec<Join>,
    events: HashMap<String, Place>,
    subscriptions: Vec<Subscription>,
    replies: Vec<Reply>,
}

/// Rooms on connect.
#[derive(Debug)]
struct Join {
    room: Template,
    each: Option<Expression>,
    when: Option<Expression>,
}

/// Rooms on request: one `[[subscribe]]` rule.
#[derive(Debug)]
pub struct Subscription {
    event: EventName,
    leave: Option<EventName>,
    room: Template,
    allow: Expression,
}

/// Where the rule of an event stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    Subscribe(usize),
    Leave(usize),
    Reply(usize),
}

/// The rule that an event belongs to.
#[derive(Debug, Clone, Copy)]
pub enum Rule<'a> {
    /// The client asks for a room.
    Subscribe(&'a Subscription),
    /// The client no longer wants a room.
    Leave(&'a Subscription),
    /// The gateway answers by itself.
    Reply(&'a Reply),
}

/// What a connection is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// Who the client is.
    pub identity: Identity,
    /// The rooms that it is in from the start, without repetition.
    pub rooms: Vec<RoomName>,
}

/// One thing that is wrong with a policy file, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError(pub String);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Policy {
    /// Compiles a policy file's text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Policy, Vec<PolicyError>> {
        file::parse(text)
    }

    /// Who a client is and which rooms it is in from the start.
    ///
    /// # Errors
    /// [`Refusal::ClaimMissing`] when the claims do not give a user, or give a tenant that is no name.
    pub fn admit(&self, claims: &Claims, query: &Value, now: SystemTime) -> Result<Grants, Refusal> {
        let scope = Scope::connect(claims.values(), query, now);
        let user = self
            .user
            .evaluate(&scope)
            .ok()
            .and_then(|v| scope::name(&v))
            .ok_or(Refusal::ClaimMissing)?;
        let tenant = match self.tenant.as_ref().map(|t| t.evaluate(&scope)) {
            None | Some(Err(_) | Ok(Value::Null)) => None,
            Some(Ok(value)) => Some(scope::name(&value).ok_or(Refusal::ClaimMissing)?),
        };
        let identity = Identity {
            user: user.into(),
            tenant,
        };
        let scope = scope.of(&identity);
        let mut rooms = Vec::new();
        for join in &self.joins {
            join.rooms(&scope, &mut rooms);
        }
        Ok(Grants { identity, rooms })
    }

    /// The rule for an event; `None` = the policy does not name it.
    pub fn rule(&self, event: &str) -> Option<Rule<'_>> {
        match *self.events.get(event)? {
            Place::Subscribe(index) => self.subscriptions.get(index).map(Rule::Subscribe),
            Place::Leave(index) => self.subscriptions.get(index).map(Rule::Leave),
            Place::Reply(index) => self.replies.get(index).map(Rule::Reply),
        }
    }

    /// The events with which clients ask for rooms: event, leave event, the room's template.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&str, Option<&str>, &str)> {
        self.subscriptions.iter().map(|s| {
            (
                s.event.as_str(),
                s.leave.as_ref().map(EventName::as_str),
                s.room.source(),
            )
        })
    }
}

impl Join {
    fn rooms(&self, scope: &Scope<'_>, rooms: &mut Vec<RoomName>) {
        let mut add = |scope: &Scope<'_>| {
            if self.when.as_ref().is_some_and(|w| !w.holds(scope)) {
                return;
            }
            let name = self.room.text(scope).and_then(|text| RoomName::new(&text).ok());
            if let Some(name) = name.filter(|n| !rooms.contains(n)) {
                rooms.push(name);
            }
        };
        match &self.each {
            None => add(scope),
            Some(each) => {
                // A list that is not there gives no rooms, as the contract says; neither does anything else.
                if let Ok(Value::Array(items)) = each.evaluate(scope) {
                    for item in &items {
                        add(&scope.with_item(item));
                    }
                }
            }
        }
    }
}

impl Subscription {
    /// The room that this argument stands for, if the client may enter it.
    ///
    /// # Errors
    /// [`Refusal::BadArgument`] or [`Refusal::NotAllowed`].
    pub fn enter(
        &self,
        argument: &Value,
        claims: &Value,
        identity: &Identity,
        now: SystemTime,
    ) -> Result<RoomName, Refusal> {
        let scope = Scope::connect(claims, &Value::Null, now)
            .of(identity)
            .with_argument(argument);
        // The argument is looked at first: a hostile one must not reach the condition.
        let room = self.room_name(&scope)?;
        if self.allow.holds(&scope) {
            Ok(room)
        } else {
            Err(Refusal::NotAllowed)
        }
    }

    /// The room that this argument stands for; leaving needs no permission.
    ///
    /// # Errors
    /// [`Refusal::BadArgument`].
    pub fn leave(
        &self,
        argument: &Value,
        claims: &Value,
        identity: &Identity,
        now: SystemTime,
    ) -> Result<RoomName, Refusal> {
        self.room_name(
            &Scope::connect(claims, &Value::Null, now)
                .of(identity)
                .with_argument(argument),
        )
    }

    fn room_name(&self, scope: &Scope<'_>) -> Result<RoomName, Refusal> {
        let text = self.room.text(scope).ok_or(Refusal::BadArgument)?;
        RoomName::new(&text).map_err(|_| Refusal::BadArgument)
    }
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
