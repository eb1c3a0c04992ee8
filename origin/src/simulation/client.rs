//! Clients: what they want, what they send, and what they make of the answers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::TryStreamExt as _;
use outport_wire::id::FileId;
use outport_wire::identity::{Identity, Scopes};
use tokio::time::{sleep, timeout};

use super::body::{self, Body, Ending};
use super::faults::Fault;
use super::model::Request;
use super::scene::State;
use super::world::World;
use crate::digest::{Expected, Running};
use crate::intake::{Cuts, Intake};
use crate::record::{Concat, Description, Opening};
use crate::store::{AppendError, ChangeError, Completes, ConcatError, Held, Store, StoreError};
use crate::turns::Remains;

/// The longest that a client waits between two requests.
const THINK_MS_MAX: u64 = 400;
/// The longest that a client waits for an answer that never comes.
const PATIENCE_MS_MAX: u64 = 90_000;
/// What a file may have at most. No file of a simulation has as much.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// An upload that clients know the address of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) id: FileId,
    /// How long it will be.
    pub(super) length: u64,
    /// The server was told so.
    is_announced: bool,
    is_partial: bool,
    pub(super) is_final: bool,
    /// What all requests for it send, where its digest was announced.
    salt: Option<u64>,
}

/// What all clients know.
pub(super) type Board = Rc<RefCell<Vec<Known>>>;

/// A client.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) world: Rc<World>,
    pub(super) board: Board,
    pub(super) number: usize,
}

/// What an append came to.
type Appended = Result<Held, AppendError>;

impl Client {
    /// Does all that a client does.
    pub(super) async fn run(self) {
        for _ in 0..self.world.plan.operations {
            let think = self.world.scene.dice.below(THINK_MS_MAX);
            if think.is_multiple_of(2) {
                sleep(Duration::from_millis(think)).await;
            }
            // A client that gets no answer goes on with something else; the server does not know.
            let patience = self.world.scene.dice.between(1_000, PATIENCE_MS_MAX);
            let left = timeout(Duration::from_millis(patience), self.do_something()).await.is_err();
            if left {
                let place = format!("client {}", self.number);
                self.world.scene.inject(Fault::ClientLeft, &place);
            }
        }
    }

    async fn do_something(&self) {
        let dice = &self.world.scene.dice;
        let is_room = self.board.borrow().len() < self.world.plan.uploads_max;
        let known = dice.pick(&self.board.borrow());
        let Some(known) = known.filter(|_| !is_room || !dice.one_in(3)) else {
            return match dice.below(5) {
                0 => self.store_whole().await,
                1 => self.concatenate().await,
                _ => self.create().await,
            };
        };
        match dice.below(16) {
            0 => self.remove(known).await,
            1 | 2 => self.read(known).await,
            3 => self.list().await,
            4 => self.rename(known).await,
            5 => drop(self.ask_offset(known).await),
            6 => self.concatenate().await,
            7 => {
                let offset = self.world.scene.dice.below(known.length + 1);
                self.append(known, offset).await;
            }
            _ => self.resume(known).await,
        }
    }

    fn note(&self, step: std::fmt::Arguments<'_>) {
        self.world.scene.note(format_args!("client {}: {step}", self.number));
    }

    async fn create(&self) {
        let dice = &self.world.scene.dice;
        let length = dice.below(self.world.plan.bytes_max + 1);
        let salt = dice.one_in(6).then(|| dice.next());
        let is_wrong = salt.is_some() && dice.one_in(3);
        let is_partial = salt.is_none() && dice.one_in(3);
        let is_announced = !dice.one_in(4);
        let expires = dice.one_in(6).then(|| dice.between(1, 600));
        let digest = salt.map(|salt| body::digest(salt ^ u64::from(is_wrong), length));
        let digest =
            digest.and_then(|field| Expected::of_field(&field).ok()).map(Running::expecting);
        let opening = Opening {
            length: is_announced.then_some(length),
            concat: is_partial.then_some(Concat::Partial { claimed_by: None }),
            digest,
            ..Opening::default()
        };
        let creation = self.world.scene.state().model.creating(is_wrong);
        self.note(format_args!("creates {creation}, of {length} bytes, {is_announced}"));
        let handler = move |store: Store| async move {
            let expires = expires.map(|life| store.now_s() + life);
            let opening = Opening { upload_expires_s: expires, ..opening };
            store.begin(&owner(), description(creation), opening).await
        };
        let Some(begun) = self.world.ask(self.world.any_origin(), handler).await else { return };
        match begun {
            Ok(held) => {
                self.note(format_args!("created {creation}: {}", held.id));
                let is_final = false;
                let known = Known { id: held.id, length, is_announced, is_partial, is_final, salt };
                self.board.borrow_mut().push(known);
            }
            Err(error) => self.judge_creation(creation, &error),
        }
    }

