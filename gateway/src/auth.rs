//! From a handshake to verified claims: which token counts, which key, which checks.
//!
//! The order is fixed by types: text → [`Claims`] (signature and times checked) → `policy::Grants`. Nothing
//! that was not verified reaches the policy.
//!
//! Keys are configured, or come from key sets: files, and the URLs of identity providers. Those are fetched in the
//! background ([`KeyFetcher`]) and kept; a handshake waits for one only when no key that is here has the name that its
//! token gives, and for a bounded time. `choice.rs` says which keys may verify a token, `refresh.rs` when sets are
//! fetched.

mod choice;
mod claims;
mod config;
mod credential;
mod fetcher;
mod header;
mod jwks;
mod keys;
mod provider;
mod refresh;
mod sign;
#[cfg(test)]
mod test_keys;
mod web;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, header::AUTHORIZATION};
use serde_json::Value;
use tokio::time::Instant;

use self::{
    choice::{Choice, Fetched, Otherwise},
    header::Header,
    provider::{Provider, Waited},
};
pub use self::{
    claims::Claims,
    config::{Config, KEYS, LIVE},
    credential::Credential,
    fetcher::{KeyFetcher, KeySets, key_sets},
    jwks::{KeySet, NotAKeySet},
    keys::{KeyError, Keys, Material},
    provider::FetchOutcome,
    refresh::Timing,
    sign::{SignError, sign},
};
use crate::refusal::Refusal;

/// Where a client may have put its token.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The payload of Socket.IO's CONNECT packet.
    pub auth: &'a Value,
    /// The headers of the handshake's request.
    pub headers: &'a HeaderMap,
    /// The query of the handshake's request.
    pub query: &'a str,
}

/// Checks tokens.
#[derive(Debug)]
pub struct Verifier {
    config: Config,
    sets: KeySets,
    /// Those of the configured URLs, in their order.
    providers: Vec<Arc<Provider>>,
}

/// Why a token was not verified by the keys that are here.
enum Unverified<'a> {
    Refused(Refusal),
    /// The identity provider may have its key; if not, it is refused like this.
    Unknown(&'a Provider, Refusal),
}

impl Verifier {
    /// Takes over the keys. Those at a URL are never fetched: see [`Verifier::fetching`].
    pub fn new(config: Config) -> Verifier {
        Verifier::fetching(config, KeySets::default())
    }

    /// As [`Verifier::new`], with the key sets at URLs.
    pub fn fetching(config: Config, sets: KeySets) -> Verifier {
        let (urls, timing) = (config.keys.urls().iter(), config.keys.timing());
        Verifier {
            providers: urls.map(|url| sets.at(url, timing)).collect(),
            config,
            sets,
        }
    }

    /// One with another configuration. The key sets that both use are there at once.
    pub fn with(&self, config: Config) -> Verifier {
        Verifier::fetching(config, self.sets.clone())
    }

    /// Verifies the first token present: `auth.token`, else the Authorization header, else (where switched on)
    /// the query. A bad one is never skipped for the next.
    ///
    /// # Errors
    /// The refusal to tell the client.
    pub async fn admit(&self, places: Places<'_>, now: SystemTime) -> Result<Claims, Refusal> {
        self.verify(&self.find(places)?, now).await
    }

