//! What a backend may publish: the JSON envelope, and every way in which one is refused.
//!
//! Pure. The payload is checked for being JSON and then carried as it is: it is never turned into values.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::args::{Args, ArgsError};
use crate::binary::{self, BinaryError, MAX_ATTACHMENTS};
use crate::json;
use crate::room::{self, EventName, MAX_NAME_BYTES, NameError, RoomName};

mod fields;
mod key;

use fields::Fields;

/// How many rooms an envelope may name, and how many exceptions.
pub const MAX_ROOMS: usize = 128;

/// Limits that an operator sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The longest JSON text of an envelope, in bytes; 0 = no limit.
    pub max_event_bytes: usize,
}

/// One publication as its publisher asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The rooms to reach, each once, in the order given. A socket in several of them gets the event once.
    pub rooms: Vec<RoomName>,
    /// The event that clients listen to.
    pub event: EventName,
    /// Its arguments.
    pub args: Args,
    /// The idempotency key: a repetition within ten minutes is not published again. Without effect on the channel for
    /// backends.
    pub id: Option<String>,
    /// Whether the event is the room's current state, for those who join later. It has no effect yet.
    pub retain: bool,
    /// Rooms and socket ids that are left out.
    pub except: Vec<String>,
    /// The Socket.IO namespace; begins with a slash.
    pub namespace: String,
    /// Whether the event may be lost for a socket that is behind.
    pub volatile: bool,
    /// Whether the publisher wants to know how many sockets were reached, which takes a round trip between nodes.
    pub count: bool,
    /// The trace that it belongs to (W3C Trace Context). Not a field of the JSON: whoever took the envelope may set it.
    pub trace: Option<u128>,
}

/// Why an envelope is refused. It is always refused whole.
///
/// The text says what is wrong and how to mend it. It may quote a field's name, but never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The JSON text is longer than [`Limits::max_event_bytes`].
    #[error(
        "the envelope has {bytes} bytes; limits.max_event_bytes is {limit}: send less, or a reference to the rest"
    )]
    TooLarge {
        /// Length of the text.
        bytes: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The text is not JSON in UTF-8, or is nested deeper than 128 levels.
    #[error("the envelope is not valid JSON: {0}")]
    NotJson(String),
    /// A field that envelopes do not have.
    #[error("the envelope has an unknown field {0:?}: remove it; known fields are {known}", known = fields::KNOWN.join(", "))]
    UnknownField(String),
    /// A field that is there more than once.
    #[error("the envelope has the field `{0}` more than once: keep one")]
    DuplicateField(&'static str),
    /// A field with a value of the wrong type; `null` is not the same as leaving a field out.
    #[error("`{field}` must be {expected}: change it, or leave it out where it is optional")]
    WrongType {
        /// The field, or `envelope` for the whole.
        field: &'static str,
        /// The type that is expected.
        expected: &'static str,
    },
    /// Neither `room` nor `rooms`, or an empty list.
    #[error("the envelope names no room: set `room`, or `rooms` with at least one")]
    NoRoom,
    /// Both `room` and `rooms`.
    #[error("the envelope has both `room` and `rooms`: keep one")]
    RoomAndRooms,
    /// More than [`MAX_ROOMS`] in `rooms`.
    #[error("`rooms` names {0} rooms; the limit is {MAX_ROOMS}: publish several envelopes")]
    TooManyRooms(usize),
    /// The name of a room breaks a rule.
    #[error("`room` or an item of `rooms` is not a room name: {0}")]
    BadRoom(NameError),
    /// Another room than the one of the key that it was published with.
    #[error("the room of the envelope is not the one of the key: call once for each room")]
    OtherRoom,
    /// No `event`.
    #[error("the envelope names no event: set `event`")]
    NoEvent,
    /// The name of the event breaks a rule.
    #[error("`event` is not an event name: {0}")]
    BadEvent(NameError),
    /// Both `data` and `args`.
    #[error("the envelope has both `data` and `args`: keep `data` for one argument, or `args` for several")]
    DataAndArgs,
    /// `args` is not a list.
    #[error("`args` must be a list of arguments: use `data` for a single one")]
    BadArgs,
    /// Bytes in `data` or `args` are not as they should be.
    #[error("`data` or `args` cannot be sent: {0}")]
    BadBinary(BinaryError),
    /// More than [`MAX_ATTACHMENTS`] markers for bytes.
    #[error(
        "`data` or `args` hold more than {MAX_ATTACHMENTS} $binary values; stock clients refuse more: publish several events"
    )]
    TooManyBinaries,
    /// More than [`MAX_ROOMS`] exceptions.
    #[error(
        "`except` has {0} items; the limit is {MAX_ROOMS}: put those sockets into a room and leave that out"
    )]
    TooManyExcept(usize),
    /// An exception that can be neither a room nor a socket.
    #[error("an item of `except` is neither a room name nor a socket id: {0}")]
    BadExcept(NameError),
    /// The namespace breaks a rule.
    #[error("`namespace` must begin with / and follow the rules of room names: {0}")]
    BadNamespace(NameError),
    /// The namespace does not begin with a slash.
    #[error("`namespace` must begin with /")]
    RelativeNamespace,
    /// The idempotency key is empty or too long.
    #[error("`id` has {0} bytes; it needs 1 to {MAX_NAME_BYTES}")]
    BadId(usize),
}

