#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::args::Args;
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

#[test]
fn what_a_later_build_adds_is_ignored() {
    for (name, _, frame) in examples() {
        // Of these the rest belongs to the frame.
        if !matches!(
            frame,
            Frame::Publication { .. } | Frame::Question { .. } | Frame::Answer { .. }
        ) {
            let longer = [&*frame.encode(&sender()), b"more"].concat();
            assert_eq!(Message::decode(&longer.into()).unwrap().frame, frame, "{name}");
        }
    }
}

/// As long as a heartbeat of version 1 is, which says nothing of its node.
const HEARTBEAT_V1: usize = 19;

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
            if matches!(frame, Frame::Heartbeat { .. }) && length == HEARTBEAT_V1 {
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
}

fn frames() -> impl Strategy<Value = Frame> {
    let name = "[a-zäöü:{}]{1,20}";
    let publication = (
        any::<(Option<u64>, Option<u64>, bool, Option<u64>, Option<u128>)>(),
        proptest::collection::vec("[a-z:]{1,20}", 0..5),
        proptest::collection::vec(".{0,20}", 0..5),
        (".{0,10}", name),
        any::<(bool, bool, u64)>(),
        any::<String>(),
    )
        .prop_map(
            |(head, rooms, except, (namespace, event), (volatile, binary, published_at_ms), args)| {
                let (request, serial, local_first, ack_timeout_ms, trace) = head;
                Frame::Publication {
                    handling: Handling {
                        request,
                        serial,
                        local_first,
                        ack_timeout_ms,
                    },
                    publication: Publication {
                        rooms: rooms.iter().map(|room| RoomName::new(room).unwrap()).collect(),
                        except,
                        namespace,
                        volatile,
                        event: EventName::new(&event).unwrap(),
                        args: Args::from_parts(args.into(), binary),
                        published_at_ms,
                        stamp: None,
                        trace,
                    },
                }
            },
        );
    let hashes = || proptest::collection::vec(any::<u64>(), 0..20);
    prop_oneof![
        publication,
        any::<bool>().prop_map(|hello| Frame::Heartbeat { hello, about: None }),
        (any::<(bool, u8, u64, u64)>(), ".{0,20}").prop_map(|((hello, wire, connected, rooms), version)| {
            Frame::Heartbeat {
                hello,
                about: Some(About {
                    wire,
                    version,
                    load: Load { connected, rooms },
                }),
            }
        }),
        (any::<u64>(), any::<Vec<u8>>()).prop_map(|(request, json)| Frame::Question {
            request,
            json: json.into()
        }),
        (any::<u64>(), any::<Vec<u8>>()).prop_map(|(request, json)| Frame::Answer {
            request,
            json: json.into()
        }),
        Just(Frame::Goodbye),
        any::<(u64, u64)>().prop_map(|(request, sockets)| Frame::Reached { request, sockets }),
        any::<u64>().prop_map(|request| Frame::CensusQuestion { request }),
        (any::<u64>(), any::<u64>(), hashes(), hashes()).prop_map(|(request, connected, users, rooms)| {
            Frame::Census {
                request,
                census: Census {
                    connected,
                    users,
                    rooms,
                },
            }
        }),
        any::<u64>().prop_map(|nonce| Frame::Probe { nonce }),
    ]
}

proptest! {
    #[test]
    fn frames_read_back(frame in frames()) {
        let bytes = frame.encode(&sender());
        prop_assert_eq!(Message::decode(&bytes), Ok(Message { sender: sender(), frame }));
    }

    #[test]
    fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes.into());
    }

    #[test]
    fn decoding_bodies_is_total(kind in 0_u8..13, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let frame = [&[VERSION, kind], &sender().as_bytes()[..], &body].concat();
        let _ = Message::decode(&frame.into());
    }

    #[test]
    fn decoding_broken_frames_is_total(frame in frames(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = frame.encode(&sender()).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Message::decode(&bytes.into());
    }
}
