//! A driver on a platform's own runtime, over HTTP: the conformance suite of the edge's needs, and
//! what becomes of what the edge keeps when processes are killed.
//!
//! Set `OUTPORT_EDGE` to where a driver's conformance build listens, with `scripted-upstream` as
//! its origin; or `OUTPORT_RUNTIME`, for the kills ([`kept`]). Without either nothing runs.

// What is not as it should be ends the test.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod kept;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use outport_tests::api::{Answer, Api};
use reqwest::Method;
use tokio::runtime::Runtime;

/// How long one test may take.
const TEST_MAX: Duration = Duration::from_secs(60);
/// How often it is shown that a request after a panic is right.
const PANICS: usize = 3;

fn main() -> ExitCode {
    if std::env::var_os("OUTPORT_RUNTIME").is_some() {
        return outport_tests::suite::run_checks(kept::all());
    }
    let mut args = Arguments::from_args();
    // The tests count what reaches the platform's stores and how long it takes.
    args.test_threads = Some(1);
    let trials = match std::env::var("OUTPORT_EDGE") {
        Ok(edge) => Edge::new(&edge).trials(),
        Err(_) => vec![left_out()],
    };
    libtest_mimic::run(&args, trials).exit_code()
}

fn left_out() -> Trial {
    eprintln!("the conformance suite over HTTP is left out: OUTPORT_EDGE names no edge");
    Trial::test("conformance", || Ok(())).with_ignored_flag(true)
}

/// Where the tests are asked for, and what waits for the answers.
#[derive(Clone)]
struct Edge {
    api: Api,
    runtime: Arc<Runtime>,
}

impl Edge {
    fn new(url: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        Self { api: Api::new(url), runtime: Arc::new(runtime) }
    }

    fn trials(&self) -> Vec<Trial> {
        let names = self.wait(names(&self.api)).expect("the edge is a conformance build");
        let mut trials: Vec<_> = names.into_iter().map(|name| self.trial(name)).collect();
        let edge = self.clone();
        trials.push(Trial::test("after_a_panic", move || edge.wait(after_panics(&edge.api))));
        trials
    }

    /// A line of the list: a test's name and, after a tab, the reason where it is left out.
    fn trial(&self, line: String) -> Trial {
        let (name, left_out) = match line.split_once('\t') {
            Some((name, reason)) => (name, Some(reason)),
            None => (line.as_str(), None),
        };
        if let Some(reason) = left_out {
            eprintln!("{name} is left out: {reason}");
        }
        let (edge, path) = (self.clone(), format!("/conformance/{name}"));
        let test = Trial::test(name, move || edge.wait(holds(&edge.api, &path)));
        test.with_ignored_flag(left_out.is_some())
    }

    fn wait<T>(&self, test: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        let ended = self.runtime.block_on(async { tokio::time::timeout(TEST_MAX, test).await });
        ended.unwrap_or_else(|_| Err(format!("not answered within {TEST_MAX:?}").into()))
    }
}

async fn names(api: &Api) -> Result<Vec<String>, Failed> {
    let answer = api.get("/conformance/names").await;
    let names: Vec<_> = String::from_utf8_lossy(&answer.body).lines().map(str::to_owned).collect();
    if answer.status != 200 || names.is_empty() {
        return Err(format!("there are no names: {answer:?}").into());
    }
    Ok(names)
}

async fn holds(api: &Api, path: &str) -> Result<(), Failed> {
    let answer = api.send(Method::POST, path, &[], "").await;
    match answer.status {
        204 => Ok(()),
        status => Err(format!("{status}: {}", String::from_utf8_lossy(&answer.body)).into()),
    }
}

/// A panic takes its own request with it, and no other.
async fn after_panics(api: &Api) -> Result<(), Failed> {
    let expected = healthy(api).await?;
    for _ in 0..PANICS {
        // How a platform answers for a module that ended is its own affair; that it does not
        // answer is, too.
        let panicked = api.try_send(Method::POST, "/conformance/panic", &[], "").await;
        if let Ok(answer) = panicked
            && answer.status < 500
        {
            return Err(format!("a panic is answered with {answer:?}").into());
        }
        let after = healthy(api).await?;
        if after.body != expected.body {
            return Err(format!("{after:?} after a panic, and {expected:?} before").into());
        }
    }
    Ok(())
}

async fn healthy(api: &Api) -> Result<Answer, Failed> {
    let answer = api.get("/healthz").await;
    if answer.status == 200 { Ok(answer) } else { Err(format!("{answer:?}").into()) }
}
