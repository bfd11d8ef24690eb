//! The fields of an envelope, each as the text that it has in the JSON.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::EnvelopeError;

/// Every field that an envelope may have.
pub(super) const KNOWN: [&str; 11] = [
    "room",
    "rooms",
    "event",
    "data",
    "args",
    "id",
    "retain",
    "except",
    "namespace",
    "volatile",
    "count",
];

/// How much of an unknown field's name is quoted back.
const QUOTED_CHARS: usize = 64;

/// Read by hand: a derived `Option<&RawValue>` takes `null` for absent, and a derived error for an unknown field
/// cannot be told from any other.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) room: Option<&'a RawValue>,
    pub(super) rooms: Option<&'a RawValue>,
    pub(super) event: Option<&'a RawValue>,
    pub(super) data: Option<&'a RawValue>,
    pub(super) args: Option<&'a RawValue>,
    pub(super) id: Option<&'a RawValue>,
    pub(super) retain: Option<&'a RawValue>,
    pub(super) except: Option<&'a RawValue>,
    pub(super) namespace: Option<&'a RawValue>,
    pub(super) volatile: Option<&'a RawValue>,
    pub(super) count: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, EnvelopeError> {
        let Found { fields, refused } = serde_json::from_str(text).map_err(|error| {
            // The position helps, the text around it is the publisher's and stays out of answers and logs.
            if error.is_data() {
                EnvelopeError::WrongType {
                    field: "envelope",
                    expected: "a JSON object",
                }
            } else {
                EnvelopeError::NotJson(error.to_string())
            }
        })?;
        refused.map_or(Ok(fields), Err)
    }

    fn place(&mut self, known: &str) -> Option<&mut Option<&'a RawValue>> {
        Some(match known {
            "room" => &mut self.room,
            "rooms" => &mut self.rooms,
            "event" => &mut self.event,
            "data" => &mut self.data,
            "args" => &mut self.args,
            "id" => &mut self.id,
            "retain" => &mut self.retain,
            "except" => &mut self.except,
            "namespace" => &mut self.namespace,
            "volatile" => &mut self.volatile,
            "count" => &mut self.count,
            _ => return None,
        })
    }
}

/// What was found; `refused` waits until the whole text turned out to be JSON.
struct Found<'a> {
    fields: Fields<'a>,
    refused: Option<EnvelopeError>,
}

impl<'de> Deserialize<'de> for Found<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FoundVisitor)
    }
}

struct FoundVisitor;

impl<'de> Visitor<'de> for FoundVisitor {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found {
            fields: Fields::default(),
            refused: None,
        };
        while let Some(Key(key)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            let refused = match key {
                Ok(known) => match found.fields.place(known) {
                    Some(place) => place.replace(value).map(|_| EnvelopeError::DuplicateField(known)),
                    None => return Err(A::Error::custom("a known field without a place")),
                },
                Err(unknown) => Some(EnvelopeError::UnknownField(unknown)),
            };
            found.refused = found.refused.or(refused);
        }
        Ok(found)
    }
}

/// The name of a field, or the beginning of a name that is none.
struct Key(Result<&'static str, String>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        let known = KNOWN.iter().find(|known| **known == key);
        Ok(Key(known
            .copied()
            .ok_or_else(|| key.chars().take(QUOTED_CHARS).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_field_has_a_place() {
        for known in KNOWN {
            assert!(Fields::default().place(known).is_some(), "{known}");
        }
    }
}
