//! Reads a client's packet: bytes become JSON with placeholders, and the attachments that these stand for. Pure.

use std::io::Write;

use bytes::Bytes;

use super::{
    dates, key,
    values::{Item, Items},
};
use crate::engine::socket_io::packet::{BadPacket, DEEPEST, Kind, MOST_ATTACHMENTS, MOST_ID};

/// A packet with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// The namespace, with its slash.
    pub namespace: &'a str,
    /// The number under which an answer is awaited, or given.
    pub id: Option<i64>,
    /// JSON, or nothing. An event's and an ack's is an array, a CONNECT's an object.
    pub data: String,
    /// In the order of their placeholders.
    pub attachments: Vec<Bytes>,
}

/// Below this, JavaScript writes whole numbers by their digits alone.
const WHOLE: f64 = 1e21;

/// Reads a packet, whose JSON and attachments may be `max` bytes long together. What JSON has no word for becomes what
/// `JSON.stringify` makes of it: a date its text, an infinity `null`; what is undefined is left out of objects, and `null`
/// in lists. Parts with other names than a packet's are not looked at.
///
/// # Errors
/// [`BadPacket`], also for what only a server may send, and for what the default parser would not have brought: too many
/// attachments, too deep, or an object that looks like a placeholder beside real bytes.
pub fn read(bytes: &[u8], max: usize) -> Result<Packet<'_>, BadPacket> {
    read_map(Items(bytes), max).ok_or(BadPacket)
}

