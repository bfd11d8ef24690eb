//! What a node tells the others that it can take over.

use std::time::Instant;

use adapter_redis::Admission;

use super::Drain;
use crate::limits::Admissions;

/// It goes out with each heartbeat. Clones are the same.
#[derive(Debug, Clone)]
pub struct Offer {
    drain: Drain,
    admissions: Admissions,
}

impl Offer {
    /// What is left over of what the node may admit; nothing from the moment on that it is being stopped.
    pub fn new(drain: Drain, admissions: Admissions) -> Offer {
        Offer { drain, admissions }
    }

    /// The offer of this moment.
    pub fn admission(&self, now: Instant) -> Admission {
        let is_draining = self.drain.has_begun();
        Admission {
            is_draining,
            per_second: if is_draining {
                0
            } else {
                self.admissions.spare(now)
            },
        }
    }
}
