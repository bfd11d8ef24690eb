//! Questions to the whole cluster, this node included.

use std::collections::BTreeMap;

use crate::census::ClusterCensus;
use crate::cluster::Node;
use crate::node::NodeId;
use crate::question::{Answer, Question};
use crate::wire::Frame;

/// What the nodes answered to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// One answer for each node that gave one.
    pub answers: BTreeMap<NodeId, Answer>,
    /// Whether every known node answered, and the bus is there to have known them by.
    pub complete: bool,
    /// The known nodes that did not answer in time, or are of a version that does not know the question; sorted.
    pub missing: Vec<NodeId>,
}

impl Node {
    pub(crate) async fn ask(&self, question: Question) -> Answers {
        // Those of an older version do not know what a question is.
        let (asked, deaf): (Vec<_>, Vec<_>) = self
            .members()
            .with_wire()
            .map(|(id, wire)| (id.clone(), wire))
            .partition(|(_, wire)| *wire >= 2);
        let pending = self.answers.open(asked.into_iter().map(|(id, _)| id));
        // It is made of names and numbers, so that it can be written.
        let json = serde_json::to_vec(&question).unwrap_or_default().into();
        let frame = Frame::Question {
            request: pending.number(),
            json,
        };
        let (said, own) = tokio::join!(self.say(&frame), self.local.answer(question));
        let mut missing: Vec<_> = deaf.into_iter().map(|(id, _)| id).collect();
        let mut answers = BTreeMap::new();
        let connected = said.is_ok();
        if connected {
            let got = pending.wait(self.config.answer_timeout).await;
            missing.extend(got.missing);
            for (node, answer) in got.answers {
                if answer.unsupported {
                    missing.push(node);
                } else {
                    answers.insert(node, answer);
                }
            }
        } else {
            missing = self.peers();
        }
        missing.sort();
        answers.insert(self.id.clone(), own);
        Answers {
            complete: connected && missing.is_empty(),
            answers,
            missing,
        }
    }

    pub(crate) async fn take_census(&self) -> ClusterCensus {
        let peers = self.peers();
        let pending = self.census.open(peers.iter().cloned());
        let asked = self
            .say(&Frame::CensusQuestion {
                request: pending.number(),
            })
            .await;
        let own = self.local.census();
        if let Err(error) = asked {
            tracing::debug!(%error, "the other nodes were not asked who is connected");
            return ClusterCensus::of([own], false, peers);
        }
        let got = pending.wait(self.config.answer_timeout).await;
        let complete = got.missing.is_empty();
        ClusterCensus::of(got.answers.into_values().chain([own]), complete, got.missing)
    }
}
