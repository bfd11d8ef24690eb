//! One task of the node: what is revoked here and what the shared set says become the same, and who was let in with a
//! token that is revoked is sent away.
//!
//! The set is looked at whenever a link was made, once more shortly after, when events may have been lost, and every half
//! a minute. So a node that was cut off or has just started knows what the others do, and a Redis that was emptied knows
//! what any node does.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use adapter_redis::{BusError, BusState, Item, MAX_ITEMS, Tokens};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{
    Ending, Revocations, Revoker, SHARED,
    config::unix_ms,
    counts::Look,
    revoking::{item, text},
    set::Merged,
};

/// How long clients wait at the start of a node, at most, for a link to the shared set, and until it was read.
const HOLD: Duration = Duration::from_secs(2);
const HOLD_READING: Duration = Duration::from_secs(8);

/// While much is read, how often sockets are looked for whose token is revoked.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Between two looks.
const EVERY: Duration = Duration::from_secs(30);

/// From the first look at a new link to the second: what others were just writing is there then.
const SHORTLY: Duration = Duration::from_secs(2);

/// Every so many looks everything is read, although there is as much as here.
const READ_EVERY: u32 = 10;

/// The first pause after a look that failed; each further one is twice as long, up to [`EVERY`].
const AGAIN: Duration = Duration::from_secs(1);

/// When so many are missing in the shared set, others are given a moment to write them.
const MANY: usize = 1_000;
const MOMENT: Duration = Duration::from_secs(3);

/// For how long what is over stays in the shared set: clocks differ, and nobody reads it as if it were not over.
const KEPT: Duration = Duration::from_secs(3_600);

/// Items of the shared set that are remembered to be taken out, because another one of the same user says more.
const SUPERSEDED: usize = 10_000;

/// The first pause before sockets are looked for again that could not be sent away yet.
const SWEEP_AGAIN: Duration = Duration::from_millis(20);
const SWEEPS: u32 = 8;

/// Keeps this node's revocations.
#[derive(Debug)]
pub(crate) struct Keeper {
    ending: Ending,
    revoker: Revoker,
    looks: AtomicU32,
    /// Items that this version cannot read.
    unreadable: AtomicU64,
}

impl Keeper {
    /// From now on clients that connect wait: until the shared set was read, but for two seconds of [`Keeper::run`] at
    /// most, and eight where it is being read by then. Without Redis a node serves.
    pub(crate) fn new(ending: Ending, revoker: Revoker) -> Keeper {
        revoker.revocations.0.known.send_replace(false);
        Keeper {
            ending,
            revoker,
            looks: AtomicU32::new(0),
            unreadable: AtomicU64::new(0),
        }
    }

    /// Looks for ever. Three futures in one task.
    pub(crate) async fn run(self) -> String {
        let let_in = async {
            sleep(HOLD).await;
            if self.revoker.cluster().bus_state() == BusState::Connected {
                sleep(HOLD_READING - HOLD).await;
            }
            self.let_in();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = let_in => {}
            () = self.look() => {}
            () = self.sweep() => {}
        }
        "the keeper of revocations".to_owned()
    }

    fn let_in(&self) {
        self.revoker.revocations.0.known.send_replace(true);
    }

    /// Sends away who should not be here, whenever there may be somebody. Who is just being let in is looked for again.
    async fn sweep(&self) {
        let suspicion = &self.revoker.revocations.0.suspicion;
        loop {
            suspicion.notified().await;
            let mut pause = SWEEP_AGAIN;
            for _ in 0..SWEEPS {
                if !self.ending.sweep().await {
                    break;
                }
                sleep(pause).await;
                pause *= 2;
            }
        }
    }

