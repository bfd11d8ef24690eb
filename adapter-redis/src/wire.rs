//! What nodes say to each other: compact binary frames.
//!
//! Pure. Decoding is total, allocates no more than a small multiple of what came in, and shares the payload of a
//! publication instead of reading it. The golden bytes are in `tests/vectors/`; a change of them needs a new
//! [`VERSION`], and then nodes of both versions run side by side during an upgrade.
//!
//! ```text
//! frame       = version:u8 kind:u8 sender:16 body
//! publication = flags:u8 published_at_ms:n [request:n] namespace:s event:s rooms:n s… except:n s… args:rest
//! heartbeat   = hello:u8       goodbye = (empty)          probe  = nonce:n
//! reached     = request:n sockets:n                       census question = request:n
//! census      = request:n connected:n users:n 8… rooms:n 8…
//! n = unsigned LEB128          s = length:n and that many bytes of UTF-8          8 = u64, little endian
//! ```
//! Bytes after the body of a kind are ignored, so that a later build may add fields.

use bytes::Bytes;

use crate::args::Args;
use crate::census::Census;
use crate::node::{NODE_ID_LEN, NodeId};
use crate::publication::Publication;
use crate::room::{EventName, RoomName};

mod reader;

use reader::Reader;

/// The version of the frames that this build writes, and the only one that it reads.
pub const VERSION: u8 = 1;

const PUBLICATION: u8 = 1;
const HEARTBEAT: u8 = 2;
const GOODBYE: u8 = 3;
const REACHED: u8 = 4;
const CENSUS_QUESTION: u8 = 5;
const CENSUS: u8 = 6;
const PROBE: u8 = 7;

const VOLATILE: u8 = 1;
const BINARY: u8 = 2;
const COUNTED: u8 = 4;

/// A frame and who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The node that sent the frame.
    pub sender: NodeId,
    /// What it says.
    pub frame: Frame,
}

/// What a node says to one other or to all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An event for the sockets of every node.
    Publication {
        /// Under which number the sender waits for [`Frame::Reached`]; `None` when nobody counts.
        request: Option<u64>,
        /// The event.
        publication: Publication,
    },
    /// The sender lives.
    Heartbeat {
        /// The sender asks for a heartbeat in return, because it does not know who else is there.
        hello: bool,
    },
    /// The sender leaves: nobody has to wait for it.
    Goodbye,
    /// The answer to a counted publication.
    Reached {
        /// The number from the publication.
        request: u64,
        /// How many sockets of the sender got the event.
        sockets: u64,
    },
    /// The sender wants to know who is connected.
    CensusQuestion {
        /// Under which number it waits for [`Frame::Census`].
        request: u64,
    },
    /// The answer to a census question: 8 bytes for each user and for each room.
    Census {
        /// The number from the question.
        request: u64,
        /// Who is connected to the sender.
        census: Census,
    },
    /// A bus sends this to itself to see that its link works.
    Probe {
        /// Which probe it is.
        nonce: u64,
    },
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A frame of another version than [`VERSION`].
    #[error("version {0} is not known")]
    Version(u8),
    /// A frame of a kind that this build does not know.
    #[error("kind {0} is not known")]
    Kind(u8),
    /// Bytes that break the rules, where `0` says of what.
    #[error("the {0} is malformed")]
    Malformed(&'static str),
}

impl WireError {
    /// A stable code for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Version(_) => "frame_version",
            Self::Kind(_) => "frame_kind",
            Self::Malformed(_) => "frame_malformed",
        }
    }
}

impl Frame {
    /// The bytes of the frame, as `sender` sends it.
    #[must_use]
    pub fn encode(&self, sender: &NodeId) -> Bytes {
        let mut out = Vec::with_capacity(64);
        out.push(VERSION);
        out.push(self.kind());
        out.extend_from_slice(sender.as_bytes());
        match self {
            Self::Publication { request, publication } => put_publication(&mut out, *request, publication),
            Self::Heartbeat { hello } => out.push(u8::from(*hello)),
            Self::Goodbye => {}
            Self::Reached { request, sockets } => {
                put_number(&mut out, *request);
                put_number(&mut out, *sockets);
            }
            Self::CensusQuestion { request } => put_number(&mut out, *request),
            Self::Census { request, census } => {
                put_number(&mut out, *request);
                put_number(&mut out, census.connected);
                put_hashes(&mut out, &census.users);
                put_hashes(&mut out, &census.rooms);
            }
            Self::Probe { nonce } => put_number(&mut out, *nonce),
        }
        out.into()
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Publication { .. } => PUBLICATION,
            Self::Heartbeat { .. } => HEARTBEAT,
            Self::Goodbye => GOODBYE,
            Self::Reached { .. } => REACHED,
            Self::CensusQuestion { .. } => CENSUS_QUESTION,
            Self::Census { .. } => CENSUS,
            Self::Probe { .. } => PROBE,
        }
    }
}

