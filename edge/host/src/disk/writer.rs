//! The thread that writes: it appends records, and makes room for them.
//!
//! Small and large records have segments of their own. Each may take what the other leaves free; where
//! there is no room, whichever would have more than its half gives way, its oldest segment first. So
//! large ones never take from the half of the small ones, however many pass. What was used since it
//! was written, here or in memory, goes along to a new segment, up to half of what there was.

use std::collections::hash_map::Entry as Known;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use super::record::{self, Now, meta_capacity};
use super::segment::{Class, LINE_BYTES, Line, Read, Segment};
use super::{Bounds, Grave, Inner, Job, Place, PurgeLog, Slot, State, What};
use crate::purges::Purges;

/// From this on a record is large, in bytes.
const LARGE_BYTES: u64 = 256 << 10;
/// The share of the disk that is left free, for what goes along to a new segment.
const SPARE_SHARE: u64 = 16;

/// What is on the disk.
#[derive(Default)]
pub(super) struct Logs {
    small: Log,
    large: Log,
    slots: HashMap<u64, Slot>,
    segments: HashMap<u32, Arc<Segment>>,
    segment_last: u32,
    number_last: u64,
}

/// The segments of a class, the oldest first. The last is appended to.
#[derive(Default)]
struct Log {
    segments: VecDeque<Appended>,
    bytes: u64,
}

/// A segment, and where its next record goes.
struct Appended {
    segment: Arc<Segment>,
    data_bytes: u64,
    lines: u32,
}

impl Appended {
    fn bytes(&self) -> u64 {
        self.data_bytes + u64::from(self.lines) * LINE_BYTES
    }
}

impl Logs {
    /// Reads the indexes of a folder, and what was purged.
    pub(super) fn read(folder: &Path, purges: &Purges) -> io::Result<Self> {
        PurgeLog::read(folder, purges)?;
        let mut logs = Self::default();
        for (class, id) in Segment::all(folder)? {
            let segment = Arc::new(Segment::open(folder, class, id)?);
            logs.segments.insert(id, segment.clone());
            for (place, line) in segment.lines()? {
                logs.add(Place { segment: id, line: place }, &line)?;
            }
            let (data_bytes, index_bytes) = segment.lengths()?;
            let lines = u32::try_from(index_bytes / LINE_BYTES).map_err(io::Error::other)?;
            let appended = Appended { segment, data_bytes, lines };
            let log = logs.log(class);
            log.bytes += appended.bytes();
            log.segments.push_back(appended);
            logs.segment_last = logs.segment_last.max(id);
        }
        Ok(logs)
    }

    fn add(&mut self, at: Place, line: &Line) -> io::Result<()> {
        self.number_last = self.number_last.max(line.number);
        let new = Slot::Written { at, used: false };
        let mut known = match self.slots.entry(line.hash) {
            Known::Vacant(vacant) => {
                vacant.insert(new);
                return Ok(());
            }
            Known::Occupied(known) => known,
        };
        let Slot::Written { at: other, .. } = *known.get() else { return Ok(()) };
        let segment = |place: Place| {
            let segment = self.segments.get(&place.segment);
            segment.ok_or_else(|| io::Error::other("a segment is missing"))
        };
        let other_line = segment(other)?.line(other.line)?;
        let older = if other_line.is_none_or(|other| other.number < line.number) {
            known.insert(new);
            other
        } else {
            at
        };
        // It would be back when the newer one is gone.
        segment(older)?.bury(older.line)
    }

    /// What is in memory of it.
    pub(super) fn state(&mut self) -> State {
        State {
            slots: std::mem::take(&mut self.slots),
            segments: std::mem::take(&mut self.segments),
            bytes: self.bytes(),
            number: self.number_last,
            ..State::default()
        }
    }

    fn log(&mut self, class: Class) -> &mut Log {
        match class {
            Class::Small => &mut self.small,
            Class::Large => &mut self.large,
        }
    }

    const fn bytes(&self) -> u64 {
        self.small.bytes + self.large.bytes
    }
}

impl Bounds {
    /// What is left free before something is written.
    const fn spare_bytes(&self) -> u64 {
        self.bytes_max / SPARE_SHARE
    }

    /// Who gives way to a record of so many bytes, if somebody must.
    fn gives_way(
        &self,
        small_bytes: u64,
        large_bytes: u64,
        class: Class,
        bytes: u64,
    ) -> Option<Class> {
        let all = self.bytes_max - self.spare_bytes();
        let (own, other) = match class {
            Class::Small => (small_bytes, Class::Large),
            Class::Large => (large_bytes, Class::Small),
        };
        let gives_way = if own + bytes > all / 2 { class } else { other };
        (small_bytes + large_bytes + bytes > all).then_some(gives_way)
    }
}

/// The thread.
pub(super) struct Writer {
    inner: Arc<Inner>,
    logs: Logs,
}

