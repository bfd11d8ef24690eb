//! `chat`: clients send messages to each other, by turns in a private channel that their tokens name and in a public one
//! that they ask for. There is no backend. With the policy `chat.toml`.
//!
//! Answers: how late does a message reach the others?

use super::{Load, fields, first};
use crate::plan::{Act, Plan, RoomBook, Saying, Seat, Speaker, Talk, Traffic};
use crate::schedule::Schedule;
use crate::tokens::Profile;

/// The policy's `rate`: a client that says more is refused.
const MESSAGES_OF_ONE_CLIENT: f64 = 5.0;
/// The policy's `allow`: a message that is longer is refused.
const LONGEST: usize = 2000;

pub(super) fn plan(profiles: &[Profile], load: &Load) -> Result<Plan, String> {
    if load.rate > MESSAGES_OF_ONE_CLIENT * profiles.len() as f64 {
        return Err(format!(
            "--rate {} is more than {MESSAGES_OF_ONE_CLIENT} messages a second of each of {} users, which is what the \
             policy allows: take more users, or a lower rate",
            load.rate,
            profiles.len()
        ));
    }
    if load.payload > LONGEST {
        return Err(format!(
            "--payload {}: the policy allows {LONGEST} characters",
            load.payload
        ));
    }
    let mut plan = Plan {
        labels: vec!["private channel", "public channel"],
        ..Plan::default()
    };
    let (mut book, mut speakers) = (RoomBook::default(), Vec::new());
    for (number, profile) in (0..).zip(profiles) {
        let private = first(profile, "channels")?;
        let public = format!("public-{private}");
        let seat = Seat {
            subscriptions: vec![("join", public.clone())],
            slow: false,
        };
        let mut saying = |label, channel: String| Saying {
            label,
            event: "message",
            room: book.enter(format!("chat:{channel}"), &seat),
            fields: fields([("channel", channel.into())]),
            mark: "text",
            padded: true,
            stop: None,
        };
        speakers.push(Speaker {
            seat: number,
            sayings: vec![saying(0, private), saying(1, public)],
        });
        plan.seats.push(seat);
    }
    plan.rooms = book.into_rooms();
    plan.acts.push(Act::Traffic(Traffic {
        talk: Some(Talk {
            schedule: Schedule {
                rate: load.rate,
                duration: load.duration,
            },
            speakers,
        }),
        ..Traffic::default()
    }));
    Ok(plan)
}
