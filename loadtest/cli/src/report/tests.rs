use std::path::Path;
use std::time::Duration;

use super::{Circumstances, Report, console, deliveries, figures, progress, times};
use crate::mark::Mark;
use crate::measure::{Delivery, Recorder};
use crate::verdict::{Limits, Threshold, judge};

/// A run of two clients, one of which missed an event.
fn report() -> Report {
    let recorder = Recorder::new(&["fan-out", "typing"]);
    recorder.note(|counts| {
        counts.connects.record(1_500);
        counts.connects.record(2_500);
        counts.publish_failures.note("HTTP 503 <b>&|");
        counts.connections = 2;
    });
    recorder.sent(0, Duration::from_millis(1), 2);
    let mark = Mark {
        run: 1,
        due: 1_000_000,
        label: 0,
        stream: 0,
        number: 0,
    };
    recorder.delivered(&mark, 1_012_000, Delivery::First);
    recorder.tick(Duration::from_secs(1));
    recorder.tick(Duration::from_secs(2));
    let circumstances = Circumstances {
        users: 2,
        elapsed: Duration::from_secs(2),
        processor: Duration::from_secs(1),
        processors: 2,
        clock_moved_ms: 0.04,
        interrupted: false,
    };
    let limits = Limits {
        max_lag: Duration::from_millis(100),
        max_cpu: 90.0,
    };
    recorder.read(|counts| {
        let figures = figures(counts, &circumstances);
        let thresholds = [Threshold::parse("missing>0").unwrap()];
        Report {
            scenario: "steady_fanout".to_owned(),
            version: "0.1.0",
            began: "2026-11-21T10:00:00Z".to_owned(),
            settings: vec![("users", "2".to_owned())],
            verdict: judge(&figures, &limits, &thresholds),
            figures,
            deliveries: deliveries(counts),
            times: times(counts),
            connect_failures: counts.connect_failures.clone(),
            publish_failures: counts.publish_failures.clone(),
            losses: counts.losses.clone(),
            slow_losses: counts.slow_losses.clone(),
            to_slow_clients: 7,
            foreign: 0,
            requests: Vec::new(),
            series: counts.series.clone(),
        }
    })
}

#[test]
fn figures_are_what_was_counted() {
    let figures = report().figures;
    assert_eq!(
        (
            figures.connected,
            figures.due,
            figures.delivered,
            figures.missing()
        ),
        (2, 2, 1, 1)
    );
    assert_eq!((figures.cpu_percent, figures.clock_moved_ms), (25.0, 0.0));
    assert_eq!((figures.publish_failed, figures.sent), (1, 1));
    assert!((figures.p99_ms - 12.0).abs() < 0.1);
}

#[test]
fn the_terminal_shows_verdict_and_tables() {
    let text = console(&report());
    for part in [
        "steady_fanout: THRESHOLD MISSED\n",
        "Threshold missed: missing>0: it is 1.\n",
        "Slow clients got 7 events",
        "\n           due  delivered  missing  repeated   p50",
        "\n  fan-out    2          1        1         0  12.0",
        "\n  connect                   2  1.50  2.50",
        "publish  HTTP 503 <b>&|      1",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.contains("Requests"), "an empty table is left out");
}

#[test]
fn markdown_keeps_its_tables_whole() {
    let text = report().file(Path::new("a.md"));
    assert!(text.starts_with("# steady_fanout: THRESHOLD MISSED\n"));
    assert!(text.contains("| fan-out | 2 | 1 | 1 | 0 |"), "{text}");
    assert!(text.contains(r"| publish | HTTP 503 &lt;b>&\| | 1 |"), "{text}");
    for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
        let columns = |line: &str| line.replace(r"\|", "").matches('|').count();
        let first = columns(table.lines().next().unwrap());
        assert!(table.lines().all(|line| columns(line) == first), "{table}");
    }
}

#[test]
fn the_page_needs_nothing_else() {
    let text = report().file(Path::new("a.html"));
    assert_eq!(text.matches("<svg").count(), 3);
    assert!(text.contains("<polyline"), "{text}");
    assert!(text.contains("HTTP 503 &lt;b&gt;&amp;|"), "{text}");
    for foreign in ["<script", "<link", "src=", "href=", "url(", "@import"] {
        assert!(!text.contains(foreign), "{foreign}");
    }
    assert_eq!(text.matches("http://").count(), 3, "only the namespace of SVG");
}

#[test]
fn programs_get_all_of_it() {
    let value: serde_json::Value = serde_json::from_str(&report().file(Path::new("a.json"))).unwrap();
    assert_eq!(value["verdict"]["outcome"], "threshold_missed");
    assert_eq!(value["figures"]["delivered"], 1);
    assert_eq!(value["deliveries"][0]["missing"], 1);
    assert_eq!(value["publish_failures"]["HTTP 503 <b>&|"], 1);
    assert_eq!(value["series"].as_array().unwrap().len(), 2);
}

#[test]
fn a_second_is_a_line() {
    let report = report();
    let line = progress(&report.series[0], 2, 1);
    assert!(
        line.contains("1.0 s       2 connected       1 sent/s        1 delivered/s"),
        "{line}"
    );
    assert!(line.ends_with("p99   12.0 ms  1 on the way"), "{line}");
}
