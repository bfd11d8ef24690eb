//! How an explanation reads. The first line says all that matters; below it stands what was looked at.

use std::fmt;

use serde_json::Value;

use super::{Emitted, Explanation, Verdict};
use crate::policy::{Outcome, Step};

/// The longest value in a text, in characters: a list of a thousand accounts says no more than its beginning.
const MAX_VALUE: usize = 300;

/// Why the last step that was looked at means no.
pub(super) fn why_not(step: &Step) -> String {
    let Step {
        rule, key, outcome, ..
    } = step;
    match outcome {
        Outcome::Failed(why) => format!("`{key}` of {rule}: {why}"),
        Outcome::Value(Value::Bool(false)) => format!("`{key}` of {rule} is false"),
        Outcome::Value(value) => format!("`{key}` of {rule} is {}, which is no id", Short(value)),
    }
}

pub(super) fn in_rooms(count: usize) -> String {
    match count {
        0 => "in no room".to_owned(),
        1 => "in 1 room".to_owned(),
        count => format!("in {count} rooms"),
    }
}

impl Explanation {
    /// The outcome in one line, without what it is about.
    pub fn outcome(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Refused => "refused",
        };
        let code = self.code.map(|code| format!(" ({code})")).unwrap_or_default();
        format!("{verdict}{code}, {}", self.message)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.event.as_deref().unwrap_or("connect");
        writeln!(f, "{subject}: {}", self.outcome())?;
        let mut line = |name: &str, text: &dyn fmt::Display| writeln!(f, "  {name:6}  {text}");
        if let Some(user) = &self.user {
            line("user", user)?;
        }
        if let Some(tenant) = &self.tenant {
            line("tenant", tenant)?;
        }
        for room in &self.rooms {
            line("room", room)?;
        }
        if let Some(emit) = &self.emit {
            line("emit", emit)?;
        }
        if let Some(ack) = &self.ack {
            line("ack", &Short(ack))?;
        }
        if let Some(rule) = &self.rule {
            line("rule", rule)?;
        }
        let mut rule = None;
        for step in &self.steps {
            if rule.replace(&step.rule) != Some(&step.rule) {
                writeln!(f, "{}", step.rule)?;
            }
            write!(f, "{step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Emitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.event)?;
        match &self.data {
            Some(data) => write!(f, " {}", Short(data)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:6}  {}", self.key, self.source)?;
        match &self.outcome {
            Outcome::Value(value) => writeln!(f, "          -> {}", Short(value))?,
            Outcome::Failed(why) => writeln!(f, "          -> no: {why}")?,
        }
        for (name, value) in &self.looked_at {
            match value {
                Value::Null => writeln!(f, "             {name} has no value")?,
                value => writeln!(f, "             {name} is {}", Short(value))?,
            }
        }
        Ok(())
    }
}

/// A value as JSON, cut where it is long.
struct Short<'a>(&'a Value);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match text.char_indices().nth(MAX_VALUE) {
            Some((end, _)) => {
                let start = text.get(..end).unwrap_or_default();
                write!(f, "{start}… ({} bytes)", text.len())
            }
            None => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_values_are_cut() {
        assert_eq!(Short(&json!("é".repeat(298))).to_string().chars().count(), 300);
        let long = Short(&json!("é".repeat(299))).to_string();
        assert!(long.ends_with("é… (600 bytes)"), "{long}");
    }
}
