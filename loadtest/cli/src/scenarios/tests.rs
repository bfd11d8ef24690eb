use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Map;

use super::{Load, Scenario};
use crate::mark::Mark;
use crate::plan::{Act, Plan};
use crate::tokens::Profile;

const LOAD: Load = Load {
    rate: 10.0,
    duration: Duration::from_secs(2),
    payload: 100,
    slow_percent: 20,
    spread: Duration::from_secs(1),
};

/// So many clients in two groups.
fn profiles(users: usize) -> Vec<Profile> {
    (0..users)
        .map(|number| Profile::made(b"secret", number, number % 2, 0, &Map::new()))
        .collect()
}

fn plan(scenario: Scenario, users: usize, load: Load) -> Plan {
    scenario.plan(&profiles(users), &load).unwrap()
}

#[test]
fn what_is_due_can_be_told_from_the_plan() {
    for (scenario, due) in [
        // 20 publications to 5 clients each.
        (Scenario::SteadyFanout, 100),
        (Scenario::UserUpdates, 20),
        // 20 messages to the 4 others.
        (Scenario::Chat, 80),
        // 3 to each of two rooms.
        (Scenario::ConnectStorm, 30),
        (Scenario::ReconnectWave, 100),
        // 10 to 5; then 10 to 4, as one of each room's five is slow.
        (Scenario::SlowConsumer, 90),
    ] {
        assert_eq!(plan(scenario, 10, LOAD).due(), due, "{scenario:?}");
    }
}

#[test]
fn a_day_has_its_proportion() {
    let load = Load {
        rate: 100.0,
        duration: Duration::from_secs(10),
        ..LOAD
    };
    let plan = plan(Scenario::CrmDay, 10, load);
    let mut events = BTreeMap::<&str, usize>::new();
    for due in plan.publications(0) {
        *events.entry(due.event).or_default() += 1;
        let room = &plan.room(due.room).unwrap().name;
        let kind = room.split(':').next().unwrap();
        let expected = match due.event.split(':').next().unwrap() {
            "message" => "whatsapp",
            "campaign" => "campaign",
            "contact" => "contact",
            "flow" | "whatsapp" | "phone_status_changed" => "user",
            _feed => "tenant",
        };
        assert_eq!(kind, expected, "{} in {room}", due.event);
    }
    assert_eq!(events.values().sum::<usize>(), 1000);
    for (event, count) in [
        ("message:status:update", 200),
        ("campaign:progress", 80),
        ("message:failed", 10),
    ] {
        assert_eq!(events.get(event), Some(&count), "{event}");
    }
    // 100 begin to type, and 100 stop, a little later.
    let typed: Vec<Vec<(&str, Duration)>> = (0..10)
        .map(|seat| plan.sayings(0, seat).map(|due| (due.event, due.at)).collect())
        .collect();
    assert_eq!(typed.iter().map(Vec::len).sum::<usize>(), 200);
    assert_eq!(
        typed[3][..3],
        [
            ("typing:start", Duration::from_millis(300)),
            ("typing:stop", Duration::from_millis(800)),
            ("typing:start", Duration::from_millis(1300)),
        ]
    );
}

#[test]
fn no_two_events_of_a_run_have_the_same_mark() {
    for scenario in [
        Scenario::CrmDay,
        Scenario::Chat,
        Scenario::ReconnectWave,
        Scenario::SlowConsumer,
    ] {
        let plan = plan(scenario, 7, LOAD);
        let mut marks = std::collections::HashSet::new();
        for act in 0..plan.acts.len() {
            let said = (0..7).flat_map(|seat| plan.sayings(act, seat));
            for due in plan.publications(act).chain(said) {
                assert!(marks.insert((due.stream, due.number)), "{scenario:?}: {due:?}");
                assert!((due.label as usize) < plan.labels.len());
            }
        }
        assert!(marks.len() >= 20, "{scenario:?}");
    }
}

#[test]
fn what_is_sent_says_when_it_was_due() {
    for (scenario, field, size) in [
        (Scenario::SteadyFanout, "mark", 100),
        (Scenario::Chat, "text", 100),
    ] {
        let plan = plan(scenario, 4, LOAD);
        let due = plan.publications(0).chain(plan.sayings(0, 3)).nth(3).unwrap();
        let data = due.data(7, 1_000_000, 100);
        assert_eq!(data[field].as_str().unwrap().len(), size, "{scenario:?}");
        let mark = Mark::find(&[data]).unwrap();
        assert_eq!(mark.due, 1_000_000 + u64::try_from(due.at.as_micros()).unwrap());
        assert!(mark.due > 1_000_000);
        assert_eq!(
            (mark.run, mark.label, mark.stream, mark.number),
            (7, due.label, due.stream, due.number)
        );
    }
}

#[test]
fn somebody_is_slow_and_somebody_is_not() {
    for (users, percent, slow) in [(10, 20, 2), (10, 0, 1), (2, 100, 1), (10, 100, 9)] {
        let load = Load {
            slow_percent: percent,
            ..LOAD
        };
        let plan = plan(Scenario::SlowConsumer, users, load);
        assert_eq!(plan.seats.iter().filter(|seat| seat.slow).count(), slow);
        assert!(matches!(
            plan.acts[..],
            [Act::Traffic(_), Act::Slow, Act::Traffic(_)]
        ));
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let none = [
        Profile::read("e30.e30.e30").unwrap(),
        Profile::read("e30.e30.e30").unwrap(),
    ];
    let fast = Load { rate: 51.0, ..LOAD };
    let long = Load {
        payload: 2001,
        ..LOAD
    };
    for (scenario, profiles, load, why) in [
        (Scenario::SteadyFanout, &none[..], LOAD, "tenant_id"),
        (Scenario::UserUpdates, &none[..], LOAD, "sub"),
        (Scenario::CrmDay, &none[..], LOAD, "whatsapp_accounts"),
        (Scenario::Chat, &none[..], Load { rate: 1.0, ..LOAD }, "channels"),
        (Scenario::Chat, &profiles(10)[..], fast, "--rate 51"),
        (Scenario::Chat, &profiles(10)[..], long, "--payload 2001"),
        (Scenario::SlowConsumer, &profiles(1)[..], LOAD, "two users"),
    ] {
        let error = scenario.plan(profiles, &load).unwrap_err();
        assert!(error.contains(why), "{scenario:?}: {error}");
    }
}
