//! Who is who and who may be in which room: the policy file, compiled once, asked often. Pure.
//!
//! The policy decides, `session.rs` obeys. A condition that fails to evaluate means no; what the file does not
//! name does not exist. Everything in the file is checked when it is loaded. `docs/policy.md` explains the language.

mod condition;
mod emit;
mod explain;
mod file;
mod forward;
mod ingest;
mod join;
mod overlap;
mod relay;
mod reply;
mod room;
mod scope;
mod subscribe;
mod template;
mod trail;

use std::{collections::HashMap, fmt, time::SystemTime};

use adapter_redis::{EventName, RoomName};
use serde_json::Value;

pub use explain::{Asked, Emitted, Explanation, Verdict};
pub use forward::{Destination, Forward};
pub use ingest::{IngestSource, Ingested, NotIngested};
pub use relay::Relay;
pub use reply::{Answer, Reply};
pub use room::Slow;
pub use scope::{Asking, Identity};
pub use subscribe::Subscription;
pub use trail::{Outcome, Step, Trail};

use self::{
    condition::Expression,
    ingest::Ingest,
    join::{Found, Join},
    room::Room,
    scope::Scope,
};
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
    relays: Vec<Relay>,
    replies: Vec<Reply>,
    forwards: Vec<Forward>,
    ingests: Vec<Ingest>,
    rooms: Vec<Room>,
    warnings: Vec<String>,
}

/// Where the rule of an event stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    Subscribe(usize),
    Leave(usize),
    Relay(usize),
    Stop(usize),
    Reply(usize),
    Forward(usize),
}

/// The rule that an event belongs to.
#[derive(Debug, Clone, Copy)]
pub enum Rule<'a> {
    /// The client asks for a room.
    Subscribe(&'a Subscription),
    /// The client no longer wants a room.
    Leave(&'a Subscription),
    /// The client tells others something.
    Relay(&'a Relay),
    /// What the client told others is over.
    Stop(&'a Relay),
    /// The gateway answers by itself.
    Reply(&'a Reply),
    /// The client tells the backend something.
    Forward(&'a Forward),
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

    /// What is not wrong, and may still not be meant: one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Who a client is and which rooms it is in from the start.
    ///
    /// # Errors
    /// [`Refusal::ClaimMissing`] when the claims do not give a user, or give a tenant that is no name.
    pub fn admit<'a>(
        &'a self,
        claims: &Claims,
        query: &Value,
        now: SystemTime,
        trail: &mut Trail<'a>,
    ) -> Result<Grants, Refusal> {
        let identity = self.identify(claims.values(), now, trail)?;
        let rooms = self.rooms(claims.values(), query, &identity, now, trail);
        Ok(Grants { identity, rooms })
    }

    /// Who somebody with these claims is.
    ///
    /// # Errors
    /// As for [`Policy::admit`].
    pub fn identify<'a>(
        &'a self,
        claims: &Value,
        now: SystemTime,
        trail: &mut Trail<'a>,
    ) -> Result<Identity, Refusal> {
        trail.enter("identity");
        let scope = Scope::connect(claims, &Value::Null, now);
        let user = self.user.value("user", &scope, trail).ok();
        let user = user.and_then(|v| scope::name(&v)).ok_or(Refusal::ClaimMissing)?;
        let tenant = match self.tenant.as_ref().map(|t| t.value("tenant", &scope, trail)) {
            None | Some(Err(_) | Ok(Value::Null)) => None,
            Some(Ok(value)) => Some(scope::name(&value).ok_or(Refusal::ClaimMissing)?),
        };
        Ok(Identity {
            user: user.into(),
            tenant,
        })
    }

    /// The rooms that a client is in from the start, without repetition.
    pub fn rooms<'a>(
        &'a self,
        claims: &Value,
        query: &Value,
        identity: &Identity,
        now: SystemTime,
        trail: &mut Trail<'a>,
    ) -> Vec<RoomName> {
        let scope = Scope::connect(claims, query, now).of(identity);
        let mut found = Found::default();
        for join in &self.joins {
            join.rooms(&scope, &mut found, trail);
        }
        found.into_rooms()
    }

    /// The rule for an event; `None` = the policy does not name it.
    pub fn rule(&self, event: &str) -> Option<Rule<'_>> {
        match *self.events.get(event)? {
            Place::Subscribe(index) => self.subscriptions.get(index).map(Rule::Subscribe),
            Place::Leave(index) => self.subscriptions.get(index).map(Rule::Leave),
            Place::Relay(index) => self.relays.get(index).map(Rule::Relay),
            Place::Stop(index) => self.relays.get(index).map(Rule::Stop),
            Place::Reply(index) => self.replies.get(index).map(Rule::Reply),
            Place::Forward(index) => self.forwards.get(index).map(Rule::Forward),
        }
    }

    /// The first rule that needs this way to the backend, by its place.
    pub fn needs(&self, to: Destination) -> Option<&str> {
        let mut forwards = self.forwards.iter();
        let forward = forwards.find(|rule| rule.to() == to).map(|rule| &*rule.place);
        let mut asking = self.subscriptions.iter().filter(|_| to == Destination::Webhook);
        forward.or_else(|| asking.find(|rule| rule.asks()).map(|rule| &*rule.place))
    }

    /// The Redis channels of backends that it takes messages from, without repetition.
    pub fn channels(&self) -> Vec<String> {
        let channel = |source: &IngestSource| match source {
            IngestSource::Channel(name) => Some(name.clone()),
            IngestSource::Stream(_) | IngestSource::Queue(_) => None,
        };
        self.ingest_sources().iter().filter_map(channel).collect()
    }

    /// Everything that it takes messages from, sorted and without repetition.
    pub fn ingest_sources(&self) -> Vec<IngestSource> {
        let sources = self.ingests.iter().flat_map(|rule| rule.from().iter().cloned());
        let mut sources: Vec<_> = sources.collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// What a message that came from there is for: one result for each rule that is for it, with the rule's number in
    /// the file.
    pub fn ingest(
        &self,
        source: &IngestSource,
        message: &[u8],
        now: SystemTime,
    ) -> Vec<(usize, Result<Ingested, NotIngested>)> {
        let rules = (1..).zip(&self.ingests);
        let mut rules = rules.filter(|(_, rule)| rule.from().contains(source)).peekable();
        let Some((text, value)) = std::str::from_utf8(message)
            .ok()
            .and_then(|text| Some((text, ingest::message(text)?)))
        else {
            let first = rules.peek().map(|(number, _)| *number);
            return first
                .map(|number| (number, Err(NotIngested::NotJson)))
                .into_iter()
                .collect();
        };
        rules
            .filter_map(|(number, rule)| Some((number, rule.take(text, &value, now)?)))
            .collect()
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

impl Rule<'_> {
    /// Where it stands in the file: `relay[1]` is the first `[[relay]]`.
    pub fn place(&self) -> &str {
        match self {
            Rule::Subscribe(rule) | Rule::Leave(rule) => &rule.place,
            Rule::Relay(rule) | Rule::Stop(rule) => &rule.place,
            Rule::Reply(rule) => &rule.place,
            Rule::Forward(rule) => &rule.place,
        }
    }
}

#[cfg(test)]
mod tests;
