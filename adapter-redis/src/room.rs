//! Names of rooms and events: checked once, and types from then on.
//!
//! Pure. Nothing else in this crate decides what a valid name is.

use std::fmt;
use std::sync::Arc;

use crate::node::NodeId;

/// The longest name of a room, an event or a namespace, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 256;

/// Events that Socket.IO clients raise themselves; one from a backend would look like a change of the connection.
const RESERVED_EVENTS: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// The name of a room: 1 to 256 bytes of UTF-8 without control characters and without braces.
///
/// Braces are kept out because they mark the hash slot of a Redis Cluster key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// The name of an event: 1 to 256 bytes of UTF-8 without control characters, and none of Socket.IO's own names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventName(Arc<str>);

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("it is empty; it needs 1 to {MAX_NAME_BYTES} bytes")]
    Empty,
    /// The name is longer than [`MAX_NAME_BYTES`].
    #[error("it has {bytes} bytes; the limit is {MAX_NAME_BYTES}")]
    TooLong {
        /// Length of the name in bytes of UTF-8.
        bytes: usize,
    },
    /// The name holds a control character, for instance a line break.
    #[error("it holds a control character; remove it")]
    Control,
    /// The name of a room holds `{` or `}`.
    #[error("it holds a brace; use another character than {{ and }}")]
    Brace,
    /// The name of an event is one that Socket.IO clients raise themselves.
    #[error("it is a reserved Socket.IO event; choose another name")]
    Reserved,
}

/// What the names of rooms begin with to which answers are published.
const REPLIES: &str = "roomcast:reply:";

// === impl RoomName ===

impl RoomName {
    /// Takes the name if it follows the rules of rooms.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_room(name)?;
        Ok(Self(name.into()))
    }

    /// The room to which answers to a node's requests are published. No socket is ever in it: the node takes them itself.
    #[must_use]
    pub fn of_replies(node: &NodeId) -> Self {
        Self(format!("{REPLIES}{node}").into())
    }

    /// Whether it belongs to the nodes themselves, and is no room for clients.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(REPLIES)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&RoomName> for Arc<str> {
    /// The same text, not another one.
    fn from(name: &RoomName) -> Arc<str> {
        name.0.clone()
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl serde::Serialize for RoomName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RoomName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

impl std::borrow::Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

// === impl EventName ===

impl EventName {
    /// Takes the name if it follows the rules of events.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_text(name)?;
        if RESERVED_EVENTS.contains(&name) {
            return Err(NameError::Reserved);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The rules of rooms, for what is like a room but is kept as text: socket ids and namespaces.
pub(crate) fn check_room(name: &str) -> Result<(), NameError> {
    check_text(name)?;
    if name.contains(['{', '}']) {
        return Err(NameError::Brace);
    }
    Ok(())
}

/// The rules that all names share.
pub(crate) fn check_text(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rooms() {
        let long = "x".repeat(MAX_NAME_BYTES);
        let longer = "x".repeat(MAX_NAME_BYTES + 1);
        let umlauts = "ü".repeat(129);
        let cases: &[(&str, Result<(), NameError>)] = &[
            ("user:42", Ok(())),
            (" ", Ok(())),
            ("raum ü 🏠", Ok(())),
            ("connect", Ok(())),
            (&long, Ok(())),
            ("", Err(NameError::Empty)),
            (&longer, Err(NameError::TooLong { bytes: 257 })),
            (&umlauts, Err(NameError::TooLong { bytes: 258 })),
            ("a\nb", Err(NameError::Control)),
            ("a\u{0}", Err(NameError::Control)),
            ("a\u{85}", Err(NameError::Control)),
            ("user:{id}", Err(NameError::Brace)),
            ("}", Err(NameError::Brace)),
        ];
        for (name, expected) in cases {
            assert_eq!(
                RoomName::new(name).map(|room| assert_eq!(room.as_str(), *name)),
                *expected,
                "{name:?}"
            );
        }
    }

    #[test]
    fn events() {
        let cases: &[(&str, Result<(), NameError>)] = &[
            ("message:received", Ok(())),
            ("with {braces}", Ok(())),
            ("Connect", Ok(())),
            ("reconnect", Ok(())),
            ("", Err(NameError::Empty)),
            ("tab\t", Err(NameError::Control)),
            ("connect", Err(NameError::Reserved)),
            ("connect_error", Err(NameError::Reserved)),
            ("disconnect", Err(NameError::Reserved)),
            ("disconnecting", Err(NameError::Reserved)),
            ("newListener", Err(NameError::Reserved)),
            ("removeListener", Err(NameError::Reserved)),
        ];
        for (name, expected) in cases {
            assert_eq!(
                EventName::new(name).map(|event| assert_eq!(event.as_str(), *name)),
                *expected,
                "{name:?}"
            );
        }
    }

    #[test]
    fn rooms_of_replies_are_nobodys() {
        let node = NodeId::parse("0123456789abcdef").unwrap();
        let room = RoomName::of_replies(&node);
        assert_eq!(room.as_str(), "roomcast:reply:0123456789abcdef");
        assert_eq!(RoomName::new(room.as_str()).unwrap(), room);
        assert!(room.is_reserved());
        assert!(!RoomName::new("roomcast:other").unwrap().is_reserved());
    }

    #[test]
    fn names_show_as_they_are() {
        assert_eq!(RoomName::new("a\"b").unwrap().to_string(), "a\"b");
        assert_eq!(format!("{:?}", EventName::new("a").unwrap()), "\"a\"");
    }

    proptest! {
        #[test]
        fn a_room_is_always_a_valid_text(name in any::<String>()) {
            if let Ok(room) = RoomName::new(&name) {
                prop_assert_eq!(room.as_str(), name.as_str());
                prop_assert!(check_text(room.as_str()).is_ok());
            }
        }
    }
}
