//! What clients send. Bytes that are said to be a client's are what `socket.io-msgpack-parser` 3.0.2 made of the packet beside them, on Node.js.

use super::{
    super::tests::{MAX, packet, unhex},
    *,
};

/// An event of the official client, with these bytes as its data.
fn event(data: &str) -> Vec<u8> {
    // {type: 2, data: …, options: {compress: true}, nsp: "/"}
    let hex =
        format!("84 a474797065 02 a464617461 {data} a76f7074696f6e73 81a8636f6d7072657373c3 a36e7370a12f");
    unhex(&hex)
}

#[test]
fn what_the_official_client_sends() {
    for (hex, expect) in [
        // {type: 0, data: {token: "x"}, nsp: "/"}
        (
            "83a47479706500a46461746181a5746f6b656ea178a36e7370a12f",
            packet(Kind::Connect, None, r#"{"token":"x"}"#, &[]),
        ),
        // {type: 0, data: undefined, nsp: "/"}
        (
            "83a47479706500a464617461d40000a36e7370a12f",
            packet(Kind::Connect, None, "", &[]),
        ),
        // {type: 0, data: {}, nsp: "/x"}
        (
            "83a47479706500a46461746180a36e7370a22f78",
            Packet {
                namespace: "/x",
                ..packet(Kind::Connect, None, "{}", &[])
            },
        ),
        // {type: 1, nsp: "/"}
        (
            "82a47479706501a36e7370a12f",
            packet(Kind::Disconnect, None, "", &[]),
        ),
        // {type: 2, data: ["a"], options: {compress: true}, id: 7, nsp: "/"}
        (
            "85a47479706502a46461746191a161a76f7074696f6e7381a8636f6d7072657373c3a2696407a36e7370a12f",
            packet(Kind::Event, Some(7), r#"["a"]"#, &[]),
        ),
        // {type: 3, id: 12, data: [true, null], nsp: "/"}
        (
            "84a47479706503a269640ca46461746192c3c0a36e7370a12f",
            packet(Kind::Ack, Some(12), "[true,null]", &[]),
        ),
    ] {
        assert_eq!(read(&unhex(hex), MAX), Ok(expect), "{hex}");
    }
}

#[test]
fn values_as_the_official_client_sends_them() {
    let long = format!(r#"["t","","é😀\u0000\"\\\n","{}"]"#, "x".repeat(32));
    for (hex, data, attachments) in [
        ("92a16101", r#"["a",1]"#, &[][..]),
        (
            "dc0015a16e7fcc80ccffcd0100cdffffce00010000ceffffffffcf0000000100000000cf001fffffffffffffcb3ff8000000000000\
             ffe0d0dfd080d1ff7fd18000d2ffff7fffd280000000d3ffffffff7fffffffd3ffe0000000000001",
            r#"["n",127,128,255,256,65535,65536,4294967295,4294967296,9007199254740991,1.5,-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649,-9007199254740991]"#,
            &[],
        ),
        // NaN, Infinity, -Infinity, -0, 0.1, 5e-324
        (
            "97a16ecb7ff8000000000000cb7ff0000000000000cbfff000000000000000cb3fb999999999999acb0000000000000001",
            r#"["n",null,null,null,0,0.1,5e-324]"#,
            &[],
        ),
        (
            "94a174a0aac3a9f09f988000225c0ad9207878787878787878787878787878787878787878787878787878787878787878",
            &long,
            &[],
        ),
        // ["u", undefined, {a: undefined, b: 1, c: undefined, f() {}}]
        (
            "93a175d4000083a161d40000a16201a163d40000",
            r#"["u",null,{"b":1}]"#,
            &[],
        ),
        // new Date(1785000000123), new Date(-1)
        (
            "93a164d7000000019f9a4a7a7bd700ffffffffffffffff",
            r#"["d","2026-07-25T17:20:00.123Z","1969-12-31T23:59:59.999Z"]"#,
            &[],
        ),
        // ["b", {x: [Buffer.from([1, 2])], y: Buffer.alloc(0)}, new Uint8Array([3]).buffer, new Uint8Array([4, 5])]
        (
            "94a16282a17891c4020102a179c400c7010003c702000405",
            r#"["b",{"x":[{"_placeholder":true,"num":0}],"y":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":2},{"_placeholder":true,"num":3}]"#,
            &[&b"\x01\x02"[..], b"", b"\x03", b"\x04\x05"],
        ),
        // ["j", {toJSON: () => ({a: []})}, {}]
        ("93a16a81a1619080", r#"["j",{"a":[]},{}]"#, &[]),
        // ["p", {_placeholder: true, num: 0}]: the default parser would have brought this, too.
        (
            "92a17082ac5f706c616365686f6c646572c3a36e756d00",
            r#"["p",{"_placeholder":true,"num":0}]"#,
            &[],
        ),
    ] {
        let expect = packet(Kind::Event, None, data, attachments);
        assert_eq!(read(&event(hex), MAX), Ok(expect), "{data}");
    }
}

#[test]
fn what_others_may_send() {
    for (hex, data) in [
        // 1 as each kind of number.
        (
            "98a16eca3f800000cb3ff0000000000000d001d10001d200000001d30000000000000001cd0001",
            "[\"n\",1,1,1,1,1,1,1]",
        ),
        // 2^53, 2^53 + 2 and 1e300, as numbers with a fraction; -0
        (
            "95a16ecb4340000000000000cb4340000000000001cb7e37e43c8800759ccb8000000000000000",
            "[\"n\",9007199254740992,9007199254740994,1e+300,0]",
        ),
        (
            "93a16ecfffffffffffffffffd38000000000000000",
            "[\"n\",18446744073709551615,-9223372036854775808]",
        ),
        // Longer forms than needed.
        (
            "dd00000003 db00000001 74 da0001 74 df00000001 d90161 de0000",
            r#"["t","t",{"a":{}}]"#,
        ),
        // A date that there is not.
        ("92a164d7007fffffffffffffff", r#"["d",null]"#),
        // The same key twice.
        ("92a16b82a16101a16102", r#"["k",{"a":1,"a":2}]"#),
    ] {
        let expect = packet(Kind::Event, None, data, &[]);
        assert_eq!(read(&event(hex), MAX), Ok(expect), "{data}");
    }
    for (hex, expect) in [
        // {type: 1, data: null, nsp: "/"}
        (
            "83a47479706501a464617461c0a36e7370a12f",
            packet(Kind::Disconnect, None, "", &[]),
        ),
        // {type: 2, data: ["a"], nsp: "/", id: null}
        (
            "84a47479706502a46461746191a161a36e7370a12fa26964c0",
            packet(Kind::Event, None, r#"["a"]"#, &[]),
        ),
        // {type: 2, data: ["a"], nsp: "/", id: 7}, with numbers that could be below zero.
        (
            "84a474797065d10002a46461746191a161a36e7370a12fa26964d007",
            packet(Kind::Event, Some(7), r#"["a"]"#, &[]),
        ),
        // {nsp: "/", attachments: [bytes], data: ["a"], type: 2, id: 999_999_999_999_999_999}
        (
            "85a36e7370a12fab6174746163686d656e747391c40101a46461746191a161a47479706502a26964cf0de0b6b3a763ffff",
            packet(Kind::Event, Some(999_999_999_999_999_999), r#"["a"]"#, &[]),
        ),
    ] {
        assert_eq!(read(&unhex(hex), MAX), Ok(expect), "{hex}");
    }
}

#[test]
fn what_is_no_packet() {
    for hex in [
        "",
        "c0",
        "80",
        "90",
        "a0",
        // Without type, without namespace.
        "81a36e7370a12f",
        "81a47479706501",
        // CONNECT_ERROR, kinds that do not exist, and none.
        "83a47479706504a46461746180a36e7370a12f",
        "82a47479706505a36e7370a12f",
        "82a474797065ffa36e7370a12f",
        "82a474797065a131a36e7370a12f",
        "82a474797065c0a36e7370a12f",
        // Namespaces: none, "", "x", bytes, 1.
        "82a47479706501a36e7370c0",
        "82a47479706501a36e7370a0",
        "82a47479706501a36e7370a178",
        "82a47479706501a36e7370c4012f",
        "82a47479706501a36e737001",
        // Data that does not belong to the kind.
        "83a47479706500a46461746190a36e7370a12f",
        "83a47479706500a464617461c40101a36e7370a12f",
        "83a47479706500a46461746181a161c40101a36e7370a12f",
        "83a47479706501a46461746180a36e7370a12f",
        "82a47479706502a36e7370a12f",
        "83a47479706502a46461746180a36e7370a12f",
        "83a47479706502a464617461c40101a36e7370a12f",
        "83a47479706502a464617461c0a36e7370a12f",
        "84a47479706503a2696401a46461746101a36e7370a12f",
        // Ids: none for an ack, one for CONNECT and DISCONNECT, below zero, too high, a fraction, text.
        "83a47479706503a46461746190a36e7370a12f",
        "84a47479706503a26964c0a46461746190a36e7370a12f",
        "83a47479706500a2696401a36e7370a12f",
        "83a47479706501a2696401a36e7370a12f",
        "84a47479706502a26964ffa46461746191a161a36e7370a12f",
        "84a47479706502a26964cf0de0b6b3a7640000a46461746191a161a36e7370a12f",
        "84a47479706502a26964cfffffffffffffffffa46461746191a161a36e7370a12f",
        "84a47479706502a26964cb3ff8000000000000a46461746191a161a36e7370a12f",
        "84a47479706502a26964a131a46461746191a161a36e7370a12f",
        // A part twice, a key that is no text, something behind the end.
        "83a47479706501a47479706501a36e7370a12f",
        "83a47479706501a36e7370a12fa36e7370a12f",
        "84a47479706502a46461746191a161a46461746191a161a36e7370a12f",
        "84a47479706500a464617461c0a464617461c0a36e7370a12f",
        "83a474797065010101a36e7370a12f",
        "82a47479706501a36e7370a12f00",
    ] {
        assert_eq!(read(&unhex(hex), MAX), Err(BadPacket), "{hex}");
    }
    let eleven = format!("9c a162 {}", "c400".repeat(11));
    let ten = format!("9b a162 {}", "c400".repeat(10));
    assert_eq!(read(&event(&ten), MAX).unwrap().attachments.len(), 10);
    for data in [
        // Announced, and not there: a text, bytes, a list, a map.
        "dbffffffff",
        "91dbffffffff",
        "91c6ffffffff",
        "ddffffffff",
        "91dfffffffff",
        "91c9ffffffff00",
        // No UTF-8, a key that is none, a value that there is not.
        "91a1ff",
        "92a16181ffc0",
        "92a16181c4016101",
        "91c1",
        // Extensions of others, and times of MessagePack's own.
        "92a161d60000000000",
        "92a161d40100",
        "92a161d701 0000000000000000",
        "92a161c70101 00",
        "92a161d6ff 00000000",
        // Something that whoever gets it would take for the bytes beside it.
        "93a17082ac5f706c616365686f6c646572c3a36e756d00c40101",
        "93a170c4010182ac5f706c616365686f6c646572c3a36e756d01",
        "93a170c4010191 81ac5f706c616365686f6c646572c3",
        &eleven,
    ] {
        assert_eq!(read(&event(data), MAX), Err(BadPacket), "{data}");
    }
}

#[test]
fn how_deep_and_how_long() {
    let deep = |brackets: usize| format!("{}{}", "91".repeat(brackets - 1), "90");
    assert!(read(&event(&deep(128)), MAX).is_ok());
    assert_eq!(read(&event(&deep(129)), MAX), Err(BadPacket));
    let bytes = |brackets: usize| format!("{}c400", "91".repeat(brackets));
    assert!(read(&event(&bytes(127)), MAX).is_ok());
    assert_eq!(read(&event(&bytes(128)), MAX), Err(BadPacket));
    let maps = format!("91{}80", "81a161".repeat(127));
    assert_eq!(read(&event(&maps), MAX), Err(BadPacket));
    let skipped = format!("83a47479706501a36e7370a12fa178{}", deep(100_000));
    assert_eq!(read(&unhex(&skipped), MAX), Err(BadPacket));

    // JSON and bytes together, as the default parser counts them.
    let long = event("92a161c403010203");
    let size = r#"["a",{"_placeholder":true,"num":0}]"#.len() + 3;
    assert!(read(&long, size).is_ok());
    assert_eq!(read(&long, size - 1), Err(BadPacket));
    let zeros = event(&format!("92a161da2710{}", "00".repeat(10_000)));
    assert_eq!(read(&zeros, 50_000), Err(BadPacket), "it grows");
}

#[test]
fn nothing_that_is_cut_off_is_a_packet() {
    let whole = event("94a16282a17891c4020102a179cb3ff8000000000000d7000000000000000000d40000");
    assert!(read(&whole, MAX).is_ok());
    for length in 0..whole.len() {
        assert_eq!(read(&whole[..length], MAX), Err(BadPacket), "{length}");
    }
}
