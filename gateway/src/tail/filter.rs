//! Which of it somebody wants to see. Pure.

use super::sight::{Audience, Sight};
use crate::{pattern::Pattern, query};

/// Patterns of rooms in one request.
const MAX_ROOMS: usize = 16;
/// Bytes of a pattern or of an id.
const MAX_BYTES: usize = 256;

/// What somebody asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    rooms: Vec<Pattern>,
    event: Option<Pattern>,
    user: Option<String>,
    session: Option<String>,
}

/// Somebody whom a publication may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom<'a> {
    /// All sockets of this user.
    User(&'a str),
    /// This socket.
    Session(&'a str),
}

impl Filter {
    /// Reads `room=PATTERN&room=…&event=PATTERN&user=ID&session=ID&data=true`; the second value: whether payloads are
    /// asked for.
    ///
    /// # Errors
    /// What is wrong, and how to mend it.
    pub fn read(text: &str) -> Result<(Filter, bool), String> {
        let (mut filter, mut data) = (Filter::default(), None);
        for (name, value) in query::pairs(text) {
            if value.len() > MAX_BYTES {
                return Err(format!(
                    "`{name}` has {} bytes; {MAX_BYTES} are enough",
                    value.len()
                ));
            }
            let is_new = match name.as_str() {
                "room" => {
                    filter.rooms.push(pattern(&name, &value)?);
                    true
                }
                "event" => filter.event.replace(pattern(&name, &value)?).is_none(),
                "user" => filter.user.replace(id(&name, value)?).is_none(),
                "session" => filter.session.replace(id(&name, value)?).is_none(),
                "data" => data.replace(flag(&value)?).is_none(),
                _ => {
                    return Err(format!(
                        "`{name}` is none of `room`, `event`, `user`, `session` and `data`"
                    ));
                }
            };
            if !is_new {
                return Err(format!("`{name}` is there more than once: keep one"));
            }
        }
        if filter.rooms.len() > MAX_ROOMS {
            return Err(format!(
                "{} patterns of rooms; {MAX_ROOMS} are the most",
                filter.rooms.len()
            ));
        }
        Ok((filter, data.unwrap_or_default()))
    }

    /// Whether this is asked for. `reaches` says whether a publication to this audience reaches somebody on this node.
    pub fn passes(&self, sight: &Sight<'_>, reaches: &dyn Fn(Whom<'_>, &Audience<'_>) -> bool) -> bool {
        let in_room = |room: &&str| self.rooms.iter().any(|pattern| pattern.matches(room));
        let is_called = |pattern: &Pattern| {
            let mut names = [sight.event, sight.emit].into_iter().flatten();
            names.any(|name| pattern.matches(name))
        };
        let reached = |whom| {
            sight
                .audience
                .as_ref()
                .is_some_and(|audience| reaches(whom, audience))
        };
        (self.rooms.is_empty() || sight.is_everywhere || sight.rooms.iter().any(in_room))
            && self.event.as_ref().is_none_or(is_called)
            && self
                .user
                .as_deref()
                .is_none_or(|user| sight.user == Some(user) || reached(Whom::User(user)))
            && self.session.as_deref().is_none_or(|session| {
                sight.session.is_some_and(|id| id.to_string() == session) || reached(Whom::Session(session))
            })
    }
}

fn pattern(name: &str, text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).ok_or_else(|| {
        format!("`{name}`: {text:?} is neither a name nor the beginning of names with a `*` behind it")
    })
}

fn id(name: &str, text: String) -> Result<String, String> {
    if text.is_empty() {
        return Err(format!("`{name}` is empty; leave it out to see all"));
    }
    Ok(text)
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("`data` is neither `true` nor `false`".to_owned()),
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
