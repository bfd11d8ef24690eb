//! The report as Markdown, for a merge request or a wiki.

use super::{Report, Table};

pub(super) fn markdown(report: &Report) -> String {
    let mut text = format!(
        "# {}: {}\n\n{}.\n\n",
        report.scenario,
        report.verdict.outcome.words(),
        report.summary()
    );
    for remark in report.remarks() {
        text.push_str(&format!("- {remark}\n"));
    }
    for table in report.tables() {
        text.push_str(&format!("\n## {}\n\n{}", table.title, rows(&table)));
    }
    let settings = Table {
        title: "",
        head: &["Setting", "Value"],
        rows: report
            .settings
            .iter()
            .map(|(name, value)| vec![(*name).to_owned(), value.clone()])
            .collect(),
    };
    text.push_str(&format!(
        "\n## Settings\n\nBegan {}, roomcast-loadtest {}.\n\n{}",
        report.began,
        report.version,
        rows(&settings)
    ));
    text
}

fn rows(table: &Table) -> String {
    let mut text = format!(
        "| {} |\n|---{}|\n",
        table.head.join(" | "),
        "|---:".repeat(table.head.len() - 1)
    );
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn escape(cell: &str) -> String {
    cell.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace(['\n', '\r'], " ")
        .replace('<', "&lt;")
}
