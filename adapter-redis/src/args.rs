//! The arguments of an event, as the text that came in.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::binary::{self, BinaryError};
use crate::json;
use crate::room::EventName;

/// The arguments of an event: JSON text that is carried and never read.
///
/// It is the text between the brackets of an array of arguments, exactly as the publisher wrote it, so that numbers
/// beyond 64 bits, the order of keys and white space survive. Empty means no arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    json: Bytes,
    binary: bool,
}

/// An event as Socket.IO sends it: `["event",args…]`, with placeholders where the attachments belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketText {
    /// The JSON array of the packet.
    pub text: String,
    /// Attachments in the order of their placeholders; empty for a plain event.
    pub attachments: Vec<Bytes>,
}

/// Why texts are not the arguments of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A text is not JSON, or nested too deep.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// Bytes in it are not as they should be.
    #[error(transparent)]
    Binary(#[from] BinaryError),
}

impl Args {
    /// No arguments.
    #[must_use]
    pub fn none() -> Self {
        Self {
            json: Bytes::new(),
            binary: false,
        }
    }

    /// The arguments for values that this process made itself, for instance a relay's.
    ///
    /// Markers for bytes work as in an envelope; where they are not valid the values are sent as plain JSON, since
    /// there is no publisher to tell.
    #[must_use]
    pub fn from_values(values: &[serde_json::Value]) -> Self {
        let mut json = String::new();
        for value in values {
            if !json.is_empty() {
                json.push(',');
            }
            json.push_str(&value.to_string());
        }
        let binary = binary::count(json.as_bytes()).is_ok_and(|found| found > 0);
        Self {
            json: json.into(),
            binary,
        }
    }

    /// The arguments of these JSON texts, one for each argument. They are kept as they are; white space around them is not.
    ///
    /// # Errors
    /// When one is not JSON or nested deeper than 127 levels, and when its markers for bytes are not as in an envelope.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, ArgsError> {
        // The bracket is a level, as the envelope around arguments is.
        let mut list = String::from("[");
        for text in texts {
            let text: &RawValue =
                serde_json::from_str(text).map_err(|error| ArgsError::NotJson(error.to_string()))?;
            if list.len() > 1 {
                list.push(',');
            }
            list.push_str(text.get());
        }
        if json::too_deep(list.as_bytes()) {
            let most = json::MAX_DEPTH - 1;
            return Err(ArgsError::NotJson(format!("nested deeper than {most} levels")));
        }
        Ok(Self {
            binary: binary::count(list.as_bytes())? > 0,
            json: Bytes::from(list).slice(1..),
        })
    }

    /// Text that is known to be what [`Args::json`] promises.
    pub(crate) fn from_parts(json: Bytes, binary: bool) -> Self {
        Self { json, binary }
    }

    /// The same, without holding on to what it was cut from.
    pub(crate) fn detached(&self) -> Self {
        Self {
            json: Bytes::copy_from_slice(&self.json),
            binary: self.binary,
        }
    }

    /// The JSON text between the brackets of the argument array.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Whether some of the arguments are bytes, so that the event needs attachments.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// The packet of an acknowledgement that has these arguments.
    #[must_use]
    pub fn to_ack(&self) -> PacketText {
        if self.binary
            && let Ok((json, attachments)) = binary::split(&self.json)
        {
            return PacketText {
                text: format!("[{}]", String::from_utf8_lossy(&json)),
                attachments,
            };
        }
        PacketText {
            text: format!("[{}]", String::from_utf8_lossy(&self.json)),
            attachments: Vec::new(),
        }
    }

    /// The packet for clients. Call it once per event and share the result: it copies the text.
    #[must_use]
    pub fn to_packet(&self, event: &EventName) -> PacketText {
        if self.binary
            && let Ok((json, attachments)) = binary::split(&self.json)
        {
            return PacketText {
                text: array(event, &json),
                attachments,
            };
        }
        PacketText {
            text: array(event, &self.json),
            attachments: Vec::new(),
        }
    }
}

