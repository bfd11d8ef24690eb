//! `reconnect_wave`: publications to everybody for half of the time; then all connections break at once, and the clients
//! come back one after the other within `--spread`, with a new handshake each; then publications again.
//!
//! Answers: how long does coming back take, and is everybody in its rooms afterwards? What is published while they are
//! away is no part of it.

use super::{Load, publish, seats, tenants};
use crate::plan::{Act, Plan};
use crate::tokens::Profile;

pub(super) fn plan(profiles: &[Profile], load: &Load) -> Result<Plan, String> {
    let seats = seats(profiles);
    let book = tenants(profiles, &seats)?;
    let rooms = book.of("tenant:");
    let half = load.duration / 2;
    let before = publish(0, "system:notification", rooms.clone(), load.rate, half);
    let after = publish(1, "system:notification", rooms, load.rate, half);
    Ok(Plan {
        labels: vec!["before the wave", "after the wave"],
        rooms: book.into_rooms(),
        seats,
        arrival: None,
        acts: vec![before, Act::Wave(load.spread), after],
    })
}