impl Envelope {
    /// Reads an envelope from its JSON text.
    ///
    /// Bytes of `data` and `args` are kept as they came: see [`Args`]. `"data": null` is one argument, null; neither
    /// `data` nor `args` means an event without arguments.
    ///
    /// # Errors
    /// The first thing that is wrong; the text is never taken in part.
    pub fn parse(json: &[u8], limits: &Limits) -> Result<Self, EnvelopeError> {
        Self::parse_for(json, limits, None)
    }

    /// As [`Envelope::parse`], for an envelope that came by the channel of a room: it need not name that, and cannot
    /// name another.
    pub(crate) fn parse_for(
        json: &[u8],
        limits: &Limits,
        room: Option<&RoomName>,
    ) -> Result<Self, EnvelopeError> {
        limits.check(json.len())?;
        let text = std::str::from_utf8(json).map_err(|error| EnvelopeError::NotJson(error.to_string()))?;
        if json::too_deep(json) {
            return Err(EnvelopeError::NotJson(format!(
                "nested deeper than {} levels",
                json::MAX_DEPTH
            )));
        }
        let fields = Fields::parse(text)?;
        Ok(Self {
            rooms: rooms(&fields, room)?,
            event: event(&fields)?,
            args: args(&fields)?,
            id: id(&fields)?,
            retain: flag("retain", fields.retain, false)?,
            except: except(&fields)?,
            namespace: namespace(&fields)?,
            volatile: flag("volatile", fields.volatile, false)?,
            count: flag("count", fields.count, true)?,
            trace: None,
        })
    }
}

impl Envelope {
    /// An envelope that is not read from JSON but made of its parts: rooms, an event, and the JSON text of each argument.
    /// The same rules hold, and the texts are kept as they are; see [`Args::from_texts`].
    ///
    /// The limit is on the bytes of all parts together. Everything else is as if it had been left out.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_parts<R: AsRef<str>>(
        rooms: &[R],
        event: &str,
        args: &[&str],
        limits: &Limits,
    ) -> Result<Self, EnvelopeError> {
        let rooms: Vec<&str> = rooms.iter().map(AsRef::as_ref).collect();
        let parts = rooms.iter().chain(args).map(|part| part.len());
        limits.check(event.len() + parts.sum::<usize>())?;
        Ok(Self {
            rooms: room_names(&rooms)?,
            event: EventName::new(event).map_err(EnvelopeError::BadEvent)?,
            args: Args::from_texts(args.iter().copied())?,
            id: None,
            retain: false,
            except: Vec::new(),
            namespace: "/".to_owned(),
            volatile: false,
            count: true,
            trace: None,
        })
    }
}

impl Limits {
    fn check(&self, bytes: usize) -> Result<(), EnvelopeError> {
        let limit = self.max_event_bytes;
        if limit > 0 && bytes > limit {
            return Err(EnvelopeError::TooLarge { bytes, limit });
        }
        Ok(())
    }
}

impl From<ArgsError> for EnvelopeError {
    fn from(error: ArgsError) -> Self {
        match error {
            ArgsError::NotJson(why) => Self::NotJson(why),
            ArgsError::Binary(error) => error.into(),
        }
    }
}

impl From<BinaryError> for EnvelopeError {
    fn from(error: BinaryError) -> Self {
        match error {
            BinaryError::TooMany => Self::TooManyBinaries,
            error => Self::BadBinary(error),
        }
    }
}

impl EnvelopeError {
    /// All values of [`EnvelopeError::reason`].
    pub const REASONS: [&'static str; 18] = [
        "too_large",
        "not_json",
        "unknown_field",
        "duplicate_field",
        "wrong_type",
        "no_room",
        "room_and_rooms",
        "too_many_rooms",
        "bad_room",
        "no_event",
        "bad_event",
        "data_and_args",
        "bad_args",
        "bad_binary",
        "too_many_binaries",
        "bad_except",
        "bad_namespace",
        "bad_id",
    ];

    /// A stable code for metrics and for `problem+json`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NotJson(_) => "not_json",
            Self::UnknownField(_) => "unknown_field",
            Self::DuplicateField(_) => "duplicate_field",
            Self::WrongType { .. } => "wrong_type",
            Self::NoRoom => "no_room",
            Self::RoomAndRooms => "room_and_rooms",
            Self::TooManyRooms(_) => "too_many_rooms",
            Self::BadRoom(_) | Self::OtherRoom => "bad_room",
            Self::NoEvent => "no_event",
            Self::BadEvent(_) => "bad_event",
            Self::DataAndArgs => "data_and_args",
            Self::BadArgs => "bad_args",
            Self::BadBinary(_) => "bad_binary",
            Self::TooManyBinaries => "too_many_binaries",
            Self::TooManyExcept(_) | Self::BadExcept(_) => "bad_except",
            Self::BadNamespace(_) | Self::RelativeNamespace => "bad_namespace",
            Self::BadId(_) => "bad_id",
        }
    }
}

