//! `crm_day`: the events of a CRM around WhatsApp accounts, in the proportion of an ordinary day: mostly what becomes of
//! messages, now and then a campaign, and people who type. With the policy `whatsapp-crm.toml`.
//!
//! Answers: is a node good for such a customer?

use std::time::Duration;

use serde_json::json;

use super::{Load, claim, fields, first};
use crate::plan::{Act, Plan, Publications, RoomBook, Saying, Seat, Speaker, Talk, Target, Traffic};
use crate::schedule::Schedule;
use crate::tokens::Profile;

/// Of 100 publications: the report's row, the event, how many, and the kind of room.
const DAY: [(u8, &str, u32, &str); 22] = [
    (MESSAGES, "message:status:update", 20, "whatsapp:"),
    (MESSAGES, "message:received", 12, "whatsapp:"),
    (MESSAGES, "message:delivered", 10, "whatsapp:"),
    (MESSAGES, "message:sent", 8, "whatsapp:"),
    (MESSAGES, "message:read", 6, "whatsapp:"),
    (MESSAGES, "message:failed", 1, "whatsapp:"),
    (FEED, "new_message", 8, "tenant:"),
    (FEED, "conversation_update", 6, "tenant:"),
    (FEED, "status_update", 3, "tenant:"),
    (FEED, "metrics_update", 3, "tenant:"),
    (CAMPAIGNS, "campaign:progress", 8, "campaign:"),
    (CAMPAIGNS, "campaign:started", 1, "campaign:"),
    (CAMPAIGNS, "campaign:completed", 1, "campaign:"),
    (CONTACTS, "contact:updated", 3, "contact:"),
    (CONTACTS, "contact:created", 1, "contact:"),
    (USERS, "flow:execution:started", 2, "user:"),
    (USERS, "flow:execution:completed", 2, "user:"),
    (USERS, "whatsapp:connection:status", 1, "account:"),
    (USERS, "whatsapp:ready", 1, "account:"),
    (USERS, "phone_status_changed", 1, "account:"),
    (SYSTEM, "system:notification", 1, "tenant:"),
    (SYSTEM, "team:activity", 1, "tenant:"),
];

const LABELS: [&str; 7] = [
    "messages",
    "tenant feed",
    "campaigns",
    "contacts",
    "users and accounts",
    "system and team",
    "typing",
];
const MESSAGES: u8 = 0;
const FEED: u8 = 1;
const CAMPAIGNS: u8 = 2;
const CONTACTS: u8 = 3;
const USERS: u8 = 4;
const SYSTEM: u8 = 5;
const TYPING: u8 = 6;

/// Beside 100 publications so many clients begin to type.
const TYPING_PERCENT: f64 = 10.0;
/// And stop after that time, or earlier when it is their turn again soon.
const TYPED_FOR: Duration = Duration::from_secs(1);

pub(super) fn plan(profiles: &[Profile], load: &Load) -> Result<Plan, String> {
    let typing = Schedule {
        rate: load.rate * TYPING_PERCENT / 100.0,
        duration: load.duration,
    };
    let own_turn = Duration::from_secs_f64(profiles.len() as f64 / typing.rate);
    let (mut book, mut seats, mut speakers) = (RoomBook::default(), Vec::new(), Vec::new());
    let (mut users, mut accounts) = (Vec::new(), Vec::new());
    for (number, profile) in (0..).zip(profiles) {
        let list = |name| first(profile, name);
        let (whatsapp, campaign, contact) =
            (list("whatsapp_accounts")?, list("campaigns")?, list("contacts")?);
        let seat = Seat {
            subscriptions: vec![
                ("subscribe:whatsapp", whatsapp.clone()),
                ("subscribe:campaign", campaign.clone()),
                ("subscribe:contact", contact.clone()),
            ],
            slow: false,
        };
        users.push(book.enter(format!("user:{}", claim(profile, "sub")?), &seat));
        accounts.push(book.enter(format!("user:{}", claim(profile, "account_id")?), &seat));
        book.enter(format!("tenant:{}", claim(profile, "tenant_id")?), &seat);
        book.enter(format!("whatsapp:{whatsapp}"), &seat);
        book.enter(format!("campaign:{campaign}"), &seat);
        speakers.push(Speaker {
            seat: number,
            sayings: vec![Saying {
                label: TYPING,
                event: "typing:start",
                room: book.enter(format!("contact:{contact}"), &seat),
                fields: fields([("contactId", contact.into())]),
                // The policy hands on this one as the client wrote it.
                mark: "whatsappAccountId",
                padded: false,
                stop: Some(("typing:stop", TYPED_FOR.min(own_turn / 2))),
            }],
        });
        seats.push(seat);
    }
    for rooms in [&mut users, &mut accounts] {
        rooms.sort_unstable();
        rooms.dedup();
    }
    let targets = DAY.iter().map(|&(label, event, weight, kind)| Target {
        label,
        event,
        weight,
        rooms: match kind {
            "user:" => users.clone(),
            "account:" => accounts.clone(),
            prefix => book.of(prefix),
        },
        fields: fields([("type", json!(event)), ("status", json!("ACTIVE"))]),
    });
    let publications = Publications {
        schedule: Schedule {
            rate: load.rate,
            duration: load.duration,
        },
        targets: targets.collect(),
    };
    Ok(Plan {
        labels: LABELS.to_vec(),
        seats,
        arrival: None,
        acts: vec![Act::Traffic(Traffic {
            publications: Some(publications),
            talk: Some(Talk {
                schedule: typing,
                speakers,
            }),
            without_slow: false,
        })],
        rooms: book.into_rooms(),
    })
}
