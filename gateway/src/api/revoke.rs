//! Revoking tokens, on all nodes, until they expire.

use std::time::{SystemTime, UNIX_EPOCH};

use adapter_redis::{MAX_NAME_BYTES, Tokens};
use axum::{
    Json,
    extract::{Request, State},
};
use serde::{Deserialize, Deserializer};
use serde_json::Number;
use utoipa::ToSchema;

use super::{
    Api, Problem, code,
    document::About,
    order::{self, Obeyed, is_name},
};

/// How far `issued_before` may be ahead of the clock: as far as clocks may differ. A time that is still to come would
/// keep the user out until then.
const AHEAD: u64 = 5;

/// Which tokens are revoked. Exactly one of `jti` and `user` says so.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    /// The token with this id.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 256)]
    jti: Option<String>,
    /// When that token expires: its `exp`, in seconds since 1970. So long it is refused; without it, for
    /// `auth.revocations.keep`.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, value_type = Option<f64>, minimum = 0)]
    expires_at: Option<Number>,
    /// The tokens of this user.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 256)]
    user: Option<String>,
    /// Those of them that were issued before this time, in seconds since 1970, and those without `iat`. Without it, all
    /// that were issued until now, this second included.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, value_type = Option<f64>, minimum = 0)]
    issued_before: Option<Number>,
}

/// `POST /api/v1/revoke`
pub(super) async fn revoke(State(api): State<Api>, request: Request) -> Result<Json<Obeyed>, Problem> {
    let body: Revoke = order::read(request).await?;
    let (tokens, expires_at) = body.parts(SystemTime::now())?;
    match api.revoker.revoke(tokens, expires_at).await {
        Ok(answers) => Ok(Json(Obeyed::from(answers))),
        Err(full) => Err(Problem::new(&code::REVOCATIONS_FULL, full.to_string())),
    }
}

impl Revoke {
    fn parts(self, now: SystemTime) -> Result<(Tokens, Option<u64>), Problem> {
        let bad = |detail: &str| Err(Problem::new(&code::BAD_REVOCATION, detail));
        match (self.jti, self.user) {
            (Some(_), None) if self.issued_before.is_some() => {
                bad("`issued_before` belongs to `user`: a `jti` is one token, whenever it was issued")
            }
            (None, Some(_)) if self.expires_at.is_some() => bad(
                "`expires_at` belongs to `jti`: the tokens of a user have many ends (see auth.revocations.keep)",
            ),
            (Some(jti), None) if !(1..=MAX_NAME_BYTES).contains(&jti.len()) => bad(&format!(
                "`jti` must be 1 to {MAX_NAME_BYTES} bytes: of a token with a longer one, revoke the user's"
            )),
            (Some(jti), None) => {
                let expires_at = self.expires_at.map(|time| seconds("expires_at", &time));
                Ok((Tokens::Jti { jti }, expires_at.transpose()?))
            }
            (None, Some(user)) if !is_name(&user) => bad(&format!(
                "`user` must be 1 to {MAX_NAME_BYTES} bytes without control characters"
            )),
            (None, Some(user)) => {
                let issued_before = issued_before(self.issued_before.as_ref(), now)?;
                Ok((Tokens::User { user, issued_before }, None))
            }
            (None, None) => bad("nothing is named: set `jti`, or `user` and `issued_before`"),
            (Some(_), Some(_)) => bad("both `jti` and `user` are there: keep one"),
        }
    }
}

/// Times of tokens are whole seconds: what was issued in the second that has begun may be older than the time.
fn issued_before(time: Option<&Number>, now: SystemTime) -> Result<u64, Problem> {
    let now = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
        .ceil() as u64;
    let Some(time) = time else {
        return Ok(now);
    };
    let time = seconds("issued_before", time)?;
    if time > now.saturating_add(AHEAD) {
        let detail = format!(
            "`issued_before` is still to come, which would keep the user out until then: it is {time}, and the time \
             here is {now}, in seconds since 1970"
        );
        return Err(Problem::new(&code::BAD_TIME, detail));
    }
    Ok(time)
}