fn rooms(fields: &Fields<'_>, only: Option<&RoomName>) -> Result<Vec<RoomName>, EnvelopeError> {
    let named = named_rooms(fields);
    match (only, named) {
        (None, named) => named,
        (Some(only), Err(EnvelopeError::NoRoom)) => Ok(vec![only.clone()]),
        (Some(only), Ok(named)) if named != [only.clone()] => Err(EnvelopeError::OtherRoom),
        (Some(_), named) => named,
    }
}

fn named_rooms(fields: &Fields<'_>) -> Result<Vec<RoomName>, EnvelopeError> {
    let names = match (fields.room, fields.rooms) {
        (Some(_), Some(_)) => return Err(EnvelopeError::RoomAndRooms),
        (None, None) => return Err(EnvelopeError::NoRoom),
        (Some(room), None) => vec![text("room", room)?],
        (None, Some(rooms)) => texts("rooms", rooms)?,
    };
    room_names(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn room_names(names: &[&str]) -> Result<Vec<RoomName>, EnvelopeError> {
    if names.is_empty() {
        return Err(EnvelopeError::NoRoom);
    }
    if names.len() > MAX_ROOMS {
        return Err(EnvelopeError::TooManyRooms(names.len()));
    }
    let mut seen = HashSet::new();
    names
        .iter()
        .filter(|name| seen.insert(**name))
        .map(|name| RoomName::new(name).map_err(EnvelopeError::BadRoom))
        .collect()
}

fn event(fields: &Fields<'_>) -> Result<EventName, EnvelopeError> {
    let name = text("event", fields.event.ok_or(EnvelopeError::NoEvent)?)?;
    EventName::new(&name).map_err(EnvelopeError::BadEvent)
}

fn args(fields: &Fields<'_>) -> Result<Args, EnvelopeError> {
    let json = match (fields.data, fields.args) {
        (Some(_), Some(_)) => return Err(EnvelopeError::DataAndArgs),
        (None, None) => return Ok(Args::none()),
        (Some(data), None) => data.get(),
        (None, Some(args)) => args
            .get()
            .strip_prefix('[')
            .and_then(|args| args.strip_suffix(']'))
            .ok_or(EnvelopeError::BadArgs)?,
    };
    // `[ ]` is no arguments; white space beside an argument is the publisher's and stays.
    let json = if json.trim_ascii().is_empty() { "" } else { json };
    let attachments = binary::count(json.as_bytes())?;
    Ok(Args::from_parts(
        Bytes::copy_from_slice(json.as_bytes()),
        attachments > 0,
    ))
}

fn id(fields: &Fields<'_>) -> Result<Option<String>, EnvelopeError> {
    let Some(id) = fields.id else { return Ok(None) };
    let id = text("id", id)?;
    if id.is_empty() || id.len() > MAX_NAME_BYTES {
        return Err(EnvelopeError::BadId(id.len()));
    }
    Ok(Some(id))
}

fn except(fields: &Fields<'_>) -> Result<Vec<String>, EnvelopeError> {
    let Some(except) = fields.except else {
        return Ok(Vec::new());
    };
    let names = texts("except", except)?;
    if names.len() > MAX_ROOMS {
        return Err(EnvelopeError::TooManyExcept(names.len()));
    }
    for name in &names {
        room::check_room(name).map_err(EnvelopeError::BadExcept)?;
    }
    Ok(names)
}

fn namespace(fields: &Fields<'_>) -> Result<String, EnvelopeError> {
    let Some(namespace) = fields.namespace else {
        return Ok("/".to_owned());
    };
    let namespace = text("namespace", namespace)?;
    room::check_room(&namespace).map_err(EnvelopeError::BadNamespace)?;
    if !namespace.starts_with('/') {
        return Err(EnvelopeError::RelativeNamespace);
    }
    Ok(namespace)
}

fn text(field: &'static str, raw: &RawValue) -> Result<String, EnvelopeError> {
    read(field, "a string", raw)
}

fn texts(field: &'static str, raw: &RawValue) -> Result<Vec<String>, EnvelopeError> {
    read(field, "a list of strings", raw)
}

fn flag(field: &'static str, raw: Option<&RawValue>, default: bool) -> Result<bool, EnvelopeError> {
    raw.map_or(Ok(default), |raw| read(field, "true or false", raw))
}

fn read<'a, T: Deserialize<'a>>(
    field: &'static str,
    expected: &'static str,
    raw: &'a RawValue,
) -> Result<T, EnvelopeError> {
    serde_json::from_str(raw.get()).map_err(|_| EnvelopeError::WrongType { field, expected })
}

#[cfg(test)]
mod tests;
