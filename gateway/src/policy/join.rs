//! Rooms on connect: `[[join]]`.

use std::{cell::Cell, collections::HashSet};

use adapter_redis::RoomName;

use super::{
    condition::{BUDGET_OF_LIST, Expression},
    file::Fields,
    scope::{Root, Scope},
    template::Template,
    trail::Trail,
};

/// One `[[join]]` rule.
#[derive(Debug)]
pub(super) struct Join {
    place: String,
    room: Template,
    each: Option<Expression>,
    when: Option<Expression>,
}

impl Join {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Join> {
        let each = fields.expression("each", Root::JOIN);
        let roots = if fields.has("each") {
            Root::EACH
        } else {
            Root::JOIN
        };
        let when = fields.expression("when", roots);
        let room = fields.template("room", roots);
        fields.finish(&["room", "each", "when"]);
        Some(Join {
            place: fields.place().to_owned(),
            room: room?,
            each,
            when,
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn room(&self) -> &Template {
        &self.room
    }

    /// Adds the rooms that this rule gives and that are not there yet.
    pub(super) fn rooms<'a>(&'a self, scope: &Scope<'_>, found: &mut Found, trail: &mut Trail<'a>) {
        trail.enter(&self.place);
        let mut add = |scope: &Scope<'_>, trail: &mut Trail<'a>| {
            if self.when.as_ref().is_some_and(|w| !w.holds("when", scope, trail)) {
                return;
            }
            if let Some(name) = self.room.room(scope, trail) {
                found.add(name);
            }
        };
        match &self.each {
            None => add(scope, trail),
            Some(each) => {
                // A condition that goes through the list for each of its items is too much for a long one.
                let steps = Cell::new(BUDGET_OF_LIST);
                for item in &each.items("each", scope, trail) {
                    add(&scope.within(&steps).with_item(item), trail);
                }
            }
        }
    }
}

/// Rooms without repetition, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Found {
    rooms: Vec<RoomName>,
    known: HashSet<RoomName>,
}

impl Found {
    fn add(&mut self, room: RoomName) {
        if self.known.insert(room.clone()) {
            self.rooms.push(room);
        }
    }

    pub(super) fn into_rooms(self) -> Vec<RoomName> {
        self.rooms
    }
}
