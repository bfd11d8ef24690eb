//! A recorder of metrics whose values tests can read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use adapter_redis::{Metrics, NoticeMetrics};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

/// Everything that was registered, by name and labels: `name{label=value,…}`.
#[derive(Clone, Default)]
pub(crate) struct Recorded {
    values: Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>,
}

impl Recorded {
    pub(crate) fn metrics(&self) -> Metrics {
        with_local_recorder(self, Metrics::register)
    }

    pub(crate) fn notices(&self) -> NoticeMetrics {
        with_local_recorder(self, NoticeMetrics::register)
    }

    /// The value of a counter, or how often a histogram was given one.
    pub(crate) fn value(&self, name: &str) -> u64 {
        let values = self.values.lock().unwrap();
        let value = values
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not registered: {:?}", values.keys()));
        value.load(Ordering::SeqCst)
    }

    pub(crate) fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.value(name))
    }

    fn place(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = if labels.is_empty() {
            key.name().to_owned()
        } else {
            format!("{}{{{}}}", key.name(), labels.join(","))
        };
        Arc::clone(self.values.lock().unwrap().entry(name).or_default())
    }
}

struct Count(Arc<AtomicU64>);

impl HistogramFn for Count {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.place(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.place(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Count(self.place(key))))
    }
}
