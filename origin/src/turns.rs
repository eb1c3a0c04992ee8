//! The newest request for an upload wins. One that is still hanging, for a connection that nobody
//! is at the other end of any more, ends as soon as another comes.
//!
//! There is nothing here that keeps an upload right: records change by compare-and-swap, whoever
//! has a turn. So a turn that is not given back in time is passed over, and nothing waits for ever.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outport_wire::id::FileId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use self::Tried::{Free, Working};

/// How long whoever has the turn may take to store what it has.
const HANDOVER_MAX: Duration = Duration::from_secs(10);

/// Who is at work on which upload, in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<FileId, Queue>>>);

#[derive(Debug, Default)]
struct Queue {
    /// How many work, wait, or were passed over and have not noticed yet.
    present: usize,
    /// The number of the newest request that wants a turn.
    newest: u64,
    /// Tells whoever is at work to end. It ends by dropping the receivers.
    working: Option<watch::Sender<Option<Remains>>>,
}

/// Leave to work on an upload, until somebody newer comes.
#[derive(Debug)]
pub(crate) struct Turn {
    superseded: watch::Receiver<Option<Remains>>,
    _place: Place,
}

/// What becomes of what an older request has taken in and not stored yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    /// It is stored first: the newer one only asks how far the upload is.
    Kept,
    /// It is dropped: the newer one brings it itself, from the offset that was acknowledged last.
    Dropped,
}

/// A newer request came while this one waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superseded;

impl Turns {
    /// Ends whoever is at work on this upload, and takes over.
    pub(crate) async fn take(&self, id: FileId, remains: Remains) -> Result<Turn, Superseded> {
        let deadline = Instant::now() + HANDOVER_MAX;
        let place = self.place(id);
        loop {
            let working = match place.try_take(Instant::now() >= deadline)? {
                Free(superseded) => return Ok(Turn { superseded, _place: place }),
                Working(working) => working,
            };
            working.send_replace(Some(remains));
            let _ = timeout_at(deadline, working.closed()).await;
        }
    }

    /// Whether somebody works on this upload, or wants to.
    pub(crate) fn is_taken(&self, id: FileId) -> bool {
        self.queues().contains_key(&id)
    }

    fn place(&self, id: FileId) -> Place {
        let mut queues = self.queues();
        let queue = queues.entry(id).or_default();
        queue.present += 1;
        queue.newest += 1;
        Place { turns: self.clone(), id, number: queue.newest }
    }

    /// No change is made in steps, so what a panicking thread leaves behind is whole.
    fn queues(&self) -> MutexGuard<'_, HashMap<FileId, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Says so when a newer request wants the upload.
    pub(crate) fn superseded(&self) -> watch::Receiver<Option<Remains>> {
        self.superseded.clone()
    }
}

/// A request's place in the queue. The queue goes with the last of them.
#[derive(Debug)]
struct Place {
    turns: Turns,
    id: FileId,
    number: u64,
}

enum Tried {
    Free(watch::Receiver<Option<Remains>>),
    Working(watch::Sender<Option<Remains>>),
}

impl Place {
    /// Takes the turn if nobody has it, or `even_so`.
    fn try_take(&self, even_so: bool) -> Result<Tried, Superseded> {
        let mut queues = self.turns.queues();
        let queue = queues.entry(self.id).or_default();
        if queue.newest != self.number {
            return Err(Superseded);
        }
        match &queue.working {
            Some(working) if !even_so && !working.is_closed() => Ok(Working(working.clone())),
            _ => {
                let (working, superseded) = watch::channel(None);
                queue.working = Some(working);
                Ok(Free(superseded))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut queue) = self.turns.queues().entry(self.id) {
            queue.get_mut().present -= 1;
            if queue.get().present == 0 {
                queue.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use outport_wire::id::Home;

    use super::*;

    fn id() -> FileId {
        FileId::new(Home::of(0, "demo", "alice"), 1, 2)
    }

    #[tokio::test]
    async fn the_newest_wins() {
        let turns = Turns::default();
        let first = turns.take(id(), Remains::Dropped).await.unwrap();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move { turns.take(id(), Remains::Dropped).await.map(drop) })
            })
            .collect();
        first.superseded().wait_for(Option::is_some).await.unwrap();
        tokio::task::yield_now().await;
        drop(first);
        let mut outcomes = Vec::new();
        for waiting in waiting {
            outcomes.push(waiting.await.unwrap());
        }
        assert_eq!(outcomes, [Err(Superseded), Err(Superseded), Ok(())]);
        assert!(turns.queues().is_empty(), "nothing is left of a queue that ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_not_given_back_is_passed_over() {
        let turns = Turns::default();
        let stuck = turns.take(id(), Remains::Dropped).await.unwrap();
        let next = turns.take(id(), Remains::Dropped).await.unwrap();
        drop(stuck);
        assert_eq!(*next.superseded().borrow(), None);
        assert_eq!(turns.queues().len(), 1, "who was passed over took nothing away");
        let third = turns.take(id(), Remains::Dropped);
        assert!(futures::poll!(Box::pin(third)).is_pending(), "the turn is still held");
        drop(next);
        assert!(turns.queues().is_empty(), "who gave up leaves nothing behind");
    }

    #[tokio::test]
    async fn uploads_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let other = FileId::new(Home::of(0, "demo", "bob"), 1, 2);
        let (_one, _other) = (
            turns.take(id(), Remains::Dropped).await.unwrap(),
            turns.take(other, Remains::Dropped).await.unwrap(),
        );
    }
}
