//! Decisions in words: that of the policy in force, and that of the one that is tried out beside it.

use std::{fmt, time::SystemTime};

use serde::Serialize;

use super::{InForce, Rules};
use crate::{
    auth::Claims,
    policy::{Asked, Explanation},
    refusal::Refusal,
};

/// Whose question it is.
#[derive(Debug, Clone)]
pub enum Asker {
    /// Somebody with a token, and what came of verifying it.
    Token(Result<Claims, Refusal>),
    /// Somebody who would have a token with these claims.
    Claims(Claims),
}

/// What is decided, and what the other policy would decide.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// Whether the claims are those of a token that was verified.
    pub verified: bool,
    /// What is decided.
    #[serde(flatten)]
    pub decision: Explanation,
    /// What the shadow policy would decide, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Explanation>,
}

impl Rules {
    /// Decides as for a client, and says how. Nothing of it is counted.
    pub fn explain(&self, asker: &Asker, asked: Asked<'_>, now: SystemTime) -> Explained {
        self.current.load().explain(asker, asked, now)
    }
}

impl InForce {
    /// As [`Rules::explain`]. A token that was refused is explained with its code, and no policy is asked.
    pub fn explain(&self, asker: &Asker, asked: Asked<'_>, now: SystemTime) -> Explained {
        let (claims, verified) = match asker {
            Asker::Token(claims) => (claims.as_ref(), claims.is_ok()),
            Asker::Claims(claims) => (Ok(claims), false),
        };
        match claims {
            Ok(claims) => Explained {
                verified,
                decision: self.policy.explain(claims, asked, now),
                shadow: self.shadow.as_ref().map(|s| s.explain(claims, asked, now)),
            },
            Err(refusal) => Explained {
                verified,
                decision: Explanation::refused(*refusal).about(asked.event.map(|(event, _)| event)),
                shadow: None,
            },
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.decision)?;
        let Some(shadow) = &self.shadow else { return Ok(()) };
        write!(f, "shadow: {}", shadow.outcome())?;
        if shadow.rooms != self.decision.rooms && !shadow.rooms.is_empty() {
            write!(f, ": {}", shadow.rooms.join(", "))?;
        }
        writeln!(f)
    }
}
