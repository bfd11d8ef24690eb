//! The user of goose that conducts: lets the acts follow each other, and plays the backend.

use std::time::{Duration, Instant as Moment};

use goose::goose::{GooseUser, TransactionResult};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Run;
use crate::clock;
use crate::mark::micros;
use crate::plan::Act;
use crate::stage::Phase;

/// From telling everybody until the first event is due.
const AHEAD: Duration = Duration::from_millis(100);
/// Publications that are not answered yet. One more waits, is late, and shows in the lag.
const IN_FLIGHT: usize = 512;
/// How long clients may take to come in, or to come back, beyond their schedule.
const CONNECTING: Duration = Duration::from_secs(20);

/// A publication that was answered.
struct Answered {
    took: Duration,
    result: Result<(), String>,
}

/// The whole run, from the first connect to the last delivery.
pub(crate) async fn conduct(user: &mut GooseUser, run: &Run, ramp_up: Duration) -> TransactionResult {
    let users = run.plan.seats.len();
    let schedule = run
        .plan
        .arrival
        .map_or(ramp_up, |rate| Duration::from_secs_f64(users as f64 / rate));
    let until = Instant::now() + schedule + CONNECTING;
    run.stage
        .wait_done(users as u64, until, || run.is_interrupted())
        .await;
    for (index, act) in run.plan.acts.iter().enumerate() {
        if run.is_interrupted() || run.recorder.read(|counts| counts.connections) == 0 {
            break;
        }
        let began = Instant::now() + AHEAD;
        let wall = clock::now() + micros(AHEAD);
        run.stage.begin(Phase::Act { index, began, wall });
        match act {
            Act::Traffic(_) => {
                publish(user, run, index, began, wall).await?;
                let speakers = run.plan.speakers(index) as u64;
                let until = Instant::now() + longest_talk(run, index) + run.grace;
                run.stage
                    .wait_done(speakers, until, || run.is_interrupted())
                    .await;
                drain(run).await;
            }
            Act::Wave(spread) => {
                let until = began + *spread + CONNECTING;
                run.stage
                    .wait_done(users as u64, until, || run.is_interrupted())
                    .await;
            }
            Act::Slow => {
                let slow = run.plan.seats.iter().filter(|seat| seat.slow).count();
                let until = Instant::now() + run.grace;
                run.stage
                    .wait_done(slow as u64, until, || run.is_interrupted())
                    .await;
            }
        }
    }
    run.stage.begin(Phase::Over);
    Ok(())
}

fn longest_talk(run: &Run, act: usize) -> Duration {
    let talk = run.plan.traffic(act).and_then(|traffic| traffic.talk.as_ref());
    talk.map_or(Duration::ZERO, |talk| talk.schedule.duration)
}

/// Sends each publication when it is due, whatever became of the ones before.
async fn publish(
    user: &mut GooseUser,
    run: &Run,
    act: usize,
    began: Instant,
    wall: u64,
) -> TransactionResult {
    let Some(backend) = &run.backend else {
        return Ok(());
    };
    let mut flying = JoinSet::new();
    for (n, due) in run.plan.publications(act).enumerate() {
        let at = began + due.at;
        // At most so many at a time, and meanwhile those that were answered are counted.
        loop {
            let full = flying.len() >= IN_FLIGHT;
            tokio::select! {
                biased;
                Some(answered) = flying.join_next() => note(user, run, backend.method(), answered.ok()).await?,
                () = sleep_until(at), if !full => break,
            }
        }
        if run.is_interrupted() {
            break;
        }
        let Some(room) = run.plan.room(due.room) else {
            continue;
        };
        run.recorder
            .sent(due.label, at.elapsed(), run.plan.reached(act, due.room, false));
        let data = due.data(run.id, wall, run.payload);
        let (backend, name) = (backend.clone(), room.name.clone());
        flying.spawn(async move {
            let asked = Moment::now();
            let result = backend.publish(n, &name, due.event, &data).await;
            Answered {
                took: asked.elapsed(),
                result,
            }
        });
    }
    while let Some(answered) = flying.join_next().await {
        note(user, run, backend.method(), answered.ok()).await?;
    }
    Ok(())
}

async fn note(
    user: &mut GooseUser,
    run: &Run,
    method: &str,
    answered: Option<Answered>,
) -> TransactionResult {
    let Some(Answered { took, result }) = answered else {
        return Ok(());
    };
    run.recorder.note(|counts| match &result {
        Ok(()) => counts.publishes.record(micros(took)),
        Err(reason) => counts.publish_failures.note(reason),
    });
    let error = result.as_ref().err().map(String::as_str);
    user.record_custom_request_duration(method, "publish", took, result.is_ok(), None, error)
        .await
}

/// Waits for what is still on its way, until nothing has come for the time of grace. When all has come, whoever gets what
/// is not due has a moment to get it.
async fn drain(run: &Run) {
    const AGAIN: Duration = Duration::from_millis(20);
    const SETTLING: Duration = Duration::from_millis(250);
    let (mut before, mut until) = (0, Instant::now() + run.grace);
    loop {
        let (due, delivered) = run.recorder.balance();
        if delivered != before {
            (before, until) = (delivered, Instant::now() + run.grace);
        }
        if delivered >= due || Instant::now() >= until || run.is_interrupted() {
            break;
        }
        sleep_until(Instant::now() + AGAIN).await;
    }
    sleep_until(Instant::now() + SETTLING).await;
}
