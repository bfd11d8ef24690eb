#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fmt::Write as _;

use super::*;
use std::time::Duration;

use crate::args::Args;
use crate::relay::{Ending, Phase};
use crate::room::{EventName, RoomName};

fn sender() -> NodeId {
    NodeId::parse("node-A_456789xyz").unwrap()
}

fn publication_of(rooms: &[&str], args: &str, binary: bool) -> Publication {
    Publication {
        rooms: rooms.iter().map(|room| RoomName::new(room).unwrap()).collect(),
        except: vec!["room:x".to_owned(), "0123456789abcdefghij".to_owned()],
        namespace: "/".to_owned(),
        volatile: true,
        event: EventName::new("phone_status_changed").unwrap(),
        args: Args::from_parts(Bytes::copy_from_slice(args.as_bytes()), binary),
        published_at_ms: 1_785_000_000_123,
        stamp: None,
        trace: None,
    }
}

/// One of each kind, with the file that holds its bytes.
fn examples() -> Vec<(&'static str, &'static str, Frame)> {
    let counted = Frame::Publication {
        handling: Handling {
            request: Some(300),
            ..Handling::default()
        },
        publication: publication_of(&["user:42", "räume"], r#"{"isActive":true, "n":1e400}"#, false),
    };
    let bytes = Frame::Publication {
        handling: Handling {
            serial: Some(0x0102_0304_0506_0708),
            local_first: true,
            ..Handling::default()
        },
        publication: Publication {
            trace: Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
            except: Vec::new(),
            volatile: false,
            ..publication_of(&["a"], r#"{"$binary":"AQID"}"#, true)
        },
    };
    let acks = Frame::Publication {
        handling: Handling {
            request: Some(1),
            ack_timeout_ms: Some(5_000),
            ..Handling::default()
        },
        publication: publication_of(&["a"], "", false),
    };
    let relay = |phase| Frame::Publication {
        handling: Handling {
            local_first: true,
            phase,
            ..Handling::default()
        },
        publication: publication_of(&["a"], "{\"typing\":true}", false),
    };
    let ending = |after, args: &'static str, binary| Ending {
        key: 300,
        after,
        args: Args::from_parts(Bytes::from_static(args.as_bytes()), binary),
    };
    let five = Some(Duration::from_secs(5));
    let timed = relay(Phase::Begins(Box::new(ending(five, "{\"typing\":false}", false))));
    let lasting = relay(Phase::Begins(Box::new(ending(
        None,
        r#"{"$binary":"AQID"}"#,
        true,
    ))));
    let census = Census {
        connected: 3,
        users: vec![1, u64::MAX],
        rooms: vec![0x0102_0304_0506_0708],
    };
    vec![
        (
            "publication",
            include_str!("../../tests/vectors/publication.hex"),
            counted,
        ),
        (
            "publication_binary",
            include_str!("../../tests/vectors/publication_binary.hex"),
            bytes,
        ),
        (
            "heartbeat",
            include_str!("../../tests/vectors/heartbeat.hex"),
            Frame::Heartbeat {
                hello: true,
                about: Some(About {
                    wire: 2,
                    version: "0.1.0".to_owned(),
                    load: Load {
                        connected: 300,
                        rooms: 2,
                        admission: None,
                    },
                }),
            },
        ),
        (
            "heartbeat_admits",
            include_str!("../../tests/vectors/heartbeat_admits.hex"),
            Frame::Heartbeat {
                hello: false,
                about: Some(About {
                    wire: 2,
                    version: "0.1.0".to_owned(),
                    load: Load {
                        connected: 300,
                        rooms: 2,
                        admission: Some(Admission {
                            is_draining: true,
                            per_second: 200,
                        }),
                    },
                }),
            },
        ),
        (
            "goodbye",
            include_str!("../../tests/vectors/goodbye.hex"),
            Frame::Goodbye,
        ),
        (
            "reached",
            include_str!("../../tests/vectors/reached.hex"),
            Frame::Reached {
                request: 300,
                sockets: 128,
            },
        ),
        (
            "census_question",
            include_str!("../../tests/vectors/census_question.hex"),
            Frame::CensusQuestion { request: 1 },
        ),
        (
            "census",
            include_str!("../../tests/vectors/census.hex"),
            Frame::Census {
                request: u64::MAX,
                census,
            },
        ),
        (
            "probe",
            include_str!("../../tests/vectors/probe.hex"),
            Frame::Probe { nonce: 7 },
        ),
        (
            "publication_acks",
            include_str!("../../tests/vectors/publication_acks.hex"),
            acks,
        ),
        (
            "publication_begins",
            include_str!("../../tests/vectors/publication_begins.hex"),
            timed,
        ),
        (
            "publication_begins_lasting",
            include_str!("../../tests/vectors/publication_begins_lasting.hex"),
            lasting,
        ),
        (
            "publication_ends",
            include_str!("../../tests/vectors/publication_ends.hex"),
            relay(Phase::Ends { key: u64::MAX }),
        ),
        (
            "question",
            include_str!("../../tests/vectors/question.hex"),
            Frame::Question {
                request: 300,
                json: Bytes::from_static(br#"{"ask":"sockets"}"#),
            },
        ),
        (
            "answer",
            include_str!("../../tests/vectors/answer.hex"),
            Frame::Answer {
                request: 300,
                json: Bytes::from_static(br#"{"answer":{"count":1}}"#),
            },
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn bytes_are_frozen() {
    for (name, golden, frame) in examples() {
        let bytes = frame.encode(&sender());
        assert_eq!(
            hex(&bytes),
            golden,
            "{name}: other nodes would not understand this; see the module's doc"
        );
        assert_eq!(
            Message::decode(&bytes),
            Ok(Message {
                sender: sender(),
                frame
            }),
            "{name}"
        );
    }
}

/// It would have to be ended by somebody, and nodes of that version do not know how.
#[test]
fn the_version_before_knows_no_beginnings_and_ends() {
    for (name, _, mut frame) in examples() {
        let v1 = frame.encode_for(&sender(), 1);
        if let Frame::Publication {
            handling,
            publication,
        } = &mut frame
            && handling.phase != Phase::Once
        {
            *handling = Handling::default();
            publication.trace = None;
            assert_eq!(Message::decode(&v1).unwrap().frame, frame, "{name}");
        }
    }
}

#[test]
fn what_a_later_build_adds_is_ignored() {
    for (name, _, frame) in examples() {
        // Of these the rest belongs to the frame.
        let is_open = match &frame {
            Frame::Publication { .. } | Frame::Question { .. } | Frame::Answer { .. } => true,
            Frame::Heartbeat { about, .. } => {
                about.as_ref().is_none_or(|about| about.load.admission.is_none())
            }
            _ => false,
        };
        if !is_open {
            let longer = [&*frame.encode(&sender()), b"more"].concat();
            assert_eq!(Message::decode(&longer.into()).unwrap().frame, frame, "{name}");
        }
    }
}

/// As long as a heartbeat of version 1 is, which says nothing of its node.
const HEARTBEAT_V1: usize = 19;
/// As long as the example that says what its node can admit is without that.
const HEARTBEAT_WITHOUT_ADMISSION: usize = 29;

/// Nodes of the version before write these, and read what is written for them.
#[test]
fn the_version_before_is_understood_in_both_directions() {
    let (_, golden, frame) = examples().remove(0);
    let v1 = frame.encode_for(&sender(), 1);
    assert_eq!(hex(&v1), include_str!("../../tests/vectors/v1/publication.hex"));
    assert_ne!(hex(&v1), golden, "it says its version");
    assert_eq!(Message::decode(&v1).unwrap().frame, frame);
    let heartbeat = Frame::Heartbeat {
        hello: true,
        about: None,
    };
    let v1 = heartbeat.encode(&sender());
    assert_eq!(hex(&v1), include_str!("../../tests/vectors/v1/heartbeat.hex"));
    assert_eq!(Message::decode(&v1).unwrap().frame, heartbeat);
    for (name, _, frame) in examples() {
        let version = frame.encode(&sender())[0];
        let only_new = matches!(
            frame,
            Frame::Publication { .. } | Frame::Question { .. } | Frame::Answer { .. }
        );
        assert_eq!(version, if only_new { 2 } else { 1 }, "{name}");
    }
}

#[test]
fn a_frame_cut_short_is_malformed() {
    for (name, _, frame) in examples() {
        let bytes = frame.encode(&sender());
        let payload = match &frame {
            // The rest of the frame, however much that is.
            Frame::Publication { publication, .. } => publication.args.json().len(),
            Frame::Question { json, .. } | Frame::Answer { json, .. } => json.len(),
            _ => 0,
        };
        for length in 0..bytes.len() - payload {
            // What was whole before something was added.
            if matches!(frame, Frame::Heartbeat { .. })
                && [HEARTBEAT_V1, HEARTBEAT_WITHOUT_ADMISSION].contains(&length)
            {
                continue;
            }
            let result = Message::decode(&bytes.slice(..length));
            assert!(
                matches!(result, Err(WireError::Malformed(_))),
                "{name} cut to {length}: {result:?}"
            );
        }
    }
}

#[test]
fn strangers_are_told_apart() {
    let mut bytes = Frame::Goodbye.encode(&sender()).to_vec();
    bytes[1] = 200;
    assert_eq!(Message::decode(&bytes.clone().into()), Err(WireError::Kind(200)));
    for version in [0, 3] {
        bytes[0] = version;
        assert_eq!(
            Message::decode(&bytes.clone().into()),
            Err(WireError::Version(version))
        );
    }
    assert_eq!(
        Message::decode(&Bytes::from_static(b"{\"room\":1}")),
        Err(WireError::Version(b'{'))
    );
    let reasons = [
        WireError::Version(1),
        WireError::Kind(1),
        WireError::Malformed("x"),
    ]
    .map(|error| error.reason());
    assert_eq!(reasons, ["frame_version", "frame_kind", "frame_malformed"]);
}

#[test]
fn lengths_are_not_believed() {
    let header = |kind: u8| [&[VERSION, kind], &sender().as_bytes()[..]].concat();
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for body in [&[1, 1, 255][..], &[&[1, 1][..], &huge].concat(), &[0xff; 11]] {
        let frame = [&header(CENSUS)[..], body].concat();
        assert_eq!(
            Message::decode(&frame.into()),
            Err(WireError::Malformed("census"))
        );
    }
    for ending in [&[0, 1, 2, b'x'][..], &[&[0, 1][..], &huge].concat()] {
        let frame = [&header(PUBLICATION)[..], &[128, 0], ending].concat();
        assert_eq!(Message::decode(&frame.into()), Err(WireError::Malformed("phase")));
    }
    let frame = [&header(PUBLICATION)[..], &[0, 0, 1, b'/', 1, b'e'], &huge].concat();
    assert_eq!(Message::decode(&frame.into()), Err(WireError::Malformed("rooms")));
}

#[test]
fn the_payload_is_shared_and_not_copied() {
    let bytes = Frame::Publication {
        handling: Handling::default(),
        publication: publication_of(&["a"], "[1,2,3]", false),
    }
    .encode(&sender());
    let Frame::Publication { publication, .. } = Message::decode(&bytes).unwrap().frame else {
        panic!("kind")
    };
    assert!(bytes.as_ptr_range().contains(&publication.args.json().as_ptr()));
    let ending = Frame::Publication {
        handling: Handling {
            phase: Phase::Begins(Box::new(Ending {
                key: 1,
                after: None,
                args: Args::from_parts("[4,5]".into(), false),
            })),
            ..Handling::default()
        },
        publication,
    };
    let bytes = ending.encode(&sender());
    let Frame::Publication { handling, .. } = Message::decode(&bytes).unwrap().frame else {
        panic!("kind")
    };
    let Phase::Begins(ending) = handling.phase else {
        panic!("phase")
    };
    let args = ending.args;
    assert!(bytes.as_ptr_range().contains(&args.json().as_ptr()));
    let detached = args.detached();
    assert!(detached == args && !bytes.as_ptr_range().contains(&detached.json().as_ptr()));
}

mod properties;
