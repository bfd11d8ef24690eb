//! What a run's figures are worth: thresholds, and the reasons not to believe them. Pure.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The figures that thresholds can be about, and that the verdict looks at.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) users: u64,
    pub(crate) connected: u64,
    pub(crate) connect_failed: u64,
    /// Connections that broke without being told to.
    pub(crate) lost: u64,
    /// Events that were sent, by the backend and by clients.
    pub(crate) sent: u64,
    pub(crate) publish_failed: u64,
    pub(crate) due: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) connect_p99_ms: f64,
    pub(crate) reconnect_p99_ms: f64,
    pub(crate) publish_p99_ms: f64,
    /// How late 99 of 100 events were sent at most.
    pub(crate) lag_p99_ms: f64,
    /// Of all processors, this process alone.
    pub(crate) cpu_percent: f64,
    /// How far the wall clock moved against one that is never set; negative is backwards.
    pub(crate) clock_moved_ms: f64,
    /// Deliveries from before they were due.
    pub(crate) early: u64,
    pub(crate) interrupted: bool,
}

impl Figures {
    pub(crate) fn missing(&self) -> u64 {
        self.due.saturating_sub(self.delivered)
    }
}

/// From where on a run is not believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    pub(crate) max_lag: Duration,
    pub(crate) max_cpu: f64,
}

/// What a run comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// Why it must not be believed.
    pub(crate) doubts: Vec<String>,
    /// The thresholds that were missed, with the figure.
    pub(crate) missed: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok,
    ThresholdMissed,
    NotToBeBelieved,
}

impl Outcome {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::ThresholdMissed => 1,
            Self::NotToBeBelieved => 2,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ThresholdMissed => "THRESHOLD MISSED",
            Self::NotToBeBelieved => "NOT TO BE BELIEVED",
        }
    }
}

/// A clock may be slewed; that is not set.
const CLOCK_TOLERANCE_MS: f64 = 50.0;

/// A run that is not to be believed missed no threshold: nobody knows.
pub(crate) fn judge(figures: &Figures, limits: &Limits, thresholds: &[Threshold]) -> Verdict {
    let doubts = doubts(figures, limits);
    let missed: Vec<String> = thresholds
        .iter()
        .filter(|threshold| threshold.is_missed(figures))
        .map(|threshold| format!("{threshold}: it is {}", number(threshold.measure.of(figures))))
        .collect();
    let outcome = if !doubts.is_empty() {
        Outcome::NotToBeBelieved
    } else if !missed.is_empty() {
        Outcome::ThresholdMissed
    } else {
        Outcome::Ok
    };
    Verdict {
        outcome,
        doubts,
        missed,
    }
}

fn doubts(figures: &Figures, limits: &Limits) -> Vec<String> {
    let mut doubts = Vec::new();
    if figures.interrupted {
        doubts.push("the run was interrupted before its end".to_owned());
    }
    if figures.connected < figures.users {
        doubts.push(format!(
            "{} of {} clients could not connect: what the others got says little",
            figures.users - figures.connected,
            figures.users
        ));
    }
    if figures.sent == 0 {
        doubts.push("nothing was sent: there is nothing to measure".to_owned());
    } else if figures.due == 0 {
        doubts.push("nothing was due to anybody: there is nothing to measure".to_owned());
    }
    if figures.delivered + figures.duplicates > figures.due {
        doubts.push(format!(
            "more was delivered than was due ({} and {} repetitions of {}): somebody got what was not for them, or got it \
             twice",
            figures.delivered, figures.duplicates, figures.due
        ));
    }
    let lag = limits.max_lag.as_secs_f64() * 1e3;
    if figures.lag_p99_ms > lag {
        doubts.push(format!(
            "the generator was saturated: 1 in 100 events was sent more than {} ms late, {} ms are allowed (--max-lag)",
            number(figures.lag_p99_ms),
            number(lag)
        ));
    }
    if figures.cpu_percent > limits.max_cpu {
        doubts.push(format!(
            "the generator was saturated: it used {} % of all processors, {} % are allowed (--max-cpu)",
            number(figures.cpu_percent),
            number(limits.max_cpu)
        ));
    }
    if figures.early > 0 || figures.clock_moved_ms.abs() > CLOCK_TOLERANCE_MS {
        doubts.push(format!(
            "the clock was set during the run, by about {} ms, and {} deliveries came before they were due: latencies are \
             wrong",
            number(figures.clock_moved_ms),
            figures.early
        ));
    }
    doubts
}

