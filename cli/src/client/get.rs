//! `outport get`: fetches a file, goes on where an earlier attempt stopped, and checks its length.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Method, Response, Url};

use super::backoff::Backoff;
use super::partial::Partial;
use super::{Server, ServerArgs, reason, refused};
use crate::failure::Failure;
use crate::output;

/// A transfer during which this long nothing arrives is broken off and taken up again.
const STALL: Duration = Duration::from_secs(60);
/// What a name may have in bytes on every file system.
const NAME_BYTES_MAX: usize = 255;

/// Fetches a file.
///
/// What an interrupted download left in FILE.partial is gone on with.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file's id, or the address of a file or a signed link
    #[arg(value_name = "ID|URL")]
    what: String,
    /// Where to put it; - is standard output [default: the file's own name, here]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let server = Server::new(&args.server)?;
    let url = address(&server, &args.what)?;
    if args.output.as_deref() == Some(Path::new("-")) {
        return fetch(&server, &url, &mut Sink::Output { bytes: 0, tag: None }).await;
    }
    let target = match &args.output {
        Some(output) => output.clone(),
        None => own_name(&server, &url).await?,
    };
    refuse_to_replace(&args, &target)?;
    let mut partial = Sink::File(Partial::of(&target).await);
    fetch(&server, &url, &mut partial).await?;
    if let Sink::File(partial) = partial {
        partial.complete(&target).await?;
    }
    output::line(&output::printable(&target.display().to_string()))
}

/// What the file is called there, made safe for this folder.
async fn own_name(server: &Server, url: &Url) -> Result<PathBuf, Failure> {
    let response = server.send(server.request(Method::HEAD, url.clone())).await?;
    Ok(name(response.headers()).map_or_else(|| fallback_name(url), PathBuf::from))
}

fn address(server: &Server, what: &str) -> Result<Url, Failure> {
    if what.contains('/') { server.url(what) } else { Ok(server.path(&["files", what])) }
}

fn refuse_to_replace(args: &Args, target: &Path) -> Result<(), Failure> {
    if target.exists() && !args.force {
        let name = output::printable(&target.display().to_string());
        let message =
            format!("{name} is there already; -o names another file, --force replaces it");
        return Err(Failure::Usage(message));
    }
    Ok(())
}

/// Where the content goes.
enum Sink {
    File(Partial),
    Output { bytes: u64, tag: Option<String> },
}

/// What an answer holds: the bytes from `start` on, of `total` in all.
#[derive(Debug, PartialEq, Eq)]
struct Extent {
    start: u64,
    total: Option<u64>,
}

/// Fetches everything, however often the connection breaks.
async fn fetch(server: &Server, url: &Url, sink: &mut Sink) -> Result<(), Failure> {
    let mut backoff = Backoff::default();
    let bar = bar();
    let outcome = loop {
        let before = sink.bytes();
        match attempt(server, url, sink, &bar).await {
            Ok(()) => break Ok(()),
            Err(failure) => {
                sink.flush().await?;
                if sink.bytes() > before {
                    backoff.progressed();
                }
                match backoff.after(failure) {
                    Ok(delay) => tokio::time::sleep(delay).await,
                    Err(failure) => break Err(failure),
                }
            }
        }
    };
    bar.finish_and_clear();
    outcome
}

async fn attempt(
    server: &Server,
    url: &Url,
    sink: &mut Sink,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let answer = tokio::time::timeout(STALL, request(server, url, sink).send()).await;
    let answer = answer.map_err(|_| server.strange("it did not answer in time"))?;
    let response = answer.map_err(|error| server.unreachable(&error))?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && sink.bytes() > 0 {
        return past_the_end(server, &response, sink).await;
    }
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    let extent = extent(&response);
    if extent.start == 0 {
        sink.restart(strong_tag(response.headers())).await?;
    } else if extent.start != sink.bytes() {
        return Err(server.strange("it sent another range than was asked for"));
    }
    bar.set_length(extent.total.unwrap_or_default());
    receive(server, response, sink, bar).await?;
    sink.flush().await?;
    match extent.total {
        Some(total) if sink.bytes() != total => {
            Err(server.strange(format!("{} of {total} bytes arrived", sink.bytes())))
        }
        _ => Ok(()),
    }
}

fn request(server: &Server, url: &Url, sink: &Sink) -> reqwest::RequestBuilder {
    let request = server.request(Method::GET, url.clone());
    match sink.tag() {
        Some(tag) if sink.bytes() > 0 => request
            .header(header::RANGE, format!("bytes={}-", sink.bytes()))
            .header(header::IF_RANGE, tag),
        _ => request,
    }
}

/// There is nothing after what we have: either that is everything, or it is of no use.
async fn past_the_end(
    server: &Server,
    response: &Response,
    sink: &mut Sink,
) -> Result<(), Failure> {
    if content_range(response.headers()).and_then(|extent| extent.total) == Some(sink.bytes()) {
        return Ok(());
    }
    sink.restart(None).await?;
    Err(server.strange("the file there is shorter than what is here"))
}

