//! A key set's life, second by second.

use super::*;

const S: Duration = Duration::from_secs(1);

fn timing() -> Timing {
    Timing::default()
}

/// How long until the next fetch.
fn wait(refresh: &Refresh, now: Instant) -> Option<Duration> {
    refresh.due().map(|due| due.saturating_duration_since(now))
}

#[test]
fn the_pause_after_a_success() {
    let now = Instant::now();
    for (max_age, expect) in [
        (None, 300),
        (Some(0), 60),
        (Some(59), 60),
        (Some(120), 120),
        (Some(9_999), 300),
    ] {
        let mut refresh = Refresh::new(timing(), now);
        assert_eq!(wait(&refresh, now), Some(Duration::ZERO), "the first at once");
        refresh.begin();
        assert_eq!(refresh.due(), None, "one at a time");
        refresh.succeeded(now, max_age.map(Duration::from_secs));
        assert_eq!(wait(&refresh, now), Some(S * expect), "{max_age:?}");
    }
    let often = Timing {
        refresh: S * 5,
        ..timing()
    };
    let mut refresh = Refresh::new(often, now);
    refresh.succeeded(now, Some(S * 3600));
    assert_eq!(
        wait(&refresh, now),
        Some(S * 5),
        "never less often than configured"
    );
}

#[test]
fn the_pauses_after_failures() {
    let now = Instant::now();
    let mut refresh = Refresh::new(timing(), now);
    for expect in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        refresh.begin();
        refresh.failed(now, 0);
        assert_eq!(wait(&refresh, now), Some(S * expect));
        assert!(refresh.is_failing());
    }
    refresh.begin();
    refresh.succeeded(now, None);
    assert!(!refresh.is_failing());
    refresh.begin();
    refresh.failed(now, 255);
    let shortened = wait(&refresh, now).unwrap();
    assert!(
        shortened > S / 2 && shortened < S,
        "from the beginning, and by chance: {shortened:?}"
    );
}

#[test]
fn who_asks_waits_for_one_fetch_and_then_it_cools_down() {
    let now = Instant::now();
    let mut refresh = Refresh::new(timing(), now);
    refresh.begin();
    assert_eq!(refresh.ask(now), Asked::Waits, "for the one on its way");
    refresh.succeeded(now, None);
    assert_eq!(
        refresh.ask(now),
        Asked::Waits,
        "that one was not asked for, and may be older than the key"
    );
    assert_eq!(wait(&refresh, now), Some(Duration::ZERO));
    assert_eq!(refresh.ask(now), Asked::Waits);
    refresh.begin();
    assert_eq!(refresh.ask(now), Asked::Waits);
    let over = now + S;
    refresh.succeeded(over, None);
    assert_eq!(refresh.ask(over), Asked::CoolingDown);
    assert_eq!(refresh.ask(over + S * 9), Asked::CoolingDown);
    assert_eq!(
        wait(&refresh, over),
        Some(S * 300),
        "nothing is due earlier for it"
    );
    assert_eq!(refresh.ask(over + S * 10), Asked::Waits);
    assert_eq!(wait(&refresh, over), Some(S * 10), "but now it is");
}

#[test]
fn a_failure_cools_down_as_well() {
    let now = Instant::now();
    let mut refresh = Refresh::new(timing(), now);
    assert_eq!(refresh.ask(now), Asked::Waits);
    refresh.begin();
    refresh.failed(now, 0);
    assert_eq!(refresh.ask(now), Asked::CoolingDown);
    assert_eq!(
        wait(&refresh, now),
        Some(S),
        "it is tried again without anybody asking"
    );
    refresh.begin();
    assert_eq!(
        refresh.ask(now),
        Asked::Waits,
        "one that is on its way anyway costs nothing"
    );
}

#[test]
fn a_bounded_number_waits() {
    let now = Instant::now();
    let mut refresh = Refresh::new(timing(), now);
    for _ in 0..MOST_WAITING {
        assert_eq!(refresh.ask(now), Asked::Waits);
    }
    assert_eq!(refresh.ask(now), Asked::Crowded);
    refresh.leave();
    assert_eq!(refresh.ask(now), Asked::Waits);
    assert_eq!(refresh.ask(now), Asked::Crowded);
}

#[test]
fn another_timing_counts_from_the_last_success() {
    let now = Instant::now();
    let mut refresh = Refresh::new(timing(), now);
    refresh.succeeded(now, None);
    refresh.retime(Timing {
        refresh: S * 60,
        ..timing()
    });
    assert_eq!(wait(&refresh, now), Some(S * 60));
    refresh.retime(timing());
    assert_eq!(
        wait(&refresh, now),
        Some(S * 60),
        "a longer one begins with the next"
    );
    refresh.begin();
    refresh.retime(timing());
    assert_eq!(refresh.due(), None);
}

#[test]
fn times_beyond_all_clocks_are_far_away() {
    let now = Instant::now();
    let endless = Timing {
        refresh: Duration::MAX,
        cooldown: Duration::MAX,
        ..timing()
    };
    let mut refresh = Refresh::new(endless, now);
    assert_eq!(refresh.ask(now), Asked::Waits);
    refresh.begin();
    refresh.succeeded(now, None);
    assert_eq!(wait(&refresh, now), Some(S * 86_400));
    refresh.retime(endless);
}