impl Writer {
    pub(super) const fn new(inner: Arc<Inner>, logs: Logs) -> Self {
        Self { inner, logs }
    }

    pub(super) fn run(self) {
        let inner = self.inner.clone();
        let ran = catch_unwind(AssertUnwindSafe(|| self.write_all()));
        // Without the thread, what is superseded would never be written over.
        let ran = ran.unwrap_or_else(|_| Err(io::Error::other("its thread has failed")));
        if let Err(error) = ran {
            inner.give_up(&error);
        }
    }

    fn write_all(mut self) -> io::Result<()> {
        // What is there may be more than is now allowed.
        self.make_room(Class::Small, 0)?;
        loop {
            self.inner.change(|state| state.bytes = self.logs.bytes());
            let Some((graves, job)) = self.inner.next_work() else { return Ok(()) };
            self.inner.fill(&graves)?;
            if let Some(job) = job {
                self.work(&job)?;
                self.inner.has_done(&job);
            }
        }
    }

    fn work(&mut self, job: &Job) -> io::Result<()> {
        match job.what {
            What::Write(number) => self.write(job, number),
            What::Renew => self.renew(job),
        }
    }

    fn write(&mut self, job: &Job, number: u64) -> io::Result<()> {
        let was = Slot::Queued(number);
        if !self.inner.state().is(job.hash, was) {
            return Ok(());
        }
        let meta = job.stored.meta(&job.key, Now::new());
        let mut line = Line {
            number,
            hash: job.hash,
            offset: 0,
            body_bytes: job.stored.body_bytes(),
            meta_bytes: u32::try_from(meta.len()).map_err(io::Error::other)?,
            meta_capacity: u32::try_from(meta_capacity(meta.len())).map_err(io::Error::other)?,
            meta_crc: crc32c::crc32c(&meta),
            body_crc: job.stored.body_crc(),
        };
        let class = if line.record_bytes() < LARGE_BYTES { Class::Small } else { Class::Large };
        self.make_room(class, line.record_bytes() + LINE_BYTES)?;
        let (segment, at) = self.append(class, &mut line)?;
        segment.write(&line, &meta, &job.stored)?;
        self.put(was, &segment, at, line)?;
        self.inner.counts.written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn renew(&mut self, job: &Job) -> io::Result<()> {
        let marks = self.inner.marks();
        let Some((segment, at)) = self.inner.state().written(job.hash) else { return Ok(()) };
        let Some(line) = segment.line(at.line)? else { return Ok(()) };
        let meta = job.stored.meta(&job.key, Now::new());
        let meta_bytes = u32::try_from(meta.len()).map_err(io::Error::other)?;
        let written = segment.read_meta(at.line)?;
        let same = written.as_deref().and_then(record::key) == Some(&job.key)
            && line.body_bytes == job.stored.body_bytes();
        if same && meta_bytes <= line.meta_capacity {
            segment.write_meta(&line, &meta)?;
            let line = Line { meta_bytes, meta_crc: crc32c::crc32c(&meta), ..line };
            // Whoever forgets it meanwhile writes over it once the marks are free.
            return segment.write_line(at.line, line);
        }
        segment.bury(at.line)?;
        let number = self.inner.state().queue_again(job.hash, at);
        drop(marks);
        number.map_or(Ok(()), |number| self.write(job, number))
    }

    /// Has a record found that was written, in place of what its slot was; unless that is no longer
    /// so.
    fn put(&self, was: Slot, segment: &Segment, at: Place, line: Line) -> io::Result<()> {
        let _marks = self.inner.marks();
        if !self.inner.state().is(line.hash, was) {
            return Ok(());
        }
        if let Slot::Written { at: old, .. } = was {
            // First: who forgets it later knows of one place.
            let old_segment = self.inner.state().segments.get(&old.segment).cloned();
            old_segment.map_or(Ok(()), |segment| segment.bury(old.line))?;
        }
        segment.write_line(at.line, line)?;
        let put = self.inner.state().replace(line.hash, was, Slot::Written { at, used: false });
        if put { Ok(()) } else { segment.bury(at.line) }
    }

    /// Finds a place for a record, and says it in its line.
    fn append(&mut self, class: Class, line: &mut Line) -> io::Result<(Arc<Segment>, Place)> {
        let segment_bytes = self.inner.bounds.segment_bytes;
        let last = self.logs.log(class).segments.back();
        if last.is_none_or(|last| last.data_bytes >= segment_bytes) {
            self.begin_segment(class)?;
        }
        let log = self.logs.log(class);
        let missing = || io::Error::other("a segment is missing");
        let last = log.segments.back_mut().ok_or_else(missing)?;
        line.offset = last.data_bytes;
        let at = Place { segment: last.segment.id, line: last.lines };
        log.bytes += line.record_bytes() + LINE_BYTES;
        last.data_bytes += line.record_bytes();
        last.lines += 1;
        Ok((last.segment.clone(), at))
    }

    fn begin_segment(&mut self, class: Class) -> io::Result<()> {
        self.logs.segment_last += 1;
        let id = self.logs.segment_last;
        let segment = Arc::new(Segment::create(self.inner.folder.path(), class, id)?);
        self.inner.state().segments.insert(id, segment.clone());
        let appended = Appended { segment, data_bytes: 0, lines: 0 };
        self.logs.log(class).segments.push_back(appended);
        Ok(())
    }

    fn make_room(&mut self, class: Class, bytes: u64) -> io::Result<()> {
        while let Some(class) = self.gives_way(class, bytes) {
            if !self.reclaim(class)? {
                break;
            }
        }
        Ok(())
    }

    fn gives_way(&self, class: Class, bytes: u64) -> Option<Class> {
        let Logs { small, large, .. } = &self.logs;
        let bounds = &self.inner.bounds;
        bounds.gives_way(small.bytes, large.bytes, class, bytes).or_else(|| {
            let many = self.inner.state().slots.len() > bounds.records_max;
            many.then_some(if small.segments.is_empty() { Class::Large } else { Class::Small })
        })
    }

    /// Lets the oldest segment of a class go. False where there is none.
    fn reclaim(&mut self, class: Class) -> io::Result<bool> {
        let Some(oldest) = self.logs.log(class).segments.pop_front() else { return Ok(false) };
        let Appended { segment, data_bytes, .. } = &oldest;
        let lines = segment.lines()?;
        let mut left = (data_bytes / 2).min(self.inner.bounds.spare_bytes());
        for (place, line) in &lines {
            let at = Place { segment: segment.id, line: *place };
            let bytes = line.record_bytes() + LINE_BYTES;
            if bytes <= left && self.is_used(segment, at, line.hash) {
                left -= bytes;
                self.move_along(class, segment, at)?;
            }
        }
        // Before it is not found any more: what is not found needs no grave.
        segment.remove()?;
        let mut state = self.inner.state();
        for (place, line) in &lines {
            state.remove_at(line.hash, Place { segment: segment.id, line: *place });
        }
        state.segments.remove(&segment.id);
        drop(state);
        self.logs.log(class).bytes -= oldest.bytes();
        Ok(true)
    }

    fn is_used(&self, segment: &Segment, at: Place, hash: u64) -> bool {
        let was_read = match self.inner.state().slots.get(&hash) {
            Some(Slot::Written { at: place, used }) if *place == at => *used,
            _ => return false,
        };
        was_read
            || self.inner.used.get().is_some_and(|used| {
                // What can't be read does not go along.
                let meta = segment.read_meta(at.line).ok().flatten();
                meta.as_deref().and_then(record::key).is_some_and(used)
            })
    }

    fn move_along(&mut self, class: Class, from: &Segment, at: Place) -> io::Result<()> {
        let Ok(Read::Record(record)) = from.read(at.line) else { return Ok(()) };
        let mut line = record.line;
        let (segment, to) = self.append(class, &mut line)?;
        segment.copy(line.offset, &record)?;
        self.put(Slot::Written { at, used: true }, &segment, to, line)
    }
}

impl Inner {
    /// What is to be done next. `None` where nothing will be.
    fn next_work(&self) -> Option<(Vec<Grave>, Option<Job>)> {
        use super::Ending;
        let mut state = self.state();
        loop {
            if state.ending == Some(Ending::Now) {
                return None;
            }
            let graves = std::mem::take(&mut state.graves);
            let job = state.jobs.pop_front();
            if job.is_some() || !graves.is_empty() {
                return Some((graves, job));
            }
            if state.ending == Some(Ending::Done) {
                return None;
            }
            state = self.news.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn has_done(&self, job: &Job) {
        let mut state = self.state();
        state.jobs_bytes = state.jobs_bytes.saturating_sub(job.bytes());
    }
}

impl State {
    fn is(&self, hash: u64, was: Slot) -> bool {
        self.slots.get(&hash).is_some_and(|slot| slot.is(was))
    }

    fn replace(&mut self, hash: u64, was: Slot, new: Slot) -> bool {
        let slot = self.slots.get_mut(&hash).filter(|slot| slot.is(was));
        slot.map(|slot| *slot = new).is_some()
    }

    /// Where the record of a key is.
    fn written(&self, hash: u64) -> Option<(Arc<Segment>, Place)> {
        let Some(Slot::Written { at, .. }) = self.slots.get(&hash) else { return None };
        Some((self.segments.get(&at.segment)?.clone(), *at))
    }

    /// Has what was at a place wait to be written.
    fn queue_again(&mut self, hash: u64, at: Place) -> Option<u64> {
        let number = self.next_number();
        let was = Slot::Written { at, used: false };
        self.replace(hash, was, Slot::Queued(number)).then_some(number)
    }
}
