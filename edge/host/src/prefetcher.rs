//! What is fetched ahead: one exchange after the other, while clients have few.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::driver::{Driver, discard};
use crate::metrics::Metrics;

/// How many exchanges may wait.
const QUEUE_MAX: usize = 2_048;
/// While clients wait for so many upstreams, none begins.
const BUSY_FETCHES: usize = 8;
/// After how long it is looked again whether they still do.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one exchange may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(60);

/// The exchanges that wait.
#[derive(Clone)]
pub(crate) struct Queue(mpsc::Sender<Vec<u8>>);

/// A queue, and what is to be done of it.
pub(crate) fn queue() -> (Queue, mpsc::Receiver<Vec<u8>>) {
    let (sender, waiting) = mpsc::channel(QUEUE_MAX);
    (Queue(sender), waiting)
}

impl Queue {
    /// Adds exchanges, as far as there is room.
    pub(crate) fn add(&self, parts: Vec<Vec<u8>>, metrics: &Metrics) {
        for part in parts {
            if self.0.try_send(part).is_err() {
                metrics.prefetch_dropped();
            }
        }
    }
}

/// Does what waits, to the end of time.
pub(crate) fn start(driver: Driver, mut waiting: mpsc::Receiver<Vec<u8>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(part) = waiting.recv().await {
            while driver.needs.fetches.under_way() >= BUSY_FETCHES {
                tokio::time::sleep(PAUSE).await;
            }
            // What takes too long is given up, and what failed is of no use.
            let _ = tokio::time::timeout(EXCHANGE_MAX, fetch(&driver, part)).await;
        }
    })
}

async fn fetch(driver: &Driver, part: Vec<u8>) {
    if let Ok(Some((body, _))) = driver.next_part(part, Metrics::prefetch_ended).await {
        discard(body).await;
    }
}
