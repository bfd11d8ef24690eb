//! What nodes say to each other: compact binary frames.
//!
//! Pure. Decoding is total, allocates no more than a small multiple of what came in, and shares the payload of a
//! publication instead of reading it. The golden bytes are in `tests/vectors/`.
//!
//! ```text
//! frame       = version:u8 kind:u8 sender:16 body
//! publication = flags:u8 published_at_ms:n [request:n] [serial:8] [trace:16] [ack_timeout_ms:n] [phase]
//!               namespace:s event:s rooms:n s… except:n s… args:rest
//! phase       = flags:u8 key:n [[after_ms:n] length:n args:length]
//! heartbeat   = hello:u8 [wire:u8 version:s connected:n rooms:n [flags:u8 admits:n]]
//! goodbye     = (empty)                                   probe  = nonce:n
//! reached     = request:n sockets:n                       census question = request:n
//! census      = request:n connected:n users:n 8… rooms:n 8…
//! question    = request:n json:rest                       answer = request:n json:rest
//! n = unsigned LEB128          s = length:n and that many bytes of UTF-8          8 = u64, little endian
//!
//! stored      = version:u8 kind:u8 flags:u8 stamp:8 (frame | envelope)     on the channel of a room
//! signed      = version:u8 kind:u8 mac:16 frame
//! ```
//!
//! Bytes after the body of a kind are ignored, so that a later build may add fields. The version is that of the frame:
//! the lowest one whose readers understand it. A build reads its own [`VERSION`] and the one before. It writes what
//! both have in the older way; a publication in the way that every living node reads, which heartbeats tell.

use bytes::Bytes;

use crate::census::Census;
use crate::local::{Admission, Load};
use crate::node::{NODE_ID_LEN, NodeId};
use crate::publication::Publication;

mod publication;
mod reader;
mod seal;
mod stored;

pub use publication::Handling;
use reader::Reader;
pub use seal::{SealError, SecretKeys};
pub use stored::{Stored, StoredBody};

/// The newest version of frames that this build reads and writes. Version 1 has no channels for rooms.
pub const VERSION: u8 = 2;

/// The oldest version that this build reads.
pub(crate) const OLDEST_VERSION: u8 = VERSION - 1;

const PUBLICATION: u8 = 1;
const HEARTBEAT: u8 = 2;
const GOODBYE: u8 = 3;
const REACHED: u8 = 4;
const CENSUS_QUESTION: u8 = 5;
const CENSUS: u8 = 6;
const PROBE: u8 = 7;
const QUESTION: u8 = 10;
const ANSWER: u8 = 11;

/// A flag of a heartbeat.
const DRAINING: u8 = 1;

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
        /// How it is to be handled.
        handling: Handling,
        /// The event.
        publication: Publication,
    },
    /// The sender lives.
    Heartbeat {
        /// The sender asks for a heartbeat in return, because it does not know who else is there.
        hello: bool,
        /// What it tells about itself; `None` when it is of version 1.
        about: Option<About>,
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
    /// The sender asks something; the answer is an [`Frame::Answer`].
    Question {
        /// Under which number it waits.
        request: u64,
        /// A [`Question`](crate::Question) as JSON.
        json: Bytes,
    },
    /// The answer to a question, or to a publication that asks for acknowledgements.
    Answer {
        /// The number from the question.
        request: u64,
        /// An [`Answer`](crate::Answer), or [`Acks`](crate::Acks), as JSON.
        json: Bytes,
    },
    /// A bus sends this to itself to see that its link works.
    Probe {
        /// Which probe it is.
        nonce: u64,
    },
}

