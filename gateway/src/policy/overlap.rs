//! Rooms of one rule that a client could reach by another: worth a warning when a file is loaded. Pure.

use super::{
    scope::Path,
    template::{Part, Template},
};

/// A rule's place and the template of its rooms.
pub(super) type Named<'a> = (&'a str, &'a Template);

/// One sentence for each rule whose rooms a client can name by what it sends for another rule.
pub(super) fn warnings(asked: &[Named<'_>], all: &[Named<'_>]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (place, template) in asked {
        let Some((start, end)) = open(template) else {
            continue;
        };
        for (other, reached) in all {
            // Of two that overlap, the wider one is the surprise.
            let is_narrower = literal(reached) > literal(template);
            if place != other && is_narrower && could_be(reached, start, end) {
                warnings.push(format!(
                    "{place}: what a client sends for {:?} can name rooms of {other}, {:?}; its condition has to rule that \
                     out, or the names should begin differently",
                    template.source(),
                    reached.source()
                ));
            }
        }
    }
    warnings
}

/// The text before and after the one place that a client fills, where nothing but text comes before it.
fn open(template: &Template) -> Option<(&str, &str)> {
    let (start, rest) = match template.parts() {
        [Part::Text(text), rest @ ..] => (text.as_str(), rest),
        rest => ("", rest),
    };
    match rest {
        [Part::Path(Path { root, .. })] if root.is_from_client() => Some((start, "")),
        [Part::Path(Path { root, .. }), Part::Text(end)] if root.is_from_client() => Some((start, end)),
        _ => None,
    }
}

/// How much of its names is always the same.
fn literal(template: &Template) -> usize {
    let parts = template.parts().iter();
    parts
        .map(|part| match part {
            Part::Text(text) => text.len(),
            Part::Path(_) => 0,
        })
        .sum()
}

/// Whether one of its names can begin and end like this.
fn could_be(template: &Template, start: &str, end: &str) -> bool {
    let begins = matches!(template.parts().first(), Some(Part::Text(text)) if text.starts_with(start));
    let ends = match template.parts().last() {
        Some(Part::Text(text)) => text.ends_with(end),
        _ => true,
    };
    (begins || start.is_empty()) && ends
}
