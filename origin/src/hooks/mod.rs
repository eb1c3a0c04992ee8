//! Tells others what happens to files, and asks before anything is created.
//!
//! News is durable before what it is about: an [intent](intent) is written, then the change is made,
//! and once the record shows it, the event goes into the [queue](queue) of every receiver that
//! wants it, from which it is [told](deliver) until it was taken or given up. So no crash loses an
//! event, none is sent of what did not happen, and some are sent twice, under the same id. An event
//! that can't be recorded stops the change that it is about. Where nobody wants to know, nothing is
//! written.

pub(crate) mod admin;
mod before;
mod config;
pub(crate) mod deliver;
pub(crate) mod event;
mod intent;
mod metrics;
pub(crate) mod queue;
pub(crate) mod send;
mod sign;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, stream};
use http::uri::Scheme;
use outport_wire::id::FileId;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

pub(crate) use self::before::{Protocol, Question, Reply, Wishes};
pub use self::config::{BeforeCreate, Format, HooksConfig, OnFailure, Pace, Receiver, Webhook};
pub use self::event::Kind;
pub(crate) use self::intent::Standing;
pub use self::sign::{HookSecret, NoHookSecret, SECRETS_MAX};

use self::before::Before;
use self::deliver::{Courier, Tally, Target, count};
use self::event::{Event, EventId};
use self::intent::{Intent, Intents, Verdict};
use self::queue::{Queue, WAITING_MAX};
use self::send::Sender;
use crate::environment::Environment;
use crate::http::document;
use crate::meta::{Meta, MetaError};
use crate::record::Record;
use crate::store::StoreError;

/// How many changes that were made can wait to be looked at. One more is found by looking through
/// all intents.
const MADE_MAX: usize = 4096;
/// How many intents are looked at at once.
const LOOKS_MAX: usize = 64;
/// How often queues are counted anew. Counts are kept between, of what this process did.
const COUNT_EVERY: Duration = Duration::from_secs(600);

/// What is told of a file or an upload: what its owner sees of it, whose it is, and whether all of
/// it has arrived.
pub(crate) fn document(id: FileId, record: &Record) -> Value {
    let mut document = document::file(id, record);
    if let Some(members) = document.as_object_mut() {
        members.insert("tenant".into(), record.tenant.clone().into());
        members.insert("owner".into(), record.owner.clone().into());
        members.insert("complete".into(), record.complete.into());
    }
    document
}

/// Looks up what has become of a file.
pub(crate) trait Files: Send + Sync + 'static {
    /// What its record says. What has expired and is not yet removed is still there.
    fn standing(&self, id: FileId) -> BoxFuture<'_, Result<Standing, StoreError>>;

    /// The same, once whoever has read the record before can't change it any more, nor make it.
    fn shut_out(&self, id: FileId) -> BoxFuture<'_, Result<Standing, StoreError>>;
}

/// Where changes are announced. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Hooks(Option<Arc<Shared>>);

struct Shared {
    intents: Intents,
    targets: Vec<Target>,
    before: Option<Before>,
    courier: Courier,
    made: mpsc::Sender<EventId>,
}

/// A change that was announced, and is to be made now.
#[derive(Debug, Default)]
#[must_use = "once the change is made, it is told by `made`"]
pub(crate) struct Announced(Option<EventId>);

/// A receiver has so much waiting that nothing can be added.
#[derive(Debug, thiserror::Error)]
#[error("the queue of the hook {0} is full")]
struct QueueFull(String);

/// Tells receivers, once it runs.
pub(crate) struct Runner {
    shared: Arc<Shared>,
    made: mpsc::Receiver<EventId>,
}

impl Hooks {
    /// Hooks as they are configured, and who tells of them, if anybody is to be told. `source`
    /// names the origin.
    pub(crate) fn new(
        config: HooksConfig,
        meta: &Arc<dyn Meta>,
        environment: Arc<dyn Environment>,
        source: &str,
    ) -> io::Result<(Self, Option<Runner>)> {
        if config.webhooks.is_empty() && config.before_create.is_none() {
            return Ok((Self::default(), None));
        }
        let receivers = config.webhooks.iter().map(|webhook| &webhook.receiver);
        let asked = config.before_create.iter().map(|before| &before.receiver);
        let mut receivers = receivers.chain(asked);
        let sender = Sender::new(receivers.any(|to| to.url.scheme() == Some(&Scheme::HTTPS)))?;
        let before = config.before_create.clone();
        let before = before.map(|it| Before::new(it, sender.clone(), environment.clone()));
        let courier = Courier {
            sender: Arc::new(sender),
            environment,
            pace: config.pace.into(),
            source: source.into(),
        };
        let (hooks, runner) = Self::carried(config.webhooks, meta, courier, before);
        Ok((hooks, Some(runner)))
    }