/// Rounded up: rather a token too many than one too few.
fn seconds(field: &str, time: &Number) -> Result<u64, Problem> {
    let seconds = time.as_u64().or_else(|| {
        let seconds = time.as_f64()?.ceil();
        (seconds >= 0.0).then_some(seconds as u64)
    });
    seconds.ok_or_else(|| {
        let detail =
            format!("`{field}` must be a number of seconds since 1970, as `iat` and `exp` of tokens are");
        Problem::new(&code::BAD_TIME, detail)
    })
}

/// A field that is there has a value: `null` is not the same as leaving it out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

pub(super) fn about() -> About {
    About::new("revoke", "Revoke tokens")
        .text(
            "Who is connected with one is sent away on all nodes, and does not come back by itself; it is refused from \
             now on. A node that is cut off or starts later does the same as soon as it reaches Redis. Counted are the \
             sockets whose end has begun. `complete` is also false when Redis does not have it yet: the node remembers it \
             and writes it when it can. It may be repeated.",
        )
        .body::<Revoke>(r#"{"user":"42","issued_before":1785000000}"#)
        .answer(Obeyed::example())
        .code(&code::TOO_LARGE)
        .code(&code::BAD_ORDER)
        .code(&code::BAD_REVOCATION)
        .code(&code::BAD_TIME)
        .code(&code::REVOCATIONS_FULL)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parts(text: &str) -> Result<(Tokens, Option<u64>), String> {
        let body: Revoke = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let now = UNIX_EPOCH + Duration::from_millis(1_000_250);
        body.parts(now).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn what_is_revoked() {
        let jti = |jti: &str| Tokens::Jti { jti: jti.to_owned() };
        let user = |issued_before| Tokens::User {
            user: "é".to_owned(),
            issued_before,
        };
        for (text, expect) in [
            (r#"{"jti":"a\nb"}"#, (jti("a\nb"), None)),
            (r#"{"jti":"a","expires_at":2000}"#, (jti("a"), Some(2000))),
            (r#"{"jti":"a","expires_at":2000.1}"#, (jti("a"), Some(2001))),
            (r#"{"jti":"a","expires_at":1e300}"#, (jti("a"), Some(u64::MAX))),
            (r#"{"user":"é"}"#, (user(1001), None)),
            (r#"{"user":"é","issued_before":999}"#, (user(999), None)),
            (r#"{"user":"é","issued_before":999.01}"#, (user(1000), None)),
            (r#"{"user":"é","issued_before":0}"#, (user(0), None)),
            (r#"{"user":"é","issued_before":1006}"#, (user(1006), None)),
        ] {
            assert_eq!(parts(text), Ok(expect), "{text}");
        }
    }

    #[test]
    fn what_is_no_revocation() {
        let long = "x".repeat(257);
        let (long_jti, long_user) = (
            format!(r#"{{"jti":"{long}"}}"#),
            format!(r#"{{"user":"{long}"}}"#),
        );
        for (text, expect) in [
            ("{}", "nothing is named"),
            (r#"{"issued_before":1}"#, "nothing is named"),
            (r#"{"jti":"a","user":"b"}"#, "both `jti` and `user`"),
            (r#"{"jti":""}"#, "`jti` must be 1 to 256 bytes"),
            (&long_jti, "`jti` must be 1 to 256 bytes"),
            (&long_user, "`user` must be 1 to 256 bytes"),
            (r#"{"user":"a\nb"}"#, "without control characters"),
            (
                r#"{"jti":"a","issued_before":1}"#,
                "`issued_before` belongs to `user`",
            ),
            (r#"{"user":"a","expires_at":1}"#, "`expires_at` belongs to `jti`"),
            (r#"{"user":"a","issued_before":-1}"#, "seconds since 1970"),
            (r#"{"jti":"a","expires_at":-0.5e3}"#, "seconds since 1970"),
            (r#"{"user":"a","issued_before":1007}"#, "still to come"),
            (r#"{"user":"a","issued_before":1006.1}"#, "still to come"),
            (r#"{"user":"a","issued_before":"1000"}"#, "invalid type: string"),
            (r#"{"user":"a","issued_before":null}"#, "invalid type: null"),
            (r#"{"jti":null}"#, "invalid type: null"),
            (r#"{"jti":"a","jti":"b"}"#, "duplicate field"),
            (r#"{"session":"a"}"#, "unknown field `session`"),
        ] {
            let refused = parts(text).unwrap_err();
            assert!(refused.contains(expect), "{text}: {refused}");
        }
    }
}
