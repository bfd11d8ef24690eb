#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

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
    }
}

/// One of each kind, with the file that holds its bytes.
fn examples() -> Vec<(&'static str, &'static str, Frame)> {
    let counted = Frame::Publication {
        request: Some(300),
        publication: publication_of(&["user:42", "räume"], r#"{"isActive":true, "n":1e400}"#, false),
    };
    let bytes = Frame::Publication {
        request: None,
        publication: Publication {
            except: Vec::new(),
            volatile: false,
            ..publication_of(&["a"], r#"{"$binary":"AQID"}"#, true)
        },
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
            Frame::Heartbeat { hello: true },
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
            "question",
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
        if !matches!(frame, Frame::Publication { .. }) {
            let longer = [&*frame.encode(&sender()), b"more"].concat();
            assert_eq!(Message::decode(&longer.into()).unwrap().frame, frame, "{name}");
        }
    }
}

#[test]
fn a_frame_cut_short_is_malformed() {
    for (name, _, frame) in examples() {
        let bytes = frame.encode(&sender());
        // The arguments of a publication are the rest of it, however much that is.
        let payload = if let Frame::Publication { publication, .. } = &frame {
            publication.args.json().len()
        } else {
            0
        };
        for length in 0..bytes.len() - payload {
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
    bytes[0] = 2;
    assert_eq!(Message::decode(&bytes.into()), Err(WireError::Version(2)));
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
        request: None,
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
        any::<Option<u64>>(),
        proptest::collection::vec("[a-z:]{1,20}", 0..5),
        proptest::collection::vec(".{0,20}", 0..5),
        (".{0,10}", name),
        any::<(bool, bool, u64)>(),
        any::<String>(),
    )
        .prop_map(
            |(request, rooms, except, (namespace, event), (volatile, binary, published_at_ms), args)| {
                Frame::Publication {
                    request,
                    publication: Publication {
                        rooms: rooms.iter().map(|room| RoomName::new(room).unwrap()).collect(),
                        except,
                        namespace,
                        volatile,
                        event: EventName::new(&event).unwrap(),
                        args: Args::from_parts(args.into(), binary),
                        published_at_ms,
                    },
                }
            },
        );
    let hashes = || proptest::collection::vec(any::<u64>(), 0..20);
    prop_oneof![
        publication,
        any::<bool>().prop_map(|hello| Frame::Heartbeat { hello }),
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
    fn decoding_bodies_is_total(kind in 0_u8..9, body in proptest::collection::vec(any::<u8>(), 0..300)) {
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
