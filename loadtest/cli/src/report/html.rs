//! The report as one page that needs nothing else: style and graphs are inside, and there is no script.

use super::graph::{Line, svg};
use super::{Report, Table};
use crate::measure::Point;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
h1 .ok { color: #18794e } h1 .threshold_missed, h1 .not_to_be_believed { color: #c62a2f }
table { border-collapse: collapse; margin: .5em 0 1.5em } th, td { padding: .15em .8em; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } figure { margin: 1em 0 } figcaption { color: #555 }
svg { width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: #666 } svg .grid { stroke: #e5e5e5 }
.remark { background: #fdecec; padding: .4em .8em; margin: .3em 0 }
";

pub(super) fn html(report: &Report) -> String {
    let outcome = report.verdict.outcome;
    let class = serde_json::to_value(outcome).unwrap_or_default();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: {words}</title><style>{STYLE}</style></head>\
         <body>\n<h1>{name}: <span class=\"{class}\">{words}</span></h1>\n<p>{summary}.</p>\n",
        name = escape(&report.scenario),
        words = outcome.words(),
        class = class.as_str().unwrap_or_default(),
        summary = escape(&report.summary()),
    );
    for remark in report.remarks() {
        page.push_str(&format!("<p class=\"remark\">{}</p>\n", escape(&remark)));
    }
    for graph in graphs(&report.series) {
        page.push_str(&graph);
        page.push('\n');
    }
    for table in report.tables() {
        page.push_str(&format!("<h2>{}</h2>\n{}", escape(table.title), rows(&table)));
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
    page.push_str(&format!(
        "<h2>Settings</h2>\n<p>Began {}, roomcast-loadtest {}.</p>\n{}</body></html>\n",
        escape(&report.began),
        report.version,
        rows(&settings)
    ));
    page
}

fn graphs(series: &[Point]) -> [String; 3] {
    let line = |name, colour, value: fn(&Point) -> f64| Line {
        name,
        colour,
        points: series.iter().map(|point| (point.at_s, value(point))).collect(),
    };
    // A second in which nothing came has no latency.
    let latency = |name, colour, value: fn(&Point) -> f64| Line {
        name,
        colour,
        points: series
            .iter()
            .filter(|point| point.delivered > 0)
            .map(|point| (point.at_s, value(point)))
            .collect(),
    };
    [
        svg(
            "Latency in each second, ms",
            &[
                latency("p99", "#c62a2f", |point| point.p99_ms),
                latency("p50", "#0b68cb", |point| point.p50_ms),
            ],
        ),
        svg(
            "Events in each second",
            &[
                line("delivered", "#18794e", |point| point.delivered as f64),
                line("sent", "#8a6100", |point| point.sent as f64),
            ],
        ),
        svg(
            "Connections",
            &[line("open", "#6e56cf", |point| point.connections as f64)],
        ),
    ]
}

fn rows(table: &Table) -> String {
    let cells = |tag: &str, row: &mut dyn Iterator<Item = &str>| {
        let cells = row.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let mut text = String::from("<table>\n");
    text.push_str(&cells("th", &mut table.head.iter().copied()));
    for row in &table.rows {
        text.push_str(&cells("td", &mut row.iter().map(String::as_str)));
    }
    text + "</table>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
