//! How often it is said that something cannot be read.
//!
//! Pure: the time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

/// The least time between two complaints: whoever sends one sends thousands.
const COMPLAINT_EVERY: Duration = Duration::from_secs(1);

/// Says when to complain: at most once in [`COMPLAINT_EVERY`].
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<Instant>,
    silent: u64,
}

impl Complaints {
    /// Another reason to complain. If it is time for it: how many there were since the last complaint, this one included.
    pub(super) fn another(&mut self, now: Instant) -> Option<u64> {
        self.silent += 1;
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < COMPLAINT_EVERY)
        {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_rare_and_say_how_many_they_stand_for() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        assert_eq!(complaints.another(start), Some(1));
        assert_eq!(complaints.another(start), None);
        assert_eq!(
            complaints.another(start + COMPLAINT_EVERY - Duration::from_millis(1)),
            None
        );
        assert_eq!(complaints.another(start + COMPLAINT_EVERY), Some(3));
    }
}
