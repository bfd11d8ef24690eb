//! `connect_storm`: clients connect at a steady rate, whether or not those before them are in. Afterwards a few
//! publications to all of them show that "connected" means "in its rooms".
//!
//! Answers: how long does a connect take while many want in?

use std::time::Duration;

use super::{Load, publish, seats, tenants};
use crate::plan::Plan;
use crate::tokens::Profile;

/// Publications to each room at the end.
const ROUNDS: f64 = 3.0;

pub(super) fn plan(profiles: &[Profile], load: &Load) -> Result<Plan, String> {
    let seats = seats(profiles);
    let book = tenants(profiles, &seats)?;
    let rooms = book.of("tenant:");
    let rate = rooms.len() as f64 * ROUNDS;
    Ok(Plan {
        labels: vec!["after the storm"],
        rooms: book.into_rooms(),
        seats,
        arrival: Some(load.rate),
        acts: vec![publish(
            0,
            "system:notification",
            rooms,
            rate,
            Duration::from_secs(1),
        )],
    })
}
