//! Every way in which a token may name its key, and which keys are tried for it.

use jsonwebtoken::Algorithm::{self, *};
use serde_json::json;

use super::{
    super::{
        Material,
        test_keys::{ED25519, OTHER_P256, OTHER_RSA, P256, P384, RSA, SECRET, set},
    },
    Otherwise::{Ask, Refused},
    *,
};
use crate::refusal::Refusal::*;

fn key_set(keys: &[serde_json::Value]) -> KeySet {
    KeySet::parse(set(keys).as_bytes()).unwrap()
}

/// Two secrets, a public key, and a file.
fn keys(algorithms: &[&str]) -> Keys {
    let algorithms: Vec<String> = algorithms.iter().map(|a| (*a).to_owned()).collect();
    let material = Material {
        secret: Some(SECRET),
        previous_secret: Some("the-secret-of-before-with-32-bytes"),
        pem: Some(&RSA.pem),
        file: Some(key_set(&[P256.named("file"), OTHER_P256.jwk(&json!({}))])),
        ..Material::default()
    };
    Keys::of(material, &algorithms).unwrap()
}

fn header(algorithm: Algorithm, kid: Option<&str>) -> Header {
    Header {
        algorithm,
        kid: kid.map(str::to_owned),
    }
}

#[test]
fn which_keys_are_tried_in_which_order() {
    let keys = keys(&[]);
    let idp = key_set(&[
        OTHER_RSA.named("idp"),
        P384.jwk(&json!({})),
        P384.named("file"), // of the same name as one of the file
    ]);
    let secrets: Vec<_> = keys.unnamed(HS256).collect();
    let pem: Vec<_> = keys.unnamed(RS256).collect();
    let file = |kid: &str| keys.file().unwrap().named(kid).unwrap().verifying(ES256).unwrap();
    let of_file: Vec<_> = keys.file().unwrap().fitting(ES256).collect();
    let of_idp: Vec<_> = idp.fitting(RS256).collect();
    let p384: Vec<_> = idp.fitting(ES384).collect();
    assert_eq!(
        (secrets.len(), pem.len(), of_file.len(), of_idp.len(), p384.len()),
        (2, 1, 2, 1, 2)
    );
    let set = Fetched::Set(&idp);
    for (algorithm, kid, fetched, expect, otherwise) in [
        // The secrets, with any name that no set has, and never anything of a set.
        (HS256, None, set, secrets.clone(), Refused(TokenSignature)),
        (HS256, Some("new"), set, secrets.clone(), Refused(TokenSignature)),
        (
            HS256,
            Some("new"),
            Fetched::NotYet,
            secrets.clone(),
            Refused(TokenSignature),
        ),
        (HS256, Some("idp"), set, vec![], Refused(TokenAlgorithm)),
        (HS256, Some("file"), set, vec![], Refused(TokenAlgorithm)),
        // A name: that key alone, in the file first.
        (
            ES256,
            Some("file"),
            set,
            vec![file("file")],
            Refused(TokenSignature),
        ),
        (ES384, Some("file"), set, vec![], Refused(TokenAlgorithm)),
        (PS512, Some("idp"), set, of_idp.clone(), Refused(TokenSignature)),
        (EdDSA, Some("idp"), set, vec![], Refused(TokenAlgorithm)),
        (
            ES256,
            Some("file"),
            Fetched::NotYet,
            vec![file("file")],
            Refused(TokenSignature),
        ),
        // A name that no set has: the public key, and then the identity provider is asked.
        (RS256, Some("new"), set, pem.clone(), Ask(TokenSignature)),
        (
            RS256,
            Some("new"),
            Fetched::NotYet,
            pem.clone(),
            Ask(TokenSignature),
        ),
        (
            RS256,
            Some("new"),
            Fetched::Nowhere,
            pem.clone(),
            Refused(TokenSignature),
        ),
        (ES256, Some("new"), set, vec![], Ask(TokenKey)),
        (ES256, Some("new"), Fetched::Nowhere, vec![], Refused(TokenKey)),
        (ES256, Some(""), Fetched::Nowhere, vec![], Refused(TokenKey)),
        // No name: all that fit.
        (
            RS256,
            None,
            set,
            [pem.clone(), of_idp].concat(),
            Refused(TokenSignature),
        ),
        (RS256, None, Fetched::NotYet, pem, Ask(KeysUnavailable)),
        (ES256, None, set, of_file.clone(), Refused(TokenSignature)),
        (ES256, None, Fetched::Nowhere, of_file, Refused(TokenSignature)),
        (ES384, None, set, p384, Refused(TokenSignature)),
        (EdDSA, None, set, vec![], Refused(TokenAlgorithm)),
        (EdDSA, None, Fetched::NotYet, vec![], Ask(KeysUnavailable)),
    ] {
        let header = header(algorithm, kid);
        let choice = Choice::of(&header, &keys, fetched);
        let same = |(a, b): (&DecodingKey, &&DecodingKey)| std::ptr::eq(a, *b);
        let is_so = choice.keys().count() == expect.len() && choice.keys().zip(&expect).all(same);
        assert!(is_so, "{header:?} {fetched:?}: {} keys", choice.keys().count());
        assert_eq!(choice.otherwise, otherwise, "{header:?} {fetched:?}");
    }
}

#[test]
fn an_algorithm_outside_of_the_list_has_no_key_anywhere() {
    let keys = keys(&["ES256", "PS256"]);
    let idp = key_set(&[RSA.named("idp"), ED25519.named("ed")]);
    for (algorithm, kid) in [
        (HS256, None),
        (RS256, None),
        (RS256, Some("idp")),
        (EdDSA, Some("ed")),
        (ES384, Some("new")),
    ] {
        let choice = Choice::of(&header(algorithm, kid), &keys, Fetched::Set(&idp));
        assert_eq!(choice.keys().count(), 0, "{algorithm:?}");
        assert_eq!(choice.otherwise, Refused(TokenAlgorithm), "{algorithm:?}");
    }
    let choice = Choice::of(&header(PS256, Some("idp")), &keys, Fetched::Set(&idp));
    assert_eq!(choice.keys().count(), 1);
}

#[test]
fn a_public_key_alone_verifies_no_hmac() {
    let material = Material {
        pem: Some(&RSA.pem),
        file: Some(key_set(&[P256.named("a")])),
        ..Material::default()
    };
    let keys = Keys::of(material, &[]).unwrap();
    for kid in [None, Some("a"), Some("b")] {
        let choice = Choice::of(&header(HS256, kid), &keys, Fetched::NotYet);
        assert_eq!(choice.keys().count(), 0);
        assert_eq!(
            choice.otherwise,
            Refused(TokenAlgorithm),
            "nobody is asked for a secret"
        );
    }
}

#[test]
fn a_bounded_number_of_keys_is_tried() {
    let many: Vec<_> = (0..20).map(|n| P256.named(&n.to_string())).collect();
    let idp = key_set(&many);
    let keys = keys(&[]);
    let choice = Choice::of(&header(ES256, None), &keys, Fetched::Set(&idp));
    assert_eq!(choice.keys().count(), 8);
    let named = Choice::of(&header(ES256, Some("19")), &keys, Fetched::Set(&idp));
    assert_eq!(named.keys().count(), 1, "a name finds its key wherever it stands");
}
