//! Good and bad files, and what is said of them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair, RsaKeySize, SignatureAlgorithm, date_time_ymd};

use super::*;

struct Pair {
    chain: String,
    key: KeyPair,
}

fn pair_of(key: KeyPair) -> Pair {
    let mut params = CertificateParams::new(vec!["node.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    let chain = params.self_signed(&key).unwrap().pem();
    Pair { chain, key }
}

fn pair(algorithm: &'static SignatureAlgorithm) -> Pair {
    pair_of(KeyPair::generate_for(algorithm).unwrap())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// The value of the last element of a PKCS#8 key that is an octet string: the older form of the same key.
fn older_form(pkcs8: &[u8]) -> Vec<u8> {
    let value = |der: &[u8]| -> (u8, usize, usize) {
        match der[1] {
            short @ 0..=127 => (der[0], 2, short.into()),
            long => {
                let bytes = usize::from(long & 127);
                let length = der[2..2 + bytes]
                    .iter()
                    .fold(0, |all, b| all << 8 | usize::from(*b));
                (der[0], 2 + bytes, length)
            }
        }
    };
    let (_, mut at, _) = value(pkcs8);
    loop {
        let (tag, head, length) = value(&pkcs8[at..]);
        if tag == 4 {
            return pkcs8[at + head..at + head + length].to_vec();
        }
        at += head + length;
    }
}

fn error(chain: &str, key: &str) -> CertificateError {
    Certificate::from_pem(chain, key).map(|_| ()).unwrap_err()
}

#[test]
fn keys_of_all_kinds_and_forms() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
    ] {
        let Pair { chain, key } = pair(algorithm);
        let certificate = Certificate::from_pem(&chain, &key.serialize_pem()).unwrap();
        assert_eq!(
            certificate.expires(),
            UNIX_EPOCH + Duration::from_secs(2_208_988_800)
        );
    }
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    for (label, Pair { chain, key }) in [
        ("EC PRIVATE KEY", pair(&rcgen::PKCS_ECDSA_P256_SHA256)),
        ("RSA PRIVATE KEY", pair_of(rsa)),
    ] {
        let older = pem(label, &older_form(&key.serialize_der()));
        for text in [key.serialize_pem(), older.clone(), format!("{chain}{older}")] {
            Certificate::from_pem(&chain, &text).unwrap_or_else(|error| panic!("{label}: {error}"));
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    use CertificateError::*;
    let good = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let other = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (chain, key) = (good.chain.as_str(), good.key.serialize_pem());
    let both = format!("{}{}", other.chain, chain);
    let encrypted = pem("ENCRYPTED PRIVATE KEY", b"anything");
    let old_encrypted =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let cut = |text: &str| text[..text.len() - 40].to_owned();
    let spoilt = |label: &str| pem(label, b"no DER at all");
    for (chain, key, expect) in [
        ("", key.as_str(), NoChain),
        (" \n", &key, NoChain),
        ("hello", &key, NoCertificate),
        (&key, &key, NoCertificate),
        (&cut(chain), &key, DamagedCertificate),
        (&spoilt("CERTIFICATE"), &key, DamagedCertificate),
        (
            &format!("{chain}{}", spoilt("CERTIFICATE")),
            &key,
            DamagedCertificate,
        ),
        (&chain.replacen("MII", "M*I", 1), &key, DamagedCertificate),
        (chain, "", NoKey),
        (chain, "hello", NoPrivateKey),
        (chain, chain, NoPrivateKey),
        (chain, &pem("PUBLIC KEY", good.key.public_key_raw()), NoPrivateKey),
        (chain, &cut(&key), DamagedKey),
        (chain, &spoilt("PRIVATE KEY"), UnsupportedKey),
        (chain, &encrypted, EncryptedKey),
        (chain, old_encrypted, EncryptedKey),
        (chain, &other.key.serialize_pem(), KeyMismatch),
        (&both, &key, KeyMismatch),
    ] {
        assert_eq!(error(chain, key), expect, "{chain}{key}");
    }
}

#[test]
fn what_is_not_valid_now_is_a_warning() {
    let Pair { chain, key } = pair(&rcgen::PKCS_ED25519);
    let certificate = Certificate::from_pem(&chain, &key.serialize_pem()).unwrap();
    let at = |text: &str| humantime::parse_rfc3339(text).unwrap();
    for (now, expect) in [
        (
            "2019-12-31T23:59:59Z",
            Some("the certificate is not valid before 2020-01-01T00:00:00Z"),
        ),
        ("2020-01-01T00:00:00Z", None),
        ("2040-01-01T00:00:00Z", None),
        (
            "2040-01-01T00:00:01Z",
            Some("the certificate expired at 2040-01-01T00:00:00Z"),
        ),
    ] {
        assert_eq!(certificate.warning(at(now)).as_deref(), expect);
    }
}

#[test]
fn no_key_is_shown() {
    let Pair { chain, key } = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let certificate = Certificate::from_pem(&chain, &key.serialize_pem()).unwrap();
    assert!(format!("{certificate:?}").len() < 100, "{certificate:?}");
}
