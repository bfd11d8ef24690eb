//! Writes a packet for clients: JSON and its attachments become one message, with bytes in the place of placeholders. Pure.

use bytes::Bytes;
use rmp::encode::{
    write_array_len, write_bin, write_bool, write_f64, write_map_len, write_nil, write_sint, write_str,
    write_uint,
};

use super::{
    key,
    text::{Part, Parts, unescape},
};
use crate::engine::socket_io::outgoing::Kind;

/// Bytes that a packet has beside its data, most often at most.
const AROUND: usize = 48;

/// Writes a packet as the official clients read it: whole numbers as such, others as 64 bits; what is not there is left
/// out. `data` is JSON, or nothing. `None` = it is something else.
pub fn write(
    kind: Kind,
    namespace: &str,
    id: Option<i64>,
    data: &str,
    attachments: &[Bytes],
) -> Option<Vec<u8>> {
    let attached: usize = attachments.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(AROUND + namespace.len() + data.len() + attached);
    let parts = 2 + u32::from(id.is_some()) + u32::from(!data.is_empty());
    write_map_len(&mut out, parts).ok()?;
    write_str(&mut out, key::KIND).ok()?;
    write_uint(&mut out, kind as u64).ok()?;
    write_str(&mut out, key::NAMESPACE).ok()?;
    write_str(&mut out, namespace).ok()?;
    if let Some(id) = id {
        write_str(&mut out, key::ID).ok()?;
        write_sint(&mut out, id).ok()?;
    }
    if !data.is_empty() {
        write_str(&mut out, key::DATA).ok()?;
        let groups = survey(data, attachments.len())?;
        write_json(&mut out, data, &groups, attachments)?;
    }
    Some(out)
}

/// What is between two brackets. MessagePack says how much there is before it says what.
#[derive(Debug, Default)]
struct Group {
    is_map: bool,
    /// Parts directly in it, keys included.
    parts: u32,
    /// The first group behind it.
    next: usize,
    /// The attachment that it stands for.
    attachment: Option<u8>,
}

/// What is being looked at of a group.
#[derive(Debug, Default)]
struct Opened<'a> {
    group: usize,
    /// The last key.
    key: &'a str,
    is_placeholder: bool,
    number: Option<u8>,
}

/// Looks at all groups, in the order in which they begin. Where there are no attachments, nothing stands for one.
fn survey(data: &str, attachments: usize) -> Option<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut open: Vec<Opened<'_>> = Vec::new();
    for part in Parts(data) {
        let count = groups.len();
        if part == Part::End {
            let ended = open.pop()?;
            let group = groups.get_mut(ended.group)?;
            group.next = count;
            group.attachment = ended
                .number
                .filter(|number| ended.is_placeholder && usize::from(*number) < attachments);
            continue;
        }
        if let Some(outer) = open.last_mut() {
            let group = groups.get_mut(outer.group)?;
            let is_key = group.is_map && group.parts % 2 == 0;
            group.parts = group.parts.checked_add(1)?;
            match part {
                Part::Text(text) if is_key => outer.key = text,
                _ if attachments == 0 || !group.is_map => {}
                value => match &*unescape(outer.key) {
                    "_placeholder" => outer.is_placeholder = value == Part::Word("true"),
                    "num" => outer.number = number(value),
                    _ => {}
                },
            }
        }
        if matches!(part, Part::List | Part::Map) {
            groups.push(Group {
                is_map: part == Part::Map,
                ..Group::default()
            });
            open.push(Opened {
                group: count,
                ..Opened::default()
            });
        }
    }
    open.is_empty().then_some(groups)
}

/// That of an attachment.
fn number(part: Part<'_>) -> Option<u8> {
    match part {
        Part::Word(word) => word.parse().ok(),
        _ => None,
    }
}

fn write_json(out: &mut Vec<u8>, data: &str, groups: &[Group], attachments: &[Bytes]) -> Option<()> {
    let mut next = 0;
    let mut parts = Parts(data);
    while let Some(part) = parts.next() {
        match part {
            Part::List | Part::Map => {
                let group = groups.get(next)?;
                let attachment = group
                    .attachment
                    .and_then(|number| attachments.get(usize::from(number)));
                if let Some(bytes) = attachment {
                    write_bin(out, bytes).ok()?;
                    skip(&mut parts);
                    next = group.next;
                    continue;
                }
                next += 1;
                match group.is_map {
                    true => write_map_len(out, group.parts / 2).ok()?,
                    false => write_array_len(out, group.parts).ok()?,
                };
            }
            Part::End => {}
            Part::Text(text) => write_str(out, &unescape(text)).ok()?,
            Part::Word("null") => write_nil(out).ok()?,
            Part::Word("true") => write_bool(out, true).ok()?,
            Part::Word("false") => write_bool(out, false).ok()?,
            Part::Word(number) => write_number(out, number)?,
        }
    }
    Some(())
}

/// Goes behind the end of the group that has begun.
fn skip(parts: &mut Parts<'_>) {
    let mut depth = 1_usize;
    for part in parts {
        match part {
            Part::List | Part::Map => depth += 1,
            Part::End => depth -= 1,
            Part::Text(_) | Part::Word(_) => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// A whole number is written as one where it fits; JavaScript makes the same of it that it makes of its digits. It has two
/// zeros, of which only one is whole.
fn write_number(out: &mut Vec<u8>, number: &str) -> Option<()> {
    if let Ok(number) = number.parse::<u64>() {
        return write_uint(out, number).map(drop).ok();
    }
    match number.parse::<i64>() {
        Ok(number) if number < 0 => write_sint(out, number).map(drop).ok(),
        _ => write_f64(out, number.parse().ok()?).ok(),
    }
}

#[cfg(test)]
mod tests;
