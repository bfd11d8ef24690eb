//! Whether all queues are being consumed, for a gauge.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::Gauge;

/// How many queues there are, and how many of them are away. Clones are the same.
#[derive(Clone)]
pub(in super::super) struct Consuming(Arc<Counts>);

struct Counts {
    queues: AtomicUsize,
    away: AtomicUsize,
    /// 1 while there are queues and all of them are being consumed.
    gauge: Gauge,
}

/// One of them. It begins as being away, and is forgotten when it is dropped.
pub(super) struct Queue {
    counts: Arc<Counts>,
    is_away: bool,
}

impl Consuming {
    pub(in super::super) fn new(gauge: Gauge) -> Consuming {
        Consuming(Arc::new(Counts {
            queues: AtomicUsize::new(0),
            away: AtomicUsize::new(0),
            gauge,
        }))
    }

    pub(super) fn queue(&self) -> Queue {
        self.0.queues.fetch_add(1, Ordering::Relaxed);
        self.0.away.fetch_add(1, Ordering::Relaxed);
        self.0.show();
        Queue {
            counts: self.0.clone(),
            is_away: true,
        }
    }
}

impl Counts {
    fn show(&self) {
        let is_well = self.queues.load(Ordering::Relaxed) > 0 && self.away.load(Ordering::Relaxed) == 0;
        self.gauge.set(if is_well { 1.0 } else { 0.0 });
    }
}

impl Queue {
    pub(super) fn here(&mut self) {
        if std::mem::replace(&mut self.is_away, false) {
            self.counts.away.fetch_sub(1, Ordering::Relaxed);
            self.counts.show();
        }
    }

    pub(super) fn away(&mut self) {
        if !std::mem::replace(&mut self.is_away, true) {
            self.counts.away.fetch_add(1, Ordering::Relaxed);
            self.counts.show();
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.here();
        self.counts.queues.fetch_sub(1, Ordering::Relaxed);
        self.counts.show();
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn all_is_well_while_there_are_queues_and_none_is_away() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let gauge = metrics::with_local_recorder(&recorder, || metrics::gauge!("g"));
        let shown = || handle.render().contains("\ng 1\n");
        let consuming = Consuming::new(gauge);
        let (mut one, mut two) = (consuming.queue(), consuming.queue());
        assert!(!shown());
        one.here();
        assert!(!shown());
        two.here();
        two.here();
        assert!(shown());
        one.away();
        assert!(!shown());
        drop(one);
        assert!(shown(), "what is not wanted is not missed");
        drop(two);
        assert!(!shown());
    }
}
