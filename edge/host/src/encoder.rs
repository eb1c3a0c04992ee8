//! Content codings (RFC 9110, section 8.4.1): a body encoded while it is sent, quickly, or once and
//! well.

use std::io::{self, Write};
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

/// A body on its way into a coding.
enum Encoder {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding, effort: Effort) -> io::Result<Self> {
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
    pub(crate) fn new(body: EdgeBody, coding: Coding) -> io::Result<Self> {
        let busy = ENCODING.load(Ordering::Relaxed) >= QUICK_MAX;
        let effort = if busy { Effort::Least } else { Effort::Quick };
        let encoder = Encoder::new(coding, effort)?;
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
pub(crate) fn best(coding: Coding, body: &[Bytes]) -> io::Result<Option<Bytes>> {
    let bytes = body.iter().map(Bytes::len).sum::<usize>();
    let mut encoder = Encoder::new(coding, Effort::Best(bytes))?;
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
            let form = best(coding, &chunks).unwrap().unwrap();
            assert!(form.len() < text.len() / 5, "{coding:?} {}", form.len());
            assert!(decoded(coding, &form) == text, "{coding:?}");
        }
    }

    #[test]
    fn what_saves_nothing_is_no_form() {
        let noise: Vec<u8> = (0..1_000).map(|_| rand::random()).collect();
        for coding in Coding::ALL {
            assert!(best(coding, &[noise.clone().into()]).unwrap().is_none());
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
                let sent = Encoding::new(body, coding).unwrap();
                let sent: Vec<_> = sent.map(Result::unwrap).collect().await;
                ENCODING.fetch_sub(if busy { QUICK_MAX } else { 0 }, Ordering::Relaxed);
                let form = sent.concat();
                assert!(form.len() < text.len() / 3 && decoded(coding, &form) == text);
            }
        }
    }

    #[tokio::test]
    async fn what_has_arrived_is_not_held_back() {
        for coding in Coding::ALL {
            let (sender, receiver) = futures::channel::mpsc::unbounded();
            let mut sent = Encoding::new(EdgeBody::Stored(receiver.boxed(), None), coding).unwrap();
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
        let sent: Vec<_> = Encoding::new(body, Coding::Gzip).unwrap().collect().await;
        assert!(sent.last().unwrap().is_err());
    }
}
