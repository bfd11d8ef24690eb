//! Where values come from: a file, the environment, flags. The later layer wins.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::picture::Texts;

/// The environment as the configuration sees it; tests hand in a map.
pub trait Env {
    /// All variables whose name begins with `prefix`.
    fn with_prefix(&self, prefix: &str) -> Vec<(String, String)>;
}

/// The environment of the process.
#[derive(Debug)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.to_string_lossy().into_owned())))
            .filter(|(k, _)| k.starts_with(prefix))
            .collect()
    }
}

/// An environment made of a map.
#[derive(Default)]
pub struct MapEnv(pub BTreeMap<String, String>);

impl Env for MapEnv {
    fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        self.0
            .iter()
            .filter(|(k, _)| k.starts_with(prefix))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }
}

impl fmt::Debug for MapEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapEnv({:?})", self.0.keys())
    }
}

/// Where a value was seen; named in problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    File,
    Env(String),
    Flag,
}

/// All values by dotted path, before any is looked at. They hold secrets and are never shown.
#[derive(Default)]
pub struct Layers {
    pub(super) values: BTreeMap<String, (Value, Source)>,
    /// The folder that relative paths start from.
    pub(super) base: PathBuf,
    /// What was wrong with the layers themselves.
    pub(super) problems: Vec<String>,
    /// The configuration file, if there is one.
    pub(super) texts: Texts,
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layers({:?})", self.values.keys())
    }
}

impl Layers {
    /// Puts file, environment and flags on top of one another. What cannot be read is kept as a problem.
    pub fn load(file: Option<&Path>, env: &dyn Env, flags: &[(&str, String)]) -> Layers {
        let mut layers = Layers::default();
        if let Some(path) = file {
            layers.base = path.parent().map(Path::to_path_buf).unwrap_or_default();
            match read_file(path, &mut layers.texts) {
                Ok(Value::Object(map)) => {
                    for (name, value) in map {
                        layers.flatten(&name, value);
                    }
                }
                Ok(_) => layers
                    .problems
                    .push(format!("{}: expected a table of keys", path.display())),
                Err(problem) => layers.problems.push(problem),
            }
        }
        for (name, value) in env.with_prefix("ROOMCAST__") {
            let path = name
                .trim_start_matches("ROOMCAST__")
                .replace("__", ".")
                .to_lowercase();
            layers
                .values
                .insert(path, (Value::String(value), Source::Env(name)));
        }
        for (path, value) in flags {
            layers
                .values
                .insert((*path).to_owned(), (Value::String(value.clone()), Source::Flag));
        }
        layers
    }

    /// The paths that hold a value.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Sets what no layer has set.
    pub(crate) fn set_default(&mut self, path: &str, value: &str) {
        self.values
            .entry(path.to_owned())
            .or_insert_with(|| (Value::String(value.to_owned()), Source::Flag));
    }

    /// Adds a problem, so that nothing is made of these layers.
    pub(crate) fn refuse(&mut self, problem: String) {
        self.problems.push(problem);
    }

    fn flatten(&mut self, path: &str, value: Value) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    self.flatten(&format!("{path}.{name}"), value);
                }
            }
            value => {
                self.values.insert(path.to_owned(), (value, Source::File));
            }
        }
    }
}

fn read_file(path: &Path, texts: &mut Texts) -> Result<Value, String> {
    let shown = path.display();
    let text = texts
        .read(path)
        .map_err(|e| format!("{shown}: cannot be read: {e}"))?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    // Parser messages may quote the line they stumbled on, and that line may hold a secret: only places are told.
    match extension {
        "toml" => toml::from_str::<Value>(&text).map_err(|e| {
            let at = e.span().map(|s| line_of(&text, s.start)).unwrap_or_default();
            format!("{shown}: not valid TOML{at}: {}", e.message())
        }),
        "yaml" | "yml" => serde_norway::from_str::<Value>(&text).map_err(|e| {
            let at = e
                .location()
                .map(|l| format!(" at line {}", l.line()))
                .unwrap_or_default();
            format!("{shown}: not valid YAML{at}")
        }),
        "json" => serde_json::from_str::<Value>(&text).map_err(|e| {
            format!(
                "{shown}: not valid JSON at line {}, column {}",
                e.line(),
                e.column()
            )
        }),
        _ => Err(format!(
            "{shown}: unknown kind of file; name it .toml, .yaml, .yml or .json"
        )),
    }
}

fn line_of(text: &str, offset: usize) -> String {
    let line = text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
    format!(" at line {line}")
}
