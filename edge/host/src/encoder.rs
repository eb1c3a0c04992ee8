//! Content codings (RFC 9110, section 8.4.1): a body encoded while it is sent, quickly, or once and
//! well.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use http_body::Body as _;
use outport_edge_core::step::Coding;
use tokio::sync::Semaphore;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::body::{Cut, EdgeBody};

/// How much brotli gathers before it encodes, in bytes.
const BROTLI_BUFFER_BYTES: usize = 16 << 10;
/// Up to this length brotli is given its highest quality, in bytes: beyond, it takes seconds.
const BROTLI_BEST_BYTES_MAX: usize = 512 << 10;
/// How many bodies may be encoded at once before each is given less time.
const QUICK_MAX: usize = 32;
/// Of what is made smaller by less than this share nothing is stored.
const WORTH_SHARE: usize = 20;

/// What a body begins with in the coding `dcz`, before the digest of its dictionary: a frame that is
/// skipped (RFC 9842, section 5).
const DCZ_MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0];
/// What a dictionary of zstd's own format begins with (RFC 8878, section 5).
const ZSTD_DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];
/// The windows of `dcz` as powers of two: where it ends, the dictionary is out of reach. What clients
/// need not take begins at 8 MB (RFC 9842, section 5).
const DCZ_WINDOW_LOGS: RangeInclusive<u32> = 17..=22;

/// How much is being encoded while it is sent.
static ENCODING: AtomicUsize = AtomicUsize::new(0);

/// How hard to try.
#[derive(Clone, Copy)]
enum Effort {
    /// As little as there is: many wait for the processor.
    Least,
    /// Quickly rather than well.
    Quick,
    /// As well as can be, for a body of this length.
    Best(usize),
}

impl Effort {
    const fn brotli(self) -> i32 {
        match self {
            Self::Least => 1,
            Self::Quick => 4,
            Self::Best(bytes) if bytes <= BROTLI_BEST_BYTES_MAX => 11,
            Self::Best(_) => 9,
        }
    }

    const fn zstd(self) -> i32 {
        match self {
            Self::Least => 1,
            Self::Quick => 3,
            Self::Best(_) => 19,
        }
    }

    /// The window as a power of two: what is looked back over, which takes memory for each body.
    const fn window_log(self) -> u32 {
        match self {
            Self::Least => 16,
            Self::Quick => 18,
            Self::Best(_) => 22,
        }
    }

    const fn gzip(self) -> u32 {
        match self {
            Self::Least => 1,
            Self::Quick => 4,
            Self::Best(_) => 9,
        }
    }
}

/// What other bodies are encoded against.
#[derive(Clone)]
pub(crate) struct Dictionary {
    sha256: [u8; 32],
    content: Bytes,
}

impl Dictionary {
    /// The body of this digest. `None` where zstd would take it for more than mere content.
    pub(crate) fn new(sha256: [u8; 32], body: &[Bytes]) -> Option<Self> {
        let content = match body {
            [whole] => whole.clone(),
            chunks => chunks.concat().into(),
        };
        (!content.starts_with(&ZSTD_DICTIONARY_MAGIC)).then_some(Self { sha256, content })
    }
}

/// A body on its way into a coding.
enum Encoder {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    /// Begins to encode a body, of so many bytes where that is known.
    fn new(
        coding: Coding,
        dictionary: Option<&Dictionary>,
        effort: Effort,
        bytes: Option<u64>,
    ) -> io::Result<Self> {
        Ok(match coding {
            Coding::Brotli => {
                let params = BrotliEncoderParams {
                    quality: effort.brotli(),
                    lgwin: effort.window_log() as i32,
                    ..Default::default()
                };
                let out = Vec::new();
                let writer = CompressorWriter::with_params(out, BROTLI_BUFFER_BYTES, &params);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), effort.zstd())?;
                encoder.window_log(effort.window_log())?;
                Self::Zstd(encoder)
            }
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(effort.gzip()))),
            Coding::Dcz(sha256) => {
                let held = dictionary.filter(|dictionary| dictionary.sha256 == sha256);
                let held = held.ok_or_else(|| io::Error::other("its dictionary is not held"))?;
                Self::Zstd(against(held, effort, bytes)?)
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Brotli(writer) => writer,
            Self::Zstd(writer) => writer,
            Self::Gzip(writer) => writer,
        }
    }

    /// What has come out since it was asked last.
    fn taken(&mut self) -> Bytes {
        let out = match self {
            Self::Brotli(writer) => writer.get_mut(),
            Self::Zstd(writer) => writer.get_mut(),
            Self::Gzip(writer) => writer.get_mut(),
        };
        std::mem::take(out).into()
    }

    /// What is left to come out at the end.
    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Brotli(writer) => writer.into_inner().into(),
            Self::Zstd(writer) => writer.finish()?.into(),
            Self::Gzip(writer) => writer.finish()?.into(),
        })
    }
}

