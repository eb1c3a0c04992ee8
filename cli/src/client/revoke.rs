//! `outport revoke`: what was issued is good no more.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Server, ServerArgs};
use crate::failure::Failure;
use crate::output::{self, printable};

/// Revokes tokens and sessions of the token's tenant, or lists what is revoked. It takes the scope
/// `admin`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// All that was issued to this subject so far, and its sessions
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Of the subject this session alone
    #[arg(long, value_name = "ID", requires = "subject")]
    session: Option<String>,
    /// All that was issued in the tenant so far, this command's token among it
    #[arg(long, conflicts_with = "subject")]
    everything: bool,
    /// Print the answer as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is revoked.
#[derive(Debug, Deserialize)]
struct Revoked {
    before: Option<String>,
    subjects: Vec<Subject>,
    sessions: Vec<Session>,
}

#[derive(Debug, Deserialize)]
struct Subject {
    subject: String,
    revoked: String,
}

#[derive(Debug, Deserialize)]
struct Session {
    session: String,
    revoked: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let server = Server::new(&args.server)?;
    let path = server.path(&["revocations"]);
    let asked = match (&args.subject, &args.session, args.everything) {
        (Some(subject), Some(session), _) => json!({ "subject": subject, "session": session }),
        (Some(subject), None, _) => json!({ "subject": subject }),
        (None, _, true) => json!({ "everything": true }),
        (None, _, false) => Value::Null,
    };
    let request = match asked {
        Value::Null => server.request(Method::GET, path),
        asked => server.request(Method::POST, path).json(&asked),
    };
    let told: Value = server.json(server.send(request).await?).await?;
    if args.json {
        return output::json(&told);
    }
    let Revoked { before, subjects, sessions } = serde_json::from_value(told)
        .map_err(|error| server.strange(format!("its answer is not what it should be: {error}")))?;
    let all = before.map(|at| ("everything", String::new(), at));
    let subjects = subjects.into_iter().map(|of| ("subject", of.subject, of.revoked));
    let sessions = sessions.into_iter().map(|of| ("session", of.session, of.revoked));
    let mut lines = all.into_iter().chain(subjects).chain(sessions);
    lines.try_for_each(|(kind, name, at)| {
        output::line(format!("{at}  {kind:10}  {}", printable(&name)).trim_end())
    })
}
