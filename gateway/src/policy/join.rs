//! Rooms on connect: `[[join]]`.

use adapter_redis::RoomName;

use super::{
    condition::Expression,
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
    pub(super) fn rooms<'a>(&'a self, scope: &Scope<'_>, rooms: &mut Vec<RoomName>, trail: &mut Trail<'a>) {
        trail.enter(&self.place);
        let mut add = |scope: &Scope<'_>, trail: &mut Trail<'a>| {
            if self.when.as_ref().is_some_and(|w| !w.holds("when", scope, trail)) {
                return;
            }
            if let Some(name) = self.room.room(scope, trail).filter(|n| !rooms.contains(n)) {
                rooms.push(name);
            }
        };
        match &self.each {
            None => add(scope, trail),
            Some(each) => {
                for item in &each.items("each", scope, trail) {
                    add(&scope.with_item(item), trail);
                }
            }
        }
    }
}