    /// Looks while there is a link, and begins anew with each.
    async fn look(&self) {
        let mut state = self.revoker.cluster().watch_bus();
        loop {
            let is_connected = *state.borrow_and_update() == BusState::Connected;
            let looking = async {
                if is_connected {
                    self.look_on().await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = looking => {}
                changed = state.changed() => if changed.is_err() {
                    return; // with the bus the node ends
                }
            }
        }
    }

    async fn look_on(&self) {
        let revocations = &self.revoker.revocations;
        let (mut number, mut pause, mut said) = (0_u32, AGAIN, None);
        loop {
            let reads = number <= 1 || number.is_multiple_of(READ_EVERY);
            let wait = match self.look_once(reads).await {
                Ok(outcome) => {
                    revocations.0.counts.looked(outcome);
                    (pause, said) = (AGAIN, None);
                    number = number.saturating_add(1);
                    if number == 1 {
                        SHORTLY
                    } else {
                        EVERY - jitter(EVERY / 5)
                    }
                }
                Err(error) => {
                    revocations.0.counts.looked(Look::Failed);
                    if matches!(error, BusError::Refused(_)) {
                        self.let_in(); // waiting brings nothing
                    }
                    if said.as_ref() != Some(&error) {
                        tracing::error!(%error, "the revocations in Redis cannot be read and written: \
                                                 this node knows those that it was told");
                    }
                    said = Some(error);
                    pause = (pause * 2).min(EVERY);
                    pause / 2
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = revocations.0.doubt.notified() => {
                    // Not with every message that is lost.
                    sleep(jitter(AGAIN)).await;
                    number = 0;
                }
            }
        }
    }

    async fn look_once(&self, reads: bool) -> Result<Look, BusError> {
        let (revocations, sets) = (&self.revoker.revocations, &self.revoker.sets);
        let now_ms = unix_ms(SystemTime::now());
        revocations.expire(now_ms);
        if !reads {
            let count = sets.count(SHARED, now_ms).await?;
            let readable = count.saturating_sub(self.unreadable.load(Ordering::Relaxed));
            if readable == revocations.len() as u64 {
                return Ok(Look::Same);
            }
        }
        let mut superseded = self.read_and_write().await?;
        for texts in superseded.chunks_mut(MAX_ITEMS) {
            sets.remove(SHARED, texts).await?;
        }
        sets.trim(SHARED, now_ms.saturating_sub(KEPT.as_millis() as u64))
            .await?;
        self.revoker.tell().await;
        Ok(Look::Read)
    }

    /// Makes both the same. Answers with the items of which others say more by now.
    async fn read_and_write(&self) -> Result<Vec<Bytes>, BusError> {
        let revocations = &self.revoker.revocations;
        let mut is_patient = true;
        loop {
            let look = self.looks.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
            let read = self.read(look).await?;
            self.let_in();
            // Before what is missing: what says more is there, or is written below.
            let superseded = read.iter().filter(|tokens| revocations.is_superseded(tokens));
            let superseded: Vec<Bytes> = superseded.map(text).collect();
            let missing = revocations.unseen(look);
            if missing.len() > MANY && is_patient {
                // A Redis that was emptied: each node has the same to write, and one is enough.
                sleep(jitter(MOMENT)).await;
                is_patient = false;
                continue;
            }
            if !missing.is_empty() {
                tracing::info!(count = missing.len(), "writing revocations that Redis lacks");
            }
            for missing in missing.chunks(MAX_ITEMS) {
                let items: Vec<Item> = missing
                    .iter()
                    .map(|(tokens, until_ms)| item(tokens, *until_ms))
                    .collect();
                self.revoker.sets.put(SHARED, &items).await?;
            }
            return Ok(superseded);
        }
    }

    /// Reads everything that is not over and takes it in, up to twice as much as this node may hold. Answers with what is
    /// about users, since there may be several items of one.
    async fn read(&self, look: u32) -> Result<Vec<Tokens>, BusError> {
        let (revocations, sets) = (&self.revoker.revocations, &self.revoker.sets);
        let most = revocations
            .0
            .config
            .load()
            .max
            .saturating_mul(2)
            .saturating_add(MAX_ITEMS);
        let (mut users, mut from, mut count, mut full, mut unreadable) = (Vec::new(), None, 0, 0_u64, 0);
        let mut news = News::new(revocations);
        loop {
            let part = sets.read(SHARED, from).await?;
            count += part.items.len();
            let now_ms = unix_ms(SystemTime::now());
            for Item { text, until_ms } in part.items.into_iter().filter(|item| item.until_ms > now_ms) {
                let Ok(tokens) = serde_json::from_slice::<Tokens>(&text) else {
                    unreadable += 1;
                    continue;
                };
                match revocations.learn(&tokens, until_ms, look) {
                    Merged::News => news.is_there = true,
                    Merged::Full => full += 1,
                    Merged::Known => {}
                }
                if matches!(tokens, Tokens::User { .. }) && users.len() < SUPERSEDED {
                    users.push(tokens);
                }
            }
            if news.since.elapsed() >= SWEEP_EVERY {
                news = News::new(revocations);
            }
            from = part.next;
            if from.is_none() || count > most {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.unreadable.store(unreadable, Ordering::Relaxed);
        if full > 0 || from.is_some() {
            tracing::error!(
                count = full,
                "Redis holds more revocations than this node may (auth.revocations.max): tokens are accepted that are \
                 revoked"
            );
        }
        Ok(users)
    }
}

/// Something was read that was not known here. However reading ends, who should not be here is looked for.
struct News<'a> {
    revocations: &'a Revocations,
    since: Instant,
    is_there: bool,
}

impl News<'_> {
    fn new(revocations: &Revocations) -> News<'_> {
        News {
            revocations,
            since: Instant::now(),
            is_there: false,
        }
    }
}

impl Drop for News<'_> {
    fn drop(&mut self) {
        if self.is_there {
            self.revocations.suspect();
        }
    }
}

/// By chance, up to this much. Without randomness all nodes do it at the same time, which is no harm.
fn jitter(most: Duration) -> Duration {
    let mut chance = [0];
    let _ = getrandom::fill(&mut chance);
    most.mul_f64(f64::from(chance[0]) / 256.0)
}
