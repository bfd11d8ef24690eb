//! The arguments of an event, as the text that came in.

use bytes::Bytes;

use crate::binary;
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

    /// Text that is known to be what [`Args::json`] promises.
    pub(crate) fn from_parts(json: Bytes, binary: bool) -> Self {
        Self { json, binary }
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
    fn bytes_become_attachments() {
        let args = Args::from_values(&[json!({"$binary": "AQI="}), json!(1)]);
        assert!(args.is_binary());
        let packet = packet("bytes", &args);
        assert_eq!(packet.text, r#"["bytes",{"_placeholder":true,"num":0},1]"#);
        assert_eq!(packet.attachments, [Bytes::from_static(&[1, 2])]);
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
