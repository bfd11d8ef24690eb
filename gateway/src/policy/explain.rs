//! A decision in words: which rule, on which claims, with which outcome. It asks the policy like everybody else does
//! and only writes down more.

use std::{fmt, time::SystemTime};

use adapter_redis::RoomName;
use serde::Serialize;
use serde_json::Value;

use super::{Asking, Identity, Outcome, Policy, Rule, Step, Trail};
use crate::{auth::Claims, refusal::Refusal};

/// What is to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The query of the handshake.
    pub query: &'a Value,
    /// An event and its first argument; none = the connection itself.
    pub event: Option<(&'a str, &'a Value)>,
}

/// Whether it is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// No.
    Refused,
}

/// A decision and the way to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Whether it is allowed.
    pub verdict: Verdict,
    /// What that means, in words.
    pub message: String,
    /// The stable code of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The user that the claims give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The tenant that the claims give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The event, unless it is about the connection itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The rule that decided, such as `subscribe[1]`: the first `[[subscribe]]` of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The rooms that it is about: those on connect, or the one of the event.
    pub rooms: Vec<String>,
    /// Everything that was looked at, in order.
    pub steps: Vec<Step>,
}

impl Explanation {
    /// The token itself was refused: the policy was not asked.
    pub fn refused_token(refusal: Refusal) -> Explanation {
        let mut explanation = Explanation::new(Verdict::Refused, refusal.message().to_owned());
        explanation.code = Some(refusal.code());
        explanation
    }

    fn new(verdict: Verdict, message: String) -> Explanation {
        Explanation {
            verdict,
            message,
            code: None,
            user: None,
            tenant: None,
            event: None,
            rule: None,
            rooms: Vec::new(),
            steps: Vec::new(),
        }
    }
}

impl Policy {
    /// Decides as for a client, and says how.
    pub fn explain(&self, claims: &Claims, asked: Asked<'_>, now: SystemTime) -> Explanation {
        let mut trail = Trail::recording();
        let mut explanation = match self.identify(claims.values(), now, &mut trail) {
            Err(refusal) => Explanation::refused_token(refusal),
            Ok(identity) => {
                let mut explanation = match asked.event {
                    None => self.explain_connect(claims, asked.query, &identity, now, &mut trail),
                    Some((event, argument)) => {
                        let asking = Asking {
                            claims: claims.values(),
                            identity: &identity,
                            argument,
                            now,
                        };
                        // Who it is was never in doubt: what decides the event is what counts.
                        trail = Trail::recording();
                        self.explain_event(event, &asking, &mut trail)
                    }
                };
                explanation.user = Some(identity.user.to_string());
                explanation.tenant = identity.tenant;
                explanation
            }
        };
        explanation.event = asked.event.map(|(event, _)| event.to_owned());
        explanation.steps = trail.into_steps();
        explanation
    }

    fn explain_connect<'a>(
        &'a self,
        claims: &Claims,
        query: &Value,
        identity: &Identity,
        now: SystemTime,
        trail: &mut Trail<'a>,
    ) -> Explanation {
        let rooms = self.rooms(claims.values(), query, identity, now, trail);
        let mut explanation = Explanation::new(
            Verdict::Allowed,
            format!("connected, in {}", counted(rooms.len())),
        );
        explanation.rooms = rooms.iter().map(|r| r.as_str().to_owned()).collect();
        explanation
    }

    fn explain_event<'a>(&'a self, event: &str, asking: &Asking<'_>, trail: &mut Trail<'a>) -> Explanation {
        let Some(rule) = self.rule(event) else {
            return Explanation::refused_token(Refusal::UnknownEvent);
        };
        let (decided, words): (Result<Option<RoomName>, Refusal>, &str) = match rule {
            Rule::Subscribe(rule) => (rule.enter(asking, trail).map(Some), "enters the room"),
            Rule::Leave(rule) => (rule.leave(asking, trail).map(Some), "leaves the room"),
            Rule::Relay(relay) | Rule::Stop(relay) => (
                relay.room(asking, trail).map(Some),
                "reaches the others in the room, if the sender is in it",
            ),
            Rule::Reply(_) => (Ok(None), "answered by the gateway itself"),
        };
        let mut explanation = match decided {
            Ok(room) => {
                let mut explanation = Explanation::new(Verdict::Allowed, words.to_owned());
                explanation.rooms = room.iter().map(|r| r.as_str().to_owned()).collect();
                explanation
            }
            Err(refusal) => Explanation::refused_token(refusal),
        };
        explanation.rule = Some(rule.place().to_owned());
        explanation
    }
}

fn counted(rooms: usize) -> String {
    match rooms {
        1 => "1 room".to_owned(),
        rooms => format!("{rooms} rooms"),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.event.as_deref().unwrap_or("connect");
        let verdict = match self.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Refused => "refused",
        };
        write!(f, "{subject}: {verdict}")?;
        if let Some(code) = self.code {
            write!(f, " ({code})")?;
        }
        writeln!(f, ", {}", self.message)?;
        if let Some(user) = &self.user {
            write!(f, "  user {user}")?;
            if let Some(tenant) = &self.tenant {
                write!(f, ", tenant {tenant}")?;
            }
            writeln!(f)?;
        }
        for room in &self.rooms {
            writeln!(f, "  room {room}")?;
        }
        if let Some(rule) = &self.rule {
            writeln!(f, "  decided by {rule}")?;
        }
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step {
            rule, key, source, ..
        } = self;
        write!(f, "{rule} {key} = {source}  ->  ")?;
        match &self.outcome {
            Outcome::Value(value) => write!(f, "{value}")?,
            Outcome::Failed(why) => write!(f, "no: {why}")?,
        }
        for (name, value) in &self.looked_at {
            match value {
                Value::Null => write!(f, "\n      {name} has no value")?,
                value => write!(f, "\n      {name} is {value}")?,
            }
        }
        Ok(())
    }
}
