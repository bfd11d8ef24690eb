//! How fast a client may send what rules of the policy bound.

use std::time::Instant;

use crate::{
    limits::{Bucket, Rate},
    refusal::Refusal,
};

/// One bucket for each event with a bound that the client has sent.
#[derive(Debug, Default)]
pub(super) struct Rates(Vec<(Box<str>, Bucket)>);

impl Rates {
    /// Takes one of those that a rule allows in a minute; without a bound there is nothing to take.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`].
    pub(super) fn take(&mut self, event: &str, per_minute: Option<u32>, now: Instant) -> Result<(), Refusal> {
        let Some(rate) = per_minute.map(Rate::per_minute) else {
            return Ok(());
        };
        let bucket = match self.0.iter().position(|(name, _)| **name == *event) {
            Some(index) => self.0.get_mut(index),
            None => {
                self.0.push((event.into(), Bucket::full(rate, now)));
                self.0.last_mut()
            }
        };
        let taken = bucket.map_or(Ok(()), |(_, bucket)| bucket.take(rate, now));
        taken.map_err(|_| Refusal::RateLimited)
    }
}