/// Without digits that say nothing.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `p99_ms>250`: missed when it is true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threshold {
    measure: Measure,
    comparison: Comparison,
    bound: f64,
}

impl Threshold {
    /// `missing>0`
    pub(crate) const NOTHING_MISSING: Self = Self {
        measure: Measure::Missing,
        comparison: Comparison::Above,
        bound: 0.0,
    };

    pub(crate) fn is_about_missing(&self) -> bool {
        matches!(self.measure, Measure::Missing | Measure::MissingPercent)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, comparison, bound) = [">=", "<=", ">", "<"]
            .iter()
            .zip(Comparison::ALL)
            .find_map(|(sign, comparison)| {
                let (name, bound) = text.split_once(sign)?;
                Some((name.trim(), comparison, bound.trim()))
            })
            .ok_or("write a rule such as p99_ms>250")?;
        let measure = Measure::ALL
            .into_iter()
            .find(|measure| measure.name() == name)
            .ok_or_else(|| {
                let known: Vec<&str> = Measure::ALL.iter().map(|measure| measure.name()).collect();
                format!("there is no measure {name:?}; known are {}", known.join(", "))
            })?;
        let bound: f64 = bound
            .parse()
            .ok()
            .filter(|bound: &f64| bound.is_finite())
            .ok_or_else(|| format!("{bound:?} is not a number"))?;
        Ok(Self {
            measure,
            comparison,
            bound,
        })
    }

    fn is_missed(&self, figures: &Figures) -> bool {
        let value = self.measure.of(figures);
        match self.comparison {
            Comparison::AtLeast => value >= self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Above => value > self.bound,
            Comparison::Below => value < self.bound,
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::AtLeast => ">=",
            Comparison::AtMost => "<=",
            Comparison::Above => ">",
            Comparison::Below => "<",
        };
        write!(f, "{}{sign}{}", self.measure.name(), number(self.bound))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
}

impl Comparison {
    const ALL: [Self; 4] = [Self::AtLeast, Self::AtMost, Self::Above, Self::Below];
}

macro_rules! measures {
    ($($variant:ident $name:literal |$figures:ident| $value:expr;)*) => {
        /// What a threshold is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Measure { $($variant),* }

        impl Measure {
            const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            fn of(self, figures: &Figures) -> f64 {
                match self { $(Self::$variant => { let $figures = figures; $value })* }
            }
        }
    };
}

