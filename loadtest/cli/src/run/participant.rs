//! One client: connects, takes what comes, says what it is told to, and goes.

use std::iter::Peekable;
use std::time::Duration;

use goose::goose::{GooseUser, TransactionError, TransactionResult};
use loadtest::Event;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Run;
use crate::client::{Client, Sample, with_cookies};
use crate::clock;
use crate::mark::{Mark, Seen, micros};
use crate::measure::Delivery;
use crate::plan::{Act, Due, Seat};
use crate::stage::Phase;

/// How long a slow client takes for each frame.
const SLOW: Duration = Duration::from_secs(1);
/// HTTP requests that wait to be counted.
const SAMPLES: usize = 256;

/// What one client knows of itself.
struct Participant<'a> {
    run: &'a Run,
    number: usize,
    seat: &'a Seat,
    seen: Seen,
    samples: mpsc::Sender<Sample>,
    is_slow: bool,
}

/// What comes next.
enum Turn<'a> {
    Phase(Phase),
    Lost(String),
    Say(Due<'a>),
    Event(Event),
    Sample(Sample),
}

/// What it still has to say in an act.
struct Speech<'a> {
    dues: Peekable<Box<dyn Iterator<Item = Due<'a>> + Send + Sync + 'a>>,
    act: usize,
    began: Instant,
    wall: u64,
}

/// From the connect to the end of the run.
pub(crate) async fn take_part(user: &mut GooseUser, run: &Run, number: usize) -> TransactionResult {
    let Some(seat) = run.plan.seats.get(number) else {
        return Ok(());
    };
    let (samples, mut made) = mpsc::channel(SAMPLES);
    let mut participant = Participant {
        run,
        number,
        seat,
        seen: Seen::default(),
        samples,
        is_slow: false,
    };
    let mut phases = run.stage.follow();
    let mut client = participant.arrive(user).await?;
    run.stage.done();
    let mut speech: Option<Speech<'_>> = None;
    loop {
        let next = speech.as_mut().and_then(Speech::next);
        match participant
            .turn(client.as_mut(), &mut phases, next, &mut made)
            .await
        {
            Turn::Event(event) => participant.take(&event),
            Turn::Sample(Sample { name, took, error }) => {
                let error = error.as_deref();
                user.record_custom_request_duration("POST", name, took, error.is_none(), None, error)
                    .await?;
            }
            Turn::Lost(reason) => {
                client = None;
                participant.lost(&reason);
            }
            Turn::Say(due) => {
                if let Some(speech) = &mut speech {
                    participant.say(client.as_ref(), due, speech).await;
                    speech.said(run);
                }
            }
            Turn::Phase(Phase::Gathering) => {}
            Turn::Phase(Phase::Over) => break,
            Turn::Phase(Phase::Act { index, began, wall }) => match run.plan.acts.get(index) {
                Some(Act::Traffic(_)) => speech = Speech::prepare(run, number, index, began, wall),
                Some(Act::Wave(spread)) => {
                    client = participant.come_back(user, client.take(), began, *spread).await?;
                    run.stage.done();
                }
                Some(Act::Slow) if seat.slow => {
                    participant.is_slow = true;
                    if let Some(client) = &client {
                        client.read_slowly(SLOW);
                    }
                    run.stage.done();
                }
                Some(Act::Slow) | None => {}
            },
        }
    }
    if let Some(client) = client {
        participant.left();
        // One that does not read would not hear the answer.
        if !participant.is_slow {
            client.close().await;
        }
    }
    Ok(())
}

impl<'a> Speech<'a> {
    /// Nothing, when it has no part in the act. One whose turn would come too late is done at once.
    fn prepare(run: &'a Run, number: usize, act: usize, began: Instant, wall: u64) -> Option<Self> {
        let seat = u32::try_from(number).ok()?;
        if !run.plan.speaks(act, seat) {
            return None;
        }
        let dues: Box<dyn Iterator<Item = Due<'a>> + Send + Sync + 'a> =
            Box::new(run.plan.sayings(act, seat));
        let mut dues = dues.peekable();
        if dues.peek().is_none() {
            run.stage.done();
        }
        Some(Self {
            dues,
            act,
            began,
            wall,
        })
    }

    fn next(&mut self) -> Option<(Due<'a>, Instant)> {
        let due = *self.dues.peek()?;
        Some((due, self.began + due.at))
    }

    fn said(&mut self, run: &Run) {
        self.dues.next();
        if self.dues.peek().is_none() {
            run.stage.done();
        }
    }
}

