//! `slow_consumer`: publications to everybody. In the first half of the time all clients read as fast as they can; in the
//! second some read one frame a second, through a small buffer. What these get then is counted and not due.
//!
//! Answers: does one who reads slowly delay the others? The report has the two halves side by side.

use super::{Load, publish, tenants};
use crate::plan::{Act, Plan, Seat};
use crate::tokens::Profile;

pub(super) fn plan(profiles: &[Profile], load: &Load) -> Result<Plan, String> {
    let users = profiles.len();
    // At least one, and at least one who is not.
    let slow = (users * load.slow_percent as usize / 100).clamp(1, users.saturating_sub(1).max(1));
    if users < 2 {
        return Err(
            "this scenario needs two users at least: one who reads slowly and one who does not".to_owned(),
        );
    }
    let seats: Vec<Seat> = (0..users)
        .map(|number| Seat {
            slow: number < slow,
            ..Seat::default()
        })
        .collect();
    let book = tenants(profiles, &seats)?;
    let rooms = book.of("tenant:");
    let half = load.duration / 2;
    let before = publish(0, "system:notification", rooms.clone(), load.rate, half);
    let mut after = publish(1, "system:notification", rooms, load.rate, half);
    if let Act::Traffic(traffic) = &mut after {
        traffic.without_slow = true;
    }
    Ok(Plan {
        labels: vec!["all read", "some read slowly"],
        rooms: book.into_rooms(),
        seats,
        arrival: None,
        acts: vec![before, Act::Slow, after],
    })
}
