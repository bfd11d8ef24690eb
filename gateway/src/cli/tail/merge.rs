//! Lines of several nodes in the order in which things happened, those of one publication together.
//!
//! Pure: the time is a parameter.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

/// Lines that are held back; with more of them the first go at once.
const MOST: usize = 10_000;

/// What a node has said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// As it came.
    pub(super) raw: String,
    pub(super) value: Value,
}

impl Line {
    /// Reads a line; `None` when it is no object.
    pub(super) fn read(line: &[u8]) -> Option<Line> {
        let raw = String::from_utf8(line.to_vec()).ok()?;
        let value: Value = serde_json::from_str(&raw).ok()?;
        value.is_object().then_some(Line { raw, value })
    }

    /// A field, if it is a text; else nothing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.value.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn kind(&self) -> &str {
        self.text("kind")
    }

    /// The names of its publication.
    fn names(&self) -> impl Iterator<Item = &str> {
        let all = self.value.get("publications").and_then(Value::as_array);
        let all = all.into_iter().flatten().filter_map(Value::as_str);
        self.value
            .get("publication")
            .and_then(Value::as_str)
            .into_iter()
            .chain(all)
    }

    fn is_of_one_with(&self, other: &Line) -> bool {
        self.names().any(|name| other.names().any(|n| n == name))
    }

    /// Whether the others of its publication follow from it.
    fn is_origin(&self) -> bool {
        matches!(self.kind(), "publish" | "relay")
    }
}

/// What is due so soon goes with what is due now: many lines cost as many looks at all that is held.
const SOON: Duration = Duration::from_millis(50);

/// Holds lines back for a while.
#[derive(Debug)]
pub(super) struct Merge {
    hold: Duration,
    /// In the order in which they came, with the time until which each is held.
    held: VecDeque<(Instant, Line)>,
}

impl Merge {
    pub(super) fn new(hold: Duration) -> Merge {
        Merge {
            hold,
            held: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, line: Line, now: Instant) {
        self.held.push_back((now + self.hold, line));
    }

    /// When there is something to print.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.front().map(|(due, _)| *due)
    }

    /// What is due, in groups: a publication's origin or else its first line, and what belongs to it; all in the order of
    /// the nodes' clocks. What comes later than it may stands alone.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Vec<Line>> {
        let excess = self.held.len().saturating_sub(MOST);
        if excess == 0 && self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let is_due = |(number, (due, _)): &(usize, &(Instant, Line))| {
            *number < excess || (excess == 0 && *due <= now + SOON)
        };
        let due = self.held.iter().enumerate().filter(is_due);
        // What happened before something that is due has its turn, too.
        let Some(until) = due.map(|(_, (_, line))| line.text("at").to_owned()).max() else {
            return Vec::new();
        };
        let happened = |line: &Line| line.text("at") <= until.as_str();
        let mut lines = self.take(happened);
        lines.sort_by(|a, b| a.text("at").cmp(b.text("at")));
        let mut groups: Vec<Vec<Line>> = Vec::new();
        for line in lines {
            match groups
                .iter_mut()
                .find(|group| group.iter().any(|other| other.is_of_one_with(&line)))
            {
                Some(group) if line.is_origin() => group.insert(0, line),
                Some(group) => group.push(line),
                None => groups.push(vec![line]),
            }
        }
        for group in &mut groups {
            let Some(leader) = group.first().cloned() else {
                continue;
            };
            group.extend(self.take(|line| line.is_of_one_with(&leader)));
        }
        groups
    }

    fn take(&mut self, which: impl Fn(&Line) -> bool) -> Vec<Line> {
        let (taken, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(_, line)| which(line));
        self.held = held;
        taken.into_iter().map(|(_, line)| line).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOLD: Duration = Duration::from_millis(500);

    fn line(at: u32, kind: &str, publication: Option<&str>) -> Line {
        let mut value = json!({"at": format!("{at:04}"), "kind": kind});
        if let Some(publication) = publication {
            value["publication"] = publication.into();
        }
        Line::read(value.to_string().as_bytes()).unwrap()
    }

    fn shown(groups: Vec<Vec<Line>>) -> Vec<Vec<(String, String)>> {
        let each = |line: &Line| (line.text("at").to_owned(), line.kind().to_owned());
        groups
            .iter()
            .map(|group| group.iter().map(each).collect())
            .collect()
    }

    fn pairs(expect: &[&[(&str, &str)]]) -> Vec<Vec<(String, String)>> {
        let each = |(at, kind): &(&str, &str)| ((*at).to_owned(), (*kind).to_owned());
        expect
            .iter()
            .map(|group| group.iter().map(each).collect())
            .collect()
    }

    #[test]
    fn lines_of_several_nodes_are_in_the_order_of_their_times() {
        let (mut merge, start) = (Merge::new(HOLD), Instant::now());
        assert_eq!(merge.due(), None);
        for (after, at) in [(0, 3), (100, 1), (200, 9), (300, 2)] {
            merge.push(line(at, "connect", None), start + Duration::from_millis(after));
        }
        assert_eq!(merge.due(), Some(start + HOLD));
        assert!(merge.take_due(start).is_empty());
        assert_eq!(
            shown(merge.take_due(start + HOLD)),
            pairs(&[
                &[("0001", "connect")],
                &[("0002", "connect")],
                &[("0003", "connect")]
            ]),
            "what is earlier does not wait"
        );
        let last = start + HOLD + Duration::from_millis(200);
        assert_eq!(merge.due(), Some(last));
        assert_eq!(shown(merge.take_due(last)), pairs(&[&[("0009", "connect")]]));
    }

    #[test]
    fn a_publication_and_its_hops_are_together_and_its_origin_is_first() {
        let (mut merge, now) = (Merge::new(HOLD), Instant::now());
        for (at, kind, name) in [
            (2, "delivery", Some("17")),
            (3, "connect", None),
            (1, "publish", Some("17")),
            (4, "delivery", Some("18")),
            (5, "delivery", Some("17")),
        ] {
            merge.push(line(at, kind, name), now);
        }
        assert_eq!(
            shown(merge.take_due(now + HOLD)),
            pairs(&[
                &[("0001", "publish"), ("0002", "delivery"), ("0005", "delivery")],
                &[("0003", "connect")],
                &[("0004", "delivery")],
            ])
        );
    }

    #[test]
    fn one_of_several_rooms_is_known_by_each_of_its_names() {
        let (mut merge, now) = (Merge::new(HOLD), Instant::now());
        let mut origin = line(1, "publish", Some("18"));
        origin.value["publications"] = json!(["17", "18"]);
        merge.push(origin, now);
        merge.push(line(2, "delivery", Some("17")), now);
        merge.push(line(3, "delivery", Some("18")), now);
        assert_eq!(merge.take_due(now + HOLD).len(), 1);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let (mut merge, now) = (Merge::new(HOLD), Instant::now());
        for at in 0..=MOST {
            merge.push(line(u32::try_from(at).unwrap(), "connect", None), now);
        }
        assert_eq!(merge.take_due(now).len(), 1);
        assert_eq!(merge.held.len(), MOST);
    }

    #[test]
    fn what_is_no_object_is_no_line() {
        for text in ["", "1", "[]", "{", "\"a\""] {
            assert_eq!(Line::read(text.as_bytes()), None, "{text}");
        }
    }
}
