//! Requests with ranges and conditions that a seed decides. Validators are named by what they are
//! to the server's own, so that one request can be put to several.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Dates that are before and after whatever a server says, in each form that there is (RFC 9110,
/// section 5.6.7).
const EARLIER: [&str; 3] =
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
const LATER: [&str; 2] = ["Fri, 01 Jan 2100 00:00:00 GMT", "Fri Jan  1 00:00:00 2100"];
const NO_DATES: [&str; 4] = ["yesterday", "Sun, 99 Nov 1994 08:49:37 GMT", "0", "1700000000"];

/// Ranges that are none, or of another unit.
const NO_RANGES: [&str; 19] = [
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=a-b",
    "bytes=5",
    "bytes=1-2-3",
    "bytes=--1",
    "bytes=+1-2",
    "bytes=0x1-2",
    "bytes=1.0-2",
    "bytes=9-1",
    "bytes 0-1",
    "bytes:0-1",
    "=0-1",
    "0-1",
    "lines=0-1",
    "bytes=0-1;2-3",
    "bytes=1 2-3",
];

/// What decides.
pub(crate) struct Random(StdRng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn one_in(&mut self, of: u32) -> bool {
        self.0.random_ratio(1, of)
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        *all.choose(&mut self.0).expect("there are some")
    }
}

/// An entity tag, or what is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Same,
    SameWeak,
    Other,
    OtherWeak,
}

/// A list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    Star,
    List(Vec<Tag>),
}

