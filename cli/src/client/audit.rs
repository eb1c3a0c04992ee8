//! `outport audit`: the audit log, printed, verified, and without those who are to be forgotten.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use outport_origin::{LINE_BYTES_MAX, Verified, Verifier};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::admin::AdminArgs;
use super::{JSON_BYTES_MAX, Server, ServerArgs, read_bounded};
use crate::failure::Failure;
use crate::output::{self, printable};

/// Entries asked for at once.
const PAGE_ENTRIES: usize = 1000;

/// Prints the audit log of the token's tenant, an entry in each line, verifies one that was printed, or
/// has somebody forgotten in it. It takes the scope `admin`, but for --verify.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only entries behind the one of this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Verify a log that was printed; "-" reads it from the standard input. Exits with 1 where it breaks
    #[arg(long, value_name = "FILE", conflicts_with_all = ["after", "forget", "deployment"])]
    verify: Option<PathBuf>,
    /// Forget this subject: the log still holds, and nobody can read any more who it was
    #[arg(long, value_name = "SUBJECT", conflicts_with_all = ["after", "deployment"])]
    forget: Option<String>,
    /// Print the log of the deployment itself, from the origin that runs on the folder of --data
    #[arg(long, requires = "data")]
    deployment: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is read of a line here.
#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    if let Some(file) = &args.verify {
        return verify(file);
    }
    if let Some(subject) = &args.forget {
        let server = Server::new(&args.server)?;
        let request = server.request(Method::POST, server.path(&["audit", "forgotten"]));
        server.send(request.json(&json!({ "subject": subject }))).await?;
        return output::line(&format!("forgotten {}", printable(subject)));
    }
    match args.server.data.clone().filter(|_| args.deployment) {
        Some(data) => {
            print(&Server::admin(&AdminArgs { data })?, &["admin", "audit"], args.after).await
        }
        None => print(&Server::new(&args.server)?, &["audit"], args.after).await,
    }
}

async fn print(server: &Server, path: &[&str], mut after: u64) -> Result<(), Failure> {
    loop {
        let mut url = server.path(path);
        url.query_pairs_mut()
            .append_pair("after", &after.to_string())
            .append_pair("limit", &PAGE_ENTRIES.to_string());
        let response = server.send(server.request(Method::GET, url)).await?;
        let page = read_bounded(response, JSON_BYTES_MAX).await;
        let page = page.map_err(|reason| server.strange(reason))?;
        let page = String::from_utf8(page).map_err(|_| server.strange("its answer is no text"))?;
        page.lines().try_for_each(output::line)?;
        let last = page.lines().last().map(serde_json::from_str::<Numbered>);
        match last {
            // A server that gives the same page again would be asked for ever.
            Some(Ok(last)) if last.seq > after && page.lines().count() >= PAGE_ENTRIES => {
                after = last.seq;
            }
            _ => return Ok(()),
        }
    }
}

fn verify(path: &Path) -> Result<(), Failure> {
    let verified = if path == Path::new("-") {
        verify_lines(std::io::stdin().lock(), path)
    } else {
        let file = File::open(path).map_err(|source| Failure::io("read", path, source))?;
        verify_lines(BufReader::new(file), path)
    };
    let Some(Verified { entries, first, last, hash }) = verified? else {
        return output::line("0 entries");
    };
    let entries = if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
    output::line(&format!("{entries}, from {first} to {last}\nlast hash {hash}"))
}

fn verify_lines(mut lines: impl BufRead, path: &Path) -> Result<Option<Verified>, Failure> {
    let mut verifier = Verifier::default();
    loop {
        let mut line = String::new();
        let most = LINE_BYTES_MAX as u64;
        let read = lines.by_ref().take(most).read_line(&mut line);
        if read.map_err(|source| Failure::io("read", path, source))? == 0 {
            return Ok(verifier.end());
        }
        let broken = |broken| match path == Path::new("-") {
            true => Failure::Process(format!("the standard input: {broken}")),
            false => Failure::Process(format!("{}: {broken}", path.display())),
        };
        verifier.line(line.strip_suffix('\n').unwrap_or(&line)).map_err(broken)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_log_is_said_with_its_line() {
        let failure = verify_lines(&b"{}\n"[..], Path::new("log")).unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        let said = failure.to_string();
        assert!(said.starts_with("log: line 1: it is no line of an export: "), "{said}");
        assert_eq!(verify_lines(&b""[..], Path::new("log")).unwrap(), None);
    }

    #[test]
    fn a_line_without_end_is_not_read_to_its_end() {
        let endless = std::io::BufReader::new(std::io::repeat(b'a'));
        let failure = verify_lines(endless, Path::new("log")).unwrap_err();
        assert!(failure.to_string().contains("line 1: "), "{failure}");
    }
}
