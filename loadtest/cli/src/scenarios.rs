//! The scenarios: each makes a plan of the clients it is given.

mod chat;
mod connect_storm;
mod crm_day;
mod reconnect_wave;
mod slow_consumer;
mod steady_fanout;
#[cfg(test)]
mod tests;
mod user_updates;

use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::plan::{Act, Plan, Publications, RoomBook, Seat, Target, Traffic};
use crate::schedule::Schedule;
use crate::tokens::Profile;

/// Each is explained where its plan is made, and in README.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// One publication reaches everybody in a large room, at a steady rate
    SteadyFanout,
    /// Each publication is for one user
    UserUpdates,
    /// Clients send messages to each other (policy chat.toml)
    Chat,
    /// Clients connect at a steady rate, whether or not the ones before are in
    ConnectStorm,
    /// All connections break at once, and all clients come back
    ReconnectWave,
    /// Some clients read slowly; what the others get must not be late
    SlowConsumer,
    /// The events of a CRM around WhatsApp accounts, in realistic proportion
    CrmDay,
}

/// How much of it, for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Events in a second; connects in a second for the storm.
    pub(crate) rate: f64,
    pub(crate) duration: Duration,
    /// Bytes of a payload.
    pub(crate) payload: usize,
    /// How many of 100 clients read slowly.
    pub(crate) slow_percent: u32,
    /// Within what time the clients of a wave come back.
    pub(crate) spread: Duration,
}

impl Scenario {
    /// Its name, as on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// Events, or connects, in a second, where nothing else is said.
    pub(crate) fn rate(self) -> f64 {
        match self {
            Self::SteadyFanout | Self::ReconnectWave => 10.0,
            Self::Chat | Self::SlowConsumer => 20.0,
            Self::UserUpdates | Self::ConnectStorm | Self::CrmDay => 100.0,
        }
    }

    /// What will happen; or why these clients cannot do that.
    pub(crate) fn plan(self, profiles: &[Profile], load: &Load) -> Result<Plan, String> {
        match self {
            Self::SteadyFanout => steady_fanout::plan(profiles, load),
            Self::UserUpdates => user_updates::plan(profiles, load),
            Self::Chat => chat::plan(profiles, load),
            Self::ConnectStorm => connect_storm::plan(profiles, load),
            Self::ReconnectWave => reconnect_wave::plan(profiles, load),
            Self::SlowConsumer => slow_consumer::plan(profiles, load),
            Self::CrmDay => crm_day::plan(profiles, load),
        }
    }
}

/// What a scenario cannot do without.
fn claim(profile: &Profile, name: &str) -> Result<String, String> {
    profile
        .text(name)
        .ok_or_else(|| format!("this scenario needs tokens with the claim `{name}`"))
}

/// The same of a list.
fn first(profile: &Profile, name: &str) -> Result<String, String> {
    profile.first(name).ok_or_else(|| {
        format!("this scenario needs tokens with the claim `{name}`, a list of texts that is not empty")
    })
}

/// Everybody's seat, and the room of everybody's tenant.
fn tenants(profiles: &[Profile], seats: &[Seat]) -> Result<RoomBook, String> {
    let mut book = RoomBook::default();
    for (profile, seat) in profiles.iter().zip(seats) {
        book.enter(format!("tenant:{}", claim(profile, "tenant_id")?), seat);
    }
    Ok(book)
}

fn seats(profiles: &[Profile]) -> Vec<Seat> {
    vec![Seat::default(); profiles.len()]
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// One kind of publication to some rooms, at a steady rate.
fn publish(label: u8, event: &'static str, rooms: Vec<u32>, rate: f64, duration: Duration) -> Act {
    Act::Traffic(Traffic {
        publications: Some(Publications {
            schedule: Schedule { rate, duration },
            targets: vec![Target {
                label,
                event,
                weight: 1,
                rooms,
                fields: Map::new(),
            }],
        }),
        ..Traffic::default()
    })
}
