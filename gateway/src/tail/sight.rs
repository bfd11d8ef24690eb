//! What there is to see, and the line that is made of it. Pure.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adapter_redis::{Census, Journey, Passage, Publication, RoomName};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::engine::SocketId;

/// The longest payload, in bytes, that is shown whole.
pub const MAX_DATA: usize = 2048;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// This node published something, or failed to.
    Publish,
    /// A publication was given to the sockets of this node.
    Delivery,
    /// A client's event went to others.
    Relay,
    /// A client's event is on its way to the backend.
    Forward,
    /// What became of it.
    Forwarded,
    /// A client's event was answered by this node itself.
    Reply,
    /// A client entered a room.
    Subscribe,
    /// A client left a room.
    Leave,
    /// A client was told no.
    Refusal,
    /// A client connected.
    Connect,
    /// A client went.
    Disconnect,
    /// Something goes no further.
    #[default]
    Drop,
    /// Events may have been lost.
    Gap,
}

/// Something to see, borrowed from where it happens.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sight<'a> {
    /// What happens.
    pub kind: Kind,
    /// By which way it came: `client` for what clients send, else as in `roomcast_publish_total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    /// The node that published it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'a str>,
    /// What the lines of one publication have in common, on all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publication: Option<String>,
    /// Of a publication to several rooms: what it is called in each of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<String>,
    /// The rooms that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<&'a str>,
    /// The event's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'a str>,
    /// What the others hear, where that has another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emit: Option<&'a str>,
    /// Whose doing it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The user's socket.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub session: Option<SocketId>,
    /// Where it is forwarded to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
    /// What became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'a str>,
    /// Why: the code of a refusal or of an error, or the label of a metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// For how many sockets it was queued, or was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u64>,
    /// Bytes of what could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// From its entry until the bus had taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_ms: Option<f64>,
    /// To how many subscribers the bus passed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<u64>,
    /// What the nodes that have it say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Hop<'a>>,
    /// Whether all that were asked have said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// From its entry into the cluster until it was taken up here. The clocks of two machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_entry_ms: Option<f64>,
    /// From its place in the bus until it was taken up here. The clocks of two machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_bus_ms: Option<f64>,
    /// How long this part of the way took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// When it happened; now, where nothing else is said.
    #[serde(skip)]
    pub at: Option<SystemTime>,
    /// The arguments: JSON texts with commas between them. Shown to those alone who may see payloads.
    #[serde(skip)]
    pub data: Option<Cow<'a, [u8]>>,
    /// To whom it goes.
    #[serde(skip)]
    pub audience: Option<Audience<'a>>,
    /// It is about every room.
    #[serde(skip)]
    pub is_everywhere: bool,
}

/// What one node did with a publication.
#[derive(Debug, Clone, Serialize)]
pub struct Hop<'a> {
    /// The node.
    pub node: &'a str,
    /// For how many of its sockets it was queued.
    pub sockets: u64,
}

/// Whom a publication is for.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'a> {
    /// Who is in one of these rooms…
    pub rooms: &'a [RoomName],
    /// …and is none of these, nor in one of them.
    pub except: &'a [String],
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    node: &'a str,
    #[serde(flatten)]
    sight: &'a Sight<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_cut: Option<String>,
}

impl<'a> Sight<'a> {
    /// What the cluster shows.
    pub(super) fn of(passage: &'a Passage<'a>) -> Sight<'a> {
        match passage {
            Passage::Published {
                source,
                publication,
                journey,
            } => Sight {
                source: Some(source),
                ..published(publication, journey)
            },
            Passage::Delivered {
                way,
                publication,
                arrived,
                took,
                sockets,
            } => {
                let from = way.from.map(|node| node.as_str());
                let entered = from.is_some() || publication.stamp.is_some();
                Sight {
                    kind: Kind::Delivery,
                    source: Some(way.source),
                    from,
                    sockets: sockets.map(|sockets| sockets as u64),
                    since_entry_ms: entered.then(|| {
                        let entry = Duration::from_millis(publication.published_at_ms);
                        ms_between(entry, *arrived)
                    }),
                    since_bus_ms: publication
                        .stamp
                        .map(|stamp| ms_between(Duration::from_micros(stamp), *arrived)),
                    took_ms: sockets.map(|_| ms(*took)),
                    at: Some(*arrived),
                    ..about(publication, from)
                }
            }
            Passage::Lost {
                way,
                reason,
                publication,
                room,
                bytes,
            } => {
                let from = way.from.map(|node| node.as_str());
                let known = publication.map(|publication| about(publication, from));
                Sight {
                    kind: Kind::Drop,
                    source: Some(way.source),
                    from,
                    reason: Some(reason),
                    bytes: *bytes,
                    ..known.unwrap_or_else(|| Sight {
                        rooms: room.iter().map(|room| room.as_str()).collect(),
                        ..Sight::default()
                    })
                }
            }
        }
    }

    /// A publication that some sockets of this node did not get.
    pub(crate) fn lost(publication: &'a Publication, reason: &'static str, sockets: usize) -> Sight<'a> {
        Sight {
            kind: Kind::Drop,
            reason: Some(reason),
            sockets: (sockets > 0).then_some(sockets as u64),
            ..about(publication, None)
        }
    }

    /// The line, with its end; the payload only `with_data`.
    pub(super) fn line(&self, node: &str, now: SystemTime, with_data: bool) -> Bytes {
        let (data, data_cut) = match self.data.as_deref().filter(|_| with_data) {
            Some(data) => shown(data),
            None => (None, None),
        };
        line(&Line {
            at: time(self.at.unwrap_or(now)),
            node,
            sight: self,
            data,
            data_cut,
        })
    }
}

