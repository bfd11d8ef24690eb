//! The fields of one table of the file, with its place for messages.

use std::time::Duration;

use adapter_redis::EventName;
use serde_json::{Map, Value};

use super::super::{
    condition::Expression,
    reply::Body,
    scope::Root,
    template::{Shape, Template},
};
use super::File;

/// The shortest and the longest time that a rule may name.
const TIMES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3600)];

/// One table.
pub(in super::super) struct Fields<'a> {
    place: String,
    table: &'a Map<String, Value>,
    file: &'a mut File,
}

impl<'a> Fields<'a> {
    pub(super) fn new(place: String, table: &'a Map<String, Value>, file: &'a mut File) -> Self {
        Fields { place, table, file }
    }

    /// Where it stands: `join[2]` is the second `[[join]]`.
    pub(in super::super) fn place(&self) -> &str {
        &self.place
    }

    pub(in super::super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    pub(in super::super) fn error(&mut self, text: &str) {
        let text = format!("{}: {text}", self.place);
        self.file.error(text);
    }

    pub(in super::super) fn missing(&mut self, name: &str) {
        self.error(&format!("`{name}` is missing"));
    }

    pub(in super::super) fn text(&mut self, name: &str) -> Option<&'a str> {
        let value = self.table.get(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.error(&format!("`{name}` must be a text, not {value}"));
        }
        text
    }

    /// A text, or several of them in a list, that the rule cannot do without.
    pub(in super::super) fn texts(&mut self, name: &str) -> Option<Vec<&'a str>> {
        match self.table.get(name) {
            None => {
                self.missing(name);
                None
            }
            Some(Value::Array(items)) => {
                let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
                let texts = texts.filter(|texts| !texts.is_empty());
                if texts.is_none() {
                    self.error(&format!("`{name}` must be a text or a list of texts"));
                }
                texts
            }
            Some(_) => self.text(name).map(|text| vec![text]),
        }
    }

    fn checked<T>(&mut self, name: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|e| self.error(&format!("`{name}`: {e}"))).ok()
    }

    pub(in super::super) fn expression(&mut self, name: &str, roots: &[Root]) -> Option<Expression> {
        let text = self.text(name)?;
        self.checked(name, Expression::parse(text, roots))
    }

    pub(in super::super) fn template(&mut self, name: &str, roots: &[Root]) -> Option<Template> {
        if !self.has(name) {
            self.missing(name);
        }
        self.optional_template(name, roots)
    }

    pub(in super::super) fn optional_template(&mut self, name: &str, roots: &[Root]) -> Option<Template> {
        let text = self.text(name)?;
        self.checked(name, Template::parse(text, roots))
    }

    /// An event that the rule cannot do without.
    pub(in super::super) fn event(&mut self, name: &str) -> Option<EventName> {
        if !self.has(name) {
            self.missing(name);
        }
        self.optional_event(name)
    }

    pub(in super::super) fn optional_event(&mut self, name: &str) -> Option<EventName> {
        let text = self.text(name)?;
        self.checked(name, EventName::new(text).map_err(|e| e.to_string()))
    }

    pub(in super::super) fn body(&mut self, name: &str) -> Option<Body> {
        match self.table.get(name)? {
            Value::String(text) => {
                let text = text.clone();
                self.checked(name, Expression::parse(&text, Root::REPLY))
                    .map(Body::Expression)
            }
            table => {
                let table = table.clone();
                self.checked(name, Shape::parse(&table, Root::REPLY))
                    .map(Body::Shape)
            }
        }
    }

    /// A table whose texts are templates.
    pub(in super::super) fn table(&mut self, name: &str) -> Option<Shape> {
        let table = self.table.get(name)?.clone();
        if !table.is_object() {
            self.error(&format!("`{name}` must be a table, not {table}"));
            return None;
        }
        self.checked(name, Shape::parse(&table, Root::REPLY))
    }

    pub(in super::super) fn duration(&mut self, name: &str) -> Option<Duration> {
        let text = self.text(name)?;
        let [least, most] = TIMES;
        let parsed = humantime::parse_duration(text).ok();
        let parsed = parsed.filter(|time| (least..=most).contains(time));
        let wrong = || format!("{text:?} is not a duration from 100ms to 1h, such as 6s");
        self.checked(name, parsed.ok_or_else(wrong))
    }

    pub(in super::super) fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.table.get(name)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.error(&format!("`{name}` must be true or false, not {value}"));
        }
        flag
    }

    /// One of these words, which the rule cannot do without.
    pub(in super::super) fn choice<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        if !self.has(name) {
            self.missing(name);
        }
        self.optional_choice(name, words)
    }

    /// One of these words.
    pub(in super::super) fn optional_choice<T: Copy>(
        &mut self,
        name: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(name)?;
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.error(&format!("`{name}`: {text:?} is not {}", known.join(" or ")));
        }
        found
    }

    /// How many times in a minute.
    pub(in super::super) fn rate(&mut self, name: &str) -> Option<u32> {
        let text = self.text(name)?;
        let parsed = text.split_once('/').and_then(|(count, unit)| {
            let each = match unit {
                "s" => 60,
                "m" => 1,
                _ => return None,
            };
            count.parse::<u32>().ok()?.checked_mul(each)
        });
        let wrong = || format!("{text:?} is not a rate, such as 10/s or 30/m");
        self.checked(name, parsed.filter(|rate| *rate > 0).ok_or_else(wrong))
    }

    pub(in super::super) fn finish(&mut self, known: &[&str]) {
        let unknown: Vec<_> = self
            .table
            .keys()
            .filter(|k| !known.contains(&k.as_str()))
            .cloned()
            .collect();
        for name in unknown {
            self.error(&format!("`{name}` is unknown; known are {}", known.join(", ")));
        }
    }
}
