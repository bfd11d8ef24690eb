//! What clients get: as `socket.io-msgpack-parser` 3.0.2 would have written it, on Node.js.

use super::{
    super::{
        reading::read,
        tests::{MAX, attached, packet, unhex},
    },
    *,
};

#[test]
fn what_the_official_client_reads() {
    use Kind::{Ack, Connect, ConnectError, Disconnect, Event};
    let (x300, map) = (
        format!(
            r#"["\u00e9\ud83d\ude00\/",{{"":[[],{{}}]}},"{}"]"#,
            "x".repeat(300)
        ),
        (0..16)
            .map(|n| format!(r#""k{n}":{n}"#))
            .collect::<Vec<_>>()
            .join(","),
    );
    let long = format!(
        "83a47479706502a36e7370a12fa46461746193a7c3a9f09f98802f81a0929080da012c{}",
        "78".repeat(300)
    );
    let sixteen = format!(r#"["m",{{{map}}},[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]]"#);
    let bytes = r#"["b",{"x":{"_placeholder":true,"num":0},"y":[ {"num": 1, "_placeholder" :true}]},{"\u005fplaceholder":true,"num":0}]"#;
    for (kind, namespace, id, data, attachments, hex) in [
        (
            Connect,
            "/",
            None,
            r#"{"sid":"s","pid":"p"}"#,
            &[][..],
            "83a47479706500a36e7370a12fa46461746182a3736964a173a3706964a170",
        ),
        (Disconnect, "/", None, "", &[], "82a47479706501a36e7370a12f"),
        (
            ConnectError,
            "/x",
            None,
            r#"{"message":"Invalid namespace"}"#,
            &[],
            "83a47479706504a36e7370a22f78a46461746181a76d657373616765b1496e76616c6964206e616d657370616365",
        ),
        (
            Event,
            "/",
            None,
            r#"["a",1]"#,
            &[],
            "83a47479706502a36e7370a12fa46461746192a16101",
        ),
        (
            Event,
            "/",
            Some(300),
            r#"["a"]"#,
            &[],
            "84a47479706502a36e7370a12fa26964cd012ca46461746191a161",
        ),
        (
            Ack,
            "/",
            Some(0),
            "[]",
            &[],
            "84a47479706503a36e7370a12fa2696400a46461746190",
        ),
        (
            Event,
            "/",
            None,
            bytes,
            &[&b"\x01\x02"[..], b""],
            "83a47479706502a36e7370a12fa46461746193a16282a178c4020102a17991c400c4020102",
        ),
        (Event, "/", None, &x300, &[], &long),
        (
            Event,
            "/",
            None,
            &sixteen,
            &[],
            "83a47479706502a36e7370a12fa46461746193a16dde0010a26b3000a26b3101a26b3202a26b3303a26b3404a26b3505a26b3606a26b3707\
             a26b3808a26b3909a36b31300aa36b31310ba36b31320ca36b31330da36b31340ea36b31350fdc0010000102030405060708090a0b0c0d0e0f",
        ),
    ] {
        let written = write(kind, namespace, id, data, &attached(attachments));
        assert_eq!(written, Some(unhex(hex)), "{data}");
    }
}

#[test]
fn what_stands_in_a_placeholder_beside_its_number_is_not_there() {
    let data = r#"["a",{"x":[{}],"_placeholder":true,"num":0,"y":{"num":1}},[{"k":[1]}]]"#;
    let written = write(Kind::Event, "/", None, data, &attached(&[b"x"])).unwrap();
    let placeholder = r#"["a",{"_placeholder":true,"num":0},[{"k":[1]}]]"#;
    let expect = packet(
        crate::engine::socket_io::packet::Kind::Event,
        None,
        placeholder,
        &[b"x"],
    );
    assert_eq!(read(&written, MAX).unwrap(), expect);
}

#[test]
fn numbers_for_clients() {
    let head = "83a47479706502a36e7370a12fa46461746191";
    for (number, hex) in [
        ("0", "00"),
        ("-0", "cb8000000000000000"),
        ("-32", "e0"),
        ("-33", "d0df"),
        ("65536", "ce00010000"),
        ("18446744073709551615", "cfffffffffffffffff"),
        ("-9223372036854775808", "d38000000000000000"),
        ("1.0", "cb3ff0000000000000"),
        ("1E3", "cb408f400000000000"),
        // Too large for a whole number, and for any.
        ("18446744073709551616", "cb43f0000000000000"),
        ("-9223372036854775809", "cbc3e0000000000000"),
        ("1e400", "cb7ff0000000000000"),
    ] {
        let written = write(Kind::Event, "/", None, &format!("[{number}]"), &[]);
        assert_eq!(written, Some(unhex(&format!("{head}{hex}"))), "{number}");
    }
}

#[test]
fn placeholders_that_stand_for_nothing_are_plain_objects() {
    for (data, attachments) in [
        (r#"["a",{"_placeholder":true,"num":0}]"#, &[][..]),
        (r#"["a",{"_placeholder":true,"num":1}]"#, &[&b"x"[..]]),
        (r#"["a",{"_placeholder":true,"num":-1}]"#, &[&b"x"[..]]),
        (r#"["a",{"_placeholder":true}]"#, &[&b"x"[..]]),
        (r#"["a",{"_placeholder":false,"num":0}]"#, &[&b"x"[..]]),
        (r#"["a",{"_placeholder":[true],"num":0}]"#, &[&b"x"[..]]),
        (r#"["a",["_placeholder",true,"num",0]]"#, &[&b"x"[..]]),
    ] {
        let written = write(Kind::Event, "/", None, data, &attached(attachments)).unwrap();
        assert_eq!(
            read(&written, MAX).unwrap(),
            packet(crate::engine::socket_io::packet::Kind::Event, None, data, &[])
        );
    }
}

#[test]
fn what_is_not_json_is_not_written() {
    for data in ["[", "]", "[\"a\"", "[nothing]", "[1,-]"] {
        assert_eq!(write(Kind::Event, "/", None, data, &[]), None, "{data}");
    }
}