    /// Verifies one token. Waits only where an identity provider may have its key and none that is here is it, and then
    /// for one fetch at most.
    ///
    /// # Errors
    /// The refusal to tell the client.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, Refusal> {
        let provider = match self.attempt(token, now) {
            Ok(claims) => return Ok(claims),
            Err(Unverified::Refused(refusal)) => return Err(refusal),
            Err(Unverified::Unknown(provider, _)) => provider,
        };
        let waited = provider.ask().await;
        if waited == Waited::Crowded {
            self.sets.crowded();
        }
        self.attempt(token, now).map_err(|unverified| match unverified {
            Unverified::Refused(refusal) => refusal,
            // The provider may have a key that could not be fetched: trying again makes sense.
            Unverified::Unknown(..) if waited != Waited::ForTheNewest || provider.is_failing() => {
                Refusal::KeysUnavailable
            }
            Unverified::Unknown(_, refusal) => refusal,
        })
    }

    /// Verifies one token with the keys that are here now.
    ///
    /// # Errors
    /// The refusal to tell the client.
    pub fn verify_now(&self, token: &str, now: SystemTime) -> Result<Claims, Refusal> {
        self.attempt(token, now).map_err(|unverified| match unverified {
            Unverified::Refused(refusal) | Unverified::Unknown(_, refusal) => refusal,
        })
    }

    fn attempt(&self, token: &str, now: SystemTime) -> Result<Claims, Unverified<'_>> {
        let header = Header::of(token)?;
        let (provider, issuer) = self.provider(token)?;
        let loaded = provider.map(Provider::loaded);
        let fetched = match &loaded {
            None => Fetched::Nowhere,
            Some(loaded) => match loaded.as_ref() {
                Some(loaded) if self.is_fresh(loaded.at) => Fetched::Set(&loaded.keys),
                _ => Fetched::NotYet,
            },
        };
        let choice = Choice::of(&header, &self.config.keys, fetched);
        for key in choice.keys() {
            match claims::signed(token, key, header.algorithm) {
                Err(Refusal::TokenSignature) => {}
                Err(refusal) => return Err(refusal.into()),
                Ok(values) => {
                    // Where issuers have sets of their own, this is the one whose set it was.
                    if issuer.is_some_and(|issuer| values.get("iss").is_none_or(|iss| iss != issuer)) {
                        return Err(Refusal::TokenIssuer.into());
                    }
                    return Ok(claims::check(values, &self.config, now)?);
                }
            }
        }
        match (choice.otherwise, provider) {
            (Otherwise::Ask(refusal), Some(provider)) => Err(Unverified::Unknown(provider, refusal)),
            (Otherwise::Ask(refusal) | Otherwise::Refused(refusal), _) => Err(refusal.into()),
        }
    }

    /// Whose keys verify the token: with one URL those of its provider; with several, those of the issuer that it names,
    /// and of nobody else.
    fn provider(&self, token: &str) -> Result<(Option<&Provider>, Option<&str>), Refusal> {
        match self.providers.as_slice() {
            [] => Ok((None, None)),
            [one] => Ok((Some(one), None)),
            several => {
                let issuer = header::issuer(token)?;
                let mut pairs = self.config.issuers.iter().zip(several);
                let (issuer, provider) = pairs
                    .find(|(one, _)| **one == issuer)
                    .ok_or(Refusal::TokenIssuer)?;
                Ok((Some(provider), Some(issuer)))
            }
        }
    }

    fn is_fresh(&self, fetched_at: Instant) -> bool {
        let most = self.config.keys.timing().max_stale;
        most.is_zero() || fetched_at.elapsed() <= most
    }

    /// How far clocks may differ.
    pub fn leeway(&self) -> Duration {
        self.config.leeway
    }

    fn find(&self, places: Places<'_>) -> Result<String, Refusal> {
        match places.auth.get("token") {
            None | Some(Value::Null) => {}
            Some(Value::String(token)) => return Ok(token.clone()),
            Some(_) => return Err(Refusal::TokenMalformed),
        }
        if let Some(header) = places.headers.get(AUTHORIZATION) {
            let text = header.to_str().map_err(|_| Refusal::TokenMalformed)?;
            let token = text
                .split_once(' ')
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| token.trim());
            return token.map(str::to_owned).ok_or(Refusal::TokenMalformed);
        }
        if self.config.query_token
            && let Some((_, token)) = crate::query::pairs(places.query).find(|(name, _)| name == "token")
        {
            return Ok(token);
        }
        Err(Refusal::TokenMissing)
    }
}

impl From<Refusal> for Unverified<'_> {
    fn from(refusal: Refusal) -> Self {
        Unverified::Refused(refusal)
    }
}