    fn judge_creation(&self, creation: usize, error: &StoreError) {
        self.note(format_args!("was told of creation {creation}: {error}"));
        if !matches!(error, StoreError::Uncertain(_)) {
            self.world.scene.state().model.refused(creation);
        }
    }

    async fn store_whole(&self) {
        let dice = &self.world.scene.dice;
        let length = dice.below(self.world.plan.bytes_max + 1);
        let body = self.body(dice.next(), 0, length);
        let (creation, request) = {
            let mut state = self.world.scene.state();
            let creation = state.model.creating(false);
            let request = Request { creation: Some(creation), ..Request::of(None, &body) };
            (creation, state.model.sending(request))
        };
        self.note(format_args!("stores {creation} whole: {body}"));
        let (digests, idle) = (body.digests(), self.world.plan.idle);
        let stream = body.stream(self.world.scene.clone());
        let handler = move |store: Store| async move {
            let cuts = Cuts { shutdown: never(), superseded: None };
            let intake = Intake::new(stream, FILE_BYTES_MAX, idle, cuts);
            let mut intake = intake.with_digests(digests);
            store.store_whole(&owner(), description(creation), &mut intake).await
        };
        let Some(stored) = self.world.ask(self.world.any_origin(), handler).await else { return };
        match stored {
            Ok(held) => {
                let id = held.id;
                self.note(format_args!("stored {creation} whole: {id}"));
                let mut state = self.world.scene.state();
                state.model.told_kept(id, request, length);
                state.model.told_complete(id);
                drop(state);
                let (is_announced, is_partial, is_final) = (true, false, false);
                let salt = None;
                let known = Known { id, length, is_announced, is_partial, is_final, salt };
                self.board.borrow_mut().push(known);
            }
            Err(AppendError::Store(error)) => self.judge_creation(creation, &error),
            Err(error) => {
                self.note(format_args!("was told of {creation}: {error}"));
                self.world.scene.state().model.refused(creation);
            }
        }
    }

    /// Asks for the offset, and appends there.
    async fn resume(&self, known: Known) {
        if let Some(offset) = self.ask_offset(known).await {
            self.append(known, offset).await;
        }
    }

    /// Asks for the offset. After the answer no older request changes it. `None` where there is
    /// nothing to go on with.
    async fn ask_offset(&self, known: Known) -> Option<u64> {
        let (id, is_final, world) = (known.id, known.is_final, self.world.clone());
        let handler = move |store: Store| async move {
            if is_final && let Err(ConcatError::Store(error)) = store.join(id).await {
                return Err(error);
            }
            let before = Before::of(&world, id);
            Ok((store.interrupt(id).await?, before))
        };
        match self.world.ask(self.world.any_origin(), handler).await? {
            Ok((Some(held), before)) => {
                let record = &held.record;
                self.note(format_args!("{id} is at {} in {}", record.offset(), record.epoch));
                let mut state = self.world.scene.state();
                let refusals = refusals(&state);
                state.model.told_there(id, before.was_gone);
                state.model.told_offset(id, record.offset(), before.offset);
                if refusals.is_some() && refusals == before.refusals {
                    state.model.told_epoch(id, before.epoch, record.epoch, record.complete);
                }
                if record.epoch != before.epoch {
                    state.model.shut_out(id, before.asked);
                }
                if record.complete {
                    state.model.told_complete(id);
                }
                (!record.complete).then_some(record.offset())
            }
            Ok((None, _)) => {
                self.told_gone(known);
                None
            }
            Err(error) => {
                self.note(format_args!("{id}: no offset: {error}"));
                None
            }
        }
    }

