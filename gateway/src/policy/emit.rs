//! The name of an event that goes out: fixed, or made of what the client sent and who it is.

use adapter_redis::EventName;

use super::{
    file::{self, Fields},
    scope::{Asking, Root},
    template::Template,
};

/// The name of an event that goes out.
#[derive(Debug)]
pub(super) enum Emit {
    /// Always the same, and checked when the file was loaded.
    Fixed(EventName),
    /// Made anew each time.
    Made(Template),
}

impl Emit {
    /// Reads the key `emit`; `None` = it is not there, or a problem was reported.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Emit> {
        let text = fields.text("emit")?;
        if text.contains(['{', '}']) {
            fields.template("emit", Root::REPLY).map(Emit::Made)
        } else {
            if file::is_ours(text) {
                fields.error(&format!("`emit`: {text:?} {}", file::TAKEN));
                return None;
            }
            fields.optional_event("emit").map(Emit::Fixed)
        }
    }

    /// The name; `None` = what comes out is no name of an event.
    pub(super) fn name(&self, asking: &Asking<'_>) -> Option<EventName> {
        match self {
            Emit::Fixed(name) => Some(name.clone()),
            Emit::Made(template) => {
                let name = EventName::new(&template.text(&asking.scope())?).ok()?;
                (!file::is_ours(name.as_str())).then_some(name)
            }
        }
    }
}
