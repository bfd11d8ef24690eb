//! The report and the progress on a terminal.

use super::{Report, Table, ms};
use crate::measure::Point;

pub(crate) fn console(report: &Report) -> String {
    let mut text = format!(
        "\n{}: {}\n{}.\n",
        report.scenario,
        report.verdict.outcome.words(),
        report.summary()
    );
    for remark in report.remarks() {
        text.push_str(&format!("{remark}\n"));
    }
    for table in report.tables() {
        text.push_str(&format!("\n{}\n{}", table.title, rows(&table)));
    }
    text
}

/// The line of one second.
pub(crate) fn progress(point: &Point, due: u64, delivered: u64) -> String {
    format!(
        "{:>7.1} s  {:>6} connected  {:>6} sent/s  {:>7} delivered/s  p50 {:>6} ms  p99 {:>6} ms  {} on the way",
        point.at_s,
        point.connections,
        point.sent,
        point.delivered,
        ms(point.p50_ms),
        ms(point.p99_ms),
        due.saturating_sub(delivered),
    )
}

/// The first column to the left, the others to the right.
fn rows(table: &Table) -> String {
    let head: Vec<String> = table.head.iter().map(|&cell| cell.to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(&table.rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in all {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column == 0 {
                    format!("  {cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