    async fn append(&self, known: Known, offset: u64) {
        if known.is_final {
            return;
        }
        let dice = &self.world.scene.dice;
        let rest = known.length.saturating_sub(offset);
        let bytes = if dice.one_in(2) { rest } else { dice.below(rest + 1) };
        let completes = match dice.below(8) {
            _ if offset + bytes == known.length && !known.is_announced => Completes::WithBody,
            0 if offset + bytes == known.length => Completes::WithBody,
            1 => Completes::Not,
            _ => Completes::AtLength,
        };
        let salt = known.salt.unwrap_or_else(|| dice.next());
        let body = self.body(salt, offset, offset + bytes);
        let _ = self.send(known, body, completes).await;
    }

    /// Sends a body, and looks at the answer.
    pub(super) async fn send(
        &self,
        known: Known,
        body: Body,
        completes: Completes,
    ) -> Option<bool> {
        let (id, start, end, is_corrupt) = (known.id, body.start, body.end, body.is_corrupt);
        let request = Request::of(Some(id), &body);
        let request = self.world.scene.state().model.sending(request);
        self.note(format_args!("appends to {id}: {body}, request {request}"));
        let (world, idle, digests) = (self.world.clone(), self.world.plan.idle, body.digests());
        let stream = body.stream(self.world.scene.clone());
        let handler = move |store: Store| async move {
            let Ok(turn) = store.turn(id, Remains::Dropped).await else { return None };
            let held = match store.load(id).await {
                Ok(Some(held)) => held,
                Ok(None) => return Some(Err(AppendError::Gone)),
                Err(error) => return Some(Err(error.into())),
            };
            let expected = held.record.offset();
            if start != expected {
                return Some(Err(AppendError::OffsetMismatch { expected }));
            }
            let now = world.tick();
            world.scene.state().model.began(request, now);
            let room = held.record.length.unwrap_or(FILE_BYTES_MAX).saturating_sub(expected);
            let cuts = Cuts { shutdown: never(), superseded: Some(turn.superseded()) };
            let mut intake = Intake::new(stream, room, idle, cuts).with_digests(digests);
            Some(store.append(held, &mut intake, completes).await)
        };
        let appended = self.world.ask(self.world.any_origin(), handler).await??;
        Some(self.judge_append(known, request, (end, is_corrupt), appended))
    }

    /// Whether it can't be gone on with: it is complete, or there is no room for more.
    fn judge_append(
        &self,
        known: Known,
        request: usize,
        (end, is_corrupt): (u64, bool),
        appended: Appended,
    ) -> bool {
        let id = known.id;
        let mut state = self.world.scene.state();
        let model = &mut state.model;
        let told = match &appended {
            Ok(held) => {
                model.told_kept(id, request, end);
                model.told_offset(id, held.record.offset(), end);
                if held.record.complete {
                    model.told_complete(id);
                }
                format!("is at {}", held.record.offset())
            }
            Err(error) => error.to_string(),
        };
        // What was announced has its place; there may be none for more.
        let refused = matches!(appended, Err(AppendError::Store(StoreError::Refused(_))));
        let over_quota = refused && !known.is_announced;
        match appended {
            Err(AppendError::Gone) => model.told_gone(id),
            Err(AppendError::Complete) => model.told_complete(id),
            Err(AppendError::OffsetMismatch { expected: offset })
            | Err(
                AppendError::Superseded { offset }
                | AppendError::TooLong { offset }
                | AppendError::LengthMismatch { offset, .. }
                | AppendError::Cut { offset },
            ) => model.told_offset(id, offset, 0),
            Err(AppendError::Digest(_)) => model.told_error(is_corrupt, "a checksum"),
            Err(AppendError::WholeDigest) => model.told_error(known.salt.is_some(), "a digest"),
            Err(AppendError::Store(StoreError::Fault(_)) | AppendError::TooManyParts) => {
                model.told_error(false, "a fault of ours");
            }
            Err(AppendError::Store(StoreError::Refused(_))) => {
                model.told_error(over_quota, "the quota");
            }
            Ok(_) | Err(_) => {}
        }
        drop(state);
        self.note(format_args!("{id}, request {request}: {told}"));
        over_quota || self.world.scene.state().model.is_complete(id)
    }