    /// Hooks whose messages this courier brings.
    pub(crate) fn carried(
        webhooks: Vec<Webhook>,
        meta: &Arc<dyn Meta>,
        courier: Courier,
        before: Option<Before>,
    ) -> (Self, Runner) {
        let target = |webhook: Webhook| Target {
            queue: Queue::new(meta.clone(), &webhook.name),
            webhook,
            wake: Notify::new(),
            tally: Tally::default(),
        };
        let (made, told) = mpsc::channel(MADE_MAX);
        let shared = Arc::new(Shared {
            intents: Intents::new(meta.clone()),
            targets: webhooks.into_iter().map(target).collect(),
            before,
            courier,
            made,
        });
        let runner = Runner { shared: shared.clone(), made: told };
        (Self(Some(shared)), runner)
    }

    /// Announces a change that is about to be made to a file of `tenant`; `file` is its document as
    /// it will have been. The intent is durable when this returns.
    pub(crate) async fn announce(
        &self,
        kind: Kind,
        file: FileId,
        tenant: &str,
        document: impl FnOnce() -> Value,
    ) -> Result<Announced, MetaError> {
        let Some(shared) = self.wanted(kind, tenant) else { return Ok(Announced(None)) };
        shared.check_room(kind, tenant)?;
        let id = EventId { kind, file };
        let now_ms = shared.courier.environment.unix_ms();
        shared.intents.write(id, now_ms, document()).await?;
        Ok(Announced(Some(id)))
    }

    /// The change was made. Not to say so does no harm: it is found out later.
    pub(crate) fn made(&self, Announced(id): Announced) {
        if let (Some(shared), Some(id)) = (&self.0, id) {
            let _ = shared.made.try_send(id); // Where there is no room, it is found out later.
        }
    }

    /// Sees to it that what is announced of the completion of a file is on its way before the file
    /// is removed: without its record, nobody could tell any more that it has happened.
    pub(crate) async fn secure_completion(
        &self,
        file: FileId,
        tenant: &str,
        document: impl FnOnce() -> Value,
    ) -> Result<(), MetaError> {
        let Some(shared) = self.wanted(Kind::Completed, tenant) else { return Ok(()) };
        let id = EventId { kind: Kind::Completed, file };
        match shared.intents.get(id).await? {
            Some(intent) => shared.promote(&intent, document()).await,
            None => Ok(()),
        }
    }

    /// Asks whether an upload may be created, where somebody is to be asked.
    pub(crate) async fn ask(&self, question: Question<'_>) -> Reply {
        match self.0.as_ref().and_then(|shared| shared.before.as_ref()) {
            Some(before) => before.ask(question).await,
            None => Reply::Allowed(Wishes::default()),
        }
    }

    /// What is counted of every receiver, in the text format of Prometheus.
    pub(crate) fn metrics(&self) -> String {
        metrics::render(self.targets())
    }

    /// The time of day.
    fn now_ms(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.courier.environment.unix_ms())
    }

    fn targets(&self) -> &[Target] {
        self.0.as_ref().map(|shared| shared.targets.as_slice()).unwrap_or_default()
    }

    fn wanted(&self, kind: Kind, tenant: &str) -> Option<&Shared> {
        let shared = self.0.as_deref()?;
        shared.wanting(kind, tenant).next().map(|_| shared)
    }
}

