//! Reads typed values by key and collects every problem on the way.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    Key, Kind, Layers, Picture,
    layers::Source,
    value::{boolean, duration, list, scalar, size},
};

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub String);

/// All things that are wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// A list of one.
    pub fn single(text: &str) -> Problems {
        Problems(vec![Problem(text.to_owned())])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Problem(text) in &self.0 {
            writeln!(f, "  - {text}")?;
        }
        Ok(())
    }
}

/// Hands out values of known keys; what is left over in the end is unknown to everybody.
#[derive(Debug)]
pub struct Reader {
    layers: Layers,
    keys: Vec<&'static Key>,
    problems: Vec<Problem>,
    /// The files that keys name, as far as they were read.
    files: BTreeMap<&'static str, PathBuf>,
}

impl Reader {
    /// Reads `layers` by `keys`; names that no key covers are problems at once.
    pub fn new(mut layers: Layers, keys: Vec<&'static Key>) -> Reader {
        let problems = std::mem::take(&mut layers.problems)
            .into_iter()
            .map(Problem)
            .collect();
        let mut reader = Reader {
            layers,
            keys,
            problems,
            files: BTreeMap::new(),
        };
        reader.check_names();
        reader
    }

    /// Adds a problem of `path`. A secret's value is never repeated.
    pub fn problem(&mut self, path: &str, seen: &str, expected: &str) {
        let source = match self.layers.values.get(path) {
            Some((_, Source::Env(name))) => format!(" (from {name})"),
            Some((_, Source::Flag)) => " (from the command line)".to_owned(),
            _ => String::new(),
        };
        let text = if self.kind(path).is_secret() {
            format!("{path}{source}: expected {expected}")
        } else {
            format!("{path}{source}: {} is not {expected}", shown(seen))
        };
        self.say(text);
    }

    /// Adds a problem in free words. Two modules that read the same key report its problem once.
    pub fn say(&mut self, text: impl Into<String>) {
        let problem = Problem(text.into());
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Whether a value was given at all.
    pub fn is_set(&self, path: &str) -> bool {
        self.layers.values.contains_key(path)
    }

    /// A text; empty when neither given nor defaulted.
    pub fn string(&mut self, path: &str) -> String {
        self.parsed(path, "a text", |t| Some(t.to_owned()))
            .unwrap_or_default()
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, path: &str) -> bool {
        self.parsed(path, "true or false", boolean).unwrap_or_default()
    }

    /// A duration with a unit.
    pub fn duration(&mut self, path: &str) -> Duration {
        self.parsed(path, "a duration with a unit, such as 500ms, 5s or 10m", duration)
            .unwrap_or_default()
    }

    /// A number of bytes.
    pub fn size(&mut self, path: &str) -> usize {
        self.parsed(path, "a size, such as 64KiB or 1MiB", size)
            .unwrap_or_default()
    }

    /// A whole number.
    pub fn number(&mut self, path: &str) -> u32 {
        self.parsed(path, "a whole number, 0 or more", |t| t.trim().parse().ok())
            .unwrap_or_default()
    }

    /// An address to listen on.
    pub fn address(&mut self, path: &str) -> SocketAddr {
        self.parsed(path, "an address with a port, such as 0.0.0.0:3000", |t| {
            t.parse().ok()
        })
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// A list of texts.
    pub fn list(&mut self, path: &str) -> Vec<String> {
        match self.layers.values.get(path) {
            None => list(&self.default(path).into()).unwrap_or_default(),
            Some((value, _)) => match list(value) {
                Some(items) => items,
                None => {
                    let seen = value.to_string();
                    self.problem(path, &seen, "a list of texts");
                    Vec::new()
                }
            },
        }
    }

    /// A file's place, made absolute from the configuration file's folder.
    pub fn path(&mut self, path: &str) -> Option<PathBuf> {
        let text = self.string(path);
        (!text.is_empty()).then(|| self.layers.base.join(text))
    }

    /// The content of the file that `path` names, with trailing line ends removed.
    pub fn file(&mut self, path: &str) -> Option<String> {
        let file = self.path(path)?;
        if let Some(key) = self.keys.iter().find(|k| k.path == path) {
            self.files.insert(key.path, file.clone());
        }
        match self.layers.texts.read(&file) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(e) => {
                self.say(format!("{path}: {} cannot be read: {e}", file.display()));
                None
            }
        }
    }

    /// All that was read, for a comparison with what is read later.
    pub fn picture(&self) -> Picture {
        let keys = self.keys.iter().filter(|k| k.kind != Kind::Planned);
        let values = keys.map(|key| {
            let value = self.layers.values.get(key.path).map(|(value, _)| value);
            (*key, value, self.files.get(key.path))
        });
        Picture::new(values, self.layers.texts.clone())
    }

    /// The end of reading.
    ///
    /// # Errors
    /// All problems that were found.
    pub fn finish(self) -> Result<(), Problems> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(self.problems))
        }
    }

    fn parsed<T>(&mut self, path: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = match self.layers.values.get(path) {
            None => {
                let default = self.default(path);
                return if default.is_empty() { None } else { parse(default) };
            }
            Some((value, _)) => match scalar(value) {
                Some(text) => text,
                None => {
                    let seen = value.to_string();
                    self.problem(path, &seen, expected);
                    return None;
                }
            },
        };
        let parsed = parse(&text);
        if parsed.is_none() {
            self.problem(path, &text, expected);
        }
        parsed
    }

    fn default(&self, path: &str) -> &'static str {
        self.keys
            .iter()
            .find(|k| k.path == path)
            .map_or("", |k| k.default)
    }

    fn kind(&self, path: &str) -> Kind {
        self.keys
            .iter()
            .find(|k| k.covers(path))
            .map_or(Kind::String, |k| k.kind)
    }

    fn check_names(&mut self) {
        let mut problems = Vec::new();
        for (path, (_, source)) in &self.layers.values {
            let shown = match source {
                Source::Env(name) => name.as_str(),
                _ => path.as_str(),
            };
            match self.keys.iter().find(|k| k.covers(path)) {
                Some(key) if key.kind == Kind::Planned => {
                    problems.push(Problem(format!(
                        "{shown}: not supported by this version yet; remove it"
                    )));
                }
                Some(_) => {}
                None => problems.push(Problem(format!("{shown}: unknown key{}", self.suggestion(path)))),
            }
        }
        self.problems.append(&mut problems);
    }

    fn suggestion(&self, path: &str) -> String {
        let near = self
            .keys
            .iter()
            .filter(|k| k.kind != Kind::Planned)
            .map(|k| (strsim::jaro_winkler(k.path, path), k.path))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match near {
            Some((score, name)) if score > 0.85 => format!("; did you mean {name}?"),
            _ => "; `roomcast config-doc` lists all keys".to_owned(),
        }
    }
}

fn shown(seen: &str) -> String {
    let mut text: String = seen.chars().take(80).collect();
    if text.len() < seen.len() {
        text.push('…');
    }
    if text.starts_with(['[', '{', '"']) {
        text
    } else {
        format!("{text:?}")
    }
}
