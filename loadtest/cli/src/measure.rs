//! What a run has counted and timed, by everybody at once. Times are parameters.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::mark::{Mark, micros};

/// A latency beyond is counted as this, so that no histogram grows without bound.
const LONGEST: u64 = 3_600_000_000;
/// Different reasons that are told apart; the others are one more.
const REASONS: usize = 20;

/// The place where all samples end. Everybody writes, and one reads each second.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<Counts>);

/// All of it.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) labels: Vec<Label>,
    pub(crate) latency: Times,
    pub(crate) connects: Times,
    pub(crate) reconnects: Times,
    pub(crate) publishes: Times,
    /// How much later than due something was sent.
    pub(crate) lag: Times,
    pub(crate) connect_failures: Reasons,
    pub(crate) publish_failures: Reasons,
    pub(crate) losses: Reasons,
    /// Those of clients that were slow, which a server may well end.
    pub(crate) slow_losses: Reasons,
    pub(crate) sent: u64,
    pub(crate) connections: u64,
    pub(crate) early: u64,
    /// What the slow ones got while they were slow.
    pub(crate) aside: u64,
    /// Events that are none of this run.
    pub(crate) foreign: u64,
    second: Second,
    pub(crate) series: Vec<Point>,
}

/// One row of the report.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) name: &'static str,
    pub(crate) due: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    pub(crate) latency: Times,
}

/// Microseconds, three digits of each.
#[derive(Clone, Debug)]
pub(crate) struct Times(Option<Histogram<u64>>);

/// How often what happened, for a bounded number of reasons.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Reasons(BTreeMap<String, u64>);

#[derive(Debug, Default)]
struct Second {
    latency: Times,
    delivered: u64,
    sent: u64,
}

/// One second of the run, for graphs and for who waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Its end, from the beginning of the run.
    pub(crate) at_s: f64,
    pub(crate) connections: u64,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// What a delivery is to who got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    First,
    Repeated,
    /// It was not due, as the client is slow.
    Aside,
}

