//! `steady_fanout`: the rooms of the tenants take turns, and each publication reaches all of one tenant's clients.
//!
//! Answers: how late is the last one of a large room, and how many deliveries a second are there room for?

use super::{Load, publish, seats, tenants};
use crate::plan::Plan;
use crate::tokens::Profile;

pub(super) fn plan(profiles: &[Profile], load: &Load) -> Result<Plan, String> {
    let seats = seats(profiles);
    let book = tenants(profiles, &seats)?;
    let rooms = book.of("tenant:");
    Ok(Plan {
        labels: vec!["fan-out"],
        rooms: book.into_rooms(),
        seats,
        arrival: None,
        acts: vec![publish(0, "system:notification", rooms, load.rate, load.duration)],
    })
}
