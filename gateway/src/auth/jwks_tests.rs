//! Texts of key sets, good and bad.

use proptest::prelude::*;
use serde_json::json;

use super::{
    super::test_keys::{ED25519, OTHER_P256, P256, P384, RSA, set},
    *,
};

fn parsed(keys: &[Value]) -> Result<KeySet, NotAKeySet> {
    KeySet::parse(set(keys).as_bytes())
}

#[test]
fn what_a_key_may_verify() {
    use Algorithm::*;
    let rsa = [RS256, RS384, RS512, PS256, PS384, PS512];
    for (jwk, expect) in [
        (RSA.named("k"), rsa.to_vec()),
        (P256.named("k"), vec![ES256]),
        (P384.named("k"), vec![ES384]),
        (ED25519.named("k"), vec![EdDSA]),
        (
            RSA.jwk(&json!({"kid": "k", "use": "sig", "alg": "PS384"})),
            vec![PS384],
        ),
        (RSA.jwk(&json!({"kid": "k", "key_ops": ["verify"]})), rsa.to_vec()),
        (
            RSA.jwk(&json!({"kid": "k", "x5c": ["…"], "new": {}})),
            rsa.to_vec(),
        ),
    ] {
        let set = parsed(std::slice::from_ref(&jwk)).unwrap();
        let key = set.named("k").unwrap();
        for algorithm in [HS256, HS384, HS512, ES256, ES384, EdDSA].into_iter().chain(rsa) {
            let is_allowed = key.verifying(algorithm).is_some();
            assert_eq!(is_allowed, expect.contains(&algorithm), "{algorithm:?} {jwk}");
            assert_eq!(set.fitting(algorithm).count(), usize::from(is_allowed));
        }
    }
}

#[test]
fn what_cannot_verify_is_left_out() {
    let n = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
    for entry in [
        RSA.jwk(&json!({"use": "enc"})),
        RSA.jwk(&json!({"use": 1})),
        RSA.jwk(&json!({"key_ops": ["encrypt"]})),
        RSA.jwk(&json!({"alg": "RSA-OAEP"})),
        RSA.jwk(&json!({"alg": "ES256"})),
        RSA.jwk(&json!({"alg": "HS256"})),
        RSA.jwk(&json!({"alg": null})),
        RSA.jwk(&json!({"kid": 7})),
        RSA.jwk(&json!({"n": n(255)})),
        RSA.jwk(&json!({"n": n(1025)})),
        RSA.jwk(&json!({"n": "not base64!"})),
        RSA.jwk(&json!({"n": 7})),
        RSA.jwk(&json!({"e": "AA"})),
        RSA.jwk(&json!({"e": "AQ"})),
        RSA.jwk(&json!({"e": "Ag"})),
        RSA.jwk(&json!({"e": ""})),
        P256.jwk(&json!({"alg": "ES384"})),
        P256.jwk(&json!({"crv": "P-521"})),
        P256.jwk(&json!({"crv": "secp256k1"})),
        P256.jwk(&json!({"crv": "P-384"})),
        P256.jwk(&json!({"x": n(31)})),
        P256.jwk(&json!({"y": null})),
        ED25519.jwk(&json!({"crv": "Ed448"})),
        ED25519.jwk(&json!({"crv": "X25519"})),
        ED25519.jwk(&json!({"x": n(33)})),
        json!({"kty": "new"}),
        json!({}),
        json!(7),
        json!(null),
    ] {
        assert_eq!(
            parsed(std::slice::from_ref(&entry)).err(),
            Some(NotAKeySet::Useless),
            "{entry}"
        );
        let set = parsed(&[entry.clone(), P256.named("good")]).unwrap();
        assert_eq!((set.count(), set.secrets()), (1, 0), "{entry}");
    }
}

#[test]
fn secrets_are_never_taken_from_a_set() {
    let oct = json!({"kty": "oct", "kid": "s", "alg": "HS256", "use": "sig", "k": "c2VjcmV0"});
    let private = P256.jwk(&json!({"kid": "p", "d": "AAAA"}));
    assert_eq!(
        parsed(&[oct.clone(), private.clone()]).err(),
        Some(NotAKeySet::Useless)
    );
    let set = parsed(&[oct, private, RSA.named("good")]).unwrap();
    assert_eq!((set.count(), set.secrets()), (1, 2));
    assert!(set.named("s").is_none() && set.named("p").is_none());
}

