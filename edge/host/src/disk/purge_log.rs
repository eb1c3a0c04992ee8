//! The purges of a node, written down: what was stored before one, and is found on the disk after a
//! restart, is purged still.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::{Buf as _, BufMut as _};

use crate::purges::{Past, Purges};

const NAME: &str = "purges";
/// After so many bytes at least, and as many as it began with, it is written anew.
const GROWTH_BYTES_MIN: u64 = 1 << 20;
/// What a purge takes beside its tag: checksum, the tag's checksum and length, kind, number.
const FRAME_BYTES: usize = 19;

/// The log.
#[derive(Debug)]
pub(super) struct PurgeLog {
    folder: PathBuf,
    file: File,
    began_bytes: u64,
    grown_bytes: u64,
}

impl PurgeLog {
    /// Reads what a log says. A purge that was not written to its end was not answered either.
    pub(super) fn read(folder: &Path, purges: &Purges) -> io::Result<()> {
        let log = fs::read(folder.join(NAME))?;
        let mut rest = log.as_slice();
        let mut past = Vec::new();
        while let Some((record, more)) = next(rest)? {
            past.push(record);
            rest = more;
        }
        purges.restore(past);
        Ok(())
    }

    /// Begins a log with all that is known, in place of one that may be there.
    pub(super) fn begin(folder: &Path, purges: &Purges) -> io::Result<Self> {
        let mut log = Vec::new();
        for past in purges.past() {
            put(&mut log, &past);
        }
        let new = folder.join("purges.new");
        let mut file = File::create(&new)?;
        file.write_all(&log)?;
        fs::rename(new, folder.join(NAME))?;
        let (folder, began_bytes) = (folder.to_owned(), log.len() as u64);
        Ok(Self { folder, file, began_bytes, grown_bytes: 0 })
    }

    /// Writes a purge down, and then makes it count.
    pub(super) fn purge(&mut self, tag: String, soft: bool, purges: &Purges) -> io::Result<()> {
        if self.grown_bytes > self.began_bytes.max(GROWTH_BYTES_MIN) {
            *self = Self::begin(&self.folder, purges)?;
        }
        let number = purges.last() + 1;
        let mut record = Vec::new();
        put(&mut record, &Past::Purge { tag: tag.clone(), soft, number });
        self.file.write_all(&record)?;
        self.grown_bytes += record.len() as u64;
        purges.purge(tag, soft);
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn put(log: &mut Vec<u8>, past: &Past) {
    let (kind, number, tag) = match past {
        Past::Floor(number) => (0, *number, ""),
        Past::Purge { tag, soft: false, number } => (1, *number, tag.as_str()),
        Past::Purge { tag, soft: true, number } => (2, *number, tag.as_str()),
    };
    let mut frame = Vec::with_capacity(FRAME_BYTES);
    frame.put_u32_le(crc32c::crc32c(tag.as_bytes()));
    // A tag has 300 bytes at the most.
    frame.put_u16_le(u16::try_from(tag.len()).unwrap_or(u16::MAX));
    frame.put_u8(kind);
    frame.put_u64_le(number);
    log.put_u32_le(crc32c::crc32c(&frame));
    log.put_slice(&frame);
    log.put_slice(tag.as_bytes());
}

/// The first purge and what comes after it. The error: it is no purge, and was not broken off either.
fn next(log: &[u8]) -> io::Result<Option<(Past, &[u8])>> {
    let wrong = || io::Error::other("what was purged can't be read");
    let Some((mut frame, rest)) = log.split_at_checked(FRAME_BYTES) else { return Ok(None) };
    if frame.get_u32_le() != crc32c::crc32c(frame) {
        return Err(wrong());
    }
    let (crc, tag_bytes) = (frame.get_u32_le(), frame.get_u16_le());
    let (kind, number) = (frame.get_u8(), frame.get_u64_le());
    let Some((tag, rest)) = rest.split_at_checked(tag_bytes.into()) else { return Ok(None) };
    let tag = String::from_utf8(tag.to_vec()).ok().filter(|_| crc32c::crc32c(tag) == crc);
    let past = match (kind, tag) {
        (0, Some(_)) => Past::Floor(number),
        (1 | 2, Some(tag)) => Past::Purge { tag, soft: kind == 2, number },
        _ => return Err(wrong()),
    };
    Ok(Some((past, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purges::Purged;

    fn purged(purges: &Purges, number: u64, tag: &str) -> Purged {
        purges.since(number, &[tag.to_owned()])
    }

    #[test]
    fn what_was_purged_is_purged_after_a_restart_and_after_another() {
        let folder = tempfile::tempdir().unwrap();
        let purges = Purges::default();
        let mut log = PurgeLog::begin(folder.path(), &purges).unwrap();
        log.purge("a".into(), false, &purges).unwrap();
        log.purge("b".into(), true, &purges).unwrap();
        for _ in 0..2 {
            let again = Purges::default();
            PurgeLog::read(folder.path(), &again).unwrap();
            assert_eq!(again.last(), 2);
            for (number, tag, is) in [
                (0, "a", Purged::Gone),
                (1, "a", Purged::No),
                (0, "b", Purged::Softly),
                (2, "b", Purged::No),
                (0, "c", Purged::No),
            ] {
                assert_eq!(purged(&again, number, tag), is, "{number} {tag}");
            }
            PurgeLog::begin(folder.path(), &again).unwrap();
        }
    }

    #[test]
    fn a_torn_purge_is_none_and_a_wrong_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let purges = Purges::default();
        let mut log = PurgeLog::begin(folder.path(), &purges).unwrap();
        log.purge("a".into(), false, &purges).unwrap();
        let first = fs::read(folder.path().join(NAME)).unwrap().len();
        log.purge("bc".into(), false, &purges).unwrap();
        let whole = fs::read(folder.path().join(NAME)).unwrap();
        for bytes in first..whole.len() {
            fs::write(folder.path().join(NAME), &whole[..bytes]).unwrap();
            let again = Purges::default();
            PurgeLog::read(folder.path(), &again).unwrap();
            assert_eq!(purged(&again, 0, "a"), Purged::Gone);
            assert_eq!(purged(&again, 0, "bc"), Purged::No, "{bytes}");
        }
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 1;
            fs::write(folder.path().join(NAME), wrong).unwrap();
            assert!(PurgeLog::read(folder.path(), &Purges::default()).is_err(), "{at}");
        }
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let purges = Purges::default();
        let mut log = PurgeLog::begin(folder.path(), &purges).unwrap();
        for _ in 0..100_000 {
            log.purge("x".repeat(300), false, &purges).unwrap();
        }
        let length = fs::metadata(folder.path().join(NAME)).unwrap().len();
        assert!(length < 2 * GROWTH_BYTES_MIN, "{length}");
        let again = Purges::default();
        PurgeLog::read(folder.path(), &again).unwrap();
        assert_eq!(again.last(), 100_000);
    }
}
