//! A certificate and its key, from PEM to what a listener needs. Pure, but for the random key of what clients may resume.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    Error, InconsistentKeys, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use x509_parser::{parse_x509_certificate, time::ASN1Time};

/// Why a certificate cannot be used. No content of a file is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// An empty file of certificates.
    #[error("the file is empty; it has to hold the certificate as PEM")]
    NoChain,
    /// An empty file of the key.
    #[error("the file is empty; it has to hold the private key as PEM")]
    NoKey,
    /// No certificate in the file.
    #[error("no certificate is in it; a PEM file has a line -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// No private key in the file.
    #[error("no private key is in it; a PEM file has a line such as -----BEGIN PRIVATE KEY-----")]
    NoPrivateKey,
    /// A certificate that cannot be read.
    #[error("a certificate in it is damaged")]
    DamagedCertificate,
    /// A key that cannot be read.
    #[error("the private key in it is damaged")]
    DamagedKey,
    /// A key with a password.
    #[error("the private key is encrypted; remove its password, with `openssl pkey` for example")]
    EncryptedKey,
    /// A key that TLS cannot be spoken with.
    #[error(
        "the private key is damaged, or of a kind that is not supported: RSA of 2048 to 8192 bits, \
         ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    UnsupportedKey,
    /// A key of another certificate.
    #[error(
        "the private key does not belong to the first certificate; the listener's own certificate comes first, then \
         those that it is signed by"
    )]
    KeyMismatch,
    /// The library refused for another reason.
    #[error("TLS cannot be set up with it")]
    Unusable,
}

impl CertificateError {
    /// Whether the file of the key is to blame, and not that of the certificates.
    pub(super) fn is_about_key(self) -> bool {
        use CertificateError::{DamagedKey, EncryptedKey, KeyMismatch, NoKey, NoPrivateKey, UnsupportedKey};
        matches!(
            self,
            NoKey | NoPrivateKey | DamagedKey | EncryptedKey | UnsupportedKey | KeyMismatch
        )
    }
}

/// What a listener shows to who connects. The key is never shown.
#[derive(Clone)]
pub struct Certificate {
    server: Arc<ServerConfig>,
    begins: SystemTime,
    expires: SystemTime,
}

impl Certificate {
    /// From the texts of two PEM files. What else stands in them does not matter.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn from_pem(chain: &str, key: &str) -> Result<Certificate, CertificateError> {
        let chain = certificates(chain)?;
        let key = private_key(key)?;
        let own = chain.first().ok_or(CertificateError::NoCertificate)?;
        let (_, parsed) = parse_x509_certificate(own).map_err(|_| CertificateError::DamagedCertificate)?;
        let (begins, expires) = (parsed.validity.not_before, parsed.validity.not_after);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|_| CertificateError::Unusable)?;
        let built = builder.with_no_client_auth().with_single_cert(chain, key);
        let mut server = built.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::KeyMismatch,
            Error::InvalidCertificate(_) => CertificateError::DamagedCertificate,
            Error::General(_) => CertificateError::UnsupportedKey,
            _ => CertificateError::Unusable,
        })?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Clients that come back need no signature then, and the node remembers nothing of them.
        server.ticketer = aws_lc_rs::Ticketer::new().map_err(|_| CertificateError::Unusable)?;
        Ok(Certificate {
            server: Arc::new(server),
            begins: moment(begins),
            expires: moment(expires),
        })
    }

    /// What connections are agreed with.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// Until when it is valid.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// Why clients will not accept it now. The node can be started nonetheless: without it, it would serve nobody.
    pub(super) fn warning(&self, now: SystemTime) -> Option<String> {
        let date = |at| humantime::format_rfc3339_seconds(at);
        if now > self.expires {
            Some(format!("the certificate expired at {}", date(self.expires)))
        } else if now < self.begins {
            Some(format!(
                "the certificate is not valid before {}",
                date(self.begins)
            ))
        } else {
            None
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate(until {:?})", self.expires)
    }
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    if text.trim().is_empty() {
        return Err(CertificateError::NoChain);
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| CertificateError::DamagedCertificate)?;
    let is_whole = |certificate: &CertificateDer<'_>| {
        parse_x509_certificate(certificate).is_ok_and(|(rest, _)| rest.is_empty())
    };
    match chain.as_slice() {
        [] => Err(CertificateError::NoCertificate),
        all if all.iter().all(is_whole) => Ok(chain),
        _ => Err(CertificateError::DamagedCertificate),
    }
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, CertificateError> {
    use rustls::pki_types::pem::Error;
    if text.trim().is_empty() {
        return Err(CertificateError::NoKey);
    }
    if ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|sign| text.contains(sign))
    {
        return Err(CertificateError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        Error::NoItemsFound => CertificateError::NoPrivateKey,
        _ => CertificateError::DamagedKey,
    })
}

fn moment(at: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(at.timestamp()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
