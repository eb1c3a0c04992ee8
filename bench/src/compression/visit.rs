//! One contender is asked for all copies of one content: once, again, and then often.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use reqwest::{Client, StatusCode};

use super::contenders::Contender;
use super::content::Content;
use super::decode::decoded;
use super::upstream::{self, Upstream};

/// As Chromium says it, where it takes what is not gzip.
const ACCEPTED: &str = "gzip, deflate, br, zstd";

/// All copies of a content together have about so many bytes: the clock of processor time ticks
/// too slowly for one. And they are no more than a cache holds.
const COPIES_BYTES: usize = 4 << 20;
const COPIES: RangeInclusive<usize> = 16..=256;
/// How many are asked for until what that set off is done. The edge lets no more than 64 bodies
/// wait to be encoded well.
const AT_ONCE: usize = 48;
/// The bodies of all later answers, before they are encoded, have about so many bytes.
const LATER_BYTES: usize = 128 << 20;
const LATER: RangeInclusive<usize> = 1_000..=4_000;
/// How many encoded bodies are kept to know them again.
const KNOWN_MAX: usize = 8;

/// What came of one time that all copies were asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Time {
    /// The coding of the answers; empty where there was none.
    pub(super) coding: String,
    /// The median of the bytes of their bodies.
    pub(super) bytes: u64,
    /// Processor time for one of them, with what it set off.
    pub(super) cpu: Duration,
}

/// What one contender did with one content.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Visited {
    /// The first answer on a file: the upstream is asked, too.
    pub(super) first: Time,
    /// The second one, and all that is done about the file from then on.
    pub(super) second: Time,
    /// Any later one.
    pub(super) later: Time,
}

/// Asks for everything. The content's place is that among those of the upstream.
pub(super) async fn visit(
    contender: &Contender,
    upstream: &Upstream,
    content: &Content,
    place: usize,
) -> Result<Visited> {
    let mut visitor = Visitor { contender, content, place, client: Client::new(), known: vec![] };
    let bytes = content.body.len().max(1);
    let copies = (COPIES_BYTES / bytes).clamp(*COPIES.start(), *COPIES.end());
    let later = (LATER_BYTES / bytes).clamp(*LATER.start(), *LATER.end());
    let asked = upstream.asked();
    let first = visitor.all(copies).await?;
    let second = visitor.all(copies).await?;
    let later = visitor.often(copies, later).await?;
    let asked = upstream.asked() - asked;
    if asked != copies {
        bail!("{} asked {asked} times for {copies} × {}", contender.name, content.name);
    }
    Ok(Visited { first, second, later })
}

struct Visitor<'a> {
    contender: &'a Contender,
    content: &'a Content,
    place: usize,
    client: Client,
    /// Bodies that were decoded and are right.
    known: Vec<(String, Bytes)>,
}

/// An answer that is right: its coding and the length of its body.
type Answer = (String, u64);

impl Visitor<'_> {
    /// Asks once for each copy and waits until what that set off is done.
    async fn all(&mut self, copies: usize) -> Result<Time> {
        let before = self.contender.cpu_time()?;
        let mut answers = Vec::new();
        for first in (0..copies).step_by(AT_ONCE) {
            for copy in first..copies.min(first + AT_ONCE) {
                answers.push(self.ask(copy).await?);
            }
            self.contender.quiet().await?;
        }
        self.time(answers, before)
    }

    /// Asks so often, for one copy after the other.
    async fn often(&mut self, copies: usize, times: usize) -> Result<Time> {
        let before = self.contender.cpu_time()?;
        let mut answers = Vec::new();
        for time in 0..times {
            answers.push(self.ask(time % copies).await?);
        }
        self.time(answers, before)
    }

    fn time(&self, mut answers: Vec<Answer>, before: Duration) -> Result<Time> {
        let used = self.contender.cpu_time()?.saturating_sub(before);
        let cpu = used.div_f64(answers.len() as f64);
        answers.sort_unstable_by_key(|(_, bytes)| *bytes);
        let (coding, bytes) = answers.get(answers.len() / 2).context("nothing was asked")?.clone();
        if let Some((other, _)) = answers.iter().find(|(other, _)| *other != coding) {
            bail!("{} answers in {coding:?} and in {other:?}", self.contender.name);
        }
        Ok(Time { coding, bytes, cpu })
    }

    /// Asks for a copy; an error unless the answer is the content.
    async fn ask(&mut self, copy: usize) -> Result<Answer> {
        let path = upstream::path(&self.place.to_string(), &copy.to_string());
        let url = format!("{}{path}", self.contender.url);
        let answer = self.client.get(&url).header(ACCEPT_ENCODING, ACCEPTED).send().await?;
        let status = answer.status();
        let coding = answer.headers().get(CONTENT_ENCODING).map(|value| value.to_str());
        let coding = coding.transpose()?.unwrap_or_default().to_owned();
        let body = answer.bytes().await?;
        if status != StatusCode::OK || !self.is_content(&coding, &body)? {
            let (name, bytes) = (&self.contender.name, body.len());
            bail!("{name} answers {status} with {bytes} bytes, not with {}", self.content.name);
        }
        Ok((coding, body.len() as u64))
    }

    fn is_content(&mut self, coding: &str, body: &Bytes) -> Result<bool> {
        if self.known.iter().any(|(known, form)| known == coding && form == body) {
            return Ok(true);
        }
        if decoded(coding, body)? != self.content.body {
            return Ok(false);
        }
        if self.known.len() < KNOWN_MAX {
            self.known.push((coding.to_owned(), body.clone()));
        }
        Ok(true)
    }
}