impl Shared {
    fn wanting(&self, kind: Kind, tenant: &str) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(move |target| target.webhook.wants(kind, tenant))
    }

    fn check_room(&self, kind: Kind, tenant: &str) -> Result<(), MetaError> {
        let full = |target: &&Target| target.tally.waiting() >= WAITING_MAX;
        match self.wanting(kind, tenant).find(full) {
            None => Ok(()),
            Some(full) => {
                Err(MetaError::Unavailable(Arc::new(QueueFull(full.webhook.name.clone()))))
            }
        }
    }

    /// Decides about an intent by what the records say.
    async fn settle(&self, id: EventId, files: &dyn Files) -> Result<(), StoreError> {
        let Some(intent) = self.intents.get(id).await? else { return Ok(()) };
        let standing = files.standing(id.file).await?;
        let age_max = self.courier.pace.intent_age_max;
        let age_ms_max = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.courier.environment.unix_ms();
        match intent::judge(id.kind, &intent.stored, standing, now_ms, age_ms_max) {
            Verdict::Happened(document) => Ok(self.promote(&intent, document).await?),
            Verdict::Wait => Ok(()),
            Verdict::Never => self.strike_out(&intent, files).await,
        }
    }

    /// Drops an intent whose change was not made in all the time it had, by the clock of this
    /// process. Another may be asleep, or go by another clock, so whoever is yet to make the change
    /// is shut out first: it writes its intent anew before it tries again.
    async fn strike_out(&self, intent: &Intent, files: &dyn Files) -> Result<(), StoreError> {
        let standing = files.shut_out(intent.id.file).await?;
        match intent::judge(intent.id.kind, &intent.stored, standing, u64::MAX, 0) {
            Verdict::Happened(document) => Ok(self.promote(intent, document).await?),
            Verdict::Wait | Verdict::Never => Ok(self.intents.remove(intent).await?),
        }
    }

    /// Turns an intent into an event on its way to everybody who wants it. The intent goes last.
    async fn promote(&self, intent: &Intent, document: Value) -> Result<(), MetaError> {
        let tenant = event::tenant(&document).to_owned();
        let event = Event { id: intent.id, at_ms: intent.stored.at_ms, file: document };
        for target in self.wanting(intent.id.kind, &tenant) {
            if target.queue.add(event.clone()).await? {
                count(&target.tally.waiting);
            }
            target.wake.notify_one();
        }
        self.intents.remove(intent).await
    }

    async fn settle_or_log(&self, id: EventId, files: &dyn Files) {
        if let Err(error) = self.settle(id, files).await {
            tracing::warn!(%id, %error, "an intent was not looked at; it will be");
        }
    }

    /// Looks at intents as their changes are reported.
    async fn settle_made(&self, mut made: mpsc::Receiver<EventId>, files: &dyn Files) {
        let mut looks = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased; // No more come than fit, and a history is replayed.
                Some(id) = made.recv(), if looks.len() < LOOKS_MAX => {
                    looks.push(self.settle_or_log(id, files));
                }
                Some(()) = looks.next() => {}
                else => return,
            }
        }
    }

    /// Looks at the intents that nobody reported, again and again.
    async fn settle_forgotten(&self, files: &dyn Files) {
        loop {
            if let Err(error) = self.settle_all_forgotten(files).await {
                tracing::warn!(%error, "intents were not looked through");
            }
            tokio::time::sleep(self.courier.pace.look_every).await;
        }
    }

    async fn settle_all_forgotten(&self, files: &dyn Files) -> Result<(), StoreError> {
        let fresh_ms = u64::try_from(self.courier.pace.look_every.as_millis()).unwrap_or(u64::MAX);
        let mut after = None;
        loop {
            let (intents, next) = self.intents.page(after).await?;
            let now_ms = self.courier.environment.unix_ms();
            // What is fresh is being worked on. A clock that was set back makes nothing fresh.
            let fresh = now_ms.saturating_sub(fresh_ms)..=now_ms;
            let mut looks = Vec::new();
            for Intent { id, stored, .. } in intents {
                if !fresh.contains(&stored.at_ms) {
                    looks.push(self.settle_or_log(id, files));
                }
            }
            stream::iter(looks).buffer_unordered(LOOKS_MAX).collect::<()>().await;
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    async fn count(&self) {
        loop {
            for target in &self.targets {
                if let Err(error) = target.count().await {
                    tracing::warn!(hook = target.webhook.name, %error, "a queue was not counted");
                }
            }
            tokio::time::sleep(COUNT_EVERY).await;
        }
    }
}

impl Runner {
    /// Tells receivers, for as long as this is polled. It may be dropped at any time.
    pub(crate) async fn run(self, files: Arc<dyn Files>) {
        let Self { shared, made } = self;
        let telling = shared.targets.iter().map(|target| shared.courier.serve(target));
        futures::join!(
            shared.settle_made(made, &*files),
            shared.settle_forgotten(&*files),
            shared.count(),
            join_all(telling),
        );
    }
}
