//! The report for programs.

use super::Report;

pub(super) fn json(report: &Report) -> String {
    // Its keys are texts and its values are plain: there is nothing that could not be written.
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    text + "\n"
}