/// What is known of a publication wherever it is seen.
pub(super) fn about<'a>(publication: &'a Publication, from: Option<&'a str>) -> Sight<'a> {
    let identity = match (publication.stamp, from) {
        (Some(stamp), _) => Some(stamp.to_string()),
        (None, Some(from)) => {
            let (at, event) = (publication.published_at_ms, publication.event.as_str());
            Some(identity(from, at, event, publication.rooms.first()))
        }
        (None, None) => None,
    };
    Sight {
        publication: identity,
        rooms: publication.rooms.iter().map(RoomName::as_str).collect(),
        event: Some(publication.event.as_str()),
        data: Some(Cow::Borrowed(publication.args.json())),
        audience: Some(Audience {
            rooms: &publication.rooms,
            except: &publication.except,
        }),
        ..Sight::default()
    }
}

/// What a publication without a place of its own is called: by whom it was published, when, and what.
pub(crate) fn identity(node: &str, at_ms: u64, event: &str, room: Option<&RoomName>) -> String {
    let room = room.map_or("", RoomName::as_str);
    let what = Census::hash(event).rotate_left(5) ^ Census::hash(room);
    format!("{node}/{at_ms}/{:08x}", what & 0xffff_ffff)
}

fn published<'a>(publication: &'a Publication, journey: &'a Journey) -> Sight<'a> {
    let names: Vec<String> = journey.stamps.iter().map(u64::to_string).collect();
    let sight = about(publication, None);
    Sight {
        kind: Kind::Publish,
        publication: names.last().cloned(),
        publications: if names.len() > 1 { names } else { Vec::new() },
        outcome: Some(journey.outcome),
        sockets: (!journey.nodes.is_empty()).then(|| journey.nodes.iter().map(|(_, n)| n).sum()),
        bus_ms: journey.bus.map(ms),
        subscribers: journey.bus.map(|_| journey.subscribers),
        nodes: journey
            .nodes
            .iter()
            .map(|(node, sockets)| Hop {
                node: node.as_str(),
                sockets: *sockets,
            })
            .collect(),
        complete: Some(journey.is_complete),
        took_ms: Some(ms(journey.took)),
        at: Some(journey.began),
        ..sight
    }
}

/// The payload as a list, or as much of its text as is shown.
fn shown(data: &[u8]) -> (Option<Box<RawValue>>, Option<String>) {
    let text = String::from_utf8_lossy(data.get(..MAX_DATA).unwrap_or(data));
    if data.len() <= MAX_DATA {
        // Ends of lines stand between the parts of JSON alone, never in a text: here each line is one of ours.
        let list = format!("[{}]", text.replace(['\n', '\r'], " "));
        if let Ok(list) = RawValue::from_string(list) {
            return (Some(list), None);
        }
    }
    (None, Some(text.into_owned()))
}

/// A line of the stream.
pub(super) fn line(value: &impl Serialize) -> Bytes {
    // Texts and numbers can be written.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

pub(super) fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_micros(at).to_string()
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// Clocks of two machines differ: what comes from the future took no time.
fn ms_between(since: Duration, until: SystemTime) -> f64 {
    let until = until.duration_since(UNIX_EPOCH).unwrap_or_default();
    ms(until.saturating_sub(since))
}

fn text<S: Serializer>(session: &Option<SocketId>, serializer: S) -> Result<S::Ok, S::Error> {
    match session {
        Some(session) => serializer.collect_str(session),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
#[path = "sight_tests.rs"]
mod tests;