impl<'a> Participant<'a> {
    /// Whatever comes first. What it has to say goes before what it hears, and the end of an act before both.
    async fn turn(
        &self,
        client: Option<&mut Client>,
        phases: &mut watch::Receiver<Phase>,
        next: Option<(Due<'a>, Instant)>,
        samples: &mut mpsc::Receiver<Sample>,
    ) -> Turn<'a> {
        let heard = async {
            match client {
                Some(client) => client.next().await,
                None => std::future::pending().await,
            }
        };
        let due = async {
            match next {
                Some((due, at)) => {
                    sleep_until(at).await;
                    due
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = phases.changed() => match changed {
                Ok(()) => Turn::Phase(*phases.borrow_and_update()),
                Err(_) => Turn::Phase(Phase::Over),
            },
            due = due => Turn::Say(due),
            Some(sample) = samples.recv() => Turn::Sample(sample),
            heard = heard => match heard {
                Ok(event) => Turn::Event(event),
                Err(reason) => Turn::Lost(reason),
            },
        }
    }

    /// Connects when it is its turn.
    async fn arrive(&self, user: &mut GooseUser) -> Result<Option<Client>, Box<TransactionError>> {
        let due = match self.run.plan.arrival {
            None => Instant::now(),
            Some(rate) => {
                let due = self.run.stage.opened(Instant::now())
                    + Duration::from_secs_f64(self.number as f64 / rate);
                sleep_until(due).await;
                self.run
                    .recorder
                    .note(|counts| counts.lag.record(micros(due.elapsed())));
                due
            }
        };
        self.connect(user, due, false).await
    }

    /// Breaks its connection, and comes back when it is its turn.
    async fn come_back(
        &self,
        user: &mut GooseUser,
        client: Option<Client>,
        began: Instant,
        spread: Duration,
    ) -> Result<Option<Client>, Box<TransactionError>> {
        sleep_until(began).await;
        if client.is_some() {
            self.left();
        }
        // Without a goodbye: as when a network is gone, or a node.
        drop(client);
        let share = self.number as f64 / self.run.plan.seats.len().max(1) as f64;
        let due = began + spread.mul_f64(share);
        sleep_until(due).await;
        self.connect(user, due, true).await
    }

    async fn connect(
        &self,
        user: &mut GooseUser,
        due: Instant,
        again: bool,
    ) -> Result<Option<Client>, Box<TransactionError>> {
        let run = self.run;
        let (Some(door), Some(profile)) = (run.door(self.number), run.profiles.get(self.number)) else {
            return Ok(None);
        };
        let polling = run.is_polling(self.number);
        let opened = if polling {
            if !again {
                user.set_client_builder(with_cookies()).await?;
            }
            let http = user.client.clone();
            Client::by_polling(door, &profile.token, self.seat, http, self.samples.clone()).await
        } else {
            Client::by_websocket(door, &profile.token, self.seat).await
        };
        let took = due.elapsed();
        run.recorder.note(|counts| match (&opened, again) {
            (Ok(_), false) => counts.connects.record(micros(took)),
            (Ok(_), true) => counts.reconnects.record(micros(took)),
            (Err(reason), _) => counts.connect_failures.note(reason),
        });
        run.recorder
            .note(|counts| counts.connections += u64::from(opened.is_ok()));
        let method = if polling { "POLLING" } else { "WEBSOCKET" };
        let name = if again { "reconnect" } else { "connect" };
        let error = opened.as_ref().err().map(String::as_str);
        user.record_custom_request_duration(method, name, took, opened.is_ok(), None, error)
            .await?;
        Ok(opened.ok())
    }

    fn left(&self) {
        self.run
            .recorder
            .note(|counts| counts.connections = counts.connections.saturating_sub(1));
    }

    fn lost(&self, reason: &str) {
        self.left();
        self.run.recorder.note(|counts| {
            let losses = if self.is_slow {
                &mut counts.slow_losses
            } else {
                &mut counts.losses
            };
            losses.note(reason);
        });
    }

    /// Says what is due now.
    async fn say(&self, client: Option<&Client>, due: Due<'_>, speech: &Speech<'_>) {
        let run = self.run;
        let (at, reached) = (
            speech.began + due.at,
            run.plan.reached(speech.act, due.room, true),
        );
        run.recorder.sent(due.label, at.elapsed(), reached);
        let data = due.data(run.id, speech.wall, run.payload);
        let said = match client {
            Some(client) => client.emit(due.event, data).await,
            None => Err("the client has lost its connection".to_owned()),
        };
        if let Err(reason) = said {
            run.recorder.note(|counts| counts.publish_failures.note(&reason));
        }
    }

    fn take(&mut self, event: &Event) {
        let now = clock::now();
        let recorder = &self.run.recorder;
        let Some(mark) = Mark::find(&event.args).filter(|mark| mark.run == self.run.id) else {
            recorder.note(|counts| counts.foreign += 1);
            return;
        };
        // What was due before it became slow still is.
        let aside = self.is_slow && self.run.plan.spares_slow(mark.label);
        let delivery = match (aside, self.seen.first(&mark)) {
            (true, _) => Delivery::Aside,
            (false, true) => Delivery::First,
            (false, false) => Delivery::Repeated,
        };
        recorder.delivered(&mark, now, delivery);
    }
}
