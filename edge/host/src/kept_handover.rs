//! Hands what is kept over to the origin: for each group one task, which runs while something of
//! the group is kept. No policy: the request, and what its answer means, are the core's to say.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use outport_edge_core::kept::Packed;
use outport_edge_core::step::{Fetch, FetchError, Handed, UpstreamHead};
use outport_interim::Interim;
use tokio::sync::{Notify, Semaphore};

use crate::body::RequestBody;
use crate::kept::Kept;
use crate::upstream::Upstreams;

/// Groups that are handed over at once.
const GROUPS_MAX: usize = 16;
/// Files of one group that are on their way to the origin at once.
const AT_ONCE_MAX: usize = 16;
/// How long a group rests when the origin could take nothing: at first, and at most. Each pause is
/// twice the one before, and up to half of it longer or shorter.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What the core says of a handover.
pub(crate) trait HandoverCore: Send + Sync + 'static {
    /// The request. The error says why there is none.
    fn request(&self, head: &[u8], sha256: &[u8; 32]) -> Result<Fetch, String>;
    /// What its answer means.
    fn means(&self, answer: Result<UpstreamHead, FetchError>) -> Result<Handed, String>;
}

/// The handover of a node.
#[derive(Clone)]
pub(crate) struct Handover(Arc<Inner>);

struct Inner {
    kept: Kept,
    upstreams: Arc<Upstreams>,
    core: Box<dyn HandoverCore>,
    groups: Mutex<HashMap<String, Arc<Group>>>,
    room: Semaphore,
    /// Told when the origin has taken something: whoever rests need not any more.
    taken: Notify,
    handed_over: AtomicU64,
}

/// A group of which something is kept.
#[derive(Default)]
struct Group {
    /// Held by who hands over. When what was refused is tried again.
    turn: tokio::sync::Mutex<BTreeMap<String, Instant>>,
    /// Told when there is more.
    more: Notify,
}

/// What came of going through a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    /// All of it was tried.
    All,
    /// The origin could take nothing, and the rest was not tried.
    Later,
}

impl Handover {
    /// Begins with what is kept already. Within a tokio runtime.
    pub(crate) fn start(
        kept: Kept,
        upstreams: Arc<Upstreams>,
        core: Box<dyn HandoverCore>,
    ) -> Self {
        let handover = Self(Arc::new(Inner {
            kept,
            upstreams,
            core,
            groups: Mutex::default(),
            room: Semaphore::new(GROUPS_MAX),
            taken: Notify::new(),
            handed_over: AtomicU64::new(0),
        }));
        let mut last = None;
        while let Some(key) = handover.0.kept.next("", last.as_deref()) {
            handover.begin(&key);
            last = Some(key);
        }
        handover
    }

    /// A key is kept from now on: sees to it that it is handed over.
    pub(crate) fn begin(&self, key: &str) {
        let name = group_of(key);
        let mut groups = self.0.groups();
        if let Some(group) = groups.get(name) {
            group.more.notify_one();
            return;
        }
        let group = Arc::new(Group::default());
        groups.insert(name.to_owned(), group.clone());
        tokio::spawn(self.0.clone().run(name.to_owned(), group));
    }

    /// Hands over a group now. Whether nothing is left that begins with `prefix`.
    pub(crate) async fn now(&self, prefix: &str, patience: Duration) -> bool {
        let left = || self.0.kept.next(prefix, None).is_some();
        if !left() {
            return true;
        }
        let name = group_of(prefix);
        let group = self.0.groups().get(name).cloned().unwrap_or_default();
        let through = async {
            let mut refused = group.turn.lock().await;
            refused.clear();
            self.0.go_through(name, &mut refused).await
        };
        let _ = tokio::time::timeout(patience, through).await; // What is left tells.
        !left()
    }

