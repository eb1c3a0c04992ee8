//! `outport put`: uploads files, several at once, and survives interruptions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::ValueEnum;
use futures::StreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::state::State;
use super::tus::{self, Source};
use super::{Server, ServerArgs};
use crate::failure::Failure;
use crate::output;

/// Uploads at once, at most.
const JOBS_MAX: u64 = 64;

/// Uploads files and prints their addresses.
///
/// An interrupted upload goes on by itself; if the command ends before it can, the same command
/// goes on where it stopped.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Who may fetch them: you, whoever has a link, or everybody
    #[arg(long, value_enum, default_value_t = Visibility::Private)]
    visibility: Visibility,
    /// What to call the file there, if not by its own name; takes one file
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many files to upload at once
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=JOBS_MAX))]
    jobs: u64,
    /// The folder that remembers interrupted uploads [default: below the user's state folder]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print a line of JSON for each file that is up
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Who may fetch a file.
#[derive(Clone, Copy, ValueEnum)]
enum Visibility {
    /// Its owner, and holders of a signed link
    Private,
    /// Whoever has a signed link
    Link,
    /// Everybody
    Public,
}

/// A file that is up.
#[derive(Serialize)]
struct Uploaded<'a> {
    file: &'a Path,
    id: &'a str,
    url: &'a str,
    size: u64,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Failure::Usage("--name takes one file; there are several".to_owned()));
    }
    let server = Server::new(&args.server)?;
    let state = State::in_folder(args.state.clone());
    let bars = MultiProgress::new();
    let (args, server, state, bars) = (&args, &server, &state, &bars);
    let put = |path| async move {
        let done = put(args, server, state, bars, path).await;
        done.map_err(|failure| (output::printable(&path.display().to_string()), failure))
    };
    let jobs = usize::try_from(args.jobs).unwrap_or(1);
    let results = futures::stream::iter(args.files.iter().map(PathBuf::as_path))
        .map(put)
        .buffer_unordered(jobs);
    let failures = results.filter_map(async |result: Result<_, _>| result.err()).collect();
    tokio::select! {
        failures = failures => Failure::unless_empty(failures),
        _ = tokio::signal::ctrl_c() => Err(Failure::Process(
            "interrupted; the same command goes on where it stopped".to_owned(),
        )),
    }
}

async fn put(
    args: &Args,
    server: &Server,
    state: &State,
    bars: &MultiProgress,
    path: &Path,
) -> Result<(), Failure> {
    let source = source(args, path);
    let source = source.map_err(|source| Failure::Io { what: "can't be read".into(), source })?;
    let bar = bars.add(bar(&source));
    let progress = {
        let bar = bar.clone();
        Arc::new(move |offset| bar.set_position(offset))
    };
    let uploaded = tus::upload(server, &source, state, progress).await;
    bar.finish_and_clear();
    let upload = uploaded?;
    let id = upload.path_segments().and_then(|mut segments| segments.next_back());
    let id = id.unwrap_or_default();
    let url = server.path(&["files", id]);
    bars.suspend(|| {
        if args.json {
            output::json(&Uploaded { file: path, id, url: url.as_str(), size: source.bytes })
        } else {
            output::line(url.as_str())
        }
    })
}

/// What the system says about the file.
fn source(args: &Args, path: &Path) -> std::io::Result<Source> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let path = path.canonicalize()?;
    let own_name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = args.name.clone().unwrap_or_else(own_name);
    Ok(Source {
        media_type: mime_guess::from_path(&name).first_or_octet_stream().to_string(),
        name,
        visibility: args.visibility.name(),
        bytes: metadata.len(),
        modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        path,
    })
}

fn bar(source: &Source) -> ProgressBar {
    let style = "{msg:30!} {bar:30} {binary_bytes:>11} of {binary_total_bytes:11} {binary_bytes_per_sec:>13} {eta:>4}";
    let style = ProgressStyle::with_template(style);
    let bar = ProgressBar::new(source.bytes).with_message(output::printable(&source.name));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Visibility {
    fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Link => "link",
            Self::Public => "public",
        }
    }
}
