//! Events of this client for the backend: `[[forward]]` of the policy.

use std::sync::Arc;

use adapter_redis::Args;
use serde_json::Value;

use super::{Session, binary, now, rates::Rates};
use crate::{
    engine::{AckId, Event},
    forwarding::{Line, Sent},
    metrics::Dropped,
    policy::{Answer, Forward},
    refusal::Refusal,
    rules::Now,
    tail::Kind,
};

/// What a client has on its way to the backend, and how fast it may go on.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    rates: Rates,
    line: Arc<Line>,
}

impl Session {
    /// Sends it on; the answer comes later, in the order in which the backend answers.
    pub(super) fn forward(&self, event: &Event<'_>, rules: &Now<'_>, rule: &Forward, ack: Option<AckId>) {
        if let Err(refusal) = self.try_forward(event, rules, rule, ack) {
            self.common.metrics.dropped(Dropped::ForwardRefused, 1);
            tracing::debug!(socket.id = %self.socket, event = event.name(), code = refusal.code(), "refused");
            self.show_refusal(event.name(), refusal.code());
            if let Some(ack) = ack {
                self.refuse(ack, refusal);
            }
        }
    }

    fn try_forward(
        &self,
        event: &Event<'_>,
        rules: &Now<'_>,
        rule: &Forward,
        ack: Option<AckId>,
    ) -> Result<(), Refusal> {
        // Counted before it is looked at: looking is what costs.
        let line = {
            let forwards = &mut self.ongoing().forwards;
            forwards.rates.take(event.name(), rule.rate_per_minute(), now())?;
            forwards.line.clone()
        };
        let (argument, claims) = if rule.needs_values() {
            (event.first(), self.claims())
        } else {
            (Value::Null, Value::Null)
        };
        let asking = self.asking(&claims, &argument);
        rules.forward(event.name(), rule, &asking)?;
        let arguments = match rule.data(&asking) {
            None => texts(event, event.texts()),
            Some(Some(Answer::Echo)) => texts(event, event.first_text().into_iter()),
            Some(Some(Answer::Json(value))) => {
                binary::embed(value, event.attachments()).map(|value| vec![value.to_string()])
            }
            Some(Some(Answer::Nothing)) => Some(Vec::new()),
            Some(None) => None,
        };
        let arguments = arguments.ok_or(Refusal::BadData)?;
        // Backends' parsers are not to be tried out by clients.
        Args::from_texts(arguments.iter().map(String::as_str)).map_err(|_| Refusal::BadData)?;
        self.show(Kind::Forward, |sight| {
            sight.event = Some(event.name());
            sight.to = Some(rule.to().as_str());
            sight.data = Some(arguments.join(",").into_bytes().into());
        });
        let sent = Sent {
            tails: self.common.tails.if_open(),
            event: event.name().to_owned(),
            arguments,
            claims: self.claims_text(),
            identity: self.identity.clone(),
            socket: self.socket,
            ack,
        };
        self.common.forwarding.submit(sent, rule, &line);
        Ok(())
    }

    /// The client is gone, and waits for no answer.
    pub(super) fn end_forwards(&self) {
        self.ongoing().forwards.line.end();
    }
}

/// Arguments as they came; bytes in them become markers. `None`: there are markers of the client's own.
fn texts<'a>(event: &Event<'_>, texts: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    texts
        .map(|text| {
            if !binary::may_be_in(text) {
                return Some(text.to_owned());
            }
            let value: Value = serde_json::from_str(text).ok()?;
            let embedded = binary::embed(value.clone(), event.attachments())?;
            Some(if embedded == value {
                text.to_owned()
            } else {
                embedded.to_string()
            })
        })
        .collect()
}
