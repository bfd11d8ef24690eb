//! What an answer of the webhook means for the client. Pure.

use adapter_redis::Args;
use serde_json::Value;

use super::asker::Outcome;
use crate::{
    engine::Packet,
    refusal::Refusal,
    webhook::{Answer, CallError, Words},
};

/// What the client is told.
pub(super) fn read(answered: Result<Answer, CallError>) -> Outcome {
    let answer = match answered {
        Ok(answer) => answer,
        Err(error) => return Outcome::Failed(why(&error)),
    };
    let text = std::str::from_utf8(&answer.body).map(str::trim);
    match (answer.status, text) {
        (..300, Ok("")) => Outcome::Accepted(None),
        (..300, Ok(text)) => match Args::from_texts([text]) {
            Ok(args) => {
                let packet = args.to_ack();
                Outcome::Answered(Packet {
                    text: packet.text,
                    attachments: packet.attachments,
                })
            }
            Err(_) => Outcome::Failed(Refusal::BackendFailed),
        },
        (..300, Err(_)) => Outcome::Failed(Refusal::BackendFailed),
        (_, text) => {
            let value: Option<Value> = text.ok().and_then(|text| serde_json::from_str(text).ok());
            let words = value.as_ref().map(Words::of).filter(|words| !words.is_empty());
            let otherwise = Refusal::BackendRefused;
            match words {
                Some(Words { code, message }) => Outcome::Denied {
                    code: code.unwrap_or_else(|| otherwise.code().to_owned()),
                    message: message.unwrap_or_else(|| otherwise.message().to_owned()),
                },
                None => Outcome::Failed(otherwise),
            }
        }
    }
}

/// What the client is told when there is no answer.
fn why(error: &CallError) -> Refusal {
    match error {
        error if error.is_unsent() => Refusal::BackendUnavailable,
        CallError::Timeout => Refusal::BackendTimeout,
        _ => Refusal::BackendFailed,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answered(text: &str) -> Outcome {
        Outcome::Answered(Packet {
            text: format!("[{text}]"),
            attachments: Vec::new(),
        })
    }

    fn denied(code: &str, message: &str) -> Outcome {
        Outcome::Denied {
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn what_an_answer_means() {
        let long = format!("{{\"message\":\"{}\"}}", "é".repeat(300));
        let cut = "é".repeat(256);
        for (status, body, expect) in [
            (200, r#"{"a": 1.0}"#, answered(r#"{"a": 1.0}"#)),
            (201, " [1, 2]\n", answered("[1, 2]")),
            (200, "null", answered("null")),
            (204, "", Outcome::Accepted(None)),
            (200, " ", Outcome::Accepted(None)),
            (200, "<html>", Outcome::Failed(Refusal::BackendFailed)),
            (200, "1 2", Outcome::Failed(Refusal::BackendFailed)),
            (200, r#"{"$binary":1}"#, Outcome::Failed(Refusal::BackendFailed)),
            (400, r#"{"code":"full","message":"no"}"#, denied("full", "no")),
            (
                422,
                r#"{"code":"full"}"#,
                denied("full", "the backend refused it"),
            ),
            (403, r#"{"message":"no"}"#, denied("backend_refused", "no")),
            (403, &long, denied("backend_refused", &cut)),
            (404, "{}", Outcome::Failed(Refusal::BackendRefused)),
            (404, "", Outcome::Failed(Refusal::BackendRefused)),
            (404, r#"{"code":5}"#, Outcome::Failed(Refusal::BackendRefused)),
            (404, r#"["code"]"#, Outcome::Failed(Refusal::BackendRefused)),
        ] {
            let answer = Answer {
                status,
                body: Bytes::copy_from_slice(body.as_bytes()),
            };
            assert_eq!(read(Ok(answer)), expect, "{status} {body}");
        }
        let answer = Answer {
            status: 200,
            body: Bytes::from_static(b"\xff"),
        };
        assert_eq!(read(Ok(answer)), Outcome::Failed(Refusal::BackendFailed));
        let bytes = Answer {
            status: 200,
            body: Bytes::from_static(br#"{"$binary":"AQI="}"#),
        };
        assert!(matches!(read(Ok(bytes)), Outcome::Answered(p) if *p.attachments[0] == [1, 2]));
    }

    #[test]
    fn what_no_answer_means() {
        for (error, refusal) in [
            (CallError::Overloaded, Refusal::BackendUnavailable),
            (CallError::CircuitOpen, Refusal::BackendUnavailable),
            (CallError::Unreachable(String::new()), Refusal::BackendUnavailable),
            (CallError::Timeout, Refusal::BackendTimeout),
            (CallError::Broken(String::new()), Refusal::BackendFailed),
            (CallError::TooLong(1), Refusal::BackendFailed),
            (CallError::BadStatus(500), Refusal::BackendFailed),
        ] {
            assert_eq!(read(Err(error)), Outcome::Failed(refusal));
        }
    }
}
