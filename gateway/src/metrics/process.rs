//! What the process takes of its machine, and what its runtime has to do.
//!
//! Nobody keeps these up: they are looked at when somebody asks. Several nodes in one process show the same.

use std::sync::Arc;

use metrics::{Gauge, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusRecorder;
use metrics_process::Collector;
use tokio::runtime::RuntimeMetrics;

/// The handles, and where the process' own figures go.
#[derive(Clone)]
pub(super) struct Process {
    recorder: Arc<PrometheusRecorder>,
    collector: Collector,
    workers: Gauge,
    tasks: Gauge,
    queue_depth: Gauge,
}

impl Process {
    /// Registers everything with the recorder, which is the current one.
    pub(super) fn register(recorder: Arc<PrometheusRecorder>) -> Process {
        let collector = Collector::default();
        collector.describe();
        describe_gauge!(
            "roomcast_runtime_workers",
            "Threads that run the node's tasks. Not counted: threads for files and for queues of RabbitMQ."
        );
        describe_gauge!(
            "roomcast_runtime_tasks",
            "Tasks that have not ended. A connection has several."
        );
        describe_gauge!(
            "roomcast_runtime_queue_depth",
            "Tasks that could run and wait in the queue of all workers. Not counted: those in the queue of one worker."
        );
        Process {
            recorder,
            collector,
            workers: gauge!("roomcast_runtime_workers"),
            tasks: gauge!("roomcast_runtime_tasks"),
            queue_depth: gauge!("roomcast_runtime_queue_depth"),
        }
    }

    /// Takes the figures of this moment. Reads `/proc`, which takes longer the more files are open.
    pub(super) fn look(&self, runtime: &RuntimeMetrics) {
        self.workers.set(runtime.num_workers() as f64);
        self.tasks.set(runtime.num_alive_tasks() as f64);
        self.queue_depth.set(runtime.global_queue_depth() as f64);
        metrics::with_local_recorder(&*self.recorder, || self.collector.collect());
    }
}