async fn receive(
    server: &Server,
    mut response: Response,
    sink: &mut Sink,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    loop {
        bar.set_position(sink.bytes());
        let chunk = tokio::time::timeout(STALL, response.chunk()).await;
        let chunk = chunk.map_err(|_| server.strange("nothing arrives any more"))?;
        match chunk.map_err(|error| server.strange(reason(&error)))? {
            Some(chunk) => sink.append(&chunk).await?,
            None => return Ok(()),
        }
    }
}

impl Sink {
    fn bytes(&self) -> u64 {
        match self {
            Self::File(partial) => partial.bytes,
            Self::Output { bytes, .. } => *bytes,
        }
    }

    fn tag(&self) -> Option<&str> {
        match self {
            Self::File(Partial { tag, .. }) | Self::Output { tag, .. } => tag.as_deref(),
        }
    }

    async fn restart(&mut self, new_tag: Option<String>) -> Result<(), Failure> {
        match self {
            Self::File(partial) => partial.restart(new_tag).await,
            Self::Output { bytes: 0, tag } => {
                *tag = new_tag;
                Ok(())
            }
            Self::Output { .. } => Err(Failure::Process(
                "the download broke off and can't be gone on with on standard output".to_owned(),
            )),
        }
    }

    async fn append(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        match self {
            Self::File(partial) => partial.append(chunk).await,
            Self::Output { bytes, .. } => {
                let written = std::io::stdout().write_all(chunk);
                *bytes += chunk.len() as u64;
                written.map_err(output_failure)
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::File(partial) => partial.flush().await,
            Self::Output { .. } => std::io::stdout().flush().map_err(output_failure),
        }
    }
}

fn output_failure(source: std::io::Error) -> Failure {
    Failure::io("write to", Path::new("standard output"), source)
}

fn extent(response: &Response) -> Extent {
    let partial = response.status() == StatusCode::PARTIAL_CONTENT;
    let range = partial.then(|| content_range(response.headers())).flatten();
    range.unwrap_or(Extent { start: 0, total: response.content_length() })
}

/// Reads `Content-Range` (RFC 9110, section 14.4).
fn content_range(headers: &HeaderMap) -> Option<Extent> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.parse().ok()).unwrap_or(0);
    Some(Extent { start, total: total.parse().ok() })
}

/// `If-Range` takes strong tags only (RFC 9110, section 13.1.5).
fn strong_tag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(header::ETAG)?.to_str().ok()?;
    tag.starts_with('"').then(|| tag.to_owned())
}

/// The file's name in `Content-Disposition` (RFC 6266), made safe for this folder.
fn name(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_DISPOSITION)?.to_str().ok()?;
    let parameter = |key: &str| {
        value.split(';').find_map(|part| part.trim().strip_prefix(key)?.trim().strip_prefix('='))
    };
    let extended = parameter("filename*").and_then(|text| {
        let (_, encoded) = text.trim().split_once("''")?;
        percent_decoded(encoded)
    });
    let plain = || Some(parameter("filename")?.trim().trim_matches('"').to_owned());
    safe_name(&extended.or_else(plain)?)
}

/// A name without a folder, without tricks, that no tool takes for a hidden file.
fn safe_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = last.replace(|c: char| c.is_control(), "_");
    let name = name.trim_start_matches('.').trim();
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX).then(|| name.to_owned())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16).map(|digit| digit as u8);
        bytes.push(if byte == b'%' { digit()? << 4 | digit()? } else { byte });
    }
    String::from_utf8(bytes).ok()
}

/// What to call a file that the server does not name: the end of its address.
fn fallback_name(url: &Url) -> PathBuf {
    let last = url.path_segments().and_then(|mut segments| segments.next_back());
    let name = last.and_then(percent_decoded).and_then(|name| safe_name(&name));
    PathBuf::from(name.unwrap_or_else(|| "download".to_owned()))
}

fn bar() -> ProgressBar {
    let style = "{bar:30} {binary_bytes:>11} of {binary_total_bytes:11} {binary_bytes_per_sec:>13} {eta:>4}";
    let style = ProgressStyle::with_template(style);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn names_come_from_the_server_but_stay_in_this_folder() {
        let named = |value| name(&headers(header::CONTENT_DISPOSITION, value));
        assert_eq!(named("attachment; filename=\"a b.txt\"").as_deref(), Some("a b.txt"));
        let both = "inline; filename=\"x\"; filename*=UTF-8''d%C3%ADa%201.pdf";
        assert_eq!(named(both).as_deref(), Some("día 1.pdf"));
        assert_eq!(
            named("attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd").as_deref(),
            Some("passwd")
        );
        assert_eq!(named("attachment; filename=\".bashrc\"").as_deref(), Some("bashrc"));
        for nothing in ["inline", "attachment; filename=\"..\"", "attachment; filename=\"\""] {
            assert_eq!(named(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn content_ranges() {
        let range = |value| content_range(&headers(header::CONTENT_RANGE, value));
        assert_eq!(range("bytes 5-9/10"), Some(Extent { start: 5, total: Some(10) }));
        assert_eq!(range("bytes */10"), Some(Extent { start: 0, total: Some(10) }));
        assert_eq!(range("lines 5-9/10"), None);
    }

    #[test]
    fn weak_tags_name_no_bytes() {
        assert_eq!(strong_tag(&headers(header::ETAG, "W/\"a\"")), None);
        assert_eq!(strong_tag(&headers(header::ETAG, "\"a\"")).as_deref(), Some("\"a\""));
    }
}
