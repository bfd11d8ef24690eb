//! The backend's own words for a no. Pure.

use serde_json::Value;

/// The longest code, in bytes; a longer one is none.
const MAX_CODE: usize = 64;
/// The longest message, in bytes; the rest is cut off.
const MAX_MESSAGE: usize = 512;

/// Why the backend says no, as far as it says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Words {
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
}

impl Words {
    /// `code` and `message` of an object.
    pub(crate) fn of(value: &Value) -> Words {
        let text = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let code = text("code").filter(|code| code.len() <= MAX_CODE);
        let message = text("message").and_then(|m| m.get(..m.floor_char_boundary(MAX_MESSAGE)));
        Words {
            code: code.map(str::to_owned),
            message: message.map(str::to_owned),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.code.is_none() && self.message.is_none()
    }
}
