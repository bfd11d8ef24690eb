use serde_json::Value;

use super::{queue::MAX_LINES, *};

fn sight(event: &str) -> Sight<'_> {
    Sight {
        kind: Kind::Relay,
        event: Some(event),
        data: Some(b"\"private\"".as_slice().into()),
        ..Sight::default()
    }
}

fn open(tails: &Tails, filter: &str) -> Opened {
    let (filter, with_data) = Filter::read(filter).unwrap();
    tails.open(filter, with_data).unwrap()
}

fn taken(opened: &Opened) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some(lines) = opened.take() {
        let text = std::str::from_utf8(&lines).unwrap().to_owned();
        all.extend(
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()),
        );
    }
    all
}

fn events(opened: &Opened) -> Vec<Value> {
    taken(opened).iter().map(|line| line["event"].clone()).collect()
}

#[test]
fn nothing_is_made_while_nobody_looks() {
    let tails = Tails::default();
    let fail = || -> Sight<'static> { panic!("it was made") };
    tails.show(fail);
    drop(open(&tails, ""));
    tails.show(fail);
    assert!(!tails.is_open() && tails.if_open().is_none());
}

#[test]
fn each_sees_what_it_asked_for() {
    let tails = Tails::default();
    let (all, some, full) = (
        open(&tails, ""),
        open(&tails, "event=typing:*"),
        open(&tails, "data=true"),
    );
    for event in ["typing:start", "news"] {
        tails.show(|| sight(event));
    }
    assert_eq!(events(&all), ["typing:start", "news"]);
    assert_eq!(events(&some), ["typing:start"]);
    let lines = taken(&full);
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .all(|line| line["data"] == serde_json::json!(["private"]))
    );
    drop(all);
    tails.show(|| sight("typing:stop"));
    assert_eq!(events(&some), ["typing:stop"], "others go on");
}

#[test]
fn a_slow_one_is_told_how_much_it_missed() {
    let tails = Tails::default();
    let (slow, quick) = (open(&tails, ""), open(&tails, ""));
    for _ in 0..MAX_LINES + 5 {
        tails.show(|| sight("news"));
        assert_eq!(taken(&quick).len(), 1, "another one is not held up");
    }
    let lines = taken(&slow);
    assert_eq!(lines.len(), MAX_LINES + 1);
    assert_eq!(
        (&lines[MAX_LINES]["kind"], &lines[MAX_LINES]["lines"]),
        (&"missed".into(), &5.into())
    );
    tails.show(|| sight("news"));
    assert_eq!(taken(&slow).len(), 1, "it goes on");
}

#[tokio::test]
async fn as_many_as_may_and_none_at_the_end() {
    let tails = Tails::default();
    let many: Vec<Opened> = (0..MAX_TAILS).map(|_| open(&tails, "")).collect();
    assert!(tails.open(Filter::default(), false).is_none());
    drop(many);
    let last = open(&tails, "");
    let finishing = tails.finish();
    tokio::pin!(finishing);
    tokio::select! {
        biased;
        () = &mut finishing => panic!("somebody still looks"),
        () = last.stopping() => {}
    }
    assert!(last.is_stopping());
    drop(last);
    finishing.await;
    assert!(tails.open(Filter::default(), false).is_none());
}

#[tokio::test(start_paused = true)]
async fn nobody_holds_up_the_end() {
    let tails = Tails::default();
    let _still = open(&tails, "");
    let start = tokio::time::Instant::now();
    tails.finish().await;
    assert_eq!(start.elapsed(), FINISHING);
}
