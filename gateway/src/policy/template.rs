//! `user:{user}`: text with placeholders. A value that consists of one placeholder keeps its type.

use std::borrow::Cow;

use adapter_redis::RoomName;
use serde_json::{Map, Value};

use super::{
    scope::{Path, Root, Scope, name},
    trail::{Outcome, Trail},
};

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template {
    source: String,
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Path(Path),
}

impl Template {
    /// Checks the text and its placeholders against the roots that the place allows.
    pub(super) fn parse(source: &str, allowed: &[Root]) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some((text, tail)) = rest.split_once('{') {
            if text.contains('}') {
                return Err(format!("{source:?}: a closing brace without an opening one"));
            }
            let (path, tail) = tail
                .split_once('}')
                .ok_or_else(|| format!("{source:?}: an opening brace without a closing one"))?;
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let mut names = path.split('.');
            let root = Root::find(names.next().unwrap_or_default(), allowed)
                .map_err(|e| format!("{source:?}: {e}"))?;
            let names: Vec<String> = names.map(str::to_owned).collect();
            if names.iter().any(String::is_empty) {
                return Err(format!("{source:?}: {{{path}}} has an empty name in it"));
            }
            parts.push(Part::Path(Path { root, names }));
            rest = tail;
        }
        if rest.contains('}') {
            return Err(format!("{source:?}: a closing brace without an opening one"));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if parts.is_empty() {
            return Err("an empty template".to_owned());
        }
        Ok(Template {
            source: source.to_owned(),
            parts,
        })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text, or `None` when a placeholder has no value that can be part of a name.
    pub(super) fn text(&self, scope: &Scope<'_>) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Path(path) => out.push_str(&name(&*scope.find(path)?)?),
            }
        }
        Some(out)
    }

    /// The text as a room's name, on the record.
    pub(super) fn room(&self, scope: &Scope<'_>, trail: &mut Trail<'_>) -> Option<RoomName> {
        let text = self.text(scope);
        let room = text.as_deref().and_then(|text| RoomName::new(text).ok());
        let room = room.filter(|room| !room.is_reserved());
        trail.template("room", self, scope, || match (&room, &text) {
            (Some(room), _) => Outcome::Value(room.as_str().into()),
            (None, Some(_)) => Outcome::Failed("what comes out is no name of a room".to_owned()),
            (None, None) => {
                Outcome::Failed("a placeholder has no value that can be part of a name".to_owned())
            }
        });
        room
    }

    /// The value: that of the placeholder itself where the template is nothing else, text otherwise.
    pub(super) fn value(&self, scope: &Scope<'_>) -> Option<Value> {
        match self.parts.as_slice() {
            [Part::Path(path)] => scope.find(path).map(Cow::into_owned),
            _ => self.text(scope).map(Value::String),
        }
    }

    /// What is put into it, with the values of the moment.
    pub(super) fn looked_at(&self, scope: &Scope<'_>) -> Vec<(String, Option<Value>)> {
        let paths = self.parts.iter().filter_map(|part| match part {
            Part::Path(path) => Some(path),
            Part::Text(_) => None,
        });
        paths
            .map(|path| (path.to_string(), scope.find(path).map(Cow::into_owned)))
            .collect()
    }

    /// It consists of one thing that a client sends: where that is not there, neither is this.
    fn is_optional(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Path(path)] if path.root.is_from_client() && !path.names.is_empty())
    }
}

/// A table whose texts are templates; other values stand for themselves.
#[derive(Debug)]
pub(super) enum Shape {
    Template(Template),
    Literal(Value),
    Table(Vec<(String, Shape)>),
    List(Vec<Shape>),
}

impl Shape {
    pub(super) fn parse(value: &Value, allowed: &[Root]) -> Result<Shape, String> {
        Ok(match value {
            Value::String(text) => Shape::Template(Template::parse(text, allowed)?),
            Value::Object(map) => Shape::Table(
                map.iter()
                    .map(|(name, v)| Ok((name.clone(), Shape::parse(v, allowed)?)))
                    .collect::<Result<_, String>>()?,
            ),
            Value::Array(items) => Shape::List(
                items
                    .iter()
                    .map(|v| Shape::parse(v, allowed))
                    .collect::<Result<_, _>>()?,
            ),
            other => Shape::Literal(other.clone()),
        })
    }

    pub(super) fn value(&self, scope: &Scope<'_>) -> Option<Value> {
        Some(match self {
            Shape::Template(template) => template.value(scope)?,
            Shape::Literal(value) => value.clone(),
            Shape::Table(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for (name, shape) in entries {
                    match shape.value(scope) {
                        Some(value) => {
                            map.insert(name.clone(), value);
                        }
                        // As JSON leaves out what is undefined.
                        None if matches!(shape, Shape::Template(t) if t.is_optional()) => {}
                        None => return None,
                    }
                }
                Value::Object(map)
            }
            Shape::List(items) => Value::Array(items.iter().map(|s| s.value(scope)).collect::<Option<_>>()?),
        })
    }

    /// Why there is no value: the first text that has none.
    pub(super) fn why_none(&self, scope: &Scope<'_>) -> Option<String> {
        match self {
            Shape::Template(template) => {
                let none = template.value(scope).is_none();
                none.then(|| format!("{} has no value", template.source()))
            }
            Shape::Literal(_) => None,
            Shape::Table(entries) => entries.iter().find_map(|(_, shape)| match shape {
                Shape::Template(template) if template.is_optional() => None,
                shape => shape.why_none(scope),
            }),
            Shape::List(items) => items.iter().find_map(|shape| shape.why_none(scope)),
        }
    }
}
