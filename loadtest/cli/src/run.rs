//! One run: what all users of it share, and what each of them does.

mod conductor;
mod participant;

use std::time::Duration;

use crate::backend::Backend;
use crate::client::Door;
use crate::measure::Recorder;
use crate::plan::Plan;
use crate::stage::Stage;
use crate::tokens::Profile;

pub(crate) use conductor::conduct;
pub(crate) use participant::take_part;

/// Everything that is decided before the run, and the two places that change during it.
#[derive(Debug)]
pub(crate) struct Run {
    /// Marks carry it.
    pub(crate) id: u32,
    pub(crate) plan: Plan,
    /// In the order of the plan's seats.
    pub(crate) profiles: Vec<Profile>,
    pub(crate) doors: Vec<Door>,
    /// None when the plan has nothing to publish.
    pub(crate) backend: Option<Backend>,
    pub(crate) payload: usize,
    pub(crate) polling_percent: u32,
    pub(crate) grace: Duration,
    pub(crate) recorder: Recorder,
    pub(crate) stage: Stage,
}

impl Run {
    /// Spread evenly over all clients.
    pub(crate) fn is_polling(&self, seat: usize) -> bool {
        let until = |seat: usize| seat as u64 * u64::from(self.polling_percent) / 100;
        until(seat + 1) > until(seat)
    }

    pub(crate) fn door(&self, seat: usize) -> Option<&Door> {
        self.doors.get(seat.checked_rem(self.doors.len())?)
    }

    /// Somebody has pressed Ctrl-C: goose listens for it.
    pub(crate) fn is_interrupted(&self) -> bool {
        goose::is_killswitch_triggered()
    }
}
