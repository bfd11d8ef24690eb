//! A token's text to verified claims. Pure: the time is a parameter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use serde_json::Value;

use super::Config;
use crate::refusal::Refusal;

/// A token longer than this is not read: no identity provider makes such, and headers of that size are refused
/// by load balancers anyway.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

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

    /// Claims that no token stands behind, for the explanation of a policy and for tests.
    pub fn unverified(values: Value, expires_at: u64) -> Claims {
        Claims { values, expires_at }
    }
}

pub(super) fn verify(token: &str, config: &Config, now: SystemTime) -> Result<Claims, Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::TokenMalformed);
    }
    let algorithm = algorithm(token)?;
    let key = config.keys.find(algorithm).ok_or(Refusal::TokenAlgorithm)?;
    let data = jsonwebtoken::decode::<Value>(token, key, &signature_only(algorithm)).map_err(|e| match e
        .kind()
    {
        ErrorKind::InvalidSignature => Refusal::TokenSignature,
        ErrorKind::InvalidAlgorithm => Refusal::TokenAlgorithm,
        _ => Refusal::TokenMalformed,
    })?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let expires_at = times(&data.claims, now, config.leeway.as_secs())?;
    named(&data.claims, "iss", &config.issuers, Refusal::TokenIssuer)?;
    named(&data.claims, "aud", &config.audiences, Refusal::TokenAudience)?;
    Ok(Claims {
        values: data.claims,
        expires_at,
    })
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

fn algorithm(token: &str) -> Result<Algorithm, Refusal> {
    let header = token.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| Refusal::TokenMalformed)?;
    let header: Value = serde_json::from_slice(&bytes).map_err(|_| Refusal::TokenMalformed)?;
    let name = header
        .get("alg")
        .and_then(Value::as_str)
        .ok_or(Refusal::TokenMalformed)?;
    // `none` and everything else that is unknown is an algorithm that is not allowed, not a broken token.
    name.parse().map_err(|_| Refusal::TokenAlgorithm)
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
fn seconds(value: &Value) -> Option<u64> {
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