fn array(event: &EventName, json: &[u8]) -> String {
    let mut text = String::with_capacity(event.as_str().len() + json.len() + 8);
    text.push('[');
    text.push_str(&serde_json::Value::from(event.as_str()).to_string());
    if !json.is_empty() {
        text.push(',');
        // It was valid when it was parsed. A peer that breaks this must not break our clients' frames.
        text.push_str(&String::from_utf8_lossy(json));
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn packet(event: &str, args: &Args) -> PacketText {
        args.to_packet(&EventName::new(event).unwrap())
    }

    #[test]
    fn packets() {
        assert_eq!(packet("ready", &Args::none()).text, r#"["ready"]"#);
        let args = Args::from_values(&[json!({"a": 1}), json!(null), json!("ü")]);
        assert_eq!(args.json(), r#"{"a":1},null,"ü""#.as_bytes());
        assert!(!args.is_binary());
        assert_eq!(
            packet("say \"hi\"", &args).text,
            r#"["say \"hi\"",{"a":1},null,"ü"]"#
        );
    }

    #[test]
    fn texts_are_kept_as_they_are() {
        let args =
            Args::from_texts([" {\"b\": 1e400, \"a\":12345678901234567890123} ", "null", "\"ü\""]).unwrap();
        let json = "{\"b\": 1e400, \"a\":12345678901234567890123},null,\"ü\"";
        assert_eq!(args.json(), json.as_bytes());
        assert_eq!(Args::from_texts([]).unwrap(), Args::none());
        assert!(Args::from_texts([r#"{"$binary":"AQI="}"#]).unwrap().is_binary());
        for bad in ["", " ", "1,2", "1]", "{", "nul", "\u{7f}"] {
            let error = Args::from_texts(["1", bad]);
            assert!(matches!(error, Err(ArgsError::NotJson(_))), "{bad:?}: {error:?}");
        }
        assert_eq!(
            Args::from_texts([r#"{"$binary":1}"#]),
            Err(ArgsError::Binary(BinaryError::NotText))
        );
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Args::from_texts([&*nested(127)]).is_ok());
        assert!(matches!(
            Args::from_texts([&*nested(128)]),
            Err(ArgsError::NotJson(why)) if why.contains("127")
        ));
    }

    #[test]
    fn bytes_become_attachments() {
        let args = Args::from_values(&[json!({"$binary": "AQI="}), json!(1)]);
        assert!(args.is_binary());
        let packet = packet("bytes", &args);
        assert_eq!(packet.text, r#"["bytes",{"_placeholder":true,"num":0},1]"#);
        assert_eq!(packet.attachments, [Bytes::from_static(&[1, 2])]);
        let ack = args.to_ack();
        assert_eq!(ack.text, r#"[{"_placeholder":true,"num":0},1]"#);
        assert_eq!(ack.attachments, packet.attachments);
        assert_eq!(Args::none().to_ack().text, "[]");
    }

    /// A client's placeholder in a relayed event would make other clients close their connection.
    #[test]
    fn values_that_cannot_be_attachments_stay_json() {
        for value in [
            json!({"$binary": "!"}),
            json!([{"$binary": "AQI="}, {"_placeholder": true, "num": 9}]),
            json!(vec![json!({"$binary": ""}); 11]),
        ] {
            let args = Args::from_values(std::slice::from_ref(&value));
            assert!(!args.is_binary());
            let packet = packet("e", &args);
            assert_eq!(packet.text, json!(["e", value]).to_string());
            assert!(packet.attachments.is_empty());
        }
    }

    #[test]
    fn text_that_is_not_utf8_cannot_break_a_frame() {
        let args = Args::from_parts(Bytes::from_static(b"\"\xff\""), true);
        assert_eq!(packet("e", &args).text, "[\"e\",\"\u{fffd}\"]");
    }
}
