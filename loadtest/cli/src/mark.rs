//! What every event of a run carries, so that whoever gets it knows what it is and when it was due.
//!
//! A mark is text: `rc1:<run>:<due>:<label>:<stream>:<number>:`, and padding behind it up to the wanted size. It lies in
//! some field of the event's first argument, since a policy decides which fields of a client's event others see.

use std::time::Duration;

use serde_json::Value;

/// The mark of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Whose run it is: others may run on the same cluster.
    pub(crate) run: u32,
    /// When it was due, in microseconds since 1970. Not when it was sent: a late sender is part of the latency.
    pub(crate) due: u64,
    /// Which of the plan's labels it counts for.
    pub(crate) label: u8,
    /// Who sent it where. Within a stream the numbers count up from 0.
    pub(crate) stream: u32,
    pub(crate) number: u32,
}

/// A time as marks have it.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

const VERSION: &str = "rc1";

impl Mark {
    /// As text of `size` bytes, or of as many as it needs.
    pub(crate) fn text(&self, size: usize) -> String {
        let Self {
            run,
            due,
            label,
            stream,
            number,
        } = self;
        let mut text = format!("{VERSION}:{run}:{due}:{label}:{stream}:{number}:");
        text.extend(std::iter::repeat_n('x', size.saturating_sub(text.len())));
        text
    }

    /// The mark in an event's arguments.
    pub(crate) fn find(args: &[Value]) -> Option<Self> {
        let fields = args.first()?.as_object()?.values();
        fields.filter_map(Value::as_str).find_map(Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        if parts.next()? != VERSION {
            return None;
        }
        Some(Self {
            run: parts.next()?.parse().ok()?,
            due: parts.next()?.parse().ok()?,
            label: parts.next()?.parse().ok()?,
            stream: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        })
    }
}

/// Which numbers of which streams one client has got: a bit for each.
#[derive(Debug, Default)]
pub(crate) struct Seen(std::collections::HashMap<u32, Vec<u64>>);

impl Seen {
    /// Notes an event; false when it was there before.
    pub(crate) fn first(&mut self, mark: &Mark) -> bool {
        let words = self.0.entry(mark.stream).or_default();
        let (word, bit) = ((mark.number / 64) as usize, 1u64 << (mark.number % 64));
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        let Some(word) = words.get_mut(word) else {
            return false;
        };
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MARK: Mark = Mark {
        run: 7,
        due: 1_785_000_000_123_456,
        label: 2,
        stream: 40,
        number: 130,
    };

    #[test]
    fn a_mark_is_found_in_any_field_and_padded_to_a_size() {
        let text = MARK.text(200);
        assert_eq!(text.len(), 200);
        assert!(text.starts_with("rc1:7:1785000000123456:2:40:130:xxx"), "{text}");
        assert_eq!(Mark::find(&[json!({ "a": 1, "b": text })]), Some(MARK));
        assert_eq!(Mark::find(&[json!({ "a": MARK.text(0) })]), Some(MARK));
    }

    #[test]
    fn what_has_no_mark_has_none() {
        for args in [
            vec![],
            vec![json!("rc1:1:1:1:1:1:")],
            vec![json!({ "a": "rc2:1:1:1:1:1:" })],
            vec![json!({ "a": "rc1:1:1:1:1" })],
            vec![json!({ "a": "rc1:1:-1:1:1:1:" })],
            vec![json!({ "a": "rc1:1:1:300:1:1:" })],
        ] {
            assert_eq!(Mark::find(&args), None, "{args:?}");
        }
    }

    #[test]
    fn a_repetition_is_seen_in_its_stream_only() {
        let mut seen = Seen::default();
        assert!(seen.first(&MARK));
        assert!(!seen.first(&MARK));
        assert!(seen.first(&Mark { stream: 41, ..MARK }));
        assert!(seen.first(&Mark { number: 0, ..MARK }));
        assert!(seen.first(&Mark { number: 64, ..MARK }));
        assert!(!seen.first(&Mark { number: 64, ..MARK }));
    }
}
