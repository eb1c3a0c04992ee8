//! Hands what is kept over to the origin. No policy: the request, and what its answer means, are
//! the core's to say.
//!
//! It begins right after a file was kept, in what is left of the platform's time for that request,
//! and once a minute for whatever is there. Of one group this isolate hands over one at a time, in
//! the order of keys. Another isolate may do the same at the same moment: the origin makes one file
//! of any number of attempts, and what one isolate forgets the other finds gone, which is well.

use std::cell::RefCell;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::select;
use outport_edge_core::kept::handed_over;
use outport_edge_core::step::{FetchError, Handed};
use outport_edge_core::turns::{Run, Turns};
use worker::js_sys::Uint8Array;
use worker::{Delay, console_error};

use crate::kept::{Kept, Value};
use crate::{js, upstream};

/// How long the handover after a file was kept may take, in milliseconds, and how many files it
/// may come to. The platform ends everything 30 s after the answer.
const AT_ONCE_MS: u64 = 15_000;
const AT_ONCE_FILES_MAX: u32 = 100;
/// The same of the one once a minute. A run may make 10,000 calls, and a file takes four of them.
const REGULAR_MS: u64 = 50_000;
const REGULAR_FILES_MAX: u32 = 2_000;
/// Groups that are handed over at once then: the platform lets a run wait for six answers.
const GROUPS_MAX: usize = 6;
/// How many keys are asked for at once.
const PAGE_KEYS: u32 = 100;
/// Between two looks at whether it is one's turn.
const TURN_POLL: Duration = Duration::from_millis(10);

thread_local! {
    static TURNS: RefCell<Turns> = RefCell::default();
}

/// Nobody else of this isolate hands over the group, until this is dropped.
struct Turn {
    group: String,
    number: u64,
}

impl Kept {
    /// A key is kept from now on: hands over its group, unless somebody else is about to look.
    pub(crate) async fn begin(self, key: String) {
        let group = group_of(&key);
        let now_ms = js::now_ms();
        let until_ms = now_ms + AT_ONCE_MS;
        if turns(|turns| turns.await_alone(group, until_ms, now_ms)) {
            let run = Run::new(until_ms, AT_ONCE_FILES_MAX, false);
            self.hand_over_group(group, &run).await;
        }
    }

    /// Hands over a group now. Whether nothing is left that begins with `prefix`.
    pub(crate) async fn hand_over_now(&self, prefix: &str, timeout_ms: u64) -> bool {
        if self.is_gone(prefix).await {
            return true;
        }
        let run = Run::new(js::now_ms() + timeout_ms, REGULAR_FILES_MAX, true);
        let through = Box::pin(self.hand_over_group(group_of(prefix), &run));
        select(through, Delay::from(Duration::from_millis(timeout_ms))).await;
        self.is_gone(prefix).await
    }

    /// Hands over whatever is kept, as far as a run goes.
    pub(crate) async fn hand_over_all(&self) {
        let run = Run::new(js::now_ms() + REGULAR_MS, REGULAR_FILES_MAX, false);
        let mut cursor = None;
        while run.goes_on(js::now_ms()) {
            let page = self.groups(cursor.as_deref()).await;
            let page = js::logged("what is kept can't be listed", page);
            let Some((groups, more)) = page else { return };
            let groups = futures::stream::iter(&groups);
            let handing = groups.map(|group| self.hand_over_group(group, &run));
            handing.buffer_unordered(GROUPS_MAX).collect::<()>().await;
            cursor = more;
            if cursor.is_none() {
                return;
            }
        }
    }

    async fn is_gone(&self, prefix: &str) -> bool {
        let left = self.list(prefix, None, 1).await;
        left.is_ok_and(|(left, _)| left.is_empty())
    }

    /// Hands over what is kept of a group, in the order of its keys, once it is this one's turn.
    async fn hand_over_group(&self, group: &str, run: &Run) {
        let Some(_turn) = Turn::wait(group, run.until_ms).await else { return };
        let mut after: Option<String> = None;
        while run.goes_on(js::now_ms()) {
            let page = self.list(group, after.as_deref(), PAGE_KEYS).await;
            let page = js::logged(format_args!("what is kept of {group} can't be listed"), page);
            let Some((page, more)) = page else { return };
            for listed in &page {
                if run.takes(listed.refused_ms, js::now_ms())
                    && self.hand_over(&listed.key).await == Handed::Later
                {
                    return;
                }
            }
            after = page.into_iter().last().map(|last| last.key);
            if !more {
                return;
            }
        }
    }

    /// Hands over one, and forgets it once the origin has it.
    async fn hand_over(&self, key: &str) -> Handed {
        let read = self.read(key).await;
        let value = match js::logged(format_args!("{key}, which is kept, can't be read"), read) {
            Some(Some(value)) => value,
            Some(None) => return Handed::Done,
            None => return Handed::Refused,
        };
        let handed = self.send(&value.head, &value.sha256, &value.body).await;
        match handed {
            Handed::Later => {}
            Handed::Refused => self.refused(key, &value).await,
            Handed::Done => {
                // Else it will be handed over again, which changes nothing.
                js::logged(format_args!("{key} can't be forgotten"), self.forget(key).await);
            }
        }
        handed
    }

    /// Sends one to the origin.
    pub(crate) async fn send(&self, head: &[u8], sha256: &[u8; 32], body: &Uint8Array) -> Handed {
        let Some(mut fetch) = (self.request)(head, sha256) else { return Handed::Refused };
        let length = format!("content-length: {}\r\n", body.length());
        fetch.head.extend_from_slice(length.as_bytes());
        let answer = match self.setup.deployment.url(fetch.upstream) {
            Some(base) => upstream::fetch(&fetch, base, js::stream(body)).await,
            None => Err(FetchError::Unreachable),
        };
        let answer = answer.map(|(head, answer)| {
            js::discard(&answer);
            head
        });
        handed_over(&answer)
    }

    async fn refused(&self, key: &str, value: &Value) {
        console_error!("the origin does not take {key}, which was accepted here");
        let noted = self.note_refusal(key, value).await;
        js::logged(format_args!("that {key} was refused can't be noted"), noted);
    }
}

impl Turn {
    /// Waits for one's turn. `None` where it does not come in time.
    async fn wait(group: &str, until_ms: u64) -> Option<Self> {
        loop {
            if let Some(turn) = Self::take(group, until_ms) {
                return Some(turn);
            }
            if js::now_ms() >= until_ms {
                return None;
            }
            Delay::from(TURN_POLL).await;
        }
    }

    fn take(group: &str, until_ms: u64) -> Option<Self> {
        let number = js::random();
        let taken = turns(|turns| turns.take(group, number, until_ms, js::now_ms()));
        taken.then(|| Self { group: group.to_owned(), number })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        turns(|turns| turns.end(&self.group, self.number, js::now_ms()));
    }
}

fn turns<T>(what: impl FnOnce(&mut Turns) -> T) -> T {
    TURNS.with_borrow_mut(what)
}

/// What a key begins with, its slash included.
fn group_of(key: &str) -> &str {
    key.split_inclusive('/').next().unwrap_or_default()
}
