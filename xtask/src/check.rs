//! Every check of the project, cheapest first, and a count at the end.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::args::Tests;
use crate::build::{self, Product, cargo_release};
use crate::counts::Counts;
use crate::directions;
use crate::platform::Platform;
use crate::process::{say, seconds};
use crate::runner::{Outcome, browser_test, counted, test_run};
use crate::setup::{self, Part};
use crate::workspace::Workspace;
use crate::{budgets, cache_tests, platforms, policy, simulate};

/// The package of scenarios over HTTP.
const SCENARIOS: &str = "outport-tests";

/// The packages that need neither wasm nor page nor the product, for `--fast`.
const FAST_PACKAGES: &[&str] = &["outport-wire", "outport-edge-core", "outport-origin", "xtask"];

/// Where cargo-deny fetches known vulnerabilities from, and how long it may take to answer.
const ADVISORIES_HOST: &str = "github.com:443";
const ADVISORIES_LIMIT: Duration = Duration::from_secs(3);

/// What a check does.
type CheckFn = dyn Fn(&Workspace) -> Result<Outcome>;

/// A check.
struct Check {
    name: String,
    /// Whether it needs what `build` makes.
    needs_build: bool,
    run: Box<CheckFn>,
}

impl Check {
    fn new(name: &str, run: fn(&Workspace) -> Result<Outcome>) -> Self {
        Self { name: name.to_owned(), needs_build: false, run: Box::new(run) }
    }

    /// One that needs what `build` makes.
    fn built(name: &str, run: fn(&Workspace) -> Result<Outcome>) -> Self {
        Self { needs_build: true, ..Self::new(name, run) }
    }

    /// One that needs what `build` makes, and a platform.
    fn on(
        name: &str,
        platform: Platform,
        run: fn(&Workspace, Platform) -> Result<Outcome>,
    ) -> Self {
        let run = Box::new(move |workspace: &Workspace| run(workspace, platform));
        Self { name: format!("{platform}: {name}"), needs_build: true, run }
    }
}

/// The name of the check that the others need.
const BUILD: &str = "build";

fn checks(which: Tests) -> Vec<Check> {
    match which {
        Tests::Fast => vec![
            Check::new("formatting", formatting),
            Check::new("dependency directions", dependency_directions),
            Check::new("drivers hold no policy", no_policy),
            Check::new("clippy, fast packages", fast_clippy),
            Check::new("unit tests, fast packages", fast_unit_tests),
        ],
        Tests::On(platform) => {
            let mut checks = vec![
                Check::new(BUILD, build),
                Check::built("scenarios over HTTP", platforms::scenarios_at_home),
            ];
            checks.extend(checks_on(platform));
            checks
        }
        Tests::All => {
            let mut checks = vec![
                Check::new("formatting", formatting),
                Check::new("dependency directions", dependency_directions),
                Check::new("drivers hold no policy", no_policy),
                Check::new("licences and sources", licences),
                Check::new("advisories", advisories),
                Check::new(BUILD, build),
                Check::built("clippy", clippy),
                Check::built("unit and conformance tests", unit_tests),
                Check::built("histories of faults", simulate::check),
                Check::built("scenarios over HTTP", platforms::scenarios_at_home),
                Check::built("processes killed and starved", system_tests),
            ];
            checks.extend(Platform::ALL.into_iter().flat_map(checks_on));
            checks.extend([
                Check::built("budgets", budgets),
                Check::built("page: types", page_types),
                Check::built("page: unit tests", page_unit_tests),
                Check::built("page: in a browser", page_in_browser),
            ]);
            checks
        }
    }
}

fn checks_on(platform: Platform) -> Vec<Check> {
    let caches = Check::on("public tests of caches", platform, cache_tests::check);
    if platform == Platform::Wasmtime {
        return vec![caches];
    }
    let mut checks = vec![
        Check::on("clippy", platform, platforms::clippy),
        Check::on("deployable", platform, platforms::deployable),
        Check::on("without its configuration", platform, platforms::unconfigured),
        Check::on("contracts of the needs", platform, platforms::conformance),
        Check::on("scenarios over HTTP", platform, platforms::scenarios),
        Check::on("the same answers", platform, platforms::same_answers),
        caches,
    ];
    if platform == Platform::Cloudflare {
        checks.push(Check::on("kills around what is kept", platform, platforms::kills));
    }
    checks
}