    async fn remove(&self, known: Known) {
        let id = known.id;
        self.world.scene.state().model.may_go(id);
        self.note(format_args!("removes {id}"));
        let handler =
            move |store: Store| async move { store.remove(id, |_| Ok::<_, ()>(())).await };
        let Some(removed) = self.world.ask(self.world.any_origin(), handler).await else { return };
        match removed {
            Ok(()) => {
                let mut state = self.world.scene.state();
                state.model.told_removed(id);
                state.news.told_removed(id);
            }
            Err(ChangeError::Gone) => self.told_gone(known),
            Err(_) => {}
        }
    }

    async fn rename(&self, known: Known) {
        let (id, number) = (known.id, self.world.tick());
        let handler = move |store: Store| async move {
            let rename = |record: &mut crate::record::Record| {
                record.media_type = format!("text/{number}");
                Ok::<_, ()>(())
            };
            store.change(id, rename).await
        };
        let Some(changed) = self.world.ask(self.world.any_origin(), handler).await else { return };
        match changed {
            Ok(held) => {
                let offset = held.record.offset();
                self.world.scene.state().model.told_offset(id, offset, 0);
            }
            Err(ChangeError::Gone) => self.told_gone(known),
            Err(_) => {}
        }
    }

    /// Reads all of a file.
    pub(super) async fn read(&self, known: Known) {
        let id = known.id;
        let was_gone = self.world.scene.state().model.is_gone(id);
        let handler = move |store: Store| async move {
            let Some(held) = store.load(id).await? else { return Ok(None) };
            if !held.record.complete {
                return Ok(Some(None));
            }
            let range = 0..held.record.offset();
            let pieces: Result<Vec<_>, _> = store.read(&held, range).try_collect().await;
            Ok::<_, StoreError>(Some(Some(pieces.map(|pieces| pieces.concat()))))
        };
        let Some(Ok(read)) = self.world.ask(self.world.any_origin(), handler).await else { return };
        let Some(content) = read else { return self.told_gone(known) };
        let mut state = self.world.scene.state();
        state.model.told_there(id, was_gone);
        match content {
            Some(Ok(content)) => state.model.told_content(id, &content),
            Some(Err(error @ object_store::Error::NotFound { .. })) => {
                let gone = state.model.may_be_gone(id);
                state.model.told_error(gone, &error.to_string());
            }
            Some(Err(_)) | None => {}
        }
    }

    async fn list(&self) {
        let before = self.world.scene.state().model.files();
        let gone = self.world.scene.state().model.all_gone();
        let handler = move |store: Store| async move { store.list(&owner(), "", 100, None).await };
        let Some(Ok(page)) = self.world.ask(self.world.any_origin(), handler).await else { return };
        let found: Vec<_> = page.files.iter().map(|(id, _)| *id).collect();
        self.world.scene.state().model.told_list(&before, &gone, &found);
    }

