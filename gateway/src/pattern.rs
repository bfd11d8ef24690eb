//! Patterns of names: a name, or the beginning of names with a `*` behind it. Pure.

/// What names can be compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This name and no other.
    Name(String),
    /// Every name that begins like this; all of them when it is empty.
    Beginning(String),
}

impl Pattern {
    /// Reads a pattern; `None` when it is empty, or has a `*` elsewhere than at its end.
    pub fn parse(text: &str) -> Option<Pattern> {
        let pattern = match text.strip_suffix('*') {
            Some(beginning) => Pattern::Beginning(beginning.to_owned()),
            None => Pattern::Name(text.to_owned()),
        };
        (!text.is_empty() && !pattern.name().contains('*')).then_some(pattern)
    }

    /// The name, or what names begin with.
    pub fn name(&self) -> &str {
        match self {
            Pattern::Name(name) | Pattern::Beginning(name) => name,
        }
    }

    /// Whether it is one of the names that are meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Name(only) => only == name,
            Pattern::Beginning(beginning) => name.starts_with(beginning.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_the_beginning_of_names() {
        for (pattern, yes, no) in [
            (
                "user:42",
                &["user:42"][..],
                &["user:421", "user:4", "", "user:42*"][..],
            ),
            (
                "user:*",
                &["user:", "user:42", "user:*"],
                &["user", "users:1", "a user:1", ""],
            ),
            ("*", &["", "anything", "*"], &[]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for name in yes {
                assert!(parsed.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!parsed.matches(name), "{pattern} {name}");
            }
        }
        for bad in ["", "**", "*a", "a*b", "a*b*"] {
            assert_eq!(Pattern::parse(bad), None, "{bad}");
        }
    }
}