fn read_map(mut items: Items<'_>, max: usize) -> Option<Packet<'_>> {
    let Item::Map(parts) = items.next()? else {
        return None;
    };
    let (mut kind, mut namespace, mut id, mut data) = (None, None, None, None);
    for _ in 0..parts {
        let Item::Text(name) = items.next()? else {
            return None;
        };
        let first = items.next()?;
        match name {
            key::KIND => once(&mut kind, first)?,
            key::NAMESPACE => once(&mut namespace, first)?,
            key::ID => once(&mut id, first)?,
            key::DATA => {
                let json = Json::read(first, &mut items, max)?;
                once(&mut data, (!is_nothing(first)).then_some(json))?;
            }
            _ => {
                Json::read(first, &mut items, max)?;
            }
        }
    }
    let kind = match kind? {
        Item::Unsigned(0) => Kind::Connect,
        Item::Unsigned(1) => Kind::Disconnect,
        Item::Unsigned(2) => Kind::Event,
        Item::Unsigned(3) => Kind::Ack,
        _ => return None,
    };
    let Item::Text(namespace) = namespace? else {
        return None;
    };
    let id = match id.filter(|id| !is_nothing(*id)) {
        None => None,
        Some(Item::Unsigned(number)) => Some(i64::try_from(number).ok().filter(|id| *id <= MOST_ID)?),
        Some(_) => return None,
    };
    let Json {
        text, attachments, ..
    } = data.flatten().unwrap_or_default();
    let is_ok = match (kind, text.first()) {
        (Kind::Connect, first) => {
            id.is_none() && matches!(first, None | Some(b'{')) && attachments.is_empty()
        }
        (Kind::Disconnect, first) => id.is_none() && first.is_none(),
        (Kind::Event, first) => first == Some(&b'['),
        (Kind::Ack, first) => first == Some(&b'[') && id.is_some(),
    };
    if !is_ok || !items.is_empty() || !namespace.starts_with('/') {
        return None;
    }
    Some(Packet {
        kind,
        namespace,
        id,
        data: String::from_utf8(text).ok()?,
        attachments,
    })
}

/// Not every client leaves out what it has nothing for.
fn is_nothing(item: Item<'_>) -> bool {
    matches!(item, Item::Undefined | Item::Null)
}

fn once<T>(part: &mut Option<T>, value: T) -> Option<()> {
    part.replace(value).is_none().then_some(())
}

/// A value on its way to JSON.
#[derive(Debug, Default)]
struct Json {
    text: Vec<u8>,
    attachments: Vec<Bytes>,
    /// Bytes of them all.
    attached: usize,
    /// There is an object that whoever gets it would take for a placeholder. Without any attachments nobody does.
    is_ambiguous: bool,
}

/// A list or a map that has begun.
#[derive(Debug)]
struct Open {
    left: u32,
    is_map: bool,
    has_begun: bool,
}

impl Json {
    /// The value that begins with `item`, with all that it holds.
    fn read<'a>(mut item: Item<'a>, items: &mut Items<'a>, max: usize) -> Option<Json> {
        let mut json = Json::default();
        // Not by calling itself: how deep it goes, a stranger says.
        let mut open: Vec<Open> = Vec::new();
        loop {
            match item {
                Item::List(left) => json.open(b'[', left, &mut open)?,
                Item::Map(left) => json.open(b'{', left, &mut open)?,
                // What stands for them has a bracket of its own.
                Item::Bytes(_) if open.len() >= DEEPEST => return None,
                other => json.write(other)?,
            }
            let next = json.next(&mut open, items)?;
            if json.text.len().saturating_add(json.attached) > max {
                return None;
            }
            match next {
                Some(next) => item = next,
                None if json.is_ambiguous && !json.attachments.is_empty() => return None,
                None => return Some(json),
            }
        }
    }

    fn open(&mut self, bracket: u8, left: u32, open: &mut Vec<Open>) -> Option<()> {
        self.text.push(bracket);
        open.push(Open {
            left,
            is_map: bracket == b'{',
            has_begun: false,
        });
        (open.len() <= DEEPEST).then_some(())
    }

    /// Goes on to the next value, closing what ends before it. `Some(None)` = all has ended.
    fn next<'a>(&mut self, open: &mut Vec<Open>, items: &mut Items<'a>) -> Option<Option<Item<'a>>> {
        while let Some(inner) = open.last_mut() {
            if inner.left == 0 {
                self.text.push(if inner.is_map { b'}' } else { b']' });
                open.pop();
                continue;
            }
            inner.left -= 1;
            let name = match inner.is_map.then(|| items.next()) {
                None => None,
                Some(Some(Item::Text(name))) => Some(name),
                Some(_) => return None,
            };
            let item = items.next()?;
            if name.is_some() && item == Item::Undefined {
                continue;
            }
            if std::mem::replace(&mut inner.has_begun, true) {
                self.text.push(b',');
            }
            if let Some(name) = name {
                self.write(Item::Text(name))?;
                self.text.push(b':');
                self.is_ambiguous |= name == "_placeholder" && item == Item::Bool(true);
            }
            return Some(Some(item));
        }
        Some(None)
    }

    /// Writes what holds nothing else.
    fn write(&mut self, item: Item<'_>) -> Option<()> {
        let text = &mut self.text;
        match item {
            Item::Null | Item::Undefined => text.extend_from_slice(b"null"),
            Item::Bool(value) => write!(text, "{value}").ok()?,
            Item::Unsigned(number) => write!(text, "{number}").ok()?,
            Item::Negative(number) => write!(text, "{number}").ok()?,
            Item::Float(number) if number.fract() == 0.0 && number.abs() < WHOLE => {
                write!(text, "{}", number as i128).ok()?;
            }
            // One that is no number becomes `null`.
            Item::Float(number) => serde_json::to_writer(text, &number).ok()?,
            Item::Text(value) => serde_json::to_writer(text, value).ok()?,
            Item::Date(moment) => serde_json::to_writer(text, &dates::iso(moment)).ok()?,
            Item::Bytes(bytes) => {
                let number = self.attachments.len();
                write!(text, r#"{{"_placeholder":true,"num":{number}}}"#).ok()?;
                self.attached += bytes.len();
                self.attachments.push(Bytes::copy_from_slice(bytes));
                return (number < MOST_ATTACHMENTS).then_some(());
            }
            Item::List(_) | Item::Map(_) => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