/// One line of the report.
struct Line {
    name: String,
    counts: Counts,
    note: String,
    /// The last lines of what has failed.
    said: Vec<String>,
    took: Duration,
}

/// Runs the checks and reports; a failure exit code if anything failed.
pub(crate) fn run(workspace: &Workspace, which: Tests) -> Result<ExitCode> {
    let mut lines = Vec::new();
    let mut is_built = true;
    for check in &checks(which) {
        let line = if check.needs_build && !is_built {
            let note = "not run: the build failed".to_owned();
            let name = check.name.clone();
            let said = Vec::new();
            Line { name, counts: Counts::FAILED, note, said, took: Duration::ZERO }
        } else {
            run_one(workspace, check)
        };
        is_built &= check.name != BUILD || line.counts.failed == 0;
        lines.push(line);
    }
    if which != Tests::Fast && is_built {
        platforms::print_table(workspace)?;
    }
    let report = report(&lines);
    io::stdout().lock().write_all(report.as_bytes())?;
    let has_failed = lines.iter().any(|line| line.counts.failed > 0);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn run_one(workspace: &Workspace, check: &Check) -> Line {
    say(&format!("==> {}", check.name));
    let start = Instant::now();
    let (counts, note, said) = match (check.run)(workspace) {
        Ok(Outcome::Counted(counts)) => (counts, String::new(), Vec::new()),
        Ok(Outcome::Failed(counts, said)) => (counts, String::new(), said),
        Ok(Outcome::LeftOut(why)) => (Counts::SKIPPED, why, Vec::new()),
        Err(error) => {
            say(&format!("{}: {error:#}", check.name));
            let reason = error.to_string();
            (Counts::FAILED, reason.lines().next().unwrap_or_default().to_owned(), Vec::new())
        }
    };
    let took = start.elapsed();
    say(&format!("<== {}: {}", check.name, seconds(took)));
    Line { name: check.name.clone(), counts, note, said, took }
}

fn report(lines: &[Line]) -> String {
    let mut total = Counts::default();
    let mut text = String::from("\n");
    for Line { name, counts, note, took, .. } in lines {
        total.add(*counts);
        let Counts { passed, failed, skipped } = counts;
        let took = seconds(*took);
        let row = format!(
            "{name:<36}{passed:>6} passed{failed:>6} failed{skipped:>6} skipped{took:>10}  {note}"
        );
        text.push_str(row.trim_end());
        text.push('\n');
    }
    // Again, for whoever is shown no more than the end.
    for Line { name, said, .. } in lines.iter().filter(|line| !line.said.is_empty()) {
        text.push_str(&format!("\n{name} said last:\n  {}\n", said.join("\n  ")));
    }
    let Counts { passed, failed, skipped } = total;
    text.push_str(&format!("\n{passed} passed, {failed} failed, {skipped} skipped\n"));
    text
}

fn formatting(workspace: &Workspace) -> Result<Outcome> {
    workspace.cargo().args(["fmt", "--check"]).done()?;
    Ok(Outcome::Counted(Counts::PASSED))
}

fn dependency_directions(workspace: &Workspace) -> Result<Outcome> {
    let violations = directions::violations(&directions::packages(&workspace.metadata)?);
    if !violations.is_empty() {
        bail!("{}", violations.join("; "));
    }
    Ok(Outcome::Counted(Counts::PASSED))
}

fn licences(workspace: &Workspace) -> Result<Outcome> {
    cargo_deny(workspace, &["bans", "licenses", "sources"])
}

fn advisories(workspace: &Workspace) -> Result<Outcome> {
    if !is_reachable(ADVISORIES_HOST) {
        let why = format!("{ADVISORIES_HOST} can't be reached");
        return Ok(Outcome::LeftOut(why));
    }
    cargo_deny(workspace, &["advisories"])
}

fn cargo_deny(workspace: &Workspace, checks: &[&str]) -> Result<Outcome> {
    setup::run(workspace, &[Part::Deny])?;
    workspace.cargo().args(["deny", "check"]).args(checks).done()?;
    Ok(Outcome::Counted(Counts::PASSED))
}

fn is_reachable(host: &str) -> bool {
    let addresses = host.to_socket_addrs();
    addresses.is_ok_and(|mut addresses| {
        addresses.any(|address| TcpStream::connect_timeout(&address, ADVISORIES_LIMIT).is_ok())
    })
}

fn no_policy(workspace: &Workspace) -> Result<Outcome> {
    let found = policy::violations(&workspace.root)?;
    if !found.is_empty() {
        bail!("{}", found.join("; "));
    }
    say(&policy::lines(&workspace.root)?);
    Ok(Outcome::Counted(Counts::PASSED))
}

fn build(workspace: &Workspace) -> Result<Outcome> {
    setup::run(workspace, Part::FOR_TEST)?;
    build::product(workspace)?;
    platforms::build(workspace)?;
    Ok(Outcome::Counted(Counts::PASSED))
}

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    let product = Product::of(workspace);
    let clippy = cargo_release(workspace, &product, "clippy");
    clippy.args(["--all-targets", "--", "--deny", "warnings"]).done()?;
    Ok(Outcome::Counted(Counts::PASSED))
}