/// Begins to encode in `dcz`. Who has too much to do leaves the dictionary aside, which takes memory
/// for each body: what comes of it is in the same coding.
fn against(
    dictionary: &Dictionary,
    effort: Effort,
    bytes: Option<u64>,
) -> io::Result<ZstdEncoder<'static, Vec<u8>>> {
    let begun = [&DCZ_MAGIC[..], &dictionary.sha256].concat();
    if let Effort::Least = effort {
        let mut encoder = ZstdEncoder::new(begun, effort.zstd())?;
        encoder.window_log(effort.window_log())?;
        return Ok(encoder);
    }
    let (least, most) = DCZ_WINDOW_LOGS.into_inner();
    let whole = bytes.and_then(u64::checked_next_power_of_two).map_or(most, u64::ilog2);
    let mut encoder = ZstdEncoder::with_dictionary(begun, effort.zstd(), &dictionary.content)?;
    encoder.window_log(whole.clamp(least, most))?;
    // Who knows how much there is finds more of it in the dictionary.
    encoder.set_pledged_src_size(bytes)?;
    Ok(encoder)
}

/// A body that is encoded while it is sent.
pub(crate) struct Encoding {
    body: EdgeBody,
    /// Nothing once all was encoded.
    encoder: Option<Encoder>,
    /// Something was put in since it was last asked to come out.
    dirty: bool,
}

impl Encoding {
    /// Begins to encode. The error: the coding is not to be had.
    pub(crate) fn new(
        body: EdgeBody,
        coding: Coding,
        dictionary: Option<&Dictionary>,
    ) -> io::Result<Self> {
        let busy = ENCODING.load(Ordering::Relaxed) >= QUICK_MAX;
        let effort = if busy { Effort::Least } else { Effort::Quick };
        let encoder = Encoder::new(coding, dictionary, effort, body.size_hint().exact())?;
        ENCODING.fetch_add(1, Ordering::Relaxed);
        Ok(Self { body, encoder: Some(encoder), dirty: false })
    }

    /// What has come out, if anything has.
    fn taken(&mut self) -> Option<Bytes> {
        let taken = self.encoder.as_mut()?.taken();
        (!taken.is_empty()).then_some(taken)
    }

    fn flushed(&mut self) -> io::Result<Option<Bytes>> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(None);
        }
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        encoder.writer().flush()?;
        Ok(self.taken())
    }
}

