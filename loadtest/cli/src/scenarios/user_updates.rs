//! `user_updates`: the users take turns, and each publication is for one of them.
//!
//! Answers: what does a publication cost that concerns next to nobody?

use super::{Load, claim, publish, seats};
use crate::plan::{Plan, RoomBook};
use crate::tokens::Profile;

pub(super) fn plan(profiles: &[Profile], load: &Load) -> Result<Plan, String> {
    let seats = seats(profiles);
    let mut book = RoomBook::default();
    for (profile, seat) in profiles.iter().zip(&seats) {
        book.enter(format!("user:{}", claim(profile, "sub")?), seat);
    }
    let rooms = book.of("user:");
    Ok(Plan {
        labels: vec!["user updates"],
        rooms: book.into_rooms(),
        seats,
        arrival: None,
        acts: vec![publish(
            0,
            "whatsapp:connection:status",
            rooms,
            load.rate,
            load.duration,
        )],
    })
}
