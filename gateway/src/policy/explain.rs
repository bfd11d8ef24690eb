//! A decision in words: which rule, on which claims, with which outcome. It asks the policy like everybody else does
//! and only writes down more.

mod words;

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::{Answer, Asking, Forward, Identity, Policy, Relay, Reply, Rule, Step, Trail};
use crate::{auth::Claims, refusal::Refusal};

/// What is to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The query of the handshake. Only rules on connect look at it.
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
    /// What that means or why, in words.
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
    /// The event that goes out: to the others in the room, back to the client, or to the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emit: Option<Emitted>,
    /// What the rule answers to a client that asks for an ack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<Value>,
    /// Everything that was looked at, in order.
    pub steps: Vec<Step>,
}

/// An event that goes out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Emitted {
    /// Its name.
    pub event: String,
    /// Its argument, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl Explanation {
    /// Refused; of a token for example, so that the policy was not asked.
    pub fn refused(refusal: Refusal) -> Explanation {
        Explanation {
            code: Some(refusal.code()),
            ..Explanation::new(Verdict::Refused, refusal.message())
        }
    }

    /// What was asked about.
    #[must_use]
    pub fn about(self, event: Option<&str>) -> Explanation {
        Explanation {
            event: event.map(str::to_owned),
            ..self
        }
    }

    fn new(verdict: Verdict, message: &str) -> Explanation {
        Explanation {
            verdict,
            message: message.to_owned(),
            code: None,
            user: None,
            tenant: None,
            event: None,
            rule: None,
            rooms: Vec::new(),
            emit: None,
            ack: None,
            steps: Vec::new(),
        }
    }

    fn bad_data(why: Option<String>) -> Explanation {
        let mut explanation = Explanation::refused(Refusal::BadData);
        if let Some(why) = why {
            explanation.message = why;
        }
        explanation
    }
}

impl Policy {
    /// Decides as for a client, and says how.
    pub fn explain(&self, claims: &Claims, asked: Asked<'_>, now: SystemTime) -> Explanation {
        let mut trail = Trail::recording();
        let mut explanation = match self.identify(claims.values(), now, &mut trail) {
            Err(refusal) => Explanation::refused(refusal),
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
        explanation.steps = trail.into_steps();
        if explanation
            .code
            .is_some_and(|code| code != Refusal::BadData.code())
            && let Some(last) = explanation.steps.last()
        {
            explanation.message = words::why_not(last);
        }
        if explanation.code == Some(Refusal::NotAllowed.code())
            && let Some((event, _)) = asked.event
            && matches!(self.rule(event), Some(Rule::Subscribe(rule)) if rule.asks())
        {
            explanation.message =
                "the policy does not say yes, so the backend is asked, and decides".to_owned();
        }
        explanation.about(asked.event.map(|(event, _)| event))
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
        let mut explanation = Explanation::new(Verdict::Allowed, &words::in_rooms(rooms.len()));
        explanation.rooms = rooms.iter().map(|r| r.as_str().to_owned()).collect();
        explanation
    }

    fn explain_event<'a>(&'a self, event: &str, asking: &Asking<'_>, trail: &mut Trail<'a>) -> Explanation {
        let Some(rule) = self.rule(event) else {
            return Explanation::refused(Refusal::UnknownEvent);
        };
        let (room, explain): (_, &dyn Fn() -> Explanation) = match &rule {
            Rule::Subscribe(rule) => (rule.enter(asking, trail).map(Some), &|| {
                allowed("enters the room")
            }),
            Rule::Leave(rule) => (rule.leave(asking, trail).map(Some), &|| {
                allowed("leaves the room")
            }),
            Rule::Relay(relay) => (relay.room(asking, trail).map(Some), &|| begins(relay, asking)),
            Rule::Stop(relay) => (relay.room(asking, trail).map(Some), &|| ends(relay, asking)),
            Rule::Reply(reply) => (Ok(None), &|| answers(reply, asking)),
            Rule::Forward(forward) => (forward.allow(asking, trail).map(|()| None), &|| {
                forwards(forward, asking)
            }),
        };
        let mut explanation = match room {
            Ok(room) => Explanation {
                rooms: room.iter().map(|r| r.as_str().to_owned()).collect(),
                ..explain()
            },
            Err(refusal) => Explanation::refused(refusal),
        };
        explanation.rule = Some(rule.place().to_owned());
        explanation
    }
}

fn allowed(words: &str) -> Explanation {
    Explanation::new(Verdict::Allowed, words)
}

fn begins(relay: &Relay, asking: &Asking<'_>) -> Explanation {
    match relay.begin(asking).zip(relay.emit(asking)) {
        Some((answer, event)) => Explanation {
            emit: Some(emitted(event.as_str(), answer, asking)),
            ..allowed("reaches the others in the room, if the client is in it")
        },
        None => Explanation::bad_data(relay.why_no_begin(asking)),
    }
}

/// What goes out at the end was computed at the beginning: what is sent with the end only names the room.
fn ends(relay: &Relay, asking: &Asking<'_>) -> Explanation {
    Explanation {
        emit: relay
            .end(asking)
            .zip(relay.emit(asking))
            .map(|(answer, event)| emitted(event.as_str(), answer, asking)),
        ..allowed("ends what the client began in the room, if it did")
    }
}

fn answers(reply: &Reply, asking: &Asking<'_>) -> Explanation {
    let (Some(data), Some(ack)) = (reply.data(asking), reply.ack(asking)) else {
        return Explanation::bad_data(reply.why_none(asking));
    };
    Explanation {
        emit: reply
            .emit(asking)
            .flatten()
            .map(|event| emitted(event.as_str(), data, asking)),
        ack: value(ack, asking),
        ..allowed("answered by the gateway itself")
    }
}

fn forwards(forward: &Forward, asking: &Asking<'_>) -> Explanation {
    let Some(answer) = forward.data(asking).unwrap_or(Some(Answer::Echo)) else {
        return Explanation::bad_data(forward.why_none(asking));
    };
    Explanation {
        emit: Some(emitted(forward.event().as_str(), answer, asking)),
        ..allowed(&format!("goes to the backend, by the {}", forward.to().as_str()))
    }
}

fn emitted(event: &str, answer: Answer, asking: &Asking<'_>) -> Emitted {
    Emitted {
        event: event.to_owned(),
        data: value(answer, asking),
    }
}

fn value(answer: Answer, asking: &Asking<'_>) -> Option<Value> {
    match answer {
        Answer::Echo => Some(asking.argument.clone()),
        Answer::Json(value) => Some(value),
        Answer::Nothing => None,
    }
}

#[cfg(test)]
mod tests;
