//! What was read at one moment: every value and the text of every file, to be compared with another moment's.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fmt,
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Key, Kind,
    value::{boolean, duration, list, scalar, size},
};

/// The texts of files, each read once: everything that is made of one file is made of one text of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Texts(BTreeMap<PathBuf, Option<String>>);

/// Everything that was read. It holds secrets and is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Picture {
    values: BTreeMap<&'static str, Seen>,
    texts: Texts,
}

/// Stands for the content of a file; equal for equal contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(usize, u64);

/// A value as far as it matters: a duration is the same in any unit, and a file is what stands in it.
#[derive(Clone, PartialEq, Eq)]
enum Seen {
    Value(String),
    File(Option<String>),
}

impl Texts {
    /// What stands in a file, as it was when it was asked for first.
    ///
    /// # Errors
    /// Those of reading it.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<String> {
        if let Some(Some(text)) = self.0.get(path) {
            return Ok(text.clone());
        }
        let text = std::fs::read_to_string(path);
        self.0.insert(path.to_path_buf(), text.as_ref().ok().cloned());
        text
    }
}

impl Picture {
    pub(super) fn new<'a>(
        values: impl Iterator<Item = (&'static Key, Option<&'a Value>, Option<&'a PathBuf>)>,
        texts: Texts,
    ) -> Picture {
        let seen = |(key, value, file): (&'static Key, Option<&Value>, Option<&PathBuf>)| {
            let seen = match file {
                Some(file) => Seen::File(texts.0.get(file).cloned().flatten()),
                None => Seen::Value(canonical(key, value)),
            };
            (key.path, seen)
        };
        Picture {
            values: values.map(seen).collect(),
            texts,
        }
    }

    /// The keys that mean something else in the other one.
    pub fn changed(&self, other: &Picture) -> Vec<&'static str> {
        let keys = other.values.iter();
        keys.filter(|(key, seen)| self.values.get(*key) != Some(seen))
            .map(|(key, _)| *key)
            .collect()
    }

    /// Takes these keys' values over from the other one.
    pub fn adopt(&mut self, keys: &[&'static str], other: &Picture) {
        for key in keys {
            if let Some(seen) = other.values.get(key) {
                self.values.insert(key, seen.clone());
            }
        }
    }

    /// The files that were read, and what stood in them; `None` = it could not be read.
    pub fn files(&self) -> BTreeMap<PathBuf, Option<Fingerprint>> {
        let files = self.texts.0.iter();
        files
            .map(|(path, text)| (path.clone(), text.as_deref().map(Fingerprint::of)))
            .collect()
    }
}

impl Fingerprint {
    /// Of a text.
    pub fn of(text: &str) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Fingerprint(text.len(), hasher.finish())
    }

    /// Of what stands in a file; `None` when it cannot be read.
    pub fn of_file(path: &Path) -> Option<Fingerprint> {
        std::fs::read_to_string(path)
            .ok()
            .map(|text| Fingerprint::of(&text))
    }
}

/// The value in one way of writing, whichever the user chose. What cannot be read is left as it is: a configuration
/// with it is refused.
fn canonical(key: &Key, value: Option<&Value>) -> String {
    let default = Value::String(key.default.to_owned());
    let value = value.unwrap_or(&default);
    let items = match key.kind {
        Kind::List | Kind::SecretList => list(value),
        _ => None,
    };
    if let Some(items) = items {
        return Value::from(items).to_string();
    }
    let text = scalar(value).unwrap_or_else(|| value.to_string());
    let read = match key.kind {
        Kind::Duration => duration(&text).map(|d| d.as_nanos().to_string()),
        Kind::Size => size(&text).map(|s| s.to_string()),
        Kind::Bool => boolean(&text).map(|b| b.to_string()),
        _ => None,
    };
    read.unwrap_or(text)
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} values)", self.values.len())
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({:?})", self.0.keys())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEYS: [Key; 5] = [
        key("time", Kind::Duration, "5s"),
        key("size", Kind::Size, "1KiB"),
        key("list", Kind::List, ""),
        key("flag", Kind::Bool, "true"),
        key("text", Kind::Secret, ""),
    ];

    const fn key(path: &'static str, kind: Kind, default: &'static str) -> Key {
        Key {
            path,
            kind,
            default,
            doc: "",
        }
    }

    fn picture(values: &Value) -> Picture {
        let keys: &'static [Key; 5] = &KEYS;
        let values = keys.iter().map(|key| (key, values.get(key.path), None));
        Picture::new(values, Texts::default())
    }

    #[test]
    fn a_value_is_what_it_means() {
        let before = json!({"list": ["a", "b"], "text": "secret"});
        for (change, expect) in [
            (json!({}), vec![]),
            (json!({"time": "5000ms", "size": 1024, "flag": "1"}), vec![]),
            (json!({"list": "a, b"}), vec![]),
            (json!({"list": "b,a"}), vec!["list"]),
            (json!({"list": []}), vec!["list"]),
            (json!({"time": "6s", "flag": false}), vec!["flag", "time"]),
            (json!({"time": "soon"}), vec!["time"]),
            (json!({"text": "other"}), vec!["text"]),
        ] {
            let mut after = before.clone();
            for (name, value) in change.as_object().unwrap() {
                after[name] = value.clone();
            }
            let (before, after) = (picture(&before), picture(&after));
            assert_eq!(before.changed(&after), expect, "{change}");
            let mut adopted = before.clone();
            adopted.adopt(&expect, &after);
            assert_eq!(adopted.changed(&after), Vec::<&str>::new());
        }
    }

    #[test]
    fn what_it_holds_is_not_shown() {
        let shown = format!("{:?}", picture(&json!({"text": "hunter2"})));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
