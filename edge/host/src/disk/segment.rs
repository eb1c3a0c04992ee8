//! A segment: a file of records, and beside it an index of lines of one length, one for each record.
//!
//! A record is there once its line is, which is written last, and gone once its line is written over.
//! So a start reads the indexes alone, and whoever reads a record is told of its end by the line.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::{Buf as _, BufMut as _, Bytes};

use super::record::Stored;

/// What a line takes, in bytes. It never lies on two pages of memory, so that it is written as one.
pub(super) const LINE_BYTES: u64 = 64;
const LINE: usize = LINE_BYTES as usize;

/// The records of one size, which have segments and a share of the disk of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Small,
    Large,
}

impl Class {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Large];

    const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

/// Where a record is, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Of two with the same hash the one with the higher number counts.
    pub(super) number: u64,
    /// The key's.
    pub(super) hash: u64,
    pub(super) offset: u64,
    pub(super) body_bytes: u64,
    pub(super) meta_bytes: u32,
    /// What is set aside for the first part, after which the body comes.
    pub(super) meta_capacity: u32,
    pub(super) meta_crc: u32,
    pub(super) body_crc: u32,
}

impl Line {
    /// What the record takes.
    pub(super) const fn record_bytes(&self) -> u64 {
        self.meta_capacity as u64 + self.body_bytes
    }

    fn to_bytes(self, segment: u32) -> Vec<u8> {
        let mut line = Vec::with_capacity(LINE);
        line.put_u64_le(self.number);
        line.put_u64_le(self.hash);
        line.put_u64_le(self.offset);
        line.put_u64_le(self.body_bytes);
        line.put_u32_le(self.meta_bytes);
        line.put_u32_le(self.meta_capacity);
        line.put_u32_le(self.meta_crc);
        line.put_u32_le(self.body_crc);
        line.put_bytes(0, LINE - line.len() - 8);
        line.put_u32_le(segment);
        line.put_u32_le(crc32c::crc32c(&line));
        line
    }

    /// A line as it was written to this segment. Anything else is none.
    fn from_bytes(line: &[u8], segment: u32) -> Option<Self> {
        let (said, mut crc) = line.split_at_checked(LINE - 4).filter(|(_, crc)| crc.len() == 4)?;
        if crc.get_u32_le() != crc32c::crc32c(said) {
            return None;
        }
        let mut said = said;
        let line = Self {
            number: said.get_u64_le(),
            hash: said.get_u64_le(),
            offset: said.get_u64_le(),
            body_bytes: said.get_u64_le(),
            meta_bytes: said.get_u32_le(),
            meta_capacity: said.get_u32_le(),
            meta_crc: said.get_u32_le(),
            body_crc: said.get_u32_le(),
        };
        said.advance(said.len() - 4);
        (said.get_u32_le() == segment && line.meta_bytes <= line.meta_capacity).then_some(line)
    }
}

/// A record as it was read: it is what its line says.
pub(super) struct Record {
    pub(super) line: Line,
    bytes: Bytes,
}

impl Record {
    /// Its first part.
    pub(super) fn meta(&self) -> &[u8] {
        self.bytes.get(..self.line.meta_bytes as usize).unwrap_or_default()
    }

    /// Body and forms.
    pub(super) fn rest(&self) -> Bytes {
        self.bytes.slice((self.line.meta_capacity as usize).min(self.bytes.len())..)
    }

    fn is_right(&self) -> bool {
        crc32c::crc32c(self.meta()) == self.line.meta_crc
            && crc32c::crc32c(&self.rest()) == self.line.body_crc
    }
}

/// What is read at a place.
pub(super) enum Read {
    Record(Record),
    /// Nothing is there, or not any more.
    Nothing,
    /// What is there is not what its line says.
    Wrong,
}

/// A segment whose files are open. They may be removed meanwhile, and can be read still.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: u32,
    data: File,
    index: File,
    paths: [PathBuf; 2],
}

impl Segment {
    /// Makes one.
    pub(super) fn create(folder: &Path, class: Class, id: u32) -> io::Result<Self> {
        Self::with(folder, class, id, OpenOptions::new().read(true).write(true).create_new(true))
    }

    /// Opens one.
    pub(super) fn open(folder: &Path, class: Class, id: u32) -> io::Result<Self> {
        Self::with(folder, class, id, OpenOptions::new().read(true).write(true))
    }

    fn with(folder: &Path, class: Class, id: u32, how: &OpenOptions) -> io::Result<Self> {
        let path = |kind: &str| folder.join(format!("{}-{id:010}.{kind}", class.name()));
        let paths = [path("data"), path("index")];
        let [data, index] = &paths;
        Ok(Self { id, data: how.open(data)?, index: how.open(index)?, paths })
    }

