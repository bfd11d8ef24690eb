//! What becomes of a room's events: `[[room]]`.

use adapter_redis::RoomName;

use super::{Policy, file::Fields};
use crate::pattern::Pattern;

const PLANNED: [&str; 2] = ["retain", "history"];

/// What a client gets that reads more slowly than it is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// Everything, or its connection is closed.
    Disconnect,
    /// What came last.
    DropOldest,
    /// The last event of each name.
    Latest,
}

/// One `[[room]]` rule.
#[derive(Debug)]
pub(super) struct Room {
    pattern: Pattern,
    slow: Option<Slow>,
}

impl Room {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Room> {
        if !fields.has("pattern") {
            fields.missing("pattern");
        }
        let text = fields.text("pattern");
        let is_name = |p: &Pattern| p.name().is_empty() || RoomName::new(p.name()).is_ok();
        let pattern = text.and_then(Pattern::parse).filter(is_name);
        if let (Some(text), None) = (text, &pattern) {
            fields.error(&format!(
                "`pattern`: {text:?} is neither the name of a room nor the beginning of names with a `*` behind it"
            ));
        }
        let slow = fields.optional_choice(
            "slow",
            &[
                ("disconnect", Slow::Disconnect),
                ("drop_oldest", Slow::DropOldest),
                ("latest", Slow::Latest),
            ],
        );
        for key in PLANNED {
            if fields.has(key) {
                fields.error(&format!(
                    "`{key}` is not supported by this version yet; remove it"
                ));
            }
        }
        fields.finish(&[&["pattern", "slow"], PLANNED.as_slice()].concat());
        Some(Room {
            pattern: pattern?,
            slow,
        })
    }
}

impl Policy {
    /// What slow clients get of an event for these rooms, and the room that says so: the first one that a rule with `slow`
    /// is for. `None` = no rule says anything.
    pub fn slow<'a>(&self, rooms: &'a [RoomName]) -> Option<(&'a RoomName, Slow)> {
        if self.rooms.is_empty() {
            return None;
        }
        rooms.iter().find_map(|room| {
            let rules = self
                .rooms
                .iter()
                .filter(|rule| rule.pattern.matches(room.as_str()));
            let slow = rules.filter_map(|rule| rule.slow).next();
            slow.map(|slow| (room, slow))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_of_the_first_room_decides() {
        let policy = Policy::parse(
            r#"
            [identity]
            user = "claims.sub"
            [[room]]
            pattern = "a:*"
            [[room]]
            pattern = "a:kept"
            slow    = "disconnect"
            [[room]]
            pattern = "a:*"
            slow    = "latest"
            [[room]]
            pattern = "*"
            slow    = "drop_oldest"
            "#,
        );
        let policy = policy.unwrap();
        for (rooms, expect) in [
            (&[][..], None),
            (&["a:1"][..], Some(("a:1", Slow::Latest))),
            (&["a:kept"], Some(("a:kept", Slow::Disconnect))),
            (&["a:kept", "a:1"], Some(("a:kept", Slow::Disconnect))),
            (&["b", "a:kept"], Some(("b", Slow::DropOldest))),
        ] {
            let rooms: Vec<_> = rooms.iter().map(|room| RoomName::new(room).unwrap()).collect();
            let slow = policy.slow(&rooms).map(|(room, slow)| (room.as_str(), slow));
            assert_eq!(slow, expect, "{rooms:?}");
        }
        let policy =
            Policy::parse("[identity]\nuser = \"claims.sub\"\n[[room]]\npattern = \"a\"\nslow = \"latest\"");
        let rooms = ["b", "a"].map(|room| RoomName::new(room).unwrap());
        let slow = policy.as_ref().unwrap().slow(&rooms);
        assert_eq!(slow, Some((&rooms[1], Slow::Latest)), "the others say nothing");
        assert_eq!(policy.unwrap().slow(&rooms[..1]), None);
    }
}
