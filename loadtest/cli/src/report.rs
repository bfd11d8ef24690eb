//! What a run comes to, for people and for programs. Pure.

mod console;
mod graph;
mod html;
mod json;
mod markdown;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::measure::{Counts, Point, Reasons, Times};
use crate::verdict::{Figures, Verdict};

pub(crate) use console::{console, progress};

/// All that a report says. The JSON report is this.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) version: &'static str,
    /// RFC 3339.
    pub(crate) began: String,
    /// What was asked for, without secrets.
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) verdict: Verdict,
    pub(crate) figures: Figures,
    pub(crate) deliveries: Vec<Deliveries>,
    /// Connects, publications and the lag of the generator.
    pub(crate) times: Vec<Timed>,
    pub(crate) connect_failures: Reasons,
    pub(crate) publish_failures: Reasons,
    pub(crate) losses: Reasons,
    pub(crate) slow_losses: Reasons,
    /// Deliveries to slow clients while they were slow: not due, and in no other figure.
    pub(crate) to_slow_clients: u64,
    /// Events that are none of this run.
    pub(crate) foreign: u64,
    /// What goose has seen.
    pub(crate) requests: Vec<Request>,
    pub(crate) series: Vec<Point>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Deliveries {
    pub(crate) what: &'static str,
    pub(crate) due: u64,
    pub(crate) delivered: u64,
    pub(crate) missing: u64,
    pub(crate) duplicates: u64,
    #[serde(flatten)]
    pub(crate) latency: Latency,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Timed {
    pub(crate) what: &'static str,
    pub(crate) count: u64,
    #[serde(flatten)]
    pub(crate) latency: Latency,
}

/// Milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

/// One row of goose's own statistics.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) failed: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// What a report cannot read off the counts.
#[derive(Clone, Debug)]
pub(crate) struct Circumstances {
    pub(crate) users: u64,
    pub(crate) elapsed: Duration,
    pub(crate) processor: Duration,
    pub(crate) processors: usize,
    pub(crate) clock_moved_ms: f64,
    pub(crate) interrupted: bool,
}

pub(crate) fn figures(counts: &Counts, circumstances: &Circumstances) -> Figures {
    let sum = |of: fn(&crate::measure::Label) -> u64| counts.labels.iter().map(of).sum();
    let available = circumstances.elapsed.as_secs_f64() * circumstances.processors.max(1) as f64;
    Figures {
        users: circumstances.users,
        connected: counts.connects.count(),
        connect_failed: counts.connect_failures.total(),
        lost: counts.losses.total(),
        sent: counts.sent,
        publish_failed: counts.publish_failures.total(),
        due: sum(|label| label.due),
        delivered: sum(|label| label.delivered),
        duplicates: sum(|label| label.duplicates),
        p50_ms: counts.latency.ms(0.5),
        p90_ms: counts.latency.ms(0.9),
        p99_ms: counts.latency.ms(0.99),
        p999_ms: counts.latency.ms(0.999),
        max_ms: counts.latency.ms(1.0),
        connect_p99_ms: counts.connects.ms(0.99),
        reconnect_p99_ms: counts.reconnects.ms(0.99),
        publish_p99_ms: counts.publishes.ms(0.99),
        lag_p99_ms: counts.lag.ms(0.99),
        cpu_percent: if available > 0.0 {
            (circumstances.processor.as_secs_f64() / available * 1000.0).round() / 10.0
        } else {
            0.0
        },
        clock_moved_ms: (circumstances.clock_moved_ms * 10.0).round() / 10.0,
        early: counts.early,
        interrupted: circumstances.interrupted,
    }
}

pub(crate) fn deliveries(counts: &Counts) -> Vec<Deliveries> {
    let labels = counts.labels.iter().map(|label| Deliveries {
        what: label.name,
        due: label.due,
        delivered: label.delivered,
        missing: label.due.saturating_sub(label.delivered),
        duplicates: label.duplicates,
        latency: latency(&label.latency),
    });
    labels.collect()
}

/// Those that there are.
pub(crate) fn times(counts: &Counts) -> Vec<Timed> {
    [
        ("connect", &counts.connects),
        ("reconnect", &counts.reconnects),
        ("publish", &counts.publishes),
        ("lag of the generator", &counts.lag),
    ]
    .into_iter()
    .filter(|(_, times)| times.count() > 0)
    .map(|(what, times)| Timed {
        what,
        count: times.count(),
        latency: latency(times),
    })
    .collect()
}

fn latency(times: &Times) -> Latency {
    Latency {
        p50_ms: times.ms(0.5),
        p90_ms: times.ms(0.9),
        p99_ms: times.ms(0.99),
        p999_ms: times.ms(0.999),
        max_ms: times.ms(1.0),
    }
}

impl Report {
    /// As a file of that name has it.
    pub(crate) fn file(&self, path: &Path) -> String {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => html::html(self),
            Some("md") => markdown::markdown(self),
            _json => json::json(self),
        }
    }

    /// Everything that went wrong: where, why, how often.
    fn failures(&self) -> Vec<(&'static str, &str, u64)> {
        let all = [
            ("connect", &self.connect_failures),
            ("publish", &self.publish_failures),
            ("connection lost", &self.losses),
            ("slow client lost", &self.slow_losses),
        ];
        all.into_iter()
            .flat_map(|(what, reasons)| reasons.iter().map(move |(why, count)| (what, why, count)))
            .collect()
    }

    /// What has to be said in a sentence.
    fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = Vec::new();
        remarks.extend(
            self.verdict
                .doubts
                .iter()
                .map(|doubt| format!("Not to be believed: {doubt}.")),
        );
        remarks.extend(
            self.verdict
                .missed
                .iter()
                .map(|missed| format!("Threshold missed: {missed}.")),
        );
        if self.to_slow_clients > 0 {
            remarks.push(format!(
                "Slow clients got {} events while they were slow. None of these was due.",
                self.to_slow_clients
            ));
        }
        if self.foreign > 0 {
            remarks.push(format!("{} events were none of this run.", self.foreign));
        }
        remarks
    }

    /// The tables: titles, heads and cells.
    fn tables(&self) -> Vec<Table> {
        let mut tables = vec![
            Table {
                title: "Deliveries (latency in ms, from when an event was due)",
                head: &[
                    "",
                    "due",
                    "delivered",
                    "missing",
                    "repeated",
                    "p50",
                    "p90",
                    "p99",
                    "p99.9",
                    "max",
                ],
                rows: self.deliveries.iter().map(Deliveries::cells).collect(),
            },
            Table {
                title: "Times (ms)",
                head: &["", "count", "p50", "p90", "p99", "p99.9", "max"],
                rows: self.times.iter().map(Timed::cells).collect(),
            },
            Table {
                title: "Requests, as goose counts them (ms)",
                head: &["", "count", "failed", "p50", "p99"],
                rows: self.requests.iter().map(Request::cells).collect(),
            },
            Table {
                title: "Failures",
                head: &["", "why", "count"],
                rows: self
                    .failures()
                    .into_iter()
                    .map(|(what, why, count)| vec![what.to_owned(), why.to_owned(), count.to_string()])
                    .collect(),
            },
        ];
        tables.retain(|table| !table.rows.is_empty());
        tables
    }

    /// The line below the headline.
    fn summary(&self) -> String {
        let figures = &self.figures;
        format!(
            "{} clients, {} events sent, {} of {} deliveries, p50 {} ms, p99 {} ms; generator: lag {} ms, {} % of all processors",
            figures.connected,
            figures.sent,
            figures.delivered,
            figures.due,
            ms(figures.p50_ms),
            ms(figures.p99_ms),
            ms(figures.lag_p99_ms),
            figures.cpu_percent,
        )
    }
}

struct Table {
    title: &'static str,
    head: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Latency {
    fn cells(&self) -> impl Iterator<Item = String> {
        [self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms]
            .into_iter()
            .map(ms)
    }
}

impl Deliveries {
    fn cells(&self) -> Vec<String> {
        let counts = [self.due, self.delivered, self.missing, self.duplicates];
        let counts = counts.iter().map(u64::to_string);
        std::iter::once(self.what.to_owned())
            .chain(counts)
            .chain(self.latency.cells())
            .collect()
    }
}

impl Timed {
    fn cells(&self) -> Vec<String> {
        let head = [self.what.to_owned(), self.count.to_string()];
        head.into_iter().chain(self.latency.cells()).collect()
    }
}

impl Request {
    fn cells(&self) -> Vec<String> {
        let counts = [self.count.to_string(), self.failed.to_string()];
        let times = [ms(self.p50_ms), ms(self.p99_ms)];
        std::iter::once(self.name.clone())
            .chain(counts)
            .chain(times)
            .collect()
    }
}

/// Three digits that count.
fn ms(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
