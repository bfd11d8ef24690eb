//! What was looked at on the way to a decision: counted always, written down when somebody wants it explained.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{condition::Expression, scope::Scope, template::Template};

/// The way to one decision.
#[derive(Debug, Default)]
pub struct Trail<'a> {
    failures: usize,
    rule: &'a str,
    steps: Option<Vec<Step>>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The rule, such as `subscribe[1]`: the first `[[subscribe]]` of the file.
    pub rule: String,
    /// The key of the rule, such as `allow`.
    pub key: &'static str,
    /// What is written there.
    pub source: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The claims and other values that it looks at; what has no value is null.
    pub looked_at: Map<String, Value>,
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A value; of a condition, true or false.
    Value(Value),
    /// No value, and why.
    Failed(String),
}

impl<'a> Trail<'a> {
    /// One that only counts.
    pub fn counting() -> Trail<'a> {
        Trail::default()
    }

    /// One that writes down.
    pub fn recording() -> Trail<'a> {
        Trail {
            steps: Some(Vec::new()),
            ..Trail::default()
        }
    }

    /// How many conditions could not be evaluated. Each of them meant no.
    pub fn failures(&self) -> usize {
        self.failures
    }

    /// What was written down.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps.unwrap_or_default()
    }

    /// From now on it is about this rule.
    pub(super) fn enter(&mut self, rule: &'a str) {
        self.rule = rule;
    }

    /// A condition was no because it could not be evaluated.
    pub(super) fn failed(&mut self) {
        self.failures += 1;
    }

    pub(super) fn expression(
        &mut self,
        key: &'static str,
        expression: &Expression,
        scope: &Scope<'_>,
        outcome: impl FnOnce() -> Outcome,
    ) {
        if let Some(steps) = &mut self.steps {
            let looked_at = expression.looked_at(scope);
            steps.push(Step {
                rule: self.rule.to_owned(),
                key,
                source: expression.source().to_owned(),
                outcome: outcome(),
                looked_at: table(looked_at),
            });
        }
    }

    pub(super) fn template(
        &mut self,
        key: &'static str,
        template: &Template,
        scope: &Scope<'_>,
        outcome: impl FnOnce() -> Outcome,
    ) {
        if let Some(steps) = &mut self.steps {
            let looked_at = template.looked_at(scope);
            steps.push(Step {
                rule: self.rule.to_owned(),
                key,
                source: template.source().to_owned(),
                outcome: outcome(),
                looked_at: table(looked_at),
            });
        }
    }
}

fn table(looked_at: Vec<(String, Option<Value>)>) -> Map<String, Value> {
    let values = looked_at
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()));
    values.collect()
}