impl Drop for Encoding {
    fn drop(&mut self) {
        ENCODING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stream for Encoding {
    type Item = Result<Bytes, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            let frame = match Pin::new(&mut this.body).poll_frame(context) {
                // What has arrived is not held back until more has.
                Poll::Pending => {
                    return match this.flushed() {
                        Ok(None) => Poll::Pending,
                        Ok(Some(chunk)) => Poll::Ready(Some(Ok(chunk))),
                        Err(_) => Poll::Ready(Some(Err(Cut))),
                    };
                }
                Poll::Ready(frame) => frame,
            };
            match frame {
                None => {
                    let last = this.encoder.take().map(Encoder::finish);
                    let last = last.transpose().map_err(|_| Cut);
                    return Poll::Ready(
                        last.transpose()
                            .filter(|last| last.as_ref().map_or(true, |last| !last.is_empty())),
                    );
                }
                Some(Err(cut)) => {
                    this.encoder = None;
                    return Poll::Ready(Some(Err(cut)));
                }
                Some(Ok(frame)) => {
                    let Ok(chunk) = frame.into_data() else { continue };
                    if encoder.writer().write_all(&chunk).is_err() {
                        this.encoder = None;
                        return Poll::Ready(Some(Err(Cut)));
                    }
                    this.dirty = true;
                    if let Some(chunk) = this.taken() {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
            }
        }
    }
}

/// Where bodies are encoded well: one at a time, and only so many wait for it.
pub(crate) struct Encoders {
    turns: Semaphore,
    waiting: AtomicUsize,
}

/// How many bodies may wait to be encoded well.
const WAITING_MAX: usize = 64;

impl Encoders {
    /// None at work.
    pub(crate) fn new() -> Self {
        Self { turns: Semaphore::new(1), waiting: AtomicUsize::new(0) }
    }

    /// Encodes when it is this one's turn. `None` where too many wait already, or it failed.
    pub(crate) async fn run(
        &self,
        encode: impl FnOnce() -> io::Result<Option<Bytes>> + Send + 'static,
    ) -> Option<Option<Bytes>> {
        let waiting = Waiting::new(&self.waiting)?;
        let turn = self.turns.acquire().await.ok()?;
        let encoded = tokio::task::spawn_blocking(encode).await.ok()?;
        drop((turn, waiting));
        encoded.inspect_err(|error| tracing::error!("a body can't be encoded: {error}")).ok()
    }
}

/// One of those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Encodes a body as well as can be. `None`: that would not make it smaller by a twentieth. Takes up
/// to seconds; not for a task that must not block.
pub(crate) fn best(
    coding: Coding,
    dictionary: Option<&Dictionary>,
    body: &[Bytes],
) -> io::Result<Option<Bytes>> {
    let bytes = body.iter().map(Bytes::len).sum::<usize>();
    let mut encoder = Encoder::new(coding, dictionary, Effort::Best(bytes), Some(bytes as u64))?;
    for chunk in body {
        encoder.writer().write_all(chunk)?;
    }
    let form = encoder.finish()?;
    Ok((form.len() < bytes - bytes / WORTH_SHARE).then_some(form))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use futures::StreamExt as _;

    use super::*;

    fn decoded(coding: Coding, form: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        match coding {
            Coding::Brotli => {
                brotli::Decompressor::new(form, 4096).read_to_end(&mut body).unwrap();
            }
            Coding::Zstd => body = zstd::stream::decode_all(form).unwrap(),
            Coding::Dcz(_) => panic!("it takes a dictionary"),
            Coding::Gzip => {
                flate2::read::GzDecoder::new(form).read_to_end(&mut body).unwrap();
            }
        }
        body
    }

    fn text() -> Vec<u8> {
        (0..20_000).map(|line| format!("line {line} of a text\n")).collect::<String>().into_bytes()
    }

    #[test]
    fn forms_are_smaller_and_come_back() {
        let text = text();
        let chunks: Vec<_> = text.chunks(1_000).map(Bytes::copy_from_slice).collect();
        for coding in Coding::ALL {
            let form = best(coding, None, &chunks).unwrap().unwrap();
            assert!(form.len() < text.len() / 5, "{coding:?} {}", form.len());
            assert!(decoded(coding, &form) == text, "{coding:?}");
        }
    }

    #[test]
    fn what_saves_nothing_is_no_form() {
        let noise: Vec<u8> = (0..1_000).map(|_| rand::random()).collect();
        for coding in Coding::ALL {
            assert!(best(coding, None, &[noise.clone().into()]).unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_body_is_encoded_while_it_is_sent() {
        let text = text();
        for coding in Coding::ALL {
            for busy in [false, true] {
                ENCODING.fetch_add(if busy { QUICK_MAX } else { 0 }, Ordering::Relaxed);
                let chunks: Vec<_> =
                    text.chunks(10_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
                let body = EdgeBody::Stored(futures::stream::iter(chunks).boxed(), None);
                let sent = Encoding::new(body, coding, None).unwrap();
                let sent: Vec<_> = sent.map(Result::unwrap).collect().await;
                ENCODING.fetch_sub(if busy { QUICK_MAX } else { 0 }, Ordering::Relaxed);
                let form = sent.concat();
                assert!(form.len() < text.len() / 3 && decoded(coding, &form) == text);
            }
        }
    }

    /// What a client makes of `dcz`: the header, then a stream that needs the dictionary.
    fn decoded_against(dictionary: &[u8], sha256: [u8; 32], form: &[u8]) -> Vec<u8> {
        let (header, stream) = form.split_at(40);
        assert_eq!((&header[..8], &header[8..]), (&DCZ_MAGIC[..], &sha256[..]));
        let mut body = Vec::new();
        let mut decoder = zstd::stream::read::Decoder::with_dictionary(stream, dictionary).unwrap();
        // As much as every client takes (RFC 9842, section 5).
        decoder.window_log_max(23).unwrap();
        decoder.read_to_end(&mut body).unwrap();
        body
    }

    #[tokio::test]
    async fn what_is_new_in_a_body_is_all_that_is_sent() {
        let noise: Vec<u8> = (0..1_500_000).map(|_| rand::random()).collect();
        let sha256 = [7; 32];
        let chunks: Vec<_> = noise.chunks(100_000).map(Bytes::copy_from_slice).collect();
        let dictionary = Dictionary::new(sha256, &chunks).unwrap();
        let coding = Coding::Dcz(sha256);
        for (mut new, bytes) in [(noise[900_000..].to_vec(), Some(600_005)), (noise.clone(), None)]
        {
            new.extend(b"after");
            let form = best(coding, Some(&dictionary), &[new.clone().into()]).unwrap().unwrap();
            assert!(form.len() < new.len() / 50, "{}", form.len());
            assert!(decoded_against(&noise, sha256, &form) == new);
            let mut quick = against(&dictionary, Effort::Quick, bytes).unwrap();
            quick.write_all(&new).unwrap();
            let form = quick.finish().unwrap();
            // Where nobody knows how much there is, less of it is found.
            let share = if bytes.is_some() { 50 } else { 3 };
            assert!(form.len() < new.len() / share, "{}", form.len());
            assert!(decoded_against(&noise, sha256, &form) == new);
            // Whoever is busy sends more of it, and what is decoded in the same way.
            for busy in [false, true] {
                ENCODING.fetch_add(if busy { QUICK_MAX } else { 0 }, Ordering::Relaxed);
                let chunks: Vec<_> =
                    new.chunks(10_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
                let body = EdgeBody::Stored(futures::stream::iter(chunks).boxed(), bytes);
                let sent = Encoding::new(body, coding, Some(&dictionary)).unwrap();
                let sent: Vec<_> = sent.map(Result::unwrap).collect().await;
                ENCODING.fetch_sub(if busy { QUICK_MAX } else { 0 }, Ordering::Relaxed);
                assert!(decoded_against(&noise, sha256, &sent.concat()) == new);
            }
        }
    }

    #[test]
    fn a_window_is_what_every_client_takes() {
        let text = text();
        let dictionary = Dictionary::new([7; 32], &[text.clone().into()]).unwrap();
        for (times, known) in [(1, true), (1, false), (20, true), (20, false)] {
            let body = text.repeat(times);
            let bytes = known.then_some(body.len() as u64);
            let mut encoder = against(&dictionary, Effort::Quick, bytes).unwrap();
            encoder.write_all(&body).unwrap();
            let form = encoder.finish().unwrap();
            // RFC 8878, sections 3.1.1.1.1 and 3.1.1.1.2: the window is what the body has, or its
            // exponent stands in the five highest bits.
            let window = match form[44] & 0b0010_0000 {
                0 => 1 << (10 + u32::from(form[45] >> 3)),
                _ => body.len(),
            };
            assert!(window <= 1 << DCZ_WINDOW_LOGS.end(), "{window}");
            assert!(times == 1 || body.len() > window, "it has more than a window");
        }
    }

    #[test]
    fn what_zstd_takes_for_more_is_no_dictionary() {
        let own = [&ZSTD_DICTIONARY_MAGIC[..], b"and more"].concat();
        assert!(Dictionary::new([0; 32], &[own.into()]).is_none());
        let coding = Coding::Dcz([0; 32]);
        let other = Dictionary::new([1; 32], &[Bytes::from_static(b"other")]);
        for dictionary in [None, other.as_ref()] {
            assert!(best(coding, dictionary, &[]).is_err(), "it is not held");
        }
    }

    #[tokio::test]
    async fn what_has_arrived_is_not_held_back() {
        for coding in Coding::ALL {
            let (sender, receiver) = futures::channel::mpsc::unbounded();
            let body = EdgeBody::Stored(receiver.boxed(), None);
            let mut sent = Encoding::new(body, coding, None).unwrap();
            sender.unbounded_send(Ok(Bytes::from_static(b"first"))).unwrap();
            let first = sent.next().await.unwrap().unwrap();
            sender.unbounded_send(Ok(Bytes::from_static(b" second"))).unwrap();
            drop(sender);
            let rest: Vec<_> = sent.map(Result::unwrap).collect().await;
            assert_eq!(decoded(coding, &[&first[..], &rest.concat()].concat()), b"first second");
        }
    }

    #[tokio::test]
    async fn what_is_cut_is_not_ended() {
        let chunks = vec![Ok(Bytes::from_static(b"some")), Err(Cut)];
        let body = EdgeBody::Stored(futures::stream::iter(chunks).boxed(), None);
        let sent: Vec<_> = Encoding::new(body, Coding::Gzip, None).unwrap().collect().await;
        assert!(sent.last().unwrap().is_err());
    }
}