impl Recorder {
    pub(crate) fn new(labels: &[&'static str]) -> Self {
        let labels = labels.iter().map(|name| Label {
            name,
            due: 0,
            delivered: 0,
            duplicates: 0,
            latency: Times::default(),
        });
        Self(Mutex::new(Counts {
            labels: labels.collect(),
            latency: Times::default(),
            connects: Times::default(),
            reconnects: Times::default(),
            publishes: Times::default(),
            lag: Times::default(),
            connect_failures: Reasons::default(),
            publish_failures: Reasons::default(),
            losses: Reasons::default(),
            slow_losses: Reasons::default(),
            sent: 0,
            connections: 0,
            early: 0,
            aside: 0,
            foreign: 0,
            second: Second::default(),
            series: Vec::new(),
        }))
    }

    /// Something goes out now, `lag` after it was due, and `reached` clients have to get it.
    pub(crate) fn sent(&self, label: u8, lag: Duration, reached: u64) {
        let mut counts = self.counts();
        counts.sent += 1;
        counts.second.sent += 1;
        counts.lag.record(micros(lag));
        if let Some(label) = counts.labels.get_mut(usize::from(label)) {
            label.due += reached;
        }
    }

    /// Something came in at `now`.
    pub(crate) fn delivered(&self, mark: &Mark, now: u64, delivery: Delivery) {
        let mut counts = self.counts();
        let counts = &mut *counts;
        counts.early += u64::from(now < mark.due);
        let latency = now.saturating_sub(mark.due);
        let Some(label) = counts.labels.get_mut(usize::from(mark.label)) else {
            counts.foreign += 1;
            return;
        };
        match delivery {
            Delivery::Aside => counts.aside += 1,
            Delivery::Repeated => label.duplicates += 1,
            Delivery::First => {
                label.delivered += 1;
                label.latency.record(latency);
                counts.latency.record(latency);
                counts.second.latency.record(latency);
                counts.second.delivered += 1;
            }
        }
    }

    /// Anything else that has to be noted.
    pub(crate) fn note(&self, what: impl FnOnce(&mut Counts)) {
        what(&mut self.counts());
    }

    /// The second is over: adds a point to the series, and answers with it.
    pub(crate) fn tick(&self, at: Duration) -> Point {
        let mut counts = self.counts();
        let second = std::mem::take(&mut counts.second);
        let point = Point {
            at_s: (at.as_secs_f64() * 10.0).round() / 10.0,
            connections: counts.connections,
            sent: second.sent,
            delivered: second.delivered,
            p50_ms: second.latency.ms(0.5),
            p99_ms: second.latency.ms(0.99),
        };
        counts.series.push(point.clone());
        point
    }

    /// How much was due until now, and how much of it has come.
    pub(crate) fn balance(&self) -> (u64, u64) {
        let counts = self.counts();
        let labels = counts.labels.iter();
        labels.fold((0, 0), |(due, delivered), label| {
            (due + label.due, delivered + label.delivered)
        })
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Counts) -> T) -> T {
        read(&self.counts())
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    pub(crate) fn record(&mut self, micros: u64) {
        if let Some(histogram) = &mut self.0 {
            // It grows as far as the longest that there is.
            let _recorded = histogram.record(micros.clamp(1, LONGEST));
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The latency that so many (0 to 1) stay within, in milliseconds. 0 when there are none.
    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        let filled = self.0.as_ref().filter(|histogram| !histogram.is_empty());
        filled.map_or(0.0, |histogram| {
            histogram.value_at_quantile(quantile).min(histogram.max()) as f64 / 1e3
        })
    }
}

impl Default for Times {
    fn default() -> Self {
        // Three digits are among those that there are.
        Self(Histogram::new(3).ok())
    }
}

impl Reasons {
    pub(crate) fn note(&mut self, reason: &str) {
        let known = self.0.len() < REASONS || self.0.contains_key(reason);
        let reason = if known { reason } else { "other reasons" };
        *self.0.entry(reason.to_owned()).or_default() += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(reason, count)| (reason.as_str(), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(due: u64, label: u8) -> Mark {
        Mark {
            run: 1,
            due,
            label,
            stream: 0,
            number: 0,
        }
    }

    #[test]
    fn latency_is_from_when_an_event_was_due() {
        let recorder = Recorder::new(&["a", "b"]);
        recorder.sent(0, Duration::from_millis(300), 2);
        recorder.delivered(&mark(1_000_000, 0), 1_400_000, Delivery::First);
        recorder.delivered(&mark(1_000_000, 0), 1_500_000, Delivery::Repeated);
        recorder.delivered(&mark(1_000_000, 1), 1_700_000, Delivery::Aside);
        assert_eq!(recorder.balance(), (2, 1));
        recorder.read(|counts| {
            assert!(
                (counts.latency.ms(1.0) - 400.0).abs() < 1.0,
                "{}",
                counts.latency.ms(1.0)
            );
            assert!((counts.lag.ms(0.99) - 300.0).abs() < 1.0);
            assert_eq!(
                (counts.labels[0].duplicates, counts.aside, counts.early),
                (1, 1, 0)
            );
            assert_eq!(counts.labels[1].latency.count(), 0);
        });
    }

    #[test]
    fn what_comes_before_it_is_due_is_counted() {
        let recorder = Recorder::new(&["a"]);
        recorder.delivered(&mark(1_000_000, 0), 999_999, Delivery::First);
        recorder.delivered(&mark(1_000_000, 9), 2_000_000, Delivery::First);
        recorder.read(|counts| assert_eq!((counts.early, counts.foreign), (1, 1)));
    }

    #[test]
    fn each_second_is_one_point() {
        let recorder = Recorder::new(&["a"]);
        recorder.note(|counts| counts.connections = 3);
        recorder.sent(0, Duration::ZERO, 1);
        recorder.delivered(&mark(0, 0), 2_000, Delivery::First);
        let point = recorder.tick(Duration::from_millis(1040));
        assert_eq!(
            (point.at_s, point.connections, point.sent, point.delivered),
            (1.0, 3, 1, 1)
        );
        assert!((point.p99_ms - 2.0).abs() < 0.01);
        let quiet = recorder.tick(Duration::from_secs(2));
        assert_eq!((quiet.sent, quiet.delivered, quiet.p99_ms), (0, 0, 0.0));
        recorder.read(|counts| assert_eq!(counts.series, [point, quiet]));
    }

    #[test]
    fn reasons_are_bounded() {
        let mut reasons = Reasons::default();
        for number in 0..100 {
            reasons.note(&format!("reason {number}"));
        }
        reasons.note("reason 3");
        assert_eq!(reasons.total(), 101);
        assert_eq!(reasons.iter().count(), REASONS + 1);
        assert!(
            reasons
                .iter()
                .any(|(reason, count)| reason == "other reasons" && count == 80)
        );
    }

    #[test]
    fn a_histogram_takes_everything() {
        let mut times = Times::default();
        assert_eq!((times.count(), times.ms(0.5)), (0, 0.0));
        times.record(0);
        times.record(u64::MAX);
        assert_eq!(times.count(), 2);
        assert!(times.ms(1.0) > 3_500_000.0);
    }
}