/// What a node tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// The newest version of frames that it reads.
    pub wire: u8,
    /// Its build, for instance `0.1.0`.
    pub version: String,
    /// How much it has to do.
    pub load: Load,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A frame of another version than [`VERSION`] and the one before.
    #[error("version {0} is not known")]
    Version(u8),
    /// A frame of a kind that this build does not know.
    #[error("kind {0} is not known")]
    Kind(u8),
    /// Bytes that break the rules, where `0` says of what.
    #[error("the {0} is malformed")]
    Malformed(&'static str),
    /// A frame without a signature where one is asked for.
    #[error("the frame is not signed")]
    Unsigned,
    /// A frame whose signature is by none of the keys, or belongs to another channel.
    #[error("the signature is not by one of our keys")]
    Forged,
}

impl WireError {
    /// A stable code for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Version(_) => "frame_version",
            Self::Kind(_) => "frame_kind",
            Self::Malformed(_) => "frame_malformed",
            Self::Unsigned => "frame_unsigned",
            Self::Forged => "frame_forged",
        }
    }
}

impl Frame {
    /// The bytes of the frame, as `sender` sends it.
    #[must_use]
    pub fn encode(&self, sender: &NodeId) -> Bytes {
        self.encode_for(sender, VERSION)
    }

    /// As [`Frame::encode`], for readers of that version at least. What version 1 cannot say of a publication is left
    /// out for it.
    #[must_use]
    pub fn encode_for(&self, sender: &NodeId, version: u8) -> Bytes {
        let mut out = Vec::with_capacity(64);
        out.push(match self {
            Self::Publication { .. } => version.clamp(OLDEST_VERSION, VERSION),
            Self::Question { .. } | Self::Answer { .. } => VERSION,
            _ => OLDEST_VERSION,
        });
        out.push(self.kind());
        out.extend_from_slice(sender.as_bytes());
        match self {
            Self::Publication {
                handling,
                publication,
            } => publication::put(&mut out, handling, publication, version),
            Self::Heartbeat { hello, about } => {
                out.push(u8::from(*hello));
                if let Some(About { wire, version, load }) = about {
                    out.push(*wire);
                    put_text(&mut out, version);
                    put_number(&mut out, load.connected);
                    put_number(&mut out, load.rooms);
                    if let Some(admission) = load.admission {
                        out.push(if admission.is_draining { DRAINING } else { 0 });
                        put_number(&mut out, admission.per_second);
                    }
                }
            }
            Self::Question { request, json } | Self::Answer { request, json } => {
                put_number(&mut out, *request);
                out.extend_from_slice(json);
            }
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
            Self::Question { .. } => QUESTION,
            Self::Answer { .. } => ANSWER,
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
        if !(OLDEST_VERSION..=VERSION).contains(&version) {
            return Err(WireError::Version(version));
        }
        let kind = reader.byte("header")?;
        let sender = NodeId::from_bytes(reader.take(NODE_ID_LEN, "header")?)
            .map_err(|_| WireError::Malformed("sender"))?;
        let frame = match kind {
            PUBLICATION => publication::read(&mut reader, version)?,
            HEARTBEAT => Frame::Heartbeat {
                hello: reader.byte("heartbeat")? != 0,
                about: about(&mut reader)?,
            },
            QUESTION => Frame::Question {
                request: reader.number("question")?,
                json: reader.rest(),
            },
            ANSWER => Frame::Answer {
                request: reader.number("answer")?,
                json: reader.rest(),
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
    bytes.starts_with(&[OLDEST_VERSION, PROBE])
}

fn about(reader: &mut Reader<'_>) -> Result<Option<About>, WireError> {
    if reader.is_empty() {
        return Ok(None);
    }
    Ok(Some(About {
        wire: reader.byte("heartbeat")?,
        version: reader.text("heartbeat")?.to_owned(),
        load: Load {
            connected: reader.number("heartbeat")?,
            rooms: reader.number("heartbeat")?,
            admission: admission(reader)?,
        },
    }))
}

fn admission(reader: &mut Reader<'_>) -> Result<Option<Admission>, WireError> {
    if reader.is_empty() {
        return Ok(None);
    }
    Ok(Some(Admission {
        is_draining: reader.byte("heartbeat")? & DRAINING != 0,
        per_second: reader.number("heartbeat")?,
    }))
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
