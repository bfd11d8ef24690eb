//! How a publication lies in a frame, in both versions that there are.

use std::time::Duration;

use super::reader::Reader;
use super::{Frame, WireError, put_number, put_text};
use crate::args::Args;
use crate::publication::Publication;
use crate::relay::{Ending, Phase};
use crate::room::{EventName, RoomName};

const VOLATILE: u8 = 1;
const BINARY: u8 = 2;
const COUNTED: u8 = 4;
const LOCAL_FIRST: u8 = 8;
const SERIAL: u8 = 16;
const TRACE: u8 = 32;
const ACKS: u8 = 64;
const PHASE: u8 = 128;

/// Flags of a phase.
const ENDS: u8 = 1;
const AFTER: u8 = 2;
const ENDING_BINARY: u8 = 4;

/// How the nodes handle a publication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handling {
    /// Under which number the sender waits for [`Frame::Reached`], or for [`Frame::Answer`] when `ack_timeout_ms` is
    /// there; `None` when nobody counts.
    pub request: Option<u64>,
    /// The same number in each of the frames of one publication to several rooms: a node delivers the first that it
    /// gets.
    pub serial: Option<u64>,
    /// The sender has delivered it to its own sockets already.
    pub local_first: bool,
    /// Sockets are asked for an acknowledgement, and have this long.
    pub ack_timeout_ms: Option<u64>,
    /// What it is the beginning or the end of. Version 1 has no such thing.
    pub phase: Phase,
}

pub(super) fn read(reader: &mut Reader<'_>, version: u8) -> Result<Frame, WireError> {
    const WHAT: &str = "publication";
    let flags = reader.byte(WHAT)?;
    let published_at_ms = reader.number(WHAT)?;
    // What version 1 does not know is not there, whatever its flags say.
    let has = |flag: u8| flags & flag != 0 && (version > 1 || flag <= COUNTED);
    let number = |reader: &mut Reader<'_>, flag| has(flag).then(|| reader.number(WHAT)).transpose();
    let request = number(reader, COUNTED)?;
    let serial = has(SERIAL).then(|| reader.u64(WHAT)).transpose()?;
    let trace = has(TRACE).then(|| reader.u128(WHAT)).transpose()?;
    let ack_timeout_ms = number(reader, ACKS)?;
    let phase = if has(PHASE) {
        read_phase(reader)?
    } else {
        Phase::Once
    };
    let namespace = reader.text("namespace")?.to_owned();
    let event = EventName::new(reader.text("event")?).map_err(|_| WireError::Malformed("event"))?;
    let rooms = reader.list("rooms", |name| {
        RoomName::new(name).map_err(|_| WireError::Malformed("rooms"))
    })?;
    let except = reader.list("exceptions", |name| Ok(name.to_owned()))?;
    let args = Args::from_parts(reader.rest(), has(BINARY));
    Ok(Frame::Publication {
        handling: Handling {
            request,
            serial,
            local_first: has(LOCAL_FIRST),
            ack_timeout_ms,
            phase,
        },
        publication: Publication {
            rooms,
            except,
            namespace,
            volatile: has(VOLATILE),
            event,
            args,
            published_at_ms,
            stamp: None,
            trace,
        },
    })
}

fn read_phase(reader: &mut Reader<'_>) -> Result<Phase, WireError> {
    const WHAT: &str = "phase";
    let flags = reader.byte(WHAT)?;
    let key = reader.number(WHAT)?;
    if flags & ENDS != 0 {
        return Ok(Phase::Ends { key });
    }
    let after = (flags & AFTER != 0)
        .then(|| reader.number(WHAT).map(Duration::from_millis))
        .transpose()?;
    let args = Args::from_parts(reader.bytes(WHAT)?, flags & ENDING_BINARY != 0);
    Ok(Phase::Begins(Box::new(Ending { key, after, args })))
}

fn put_phase(out: &mut Vec<u8>, phase: &Phase) {
    match phase {
        Phase::Once => {}
        Phase::Ends { key } => {
            out.push(ENDS);
            put_number(out, *key);
        }
        Phase::Begins(ending) => {
            let Ending { key, after, args } = &**ending;
            let timed = if after.is_some() { AFTER } else { 0 };
            out.push(timed | if args.is_binary() { ENDING_BINARY } else { 0 });
            put_number(out, *key);
            if let Some(after) = after {
                put_number(out, u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            }
            put_number(out, args.json().len() as u64);
            out.extend_from_slice(args.json());
        }
    }
}

pub(super) fn put(out: &mut Vec<u8>, handling: &Handling, publication: &Publication, version: u8) {
    let Publication {
        rooms,
        except,
        namespace,
        volatile,
        event,
        args,
        published_at_ms,
        // It is in front of the frame, where the bus can put it.
        stamp: _,
        trace,
    } = publication;
    let Handling {
        request,
        serial,
        local_first,
        ack_timeout_ms,
        phase,
    } = handling;
    out.reserve(args.json().len());
    let flag = |set: bool, flag: u8| {
        if set && (version > 1 || flag <= COUNTED) {
            flag
        } else {
            0
        }
    };
    let flags = flag(*volatile, VOLATILE)
        | flag(args.is_binary(), BINARY)
        | flag(request.is_some(), COUNTED)
        | flag(*local_first, LOCAL_FIRST)
        | flag(serial.is_some(), SERIAL)
        | flag(trace.is_some(), TRACE)
        | flag(ack_timeout_ms.is_some(), ACKS)
        | flag(*phase != Phase::Once, PHASE);
    out.push(flags);
    put_number(out, *published_at_ms);
    if let Some(request) = request {
        put_number(out, *request);
    }
    if let Some(serial) = serial.filter(|_| flags & SERIAL != 0) {
        out.extend_from_slice(&serial.to_le_bytes());
    }
    if let Some(trace) = trace.filter(|_| flags & TRACE != 0) {
        out.extend_from_slice(&trace.to_be_bytes());
    }
    if let Some(timeout) = ack_timeout_ms.filter(|_| flags & ACKS != 0) {
        put_number(out, timeout);
    }
    if flags & PHASE != 0 {
        put_phase(out, phase);
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
