//! `user:{user}`: text with placeholders. A value that consists of one placeholder keeps its type.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::scope::{Root, Scope, name};

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Path(Root, Vec<String>),
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
            parts.push(Part::Path(root, names));
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

    /// The text, or `None` when a placeholder has no value that can be part of a name.
    pub(super) fn text(&self, scope: &Scope<'_>) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Path(root, names) => out.push_str(&name(&*lookup(scope, *root, names)?)?),
            }
        }
        Some(out)
    }

    /// The value: that of the placeholder itself where the template is nothing else, text otherwise.
    pub(super) fn value(&self, scope: &Scope<'_>) -> Option<Value> {
        match self.parts.as_slice() {
            [Part::Path(root, names)] => lookup(scope, *root, names).map(Cow::into_owned),
            _ => self.text(scope).map(Value::String),
        }
    }
}

fn lookup<'a>(scope: &Scope<'a>, root: Root, names: &[String]) -> Option<Cow<'a, Value>> {
    let descend = |value: &'a Value| names.iter().try_fold(value, |v, n| v.get(n.as_str()));
    match scope.root(root)? {
        Cow::Borrowed(value) => descend(value).map(Cow::Borrowed),
        // Owned roots are scalars: they have no inside.
        Cow::Owned(value) => names.is_empty().then_some(Cow::Owned(value)),
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
            Shape::Table(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(name, shape)| Some((name.clone(), shape.value(scope)?)))
                    .collect::<Option<Map<_, _>>>()?,
            ),
            Shape::List(items) => Value::Array(items.iter().map(|s| s.value(scope)).collect::<Option<_>>()?),
        })
    }
}