impl Message {
    /// Reads a frame. The arguments of a publication are a part of `bytes` and are not looked at: whoever may publish
    /// to the channels of nodes is trusted with their being JSON.
    ///
    /// # Errors
    /// What is not understood; the caller counts it.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte("header")?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let kind = reader.byte("header")?;
        let sender = NodeId::from_bytes(reader.take(NODE_ID_LEN, "header")?)
            .map_err(|_| WireError::Malformed("sender"))?;
        let frame = match kind {
            PUBLICATION => publication(&mut reader)?,
            HEARTBEAT => Frame::Heartbeat {
                hello: reader.byte("heartbeat")? != 0,
            },
            GOODBYE => Frame::Goodbye,
            REACHED => Frame::Reached {
                request: reader.number("answer")?,
                sockets: reader.number("answer")?,
            },
            CENSUS_QUESTION => Frame::CensusQuestion {
                request: reader.number("question")?,
            },
            CENSUS => Frame::Census {
                request: reader.number("census")?,
                census: Census {
                    connected: reader.number("census")?,
                    users: reader.hashes("census")?,
                    rooms: reader.hashes("census")?,
                },
            },
            PROBE => Frame::Probe {
                nonce: reader.number("probe")?,
            },
            kind => return Err(WireError::Kind(kind)),
        };
        Ok(Self { sender, frame })
    }
}

/// Whether bytes are a probe, by their header alone.
pub(crate) fn is_probe(bytes: &[u8]) -> bool {
    bytes.starts_with(&[VERSION, PROBE])
}

fn publication(reader: &mut Reader<'_>) -> Result<Frame, WireError> {
    let flags = reader.byte("publication")?;
    let published_at_ms = reader.number("publication")?;
    let request = if flags & COUNTED == 0 {
        None
    } else {
        Some(reader.number("publication")?)
    };
    let namespace = reader.text("namespace")?.to_owned();
    let event = EventName::new(reader.text("event")?).map_err(|_| WireError::Malformed("event"))?;
    let rooms = reader.list("rooms", |name| {
        RoomName::new(name).map_err(|_| WireError::Malformed("rooms"))
    })?;
    let except = reader.list("exceptions", |name| Ok(name.to_owned()))?;
    let args = Args::from_parts(reader.rest(), flags & BINARY != 0);
    let volatile = flags & VOLATILE != 0;
    Ok(Frame::Publication {
        request,
        publication: Publication {
            rooms,
            except,
            namespace,
            volatile,
            event,
            args,
            published_at_ms,
        },
    })
}

fn put_publication(out: &mut Vec<u8>, request: Option<u64>, publication: &Publication) {
    let Publication {
        rooms,
        except,
        namespace,
        volatile,
        event,
        args,
        published_at_ms,
    } = publication;
    out.reserve(args.json().len());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(flag(*volatile, VOLATILE) | flag(args.is_binary(), BINARY) | flag(request.is_some(), COUNTED));
    put_number(out, *published_at_ms);
    if let Some(request) = request {
        put_number(out, request);
    }
    put_text(out, namespace);
    put_text(out, event.as_str());
    put_number(out, rooms.len() as u64);
    for room in rooms {
        put_text(out, room.as_str());
    }
    put_number(out, except.len() as u64);
    for name in except {
        put_text(out, name);
    }
    out.extend_from_slice(args.json());
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_hashes(out: &mut Vec<u8>, hashes: &[u64]) {
    put_number(out, hashes.len() as u64);
    out.extend(hashes.iter().flat_map(|hash| hash.to_le_bytes()));
}

#[cfg(test)]
mod tests;
