//! What holds for every frame, and for bytes that are none.

use proptest::prelude::*;

use super::*;

fn phases() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Once),
        any::<u64>().prop_map(|key| Phase::Ends { key }),
        (any::<(u64, Option<u64>, bool)>(), any::<String>()).prop_map(|((key, after, binary), args)| {
            Phase::Begins(Box::new(Ending {
                key,
                after: after.map(Duration::from_millis),
                args: Args::from_parts(args.into(), binary),
            }))
        }),
    ]
}

fn frames() -> impl Strategy<Value = Frame> {
    let name = "[a-zäöü:{}]{1,20}";
    let publication = (
        (
            any::<(Option<u64>, Option<u64>, bool, Option<u64>, Option<u128>)>(),
            phases(),
        ),
        proptest::collection::vec("[a-z:]{1,20}", 0..5),
        proptest::collection::vec(".{0,20}", 0..5),
        (".{0,10}", name),
        any::<(bool, bool, u64)>(),
        any::<String>(),
    )
        .prop_map(
            |(head, rooms, except, (namespace, event), (volatile, binary, published_at_ms), args)| {
                let ((request, serial, local_first, ack_timeout_ms, trace), phase) = head;
                Frame::Publication {
                    handling: Handling {
                        request,
                        serial,
                        local_first,
                        ack_timeout_ms,
                        phase,
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
        (any::<(bool, u8, u64, u64, Option<(bool, u64)>)>(), ".{0,20}").prop_map(
            |((hello, wire, connected, rooms, admission), version)| {
                let admission = admission.map(|(is_draining, per_second)| Admission {
                    is_draining,
                    per_second,
                });
                Frame::Heartbeat {
                    hello,
                    about: Some(About {
                        wire,
                        version,
                        load: Load {
                            connected,
                            rooms,
                            admission,
                        },
                    }),
                }
            }
        ),
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