measures! {
    P50 "p50_ms" |f| f.p50_ms;
    P90 "p90_ms" |f| f.p90_ms;
    P99 "p99_ms" |f| f.p99_ms;
    P999 "p999_ms" |f| f.p999_ms;
    Max "max_ms" |f| f.max_ms;
    Missing "missing" |f| f.missing() as f64;
    MissingPercent "missing_percent" |f| f.missing() as f64 * 100.0 / f.due.max(1) as f64;
    Duplicates "duplicates" |f| f.duplicates as f64;
    Connect "connect_p99_ms" |f| f.connect_p99_ms;
    Reconnect "reconnect_p99_ms" |f| f.reconnect_p99_ms;
    ConnectFailed "connect_failed" |f| f.connect_failed as f64;
    Lost "lost" |f| f.lost as f64;
    Publish "publish_p99_ms" |f| f.publish_p99_ms;
    PublishFailed "publish_failed" |f| f.publish_failed as f64;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_lag: Duration::from_millis(100),
        max_cpu: 90.0,
    };

    fn good() -> Figures {
        Figures {
            users: 10,
            connected: 10,
            sent: 20,
            due: 200,
            delivered: 200,
            p99_ms: 12.345,
            lag_p99_ms: 1.5,
            cpu_percent: 20.0,
            ..Figures::default()
        }
    }

    #[test]
    fn every_reason_for_doubt_is_recognized() {
        assert_eq!(judge(&good(), &LIMITS, &[]).outcome, Outcome::Ok);
        type Spoil = fn(&mut Figures);
        let cases: [(Spoil, &str); 11] = [
            (|f| f.interrupted = true, "interrupted"),
            (|f| f.connected = 9, "1 of 10 clients could not connect"),
            (|f| (f.sent, f.due, f.delivered) = (0, 0, 0), "nothing was sent"),
            (|f| (f.due, f.delivered) = (0, 0), "nothing was due"),
            (
                |f| f.delivered = 201,
                "more was delivered than was due (201 and 0",
            ),
            (|f| f.duplicates = 1, "more was delivered than was due (200 and 1"),
            (
                |f| f.lag_p99_ms = 100.5,
                "saturated: 1 in 100 events was sent more than 100.5 ms late",
            ),
            (
                |f| f.cpu_percent = 90.5,
                "saturated: it used 90.5 % of all processors",
            ),
            (|f| f.early = 1, "the clock was set"),
            (|f| f.clock_moved_ms = -51.0, "by about -51 ms"),
            (|f| f.clock_moved_ms = 51.0, "by about 51 ms"),
        ];
        for (spoil, why) in cases {
            let mut figures = good();
            spoil(&mut figures);
            let verdict = judge(&figures, &LIMITS, &[]);
            assert_eq!(verdict.outcome, Outcome::NotToBeBelieved, "{why}");
            assert_eq!(verdict.outcome.exit_code(), 2);
            assert_eq!(verdict.doubts.len(), 1, "{why}: {verdict:?}");
            assert!(verdict.doubts[0].contains(why), "{why}: {verdict:?}");
        }
    }

    #[test]
    fn thresholds_are_missed_when_they_are_true() {
        let mut figures = good();
        figures.delivered = 190;
        for (rule, missed) in [
            ("p99_ms>12", true),
            ("p99_ms > 12.35", false),
            ("p99_ms>=12.345", true),
            ("missing>0", true),
            ("missing>=11", false),
            ("missing_percent>4.9", true),
            ("missing_percent<=5", true),
            ("duplicates<1", true),
            ("lost<0", false),
        ] {
            let verdict = judge(&figures, &LIMITS, &[Threshold::parse(rule).unwrap()]);
            let outcome = if missed {
                Outcome::ThresholdMissed
            } else {
                Outcome::Ok
            };
            assert_eq!(verdict.outcome, outcome, "{rule}");
            assert_eq!(verdict.missed.len(), usize::from(missed), "{rule}");
        }
        let two = ["p99_ms>1", "missing>5"].map(|rule| Threshold::parse(rule).unwrap());
        assert_eq!(
            judge(&figures, &LIMITS, &two).missed,
            ["p99_ms>1: it is 12.35", "missing>5: it is 10"]
        );
        assert_eq!(Outcome::ThresholdMissed.exit_code(), 1);
    }

    #[test]
    fn doubts_count_more_than_thresholds() {
        let mut figures = good();
        figures.connected = 1;
        let rule = Threshold::parse("p99_ms>1").unwrap();
        assert_eq!(
            judge(&figures, &LIMITS, &[rule]).outcome,
            Outcome::NotToBeBelieved
        );
    }

    #[test]
    fn a_rule_that_is_none_is_explained() {
        for (rule, why) in [
            ("p99_ms", "such as p99_ms>250"),
            ("p99_ms=3", "such as p99_ms>250"),
            ("p98_ms>3", "known are p50_ms"),
            ("p99_ms>x", "\"x\" is not a number"),
            ("p99_ms>NaN", "not a number"),
        ] {
            let error = Threshold::parse(rule).unwrap_err();
            assert!(error.contains(why), "{rule}: {error}");
        }
    }
}
