//! What a room keeps: `[[room]]`. Nothing of it can be kept yet; the file is checked all the same.

use super::file::Fields;
use crate::pattern::Pattern;

const PLANNED: [&str; 3] = ["retain", "history", "slow"];

/// One `[[room]]` rule.
#[derive(Debug)]
pub(super) struct Room;

impl Room {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Room> {
        if !fields.has("pattern") {
            fields.missing("pattern");
        }
        if let Some(pattern) = fields.text("pattern") {
            let is_name = |p: Pattern| p.name().is_empty() || adapter_redis::RoomName::new(p.name()).is_ok();
            if !Pattern::parse(pattern).is_some_and(is_name) {
                fields.error(&format!(
                    "`pattern`: {pattern:?} is neither the name of a room nor the beginning of names with a `*` behind it"
                ));
            }
        }
        for key in PLANNED {
            if fields.has(key) {
                fields.error(&format!(
                    "`{key}` is not supported by this version yet; remove it"
                ));
            }
        }
        fields.finish(&[&["pattern"], PLANNED.as_slice()].concat());
        Some(Room)
    }
}
