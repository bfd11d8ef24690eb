//! Signing tokens, for people who try things out; in production the backend signs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::Keys;

/// Why no token was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A public key verifies, but does not sign.
    #[error("only a shared secret (auth.jwt.hmac_secret) can sign tokens; a public key cannot")]
    NoSecret,
    /// The library refused.
    #[error("cannot sign: {0}")]
    Library(#[from] jsonwebtoken::errors::Error),
}

/// Signs claims; `iat` and `exp` are set where the claims do not have them.
///
/// # Errors
/// See [`SignError`].
pub fn sign(
    keys: &Keys,
    mut claims: Map<String, Value>,
    life: Duration,
    now: SystemTime,
) -> Result<String, SignError> {
    let (algorithm, key) = keys.signer().ok_or(SignError::NoSecret)?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    claims.entry("iat").or_insert_with(|| now.into());
    claims
        .entry("exp")
        .or_insert_with(|| now.saturating_add(life.as_secs()).into());
    Ok(jsonwebtoken::encode(
        &jsonwebtoken::Header::new(algorithm),
        &claims,
        key,
    )?)
}
