//! Doors that a test opens by hand, in place of the bus.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use adapter_redis::{Refused, RoomName};
use tokio::{sync::oneshot, time::timeout};

use super::{Doors, Entry};
use crate::engine::Keep;

pub(crate) type Confirm = oneshot::Sender<Result<Keep, Refused>>;

/// Doors that a test opens by hand, and that remember who asked.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Mutex<Vec<(String, Confirm)>>>);

impl Bell {
    /// The room that was asked for last and is not open yet; waits for one.
    pub(crate) async fn asked(&self) -> (String, Confirm) {
        let asked = async {
            loop {
                if let Some(first) = self.0.lock().unwrap().pop() {
                    return first;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), asked)
            .await
            .expect("somebody asks")
    }

    /// Whether nobody asks for a room that was not taken up yet.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl Doors for Bell {
    fn enter(&self, room: &RoomName) -> Entry {
        let (confirm, confirmed) = oneshot::channel();
        self.0.lock().unwrap().push((room.to_string(), confirm));
        Entry::Later(Box::pin(async move { confirmed.await.unwrap_or(Err(Refused)) }))
    }
}
