//! What a room keeps: `[[room]]`. Nothing of it can be kept yet; the file is checked all the same.

use super::file::Fields;

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
            let name = pattern.strip_suffix('*').unwrap_or(pattern);
            let is_name = name.is_empty() || adapter_redis::RoomName::new(name).is_ok();
            if pattern.is_empty() || name.contains('*') || !is_name {
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