    async fn concatenate(&self) {
        let dice = &self.world.scene.dice;
        let mut partials: Vec<_> =
            self.board.borrow().iter().filter(|known| known.is_partial).copied().collect();
        while partials.len() > 3 || (partials.len() > 1 && dice.one_in(3)) {
            partials.swap_remove(dice.below(partials.len() as u64) as usize);
        }
        if partials.is_empty() {
            return;
        }
        let creation = self.world.scene.state().model.creating(true);
        let of: Vec<_> = partials.iter().map(|known| known.id).collect();
        self.note(format_args!("joins {of:?} as {creation}"));
        let handler = move |store: Store| async move {
            store.concatenate(&owner(), description(creation), of, FILE_BYTES_MAX).await
        };
        let Some(joined) = self.world.ask(self.world.any_origin(), handler).await else { return };
        match joined {
            Ok(Held { id, record, .. }) => {
                self.note(format_args!("joined {creation}: {id}"));
                if record.complete {
                    self.world.scene.state().model.told_complete(id);
                }
                let length = partials.iter().map(|known| known.length).sum();
                let (is_announced, is_partial, is_final, salt) = (true, false, true, None);
                let known = Known { id, length, is_announced, is_partial, is_final, salt };
                self.board.borrow_mut().push(known);
            }
            Err(ConcatError::Store(error)) => {
                self.note(format_args!("was told of {creation}: {error}"));
            }
            Err(error) => self.note(format_args!("was told of {creation}: {error}")),
        }
    }

    fn told_gone(&self, known: Known) {
        self.note(format_args!("{} is gone", known.id));
        self.world.scene.state().model.told_gone(known.id);
        if self.world.scene.state().model.is_gone(known.id) {
            self.board.borrow_mut().retain(|other| other.id != known.id);
        }
    }

    /// A body, and what goes wrong with it.
    fn body(&self, salt: u64, start: u64, end: u64) -> Body {
        let (scene, place) = (&self.world.scene, format!("client {}", self.number));
        let mut body = Body { salt, start, end, ..Body::default() };
        body.has_checksum = scene.dice.one_in(3);
        if body.has_checksum && end > start && scene.strikes(Fault::BodyCorrupt, &place) {
            (body.is_corrupt, body.salt) = (true, scene.dice.next());
            body.checked_salt = salt;
        } else {
            body.checked_salt = salt;
        }
        if scene.strikes(Fault::BodyCut, &place) {
            body.ending = Ending::Cut(scene.dice.between(start, end));
        } else if scene.strikes(Fault::BodyStalled, &place) {
            body.ending = Ending::Stalled(scene.dice.between(start, end));
        }
        body
    }

    /// Ends an upload, when nothing goes wrong any more. `false` if that can't be done.
    pub(super) async fn finish(&self, known: Known) -> bool {
        let offset = self.ask_offset(known).await;
        let Some(offset) = offset.filter(|_| !known.is_final) else {
            let model = &self.world.scene.state().model;
            return model.is_complete(known.id) || model.may_be_gone(known.id);
        };
        let salt = known.salt.unwrap_or_else(|| self.world.scene.dice.next());
        let end = known.length.max(offset);
        let body = Body { salt, checked_salt: salt, start: offset, end, ..Body::default() };
        let sent = self.send(known, body, Completes::WithBody).await;
        sent == Some(true) || self.world.scene.state().model.may_be_gone(known.id)
    }
}

/// What was so when an offset was asked for.
struct Before {
    asked: u64,
    epoch: u32,
    offset: u64,
    was_gone: bool,
    refusals: Option<u64>,
}

impl Before {
    fn of(world: &World, id: FileId) -> Self {
        let asked = world.tick();
        let state = world.scene.state();
        Self {
            asked,
            epoch: state.model.epoch(id),
            offset: state.model.offset(id),
            was_gone: state.model.is_gone(id),
            refusals: refusals(&state),
        }
    }
}

/// How often something has kept the metadata from taking a change. `None` while something does.
fn refusals(state: &State) -> Option<u64> {
    let count = state.injected.of(Fault::MetaRefused) + state.injected.of(Fault::Full);
    (!state.is_full).then_some(count)
}

/// Whose files they are.
pub(super) fn owner() -> Identity {
    Identity { tenant: "demo".into(), subject: "alice".into(), scopes: Scopes::all() }
}

fn description(creation: usize) -> Description {
    Description {
        name: creation.to_string(),
        media_type: "text/plain".into(),
        visibility: outport_wire::file::Visibility::Private,
        metadata: Default::default(),
        tus_metadata: None,
    }
}

fn never() -> tokio::sync::watch::Receiver<bool> {
    tokio::sync::watch::channel(false).1
}
