//! An event as it came from a client: its name, and the JSON text of each argument untouched. Pure.

use bytes::Bytes;
use serde_json::{Value, value::RawValue};

/// An event from a client.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    name: String,
    arguments: Vec<&'a RawValue>,
    attachments: Vec<Bytes>,
}

/// An event that waits: it owns what it came with.
#[derive(Debug, Clone)]
pub struct Kept {
    name: String,
    arguments: Vec<Box<RawValue>>,
    attachments: Vec<Bytes>,
}

impl Kept {
    /// The event, as it came.
    pub fn event(&self) -> Event<'_> {
        Event {
            name: self.name.clone(),
            arguments: self.arguments.iter().map(|a| &**a).collect(),
            attachments: self.attachments.clone(),
        }
    }
}

/// The text is not a JSON array that begins with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Event<'a> {
    /// Reads `["name",…]`.
    ///
    /// # Errors
    /// [`Malformed`] when it is something else.
    pub fn parse(text: &'a str, attachments: Vec<Bytes>) -> Result<Event<'a>, Malformed> {
        let mut arguments: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Malformed)?;
        if arguments.is_empty() {
            return Err(Malformed);
        }
        let name = serde_json::from_str(arguments.remove(0).get()).map_err(|_| Malformed)?;
        Ok(Event {
            name,
            arguments,
            attachments,
        })
    }

    /// The event's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first argument as a value; `null` when there is none. Binary parts are placeholders in it.
    pub fn first(&self) -> Value {
        // The text was validated when the array was read.
        self.arguments
            .first()
            .and_then(|a| serde_json::from_str(a.get()).ok())
            .unwrap_or(Value::Null)
    }

    /// The first argument's JSON text, as it came.
    pub fn first_text(&self) -> Option<&'a str> {
        self.arguments.first().map(|a| a.get())
    }

    /// The arguments' JSON texts, as they came.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> {
        self.arguments.iter().map(|a| a.get())
    }

    /// The attachments that the first argument refers to: placeholders are numbered from the first argument on,
    /// so they are the first ones.
    pub fn first_attachments(&self) -> Vec<Bytes> {
        let placeholders = self
            .first_text()
            .map_or(0, |t| t.matches("\"_placeholder\"").count());
        self.attachments.iter().take(placeholders).cloned().collect()
    }

    /// All attachments, in the order of their placeholders' numbers.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// A copy that may wait for longer than the packet is there.
    pub fn keep(self) -> Kept {
        Kept {
            name: self.name,
            arguments: self.arguments.into_iter().map(ToOwned::to_owned).collect(),
            attachments: self.attachments,
        }
    }

    /// Bytes of arguments and attachments.
    pub fn size(&self) -> usize {
        self.arguments.iter().map(|a| a.get().len()).sum::<usize>()
            + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arguments() {
        let event = Event::parse(r#"["a\n", {"n": 12345678901234567890} ,2]"#, vec![]).unwrap();
        assert_eq!(event.name(), "a\n");
        assert_eq!(event.first_text(), Some(r#"{"n": 12345678901234567890}"#));
        let event = Event::parse(r#"["a"]"#, vec![]).unwrap();
        assert_eq!(event.first(), Value::Null);
        assert_eq!(event.first_text(), None);
    }

    #[test]
    fn attachments_of_the_first_argument_only() {
        let parts = vec![Bytes::from_static(b"1"), Bytes::from_static(b"2")];
        let text = r#"["a",{"x":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}]"#;
        let event = Event::parse(text, parts).unwrap();
        assert_eq!(event.first_attachments(), vec![Bytes::from_static(b"1")]);
    }

    #[test]
    fn a_kept_event_is_the_same() {
        let text = r#"["a",{"n": 1.0,"x":{"_placeholder":true,"num":0}},2]"#.to_owned();
        let event = Event::parse(&text, vec![Bytes::from_static(b"1")]).unwrap();
        let (first, size) = (event.first_text().map(str::to_owned), event.size());
        let kept = event.keep();
        drop(text);
        let event = kept.event();
        assert_eq!((event.name(), event.size()), ("a", size));
        assert_eq!(event.first_text(), first.as_deref());
        assert_eq!(event.first_attachments(), vec![Bytes::from_static(b"1")]);
    }

    #[test]
    fn everything_else_is_malformed() {
        for text in [
            "",
            "[]",
            "{}",
            "null",
            "[1]",
            "[null,1]",
            r#"["a""#,
            r#""a""#,
            r#"["a",]"#,
        ] {
            assert_eq!(Event::parse(text, vec![]).err(), Some(Malformed), "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("[\"a\",{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        let event = Event::parse(&deep, vec![]).unwrap();
        assert_eq!(
            event.first(),
            Value::Null,
            "too deep to be looked into, so it is nobody's argument"
        );
    }
}
