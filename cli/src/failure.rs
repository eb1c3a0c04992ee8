//! Why a command failed, what the user can do about it, and the exit code that says so.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use outport_wire::problem::ProblemType;
use serde::Deserialize;

use crate::settings::{LoadError, Mistakes};

/// What `outport --help` says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  a file or the system failed
  2  the command line is wrong
  3  the server refused the token, or the token does not allow this
  4  there is no such file, upload or event, or the token may not know of it
  5  the configuration has mistakes
  6  the server can't be reached, or can't answer now; the same command may work later
  7  the server refused what was sent (too large, too often, not valid)";

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A file or the system.
    Io {
        /// What was tried with what.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// What the user gave, beyond what the parser of the command line checks.
    Usage(String),
    /// The configuration, file by file.
    Configuration(Vec<Mistakes>),
    /// The server did not answer, or broke off, and trying again did not help.
    Unreachable {
        /// The server's address.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The server answered that something is wrong.
    Refused {
        /// The answer's status.
        status: u16,
        /// What the answer says.
        problem: Problem,
    },
    /// A process of ours ended, or could not begin.
    Process(String),
    /// No hook has an event with this id.
    NoEvent(String),
    /// A node could not start.
    Start(String),
    /// Some of several things that were asked for, each with its name.
    Several(Vec<(String, Failure)>),
}

/// What we read of a problem document (RFC 9457).
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Problem {
    /// Which kind it is, as a URI.
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    /// The same for every occurrence.
    #[serde(default)]
    pub(crate) title: String,
    /// About this occurrence.
    #[serde(default)]
    pub(crate) detail: String,
}

impl Problem {
    fn is(&self, kind: ProblemType) -> bool {
        self.kind == kind.uri()
    }
}

impl Failure {
    /// A failure to `verb` the file `path`.
    pub(crate) fn io(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: format!("can't {verb} {}", path.display()), source }
    }

    /// A node that does not start, with every cause that says something new.
    pub(crate) fn start(node: &str, error: &dyn Error) -> Self {
        let mut text = format!("the {node} can't start: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                text = format!("{text}: {said}");
            }
            cause = error.source();
        }
        Self::Start(text)
    }

    /// What became of several things: nothing where all of them worked.
    pub(crate) fn unless_empty(failures: Vec<(String, Self)>) -> Result<(), Self> {
        if failures.is_empty() { Ok(()) } else { Err(Self::Several(failures)) }
    }

    /// The process's exit code; [`EXIT_CODES`] explains them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } | Self::Process(_) | Self::Start(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused { problem, .. } if problem.is(ProblemType::QuotaExceeded) => 7,
            Self::Refused { status: 401 | 403, .. } => 3,
            Self::Refused { status: 404 | 410, .. } | Self::NoEvent(_) => 4,
            Self::Configuration(_) => 5,
            Self::Refused { status: 500..=506 | 508.., .. } | Self::Unreachable { .. } => 6,
            Self::Refused { .. } => 7,
            Self::Several(failures) => failures.first().map_or(1, |(_, first)| first.exit_code()),
        }
    }

    /// What the user can do, where we know.
    fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { .. } => {
                "Is it running? `outport serve` starts one here; --server or OUTPORT_SERVER names \
                 another."
            }
            Self::Start(_) => {
                "If something else has the port or the folder: --edge-port, --origin-port and \
                 --data name others, and port 0 is any free one."
            }
            Self::Refused { status: 401, .. } => {
                "Give a token with --token or OUTPORT_TOKEN; `outport token` makes one, and so \
                 does --data with the server's data folder."
            }
            Self::Refused { problem, .. } if problem.is(ProblemType::QuotaExceeded) => {
                "`outport rm` makes room. The quota is quota_bytes and quota_files in the server's \
                 outport.toml."
            }
            Self::Refused { problem, .. } if problem.is(ProblemType::TooManyUploads) => {
                "Uploads that are not complete count until they expire; open_max in the server's \
                 outport.toml is how many there may be."
            }
            Self::Refused { problem, .. } if problem.is(ProblemType::MediaTypeRefused) => {
                "What is taken is media_types and media_types_refused in the server's outport.toml."
            }
            Self::Refused { status: 403, .. } => {
                "The token needs another scope: `outport token --scope` sets them."
            }
            Self::NoEvent(_) => {
                "`outport hooks ls` lists them, and --dead those that were given up."
            }
            Self::Refused { status: 404 | 410, .. } => {
                "`outport ls` lists the files that this token may see."
            }
            Self::Refused { status: 413, .. } => {
                "The server's limit is size_max_bytes in [uploads] of its outport.toml."
            }
            Self::Refused { status: 429, .. } => "Wait a little and run the command again.",
            Self::Refused { status: 507, .. } => {
                "The server's disk is full. What it acknowledged is kept; make space there and run \
                 the command again."
            }
            Self::Refused { status: 500.., .. } => "The same command may work later.",
            _ => return None,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, source } => write!(f, "{what}: {source}")?,
            Self::NoEvent(id) => {
                write!(f, "no hook has an event {id} that waits or was given up")?;
            }
            Self::Usage(text) | Self::Process(text) | Self::Start(text) => f.write_str(text)?,
            Self::Configuration(files) => write!(f, "{}", configuration(files))?,
            Self::Unreachable { server, reason } => write!(f, "{server}: {reason}")?,
            Self::Refused { status, problem } if problem.detail.is_empty() => {
                write!(f, "{} ({status})", problem.title)?;
            }
            Self::Refused { status, problem } => {
                write!(f, "{} ({status}): {}", problem.title, problem.detail)?;
            }
            Self::Several(failures) => {
                for (place, (name, failure)) in failures.iter().enumerate() {
                    let gap = if place == 0 { "" } else { "\n" };
                    write!(f, "{gap}{name}: {failure}")?;
                }
            }
        }
        match self.advice() {
            Some(advice) => write!(f, "\n  {advice}"),
            None => Ok(()),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unreadable { file, source } => Self::io("read", Path::new(&file), source),
            LoadError::Wrong(mistakes) => Self::Configuration(vec![mistakes]),
        }
    }
}

/// The mistakes of every file. Each line begins with its place, where editors look for it.
pub(crate) fn configuration(files: &[Mistakes]) -> String {
    let files: Vec<String> = files.iter().map(Mistakes::to_string).collect();
    files.join("\n")
}