#[test]
fn of_one_name_the_first_counts() {
    let both = parsed(&[P256.named("k"), P384.named("k"), OTHER_P256.named("k")]).unwrap();
    assert_eq!(both.count(), 1);
    assert!(both.named("k").unwrap().verifying(Algorithm::ES256).is_some());
    let after_broken = parsed(&[json!({"kty": "EC", "kid": "k"}), P384.named("k")]).unwrap();
    assert!(
        after_broken
            .named("k")
            .unwrap()
            .verifying(Algorithm::ES384)
            .is_some()
    );
    let nameless = parsed(&[P256.jwk(&json!({})), OTHER_P256.jwk(&json!({}))]).unwrap();
    assert_eq!(nameless.count(), 2);
}

#[test]
fn a_number_may_begin_with_zeros() {
    let n = URL_SAFE_NO_PAD
        .decode(RSA.jwk(&json!({}))["n"].as_str().unwrap())
        .unwrap();
    let padded = URL_SAFE_NO_PAD.encode([vec![0, 0], n].concat());
    let padded = parsed(&[RSA.jwk(&json!({"kid": "k", "n": padded}))]).unwrap();
    let key = padded.named("k").unwrap().verifying(Algorithm::RS256).unwrap();
    assert!(super::super::claims::signed(&RSA.token(None), key, Algorithm::RS256).is_ok());
}

#[test]
fn texts_that_are_no_set() {
    let many = vec![json!({"kty": "new"}); 1_001];
    for (text, expect) in [
        (String::new(), NotAKeySet::NotJson),
        ("<html>".to_owned(), NotAKeySet::NotJson),
        ("[".repeat(100_000), NotAKeySet::NotJson),
        ("[]".to_owned(), NotAKeySet::NoList),
        ("{}".to_owned(), NotAKeySet::NoList),
        (r#"{"keys":{}}"#.to_owned(), NotAKeySet::NoList),
        (r#"{"keys":[]}"#.to_owned(), NotAKeySet::Useless),
        (set(&many), NotAKeySet::TooMany),
        (" ".repeat(MAX_BYTES + 1), NotAKeySet::TooLong),
    ] {
        assert_eq!(KeySet::parse(text.as_bytes()).err(), Some(expect), "{text:.40}");
    }
    let most: Vec<Value> = (0..1_000).map(|n| P256.named(&n.to_string())).collect();
    assert_eq!(parsed(&most).unwrap().count(), 1_000);
}

#[test]
fn other_keys_are_noticed_and_another_order_is_not() {
    let print = |keys: &[Value]| parsed(keys).unwrap().fingerprint();
    let (a, b) = (P256.named("a"), P384.named("b"));
    assert_eq!(print(&[a.clone(), b.clone()]), print(&[b.clone(), a.clone()]));
    assert_ne!(print(&[a.clone(), b]), print(std::slice::from_ref(&a)));
    assert_ne!(print(&[a]), print(&[OTHER_P256.named("a")]));
}

#[test]
fn a_key_set_is_not_shown() {
    let set = parsed(&[RSA.named("the-name-of-the-key")]).unwrap();
    assert_eq!(format!("{set:?}"), "KeySet(1 keys)");
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("RSA"),
        Just("EC"),
        Just("OKP"),
        Just("oct"),
        Just("P-256"),
        Just("P-384"),
        Just("Ed25519"),
        Just("sig"),
        Just("RS256"),
        Just("AQAB"),
        Just("////"),
        Just(""),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|b| URL_SAFE_NO_PAD.encode(b).into()),
    ];
    let name = prop_oneof![
        Just("kty"),
        Just("crv"),
        Just("x"),
        Just("y"),
        Just("n"),
        Just("e"),
        Just("kid"),
        Just("alg"),
        Just("use"),
        Just("key_ops"),
        Just("d"),
        Just("keys"),
    ];
    leaf.prop_recursive(4, 64, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..12)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = KeySet::parse(&text);
    }

    #[test]
    fn no_list_makes_the_reader_panic(entries in prop::collection::vec(any_value(), 0..8)) {
        if let Ok(set) = parsed(&entries) {
            prop_assert!(set.count() + set.secrets() <= entries.len());
            for hmac in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                prop_assert_eq!(set.fitting(hmac).count(), 0);
            }
        }
    }
}
