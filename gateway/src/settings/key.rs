//! What a configuration key is.

/// The type of a key's value, as users read it in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    String,
    /// Text that must never be shown again: not in problems, not in logs.
    Secret,
    /// An address with a port, such as `0.0.0.0:3000`.
    Address,
    /// A file, relative to the configuration file.
    Path,
    /// `true` or `false`.
    Bool,
    /// `500ms`, `5s`, `10m`, `1h`.
    Duration,
    /// `64KiB`, `1MiB`, or a number of bytes.
    Size,
    /// A whole number, 0 or more.
    Number,
    /// A list of texts; in the environment separated by commas.
    List,
    /// A list of texts that must never be shown again.
    SecretList,
    /// Fixed by the public interface, not built yet: setting it is refused rather than ignored.
    Planned,
}

impl Kind {
    /// The word of the reference.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Secret => "secret",
            Kind::Address => "address",
            Kind::Path => "path",
            Kind::Bool => "bool",
            Kind::Duration => "duration",
            Kind::Size => "size",
            Kind::Number => "number",
            Kind::List => "list",
            Kind::SecretList => "list of secrets",
            Kind::Planned => "not supported yet",
        }
    }

    /// Whether the value must be kept out of everything that is printed.
    pub fn is_secret(self) -> bool {
        matches!(self, Kind::Secret | Kind::SecretList)
    }
}

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// The dotted path, such as `auth.jwt.leeway`. A planned key may end in `.*`.
    pub path: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// The default as a user would write it; empty = none.
    pub default: &'static str,
    /// What it means, in a sentence or two.
    pub doc: &'static str,
}

impl Key {
    /// The environment variable that sets it.
    pub fn env_name(&self) -> String {
        format!("ROOMCAST__{}", self.path.replace('.', "__").to_uppercase())
    }

    /// Whether this entry covers `path`.
    pub fn covers(&self, path: &str) -> bool {
        match self.path.strip_suffix(".*") {
            Some(section) => {
                path == section || path.strip_prefix(section).is_some_and(|r| r.starts_with('.'))
            }
            None => self.path == path,
        }
    }
}
