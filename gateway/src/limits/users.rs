//! `max_connections_per_user` over all nodes: after an admission the other nodes are asked, and the user's oldest sockets
//! are sent away, wherever they are. One task of the node; the node's own sockets were looked at before.
//!
//! Every node that looks chooses the same sockets: the oldest by (time, id). One that does not see all of them chooses
//! fewer, never others, so that two tabs that are opened at the same time do not send each other's newest away. Times are
//! those of the nodes' clocks.

use std::{sync::Arc, time::Duration};

use adapter_redis::{Cluster, MAX_LISTED, Question, SocketInfo, Target};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::sleep};

use super::{CurrentLimits, Limit, Overflow};
use crate::metrics::{Dropped, Metrics};

/// Users that may wait to be looked at: a wave of reconnections. One that finds no place is looked at with its next
/// connection.
const QUEUE: usize = 1024;

/// Users that are looked at at a time: each is a question to all nodes.
const AT_ONCE: usize = 64;

/// How often a user is looked at again, when a socket was listed and could not be sent away: it is just being let in, or
/// just going.
const TRIES: usize = 5;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to the task. Clones are the same.
#[derive(Debug, Clone)]
pub struct UserChecks {
    queue: mpsc::Sender<Check>,
    metrics: Metrics,
}

/// The task's end of it.
#[derive(Debug)]
pub struct Users {
    queue: mpsc::Receiver<Check>,
    limits: CurrentLimits,
    metrics: Metrics,
}

#[derive(Debug)]
struct Check {
    user: Arc<str>,
    is_unfinished: bool,
}

/// Both ends.
pub fn channel(limits: &CurrentLimits, metrics: &Metrics) -> (UserChecks, Users) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let checks = UserChecks {
        queue: sender,
        metrics: metrics.clone(),
    };
    let users = Users {
        queue: receiver,
        limits: limits.clone(),
        metrics: metrics.clone(),
    };
    (checks, users)
}

impl UserChecks {
    /// Has a user's sockets on all nodes counted. `is_unfinished`: on this one, too, because one could not be sent away
    /// yet. When too many wait, or the node is being stopped, it is skipped and counted.
    pub fn ask_for(&self, user: &Arc<str>, is_unfinished: bool) {
        let user = user.clone();
        if self.queue.try_send(Check { user, is_unfinished }).is_err() {
            self.metrics.dropped(Dropped::UserCheckQueueFull, 1);
        }
    }
}

impl Users {
    /// Looks at one user after the other, several at a time. Ends when nobody can be let in any more.
    pub async fn run(mut self, cluster: Cluster) {
        let (limits, metrics) = (self.limits.clone(), self.metrics.clone());
        let mut looking = FuturesUnordered::new();
        loop {
            tokio::select! {
                check = self.queue.recv(), if looking.len() < AT_ONCE => match check {
                    Some(check) if check.is_unfinished || cluster.nodes().len() > 1 => {
                        looking.push(hold(check.user, &cluster, &limits, &metrics));
                    }
                    Some(_) => {}
                    None => return,
                },
                Some(()) = looking.next() => {}
            }
        }
    }
}

/// Sends the user's oldest sockets away, until no more are left than may be.
async fn hold(user: Arc<str>, cluster: &Cluster, limits: &CurrentLimits, metrics: &Metrics) {
    for _ in 0..TRIES {
        let (most, overflow) = {
            let limits = limits.get();
            (limits.max_connections_per_user, limits.user_overflow)
        };
        if most == 0 || overflow != Overflow::Oldest {
            return;
        }
        let answers = cluster
            .ask(Question::Sockets {
                target: Target::User(user.to_string()),
                list: MAX_LISTED,
            })
            .await;
        let sockets = answers.answers.into_values().flat_map(|a| a.sockets).collect();
        let mut is_held = true;
        for socket in over(sockets, most as usize) {
            let order = Question::Disconnect {
                target: Target::Session(socket.id.clone()),
                reason: Limit::MaxConnectionsPerUser.as_str().to_owned(),
                reconnect: false,
            };
            let ended: u64 = cluster.ask(order).await.answers.values().map(|a| a.count).sum();
            if ended == 0 {
                is_held = false;
                continue;
            }
            metrics.limited(Limit::MaxConnectionsPerUser);
            tracing::info!(
                socket.id = socket.id,
                user = &*user,
                "sent away: the user has too many sockets"
            );
        }
        if is_held {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// The oldest of them, but for so many. Those of unknown age, from nodes of an earlier version, are the oldest.
fn over(mut sockets: Vec<SocketInfo>, most: usize) -> Vec<SocketInfo> {
    sockets.sort_by(|a, b| (a.connected_at_ms, &a.id).cmp(&(b.connected_at_ms, &b.id)));
    sockets.dedup_by(|a, b| a.id == b.id);
    let keep = sockets.len().saturating_sub(most);
    sockets.truncate(keep);
    sockets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Limits, *};

    fn socket(id: &str, at: Option<u64>) -> SocketInfo {
        SocketInfo {
            id: id.to_owned(),
            connected_at_ms: at,
            ..SocketInfo::default()
        }
    }

    #[test]
    fn the_oldest_go() {
        let all = [
            ("d", Some(7)),
            ("c", Some(5)),
            ("b", Some(5)),
            ("a", Some(9)),
            ("e", None),
        ];
        for (most, expected) in [(9, ""), (5, ""), (4, "e"), (3, "eb"), (2, "ebc"), (1, "ebcd")] {
            let sockets = all.iter().map(|(id, at)| socket(id, *at)).collect();
            let ids: String = over(sockets, most).into_iter().map(|s| s.id).collect();
            assert_eq!(ids, expected, "{most}");
        }
    }

    proptest! {
        /// Whoever sees a part of the sockets sends nobody away that one who sees all of them would keep.
        #[test]
        fn who_sees_less_sends_no_other_away(ages in prop::collection::vec((0_u64..5, any::<bool>()), 0..20), most in 1_usize..6) {
            let named = |(n, (at, _)): (usize, &(u64, bool))| socket(&n.to_string(), Some(*at));
            let all: Vec<_> = ages.iter().enumerate().map(named).collect();
            let seen: Vec<_> = ages.iter().enumerate().filter(|(_, (_, is_seen))| *is_seen).map(named).collect();
            let gone = over(all, most);
            prop_assert!(over(seen, most).iter().all(|socket| gone.contains(socket)));
        }
    }

    #[test]
    fn a_full_or_closed_queue_skips_and_counts() {
        let metrics = Metrics::new().unwrap();
        let (checks, users) = channel(&CurrentLimits::new(Limits::default()), &metrics);
        let user: Arc<str> = "ann".into();
        for _ in 0..QUEUE + 3 {
            checks.ask_for(&user, false);
        }
        let counted = |count: usize| {
            let line = format!("roomcast_dropped_total{{reason=\"user_check_queue_full\"}} {count}\n");
            assert!(metrics.render().contains(&line), "{line}");
        };
        counted(3);
        drop(users);
        checks.ask_for(&user, false);
        counted(4);
    }
}