fn fast_clippy(workspace: &Workspace) -> Result<Outcome> {
    let clippy = workspace.cargo().args(["clippy", "--release"]).args(fast_packages());
    clippy.args(["--all-targets", "--", "--deny", "warnings"]).done()?;
    Ok(Outcome::Counted(Counts::PASSED))
}

fn fast_unit_tests(workspace: &Workspace) -> Result<Outcome> {
    let test = workspace.cargo().args(["test", "--release", "--no-fail-fast"]);
    counted(test.args(fast_packages()))
}

fn fast_packages() -> impl Iterator<Item = String> {
    FAST_PACKAGES.iter().map(|name| format!("--package={name}"))
}

fn unit_tests(workspace: &Workspace) -> Result<Outcome> {
    let suites = suites(&workspace.metadata, |package| package != SCENARIOS);
    tests(workspace, ["--lib", "--bins"].map(str::to_owned).into_iter().chain(suites))
}

fn system_tests(workspace: &Workspace) -> Result<Outcome> {
    tests(workspace, ["--test=system".to_owned()])
}

fn budgets(workspace: &Workspace) -> Result<Outcome> {
    budgets::run(workspace)?;
    Ok(Outcome::Counted(Counts::PASSED))
}

fn tests(workspace: &Workspace, targets: impl IntoIterator<Item = String>) -> Result<Outcome> {
    counted(test_run(workspace, targets))
}

// The targets below tests/ of the packages asked for.
fn suites(metadata: &Value, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let list = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let is_test = |target: &Value| list(target, "kind").iter().any(|kind| kind == "test");
    let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    list(metadata, "packages")
        .iter()
        .filter(|package| name(package).is_some_and(|name| is_wanted(&name)))
        .flat_map(|package| list(package, "targets"))
        .filter(is_test)
        .filter_map(|target| Some(format!("--test={}", name(&target)?)))
        .collect()
}

fn page_types(workspace: &Workspace) -> Result<Outcome> {
    workspace.npm().args(["run", "typecheck"]).done()?;
    Ok(Outcome::Counted(Counts::PASSED))
}

fn page_unit_tests(workspace: &Workspace) -> Result<Outcome> {
    counted(workspace.npm().arg("test"))
}

fn page_in_browser(workspace: &Workspace) -> Result<Outcome> {
    counted(browser_test(workspace))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_report_ends_with_the_sum() {
        let line = |name: &str, counts| Line {
            name: name.to_owned(),
            counts,
            note: String::new(),
            said: Vec::new(),
            took: Duration::ZERO,
        };
        let all = Counts { passed: 7, failed: 2, skipped: 1 };
        let report =
            report(&[line("a", all), line("b", Counts::PASSED), line("c", Counts::SKIPPED)]);
        assert!(report.ends_with("\n\n8 passed, 2 failed, 2 skipped\n"), "{report}");
        assert!(report.contains("7 passed     2 failed     1 skipped"), "{report}");
    }

    #[test]
    fn suites_are_found_by_package() {
        let target = |name: &str, kind: &str| json!({"name": name, "kind": [kind]});
        let metadata = json!({"packages": [
            {"name": "a", "targets": [target("a", "lib"), target("conformance", "test")]},
            {"name": SCENARIOS, "targets": [target("delivery", "test")]},
        ]});
        assert_eq!(suites(&metadata, |name| name == SCENARIOS), ["--test=delivery"]);
        assert_eq!(suites(&metadata, |name| name != SCENARIOS), ["--test=conformance"]);
    }
}
