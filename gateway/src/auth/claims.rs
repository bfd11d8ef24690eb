//! A token's text and its key to verified claims. Pure: the time is a parameter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use serde_json::Value;

use super::{Config, Credential};
use crate::refusal::Refusal;

/// The claims of a token whose signature, times, issuer and audience were checked.
#[derive(Debug, Clone)]
pub struct Claims {
    values: Value,
    expires_at: u64,
}

impl Claims {
    /// All claims, as the token holds them.
    pub fn values(&self) -> &Value {
        &self.values
    }

    /// `exp`, in seconds since 1970, without leeway.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// The marks of the token.
    pub fn credential(&self) -> Credential {
        Credential::new(&self.values, self.expires_at)
    }

    /// Claims that no token stands behind, for the explanation of a policy and for tests.
    pub fn unverified(values: Value, expires_at: u64) -> Claims {
        Claims { values, expires_at }
    }
}

/// The claims of a token that this key has signed.
pub(super) fn signed(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Value, Refusal> {
    let decoded = jsonwebtoken::decode::<Value>(token, key, &signature_only(algorithm));
    decoded.map(|data| data.claims).map_err(|e| match e.kind() {
        ErrorKind::InvalidSignature => Refusal::TokenSignature,
        ErrorKind::InvalidAlgorithm => Refusal::TokenAlgorithm,
        _ => Refusal::TokenMalformed,
    })
}

/// Checks the claims of a token whose signature was verified.
pub(super) fn check(values: Value, config: &Config, now: SystemTime) -> Result<Claims, Refusal> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let expires_at = times(&values, now, config.leeway.as_secs())?;
    named(&values, "iss", &config.issuers, Refusal::TokenIssuer)?;
    named(&values, "aud", &config.audiences, Refusal::TokenAudience)?;
    Ok(Claims { values, expires_at })
}

/// The library would check times by its own clock, with a leeway of 60 s and without `nbf`; those checks are
/// made below instead, with ours.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.leeway = 0;
    validation
}

fn times(claims: &Value, now: u64, leeway: u64) -> Result<u64, Refusal> {
    let expires_at = claims.get("exp").and_then(seconds).ok_or(Refusal::ClaimMissing)?;
    if now >= expires_at.saturating_add(leeway) {
        return Err(Refusal::TokenExpired);
    }
    match claims.get("nbf") {
        None | Some(Value::Null) => {}
        Some(value) => {
            let not_before = seconds(value).ok_or(Refusal::ClaimMissing)?;
            if now.saturating_add(leeway) < not_before {
                return Err(Refusal::TokenNotYetValid);
            }
        }
    }
    Ok(expires_at)
}

/// RFC 7519 allows fractions of a second; they are cut off. Values outside of u64 saturate, which is what
/// "never" and "long ago" mean here.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().map(|f| f as u64))
}

fn named(claims: &Value, claim: &str, accepted: &[String], refusal: Refusal) -> Result<(), Refusal> {
    if accepted.is_empty() {
        return Ok(());
    }
    let is_accepted = |v: &Value| v.as_str().is_some_and(|s| accepted.iter().any(|a| a == s));
    let fits = match claims.get(claim) {
        Some(Value::Array(items)) if claim == "aud" => items.iter().any(is_accepted),
        Some(value) => is_accepted(value),
        None => false,
    };
    if fits { Ok(()) } else { Err(refusal) }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