    /// How many were handed over since the node began.
    pub(crate) fn handed_over(&self) -> u64 {
        self.0.handed_over.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn groups(&self) -> MutexGuard<'_, HashMap<String, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a group until nothing of it is kept.
    async fn run(self: Arc<Self>, name: String, group: Arc<Group>) {
        let mut pause = PAUSE_MIN;
        while !self.is_over(&name) {
            let through = {
                let _room = self.room.acquire().await;
                let mut refused = group.turn.lock().await;
                self.go_through(&name, &mut refused).await
            };
            match through {
                Through::Later => {
                    tokio::select! {
                        () = tokio::time::sleep(varied(pause)) => {}
                        () = self.taken.notified() => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Through::All if self.kept.next(&name, None).is_some() => {
                    pause = PAUSE_MIN;
                    tokio::select! {
                        () = tokio::time::sleep(varied(PAUSE_MAX)) => {}
                        () = group.more.notified() => {}
                    }
                }
                Through::All => {}
            }
        }
    }

    /// Whether nothing of a group is kept; its task is over then. Who keeps something looks for
    /// the task afterwards, and under the same lock.
    fn is_over(&self, name: &str) -> bool {
        let mut groups = self.groups();
        let over = self.kept.next(name, None).is_none();
        if over {
            groups.remove(name);
        }
        over
    }

    /// Hands over what is kept of a group, begun in the order of its keys: one at first, and more
    /// at once the more the origin takes. What was `refused` is left alone until its time comes.
    async fn go_through(&self, name: &str, refused: &mut BTreeMap<String, Instant>) -> Through {
        let (mut last, mut at_once, mut through) = (None, 1, Through::All);
        let mut under_way = FuturesUnordered::new();
        loop {
            while through == Through::All
                && under_way.len() < at_once
                && let Some(key) = self.next_due(name, last.as_deref(), refused)
            {
                last = Some(key.clone());
                under_way.push(self.hand_over(key));
            }
            let Some((key, handed)) = under_way.next().await else { return through };
            match handed {
                Handed::Later => through = Through::Later,
                Handed::Done => {
                    refused.remove(&key);
                    at_once = (at_once * 2).min(AT_ONCE_MAX);
                }
                Handed::Refused => {
                    tracing::error!(key, "the origin does not take what was accepted here");
                    refused.insert(key, Instant::now() + PAUSE_MAX);
                }
            }
        }
    }

    /// The next key of a group that does not rest.
    fn next_due(
        &self,
        name: &str,
        after: Option<&str>,
        refused: &BTreeMap<String, Instant>,
    ) -> Option<String> {
        let mut key = self.kept.next(name, after)?;
        while refused.get(&key).is_some_and(|due| *due > Instant::now()) {
            key = self.kept.next(name, Some(&key))?;
        }
        Some(key)
    }

    /// Hands over one, and forgets it once the origin has it.
    async fn hand_over(&self, key: String) -> (String, Handed) {
        let handed = self.try_to(&key).await.unwrap_or_else(|error| {
            tracing::error!(key, "what is kept can't be handed over: {error}");
            Handed::Refused
        });
        if handed != Handed::Done {
            return (key, handed);
        }
        self.taken.notify_waiters();
        self.handed_over.fetch_add(1, Ordering::Relaxed);
        match self.kept.forget(key.clone()).await {
            Ok(()) => (key, Handed::Done),
            Err(error) => {
                // It will be handed over again, which changes nothing.
                tracing::error!(key, "{error}");
                (key, Handed::Refused)
            }
        }
    }

    async fn try_to(&self, key: &str) -> Result<Handed, String> {
        let value = self.kept.read(key).await.map_err(|error| error.to_string())?;
        let Some(value) = value else { return Ok(Handed::Done) };
        let Packed { head, sha256, body } =
            Packed::unpack(&value).ok_or("it is not what was written")?;
        let fetch = self.core.request(head, sha256)?;
        let body = RequestBody::Here(Some(value.slice_ref(body)));
        let answer = self.upstreams.fetch(&fetch, Some(body), &Interim::none()).await;
        self.core.means(answer.map(|(head, _)| head))
    }
}

/// What a key begins with, its slash included.
pub(crate) fn group_of(key: &str) -> &str {
    key.split_inclusive('/').next().unwrap_or_default()
}

/// A pause that is up to half longer or shorter, so that groups don't come all at once.
fn varied(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.5))
}

/// Hands over as the core does, with a request of the conformance suite.
#[cfg(test)]
pub(crate) struct Scripted;

#[cfg(test)]
impl HandoverCore for Scripted {
    fn request(&self, head: &[u8], _: &[u8; 32]) -> Result<Fetch, String> {
        Ok(outport_edge_core::conformance::handover(head))
    }

    fn means(&self, answer: Result<UpstreamHead, FetchError>) -> Result<Handed, String> {
        Ok(outport_edge_core::kept::handed_over(&answer))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use outport_edge_core::interim::Interims;

    use super::*;
    use crate::tls::{Tls, TlsConfig};

    fn take(mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\nx") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).unwrap();
    }

    /// An origin that has taken one file is given two at once, and four after these.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_origin_takes_is_followed_by_more_at_once() {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", origin.local_addr().unwrap());
        let taking = tokio::task::spawn_blocking(move || {
            for at_once in [1, 2, 4] {
                let streams: Vec<_> = (0..at_once).map(|_| origin.accept().unwrap().0).collect();
                streams.into_iter().for_each(take);
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(&folder.path().join("kept")).unwrap();
        for number in 1..=7 {
            let room = kept.room(1).unwrap();
            let value = Packed::pack(b"head", b"x");
            kept.keep(room, format!("a/{number}"), value).await.unwrap();
        }
        let tls = Tls::open(TlsConfig::default()).unwrap();
        let upstreams = Arc::new(Upstreams::new(address, Vec::new(), Interims::default(), &tls));
        let handover = Handover::start(kept.clone(), upstreams, Box::new(Scripted));
        assert!(handover.now("a/", Duration::from_secs(60)).await);
        taking.await.unwrap();
        assert_eq!(handover.handed_over(), 7);
    }
}