/// A date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Date {
    Same,
    Earlier(&'static str),
    Later(&'static str),
    /// It is none.
    None(&'static str),
}

/// What `If-Range` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validator {
    Tag(Tag),
    Date(Date),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<Validator>,
    pub(crate) if_none_match: Option<Tags>,
    pub(crate) if_modified_since: Option<Date>,
    pub(crate) if_match: Option<Tags>,
    pub(crate) if_unmodified_since: Option<Date>,
}

impl Request {
    /// One for a file of so many bytes.
    pub(crate) fn random(random: &mut Random, length: u64) -> Self {
        let method = if random.one_in(5) { "HEAD" } else { "GET" };
        let range = (!random.one_in(4)).then(|| range(random, length));
        let if_range = (range.is_some() && random.one_in(3)).then(|| validator(random));
        Self {
            method,
            range,
            if_range,
            if_none_match: random.one_in(5).then(|| tags(random)),
            if_modified_since: random.one_in(5).then(|| date(random)),
            if_match: random.one_in(12).then(|| tags(random)),
            if_unmodified_since: random.one_in(12).then(|| date(random)),
        }
    }

    /// Whether a cache leaves it to who has the representation (RFC 9111, section 4.3.2).
    pub(crate) fn is_decided_upstream(&self) -> bool {
        self.if_match.is_some() || self.if_unmodified_since.is_some()
    }

    /// How many ranges of bytes are asked for; 0 where that can't be read (RFC 9110, section
    /// 14.1.1).
    pub(crate) fn ranges(&self) -> usize {
        let Some(range) = &self.range else { return 0 };
        let Some((unit, set)) = range.split_once('=') else { return 0 };
        let ranges: Vec<_> = set.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
        let all = unit.eq_ignore_ascii_case("bytes") && ranges.iter().all(|one| is_range(one));
        if all { ranges.len() } else { 0 }
    }

    /// The places of a file of so many bytes that are asked for, where the ranges can be read.
    pub(crate) fn places(&self, length: usize) -> BTreeSet<usize> {
        let set = self.range.as_deref().and_then(|range| range.split_once('='));
        let ranges = set.map_or("", |(_, set)| set).split(',').map(str::trim);
        let number = |text: &str| text.parse().unwrap_or(usize::MAX);
        let places = |range: &str| match range.split_once('-') {
            Some(("", suffix)) => length.saturating_sub(number(suffix))..length,
            Some((first, "")) => number(first).min(length)..length,
            Some((first, last)) => {
                number(first).min(length)..number(last).saturating_add(1).min(length)
            }
            None => 0..0,
        };
        ranges.flat_map(places).collect()
    }

    /// Whether there is nothing between two commas, or behind the last.
    pub(crate) fn has_empty_member(&self) -> bool {
        let range = self.range.as_deref().unwrap_or_default();
        range.split(',').any(|member| member.trim().is_empty())
    }

    /// Whether one of the range's numbers has more than 63 bits.
    pub(crate) fn has_large_number(&self) -> bool {
        let numbers = self.range.as_deref().unwrap_or_default();
        let mut numbers = numbers.split(|char: char| !char.is_ascii_digit());
        let large = |digits: &str| digits.parse::<u128>().is_ok_and(|number| number >= 1 << 63);
        numbers.any(large)
    }

    /// Its bytes, for a server with these validators.
    pub(crate) fn head(&self, authority: &str, path: &str, etag: &str, modified: &str) -> String {
        let tag = |tag: &Tag| match tag {
            Tag::Same => etag.to_owned(),
            Tag::SameWeak => format!("W/{etag}"),
            Tag::Other => "\"other, tag\"".to_owned(),
            Tag::OtherWeak => "W/\"other\"".to_owned(),
        };
        let tags = |tags: &Tags| match tags {
            Tags::Star => "*".to_owned(),
            Tags::List(list) => list.iter().map(tag).collect::<Vec<_>>().join(", "),
        };
        let date = |date: &Date| match date {
            Date::Same => modified.to_owned(),
            Date::Earlier(text) | Date::Later(text) | Date::None(text) => (*text).to_owned(),
        };
        let validator = |validator: &Validator| match validator {
            Validator::Tag(of) => tag(of),
            Validator::Date(of) => date(of),
        };
        let fields = [
            ("Range", self.range.clone()),
            ("If-Range", self.if_range.as_ref().map(validator)),
            ("If-None-Match", self.if_none_match.as_ref().map(tags)),
            ("If-Modified-Since", self.if_modified_since.as_ref().map(date)),
            ("If-Match", self.if_match.as_ref().map(tags)),
            ("If-Unmodified-Since", self.if_unmodified_since.as_ref().map(date)),
        ];
        let mut head = format!("{} {path} HTTP/1.1\r\nHost: {authority}\r\n", self.method);
        for (name, value) in fields {
            let Some(value) = value else { continue };
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

/// A range of the grammar of RFC 9110, section 14.1.2.
fn is_range(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((first, last)) = text.split_once('-') else { return false };
    let number = |text: &str| text.parse::<u128>().unwrap_or(u128::MAX);
    let ordered = first.is_empty() || last.is_empty() || number(first) <= number(last);
    digits(first) && digits(last) && ordered && text != "-"
}

fn range(random: &mut Random, length: u64) -> String {
    if random.one_in(4) {
        return random.pick(&NO_RANGES).to_owned();
    }
    let unit = random.pick(&["bytes=", "bytes=", "bytes=", "bytes=", "Bytes=", "BYTES="]);
    let several = random.one_in(4);
    let count = if several { random.0.random_range(2..=5) } else { 1 };
    let ranges: Vec<_> = (0..count).map(|_| one_range(random, length)).collect();
    let comma = random.pick(&[",", ", ", " ,", " , ", ",,"]);
    let end = if random.one_in(20) { "," } else { "" };
    format!("{unit}{}{end}", ranges.join(comma))
}

fn one_range(random: &mut Random, length: u64) -> String {
    let (first, last) = (place(random, length), place(random, length));
    match random.0.random_range(0..4) {
        0 => format!("{first}-"),
        1 => format!("-{last}"),
        // Mostly in order.
        2 if first.len() > last.len() => format!("{last}-{first}"),
        _ => format!("{first}-{last}"),
    }
}

/// Digits: a place near an end of the file, in it, or near where numbers end.
fn place(random: &mut Random, length: u64) -> String {
    let ends = [0, 1, 2, length - 2, length - 1, length, length + 1];
    match random.0.random_range(0..10) {
        0..=3 => random.pick(&ends).to_string(),
        4..=7 => random.0.random_range(0..length).to_string(),
        8 => format!("000{}", random.0.random_range(0..length)),
        _ => {
            let powers = [1 << 31, 1 << 32, 1 << 63, 1 << 64, 10_u128.pow(30)];
            let power: u128 = random.pick(&powers);
            (power + 1 - u128::from(random.0.random_range(0..3_u8))).to_string()
        }
    }
}

fn tag(random: &mut Random) -> Tag {
    random.pick(&[Tag::Same, Tag::SameWeak, Tag::Other, Tag::OtherWeak])
}

fn tags(random: &mut Random) -> Tags {
    if random.one_in(6) {
        return Tags::Star;
    }
    let count = random.0.random_range(1..=3);
    Tags::List((0..count).map(|_| tag(random)).collect())
}

fn date(random: &mut Random) -> Date {
    match random.0.random_range(0..7) {
        0 => Date::None(random.pick(&NO_DATES)),
        1..=2 => Date::Earlier(random.pick(&EARLIER)),
        3..=4 => Date::Later(random.pick(&LATER)),
        _ => Date::Same,
    }
}

fn validator(random: &mut Random) -> Validator {
    match random.one_in(2) {
        true => Validator::Tag(tag(random)),
        false => Validator::Date(date(random)),
    }
}