    /// The segments of a folder, the oldest first. What is left of one that was being removed goes.
    pub(super) fn all(folder: &Path) -> io::Result<Vec<(Class, u32)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "data")
                && !path.with_extension("index").exists()
            {
                fs::remove_file(&path)?;
            }
            found.extend(Self::named(&path));
        }
        found.sort_by_key(|(_, id)| *id);
        Ok(found)
    }

    /// The segment whose index this is.
    fn named(path: &Path) -> Option<(Class, u32)> {
        let name = path.file_name()?.to_str()?.strip_suffix(".index")?;
        let (class, id) = name.split_once('-')?;
        let class = Class::ALL.into_iter().find(|other| other.name() == class)?;
        Some((class, id.parse().ok()?))
    }

    /// How long both files are.
    pub(super) fn lengths(&self) -> io::Result<(u64, u64)> {
        Ok((self.data.metadata()?.len(), self.index.metadata()?.len()))
    }

    /// The lines of all records that are there, and their places.
    pub(super) fn lines(&self) -> io::Result<Vec<(u32, Line)>> {
        let (data_bytes, index_bytes) = self.lengths()?;
        let mut index = vec![0; usize::try_from(index_bytes).map_err(io::Error::other)?];
        self.index.read_exact_at(&mut index, 0)?;
        let line = |(place, line)| Some((place, Line::from_bytes(line, self.id)?));
        let fits = |(_, line): &(u32, Line)| {
            line.offset.checked_add(line.record_bytes()).is_some_and(|end| end <= data_bytes)
        };
        Ok((0..).zip(index.chunks_exact(LINE)).filter_map(line).filter(fits).collect())
    }

    /// Reads the record at a place.
    pub(super) fn read(&self, place: u32) -> io::Result<Read> {
        let Some(line) = self.line(place)? else { return Ok(Read::Nothing) };
        let bytes = usize::try_from(line.record_bytes()).map_err(io::Error::other)?;
        let mut bytes = vec![0; bytes];
        match self.data.read_exact_at(&mut bytes, line.offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Read::Wrong),
            read => read?,
        }
        let record = Record { line, bytes: bytes.into() };
        Ok(if record.is_right() { Read::Record(record) } else { Read::Wrong })
    }

    /// Reads the first part of the record at a place.
    pub(super) fn read_meta(&self, place: u32) -> io::Result<Option<Vec<u8>>> {
        let Some(line) = self.line(place)? else { return Ok(None) };
        let mut meta = vec![0; line.meta_bytes as usize];
        match self.data.read_exact_at(&mut meta, line.offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        Ok((crc32c::crc32c(&meta) == line.meta_crc).then_some(meta))
    }

    /// The line at a place.
    pub(super) fn line(&self, place: u32) -> io::Result<Option<Line>> {
        let mut line = [0; LINE];
        match self.index.read_exact_at(&mut line, u64::from(place) * LINE_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        Ok(Line::from_bytes(&line, self.id))
    }

    /// Writes a record's parts, which nobody finds before its line is written.
    pub(super) fn write(&self, line: &Line, meta: &[u8], stored: &Stored) -> io::Result<()> {
        self.write_meta(line, meta)?;
        let mut offset = line.offset + u64::from(line.meta_capacity);
        for chunk in stored.chunks() {
            self.data.write_all_at(chunk, offset)?;
            offset += chunk.len() as u64;
        }
        // A record that ends with what is set aside is as long as its line says.
        if line.body_bytes == 0 { self.lengthen(offset) } else { Ok(()) }
    }

    /// Writes a record's first part.
    pub(super) fn write_meta(&self, line: &Line, meta: &[u8]) -> io::Result<()> {
        self.data.write_all_at(meta, line.offset)
    }

    /// Writes a record as it was read from another segment.
    pub(super) fn copy(&self, offset: u64, record: &Record) -> io::Result<()> {
        self.data.write_all_at(&record.bytes, offset)
    }

    fn lengthen(&self, bytes: u64) -> io::Result<()> {
        let length = self.data.metadata()?.len();
        if length < bytes { self.data.set_len(bytes) } else { Ok(()) }
    }

    /// Writes the line at a place: the record is there from now on.
    pub(super) fn write_line(&self, place: u32, line: Line) -> io::Result<()> {
        self.index.write_all_at(&line.to_bytes(self.id), u64::from(place) * LINE_BYTES)
    }

    /// Writes over the line at a place: the record is gone from now on.
    pub(super) fn bury(&self, place: u32) -> io::Result<()> {
        self.index.write_all_at(&[0; LINE], u64::from(place) * LINE_BYTES)
    }

    /// Has the disk hold what was written.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.data.sync_all()?;
        self.index.sync_all()
    }

    /// Removes its files. None of its records is there from the first moment on.
    pub(super) fn remove(&self) -> io::Result<()> {
        let [data, index] = &self.paths;
        fs::remove_file(index)?;
        fs::remove_file(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_of_its_segment_and_nothing_else_is_one() {
        let line = Line {
            number: 1,
            hash: 2,
            offset: 3,
            body_bytes: 4,
            meta_bytes: 5,
            meta_capacity: 128,
            meta_crc: 7,
            body_crc: 8,
        };
        let bytes = line.to_bytes(9);
        assert_eq!(bytes.len() as u64, LINE_BYTES);
        assert_eq!(Line::from_bytes(&bytes, 9), Some(line));
        assert_eq!(Line::from_bytes(&bytes, 10), None);
        assert_eq!(Line::from_bytes(&[0; LINE], 0), None);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert_eq!(Line::from_bytes(&wrong, 9), None, "{at}");
            assert_eq!(Line::from_bytes(&bytes[..at], 9), None, "{at}");
        }
        let larger = Line { meta_bytes: 129, ..line };
        assert_eq!(Line::from_bytes(&larger.to_bytes(9), 9), None);
    }
}
