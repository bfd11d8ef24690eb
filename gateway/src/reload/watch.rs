//! When the content of watched files is another one, and finished. Pure: it is told what was seen, and when.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::settings::Fingerprint;

/// How long a file may be away before that is an error. Tools that replace a file may take it away first.
const AWAY: Duration = Duration::from_secs(10);

/// The files at one moment; `None` = it cannot be read.
pub(super) type Look = BTreeMap<PathBuf, Option<Fingerprint>>;

/// What is known of the files.
#[derive(Debug)]
pub(super) struct Watch {
    /// What was dealt with, whether it was good or not.
    known: Look,
    /// What was seen last, if it is something else.
    candidate: Option<Look>,
    away_since: Option<Instant>,
}

impl Watch {
    /// Begins with what was loaded.
    pub(super) fn new(known: Look) -> Watch {
        Watch {
            known,
            candidate: None,
            away_since: None,
        }
    }

    /// The files to look at.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let look = self.candidate.as_ref().unwrap_or(&self.known);
        look.keys().cloned().collect()
    }

    /// Takes note of what was seen. Answers whether it is to be loaded: it is something else, and the same in two looks.
    pub(super) fn look(&mut self, seen: Look) -> bool {
        if seen == self.known {
            self.candidate = None;
            self.away_since = None;
            return false;
        }
        let is_finished = self.candidate.as_ref() == Some(&seen);
        self.candidate = Some(seen);
        is_finished
    }

    /// Whether what was loaded then may be dealt with. If not, it is to be thrown away: a file was written between the
    /// looks and the load, or a file is named that was not looked at before, or one is away that may come back.
    pub(super) fn is_finished(&mut self, loaded: &Look, now: Instant) -> bool {
        if self.candidate.as_ref() != Some(loaded) {
            self.candidate = Some(loaded.clone());
            return false;
        }
        // One that is named for the first time and is not there is a mistake, which need not be waited for.
        let is_away = |(path, seen): (&PathBuf, &Option<Fingerprint>)| {
            seen.is_none() && matches!(self.known.get(path), Some(Some(_)))
        };
        if !loaded.iter().any(is_away) {
            return true;
        }
        let since = *self.away_since.get_or_insert(now);
        now.saturating_duration_since(since) >= AWAY
    }

    /// This was dealt with.
    pub(super) fn settle(&mut self, loaded: Look) {
        *self = Watch::new(loaded);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
