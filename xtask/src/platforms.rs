//! The checks of each platform: its build, its tools' word on it, the contracts of the needs and
//! the scenarios on its own runtime, and whether its answers are everybody's.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Product};
use crate::counts::Counts;
use crate::drivers::{self, Flavour};
use crate::local::{self, CLOUDFLARE_STATE, Local, Ready, Spot};
use crate::platform::Platform;
use crate::process::{Run, say};
use crate::runner::{Outcome, browser_test, counted, test_run};
use crate::scratch::Scratch;
use crate::service::Service;
use crate::up::{Asked, Deployment};
use crate::workspace::Workspace;
use crate::{clients, tools};

/// What the suites of needs are run under: a route to where nobody listens, and a limit that is
/// quickly spent.
const CONFORMANCE_CONFIG: &str = "\
[limits.test]
per_second = 1
burst = 3

[[routes]]
path = \"/dead/{*rest}\"
proxy = \"http://127.0.0.1:1\"
";

/// What the scenarios are run under: as at home, where edge and origin are side by side, every
/// upload goes to the origin. Else a platform that keeps small ones would answer otherwise. And
/// there is a route of which answers are stored, and one for who is signed in.
fn scenarios_config(upstream: &str) -> String {
    format!(
        "[edge]\nsmall_upload_bytes_max = 0\n\n[[routes]]\npath = \"{SCENARIOS_ROUTE}/{{*rest}}\"\n\
         proxy = \"{upstream}\"\nauth = \"none\"\ncache = true\n\n[[routes]]\n\
         path = \"{SCENARIOS_ROUTE}-members/{{*rest}}\"\nproxy = \"{upstream}\"\n\
         claims = [\"subject\"]\n{FIREWALL}"
    )
}

/// The issuers that scenarios sign tokens as.
fn issuers_config(workspace: &Workspace) -> Result<String> {
    let folder = workspace.root.join("tests/issuers");
    let config = fs::read_to_string(folder.join("issuers.toml"))?;
    Ok(config.replace("FOLDER", &folder.to_string_lossy()))
}
/// The rules that scenarios are about.
const FIREWALL: &str = include_str!("../../tests/scenarios/firewall.toml");

/// Where that route begins.
const SCENARIOS_ROUTE: &str = "/scripted";

/// How long after an answer the log may be silent about it.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);

/// Builds every driver, with and without the suites in it.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    for platform in Platform::DRIVEN {
        for flavour in [Flavour::Product, Flavour::Conformance] {
            drivers::build(workspace, platform, flavour)?;
        }
    }
    for program in ["compare", "scripted-upstream", "outport-spin-runner"] {
        build::program(workspace, program)?;
    }
    Ok(())
}

/// The lints, on the driver's own target.
pub(crate) fn clippy(workspace: &Workspace, platform: Platform) -> Result<Outcome> {
    let clippy = drivers::cargo_for(workspace, platform, "clippy")?;
    clippy.args(["--features", "conformance", "--", "--deny", "warnings"]).done()?;
    Ok(Outcome::Counted(Counts::PASSED))
}

/// Whether the platform's own tools would take what was built.
pub(crate) fn deployable(workspace: &Workspace, platform: Platform) -> Result<Outcome> {
    let manifest = manifest(workspace, platform)?;
    Run::new(Product::of(workspace).program)
        .folder(&workspace.root)
        .args(["check", "--for", platform.name(), "--manifest"])
        .arg(manifest)
        .done()?;
    match platform {
        Platform::Wasmtime | Platform::Spin => {}
        Platform::Cloudflare => {
            let out = workspace.products().join("wrangler-dry-run");
            tools::wrangler(workspace).args(["deploy", "--dry-run", "--outdir"]).arg(out).done()?;
        }
        Platform::Fastly => {
            // The tool works in the folder of its manifest.
            let folder = Scratch::new(workspace, "package", platform)?.0;
            fs::copy(workspace.root.join("fastly.toml"), folder.join("fastly.toml"))?;
            let module = drivers::module(workspace, platform, Flavour::Product);
            let fastly = |args: &[&str]| tools::fastly(workspace).folder(&folder).args(args);
            fastly(&["compute", "pack", "--wasm-binary"]).arg(module).done()?;
            fastly(&["compute", "validate", "--package", "pkg/outport.tar.gz"]).done()?;
        }
    }
    Ok(Outcome::Counted(Counts::PASSED))
}

/// The platform's manifest, with what an operator fills in.
fn manifest(workspace: &Workspace, platform: Platform) -> Result<PathBuf> {
    let name = match platform {
        Platform::Cloudflare => "wrangler.toml",
        Platform::Fastly => "fastly.toml",
        Platform::Wasmtime | Platform::Spin => "spin.toml",
    };
    let text = fs::read_to_string(workspace.root.join(name))?;
    let filled_in = Scratch::new(workspace, "manifest", platform)?.0.join(name);
    fs::write(&filled_in, text.replace(&"0".repeat(32), &"1a".repeat(16)))?;
    Ok(filled_in)
}

/// The suites of the needs, in the driver, on the platform's runtime.
pub(crate) fn conformance(workspace: &Workspace, platform: Platform) -> Result<Outcome> {
    let data = Scratch::new(workspace, "conformance", platform)?;
    let config = data.0.join("outport.toml");
    fs::write(&config, CONFORMANCE_CONFIG)?;
    let (_upstream, origin) = scripted_upstream(workspace, &data)?;
    let spot = Spot {
        edge_port: 0,
        origin: &origin,
        data: &data.0,
        config: Some(&config),
        configured: true,
    };
    let edge = Local::start(workspace, platform, Flavour::Conformance, &spot)?;
    let test = test_run(workspace, ["--test=platforms".to_owned()]);
    shown_if_failed(&edge, counted(test.env("OUTPORT_EDGE", &edge.url))?)
}

/// An upstream that answers as it is told to, and its base URL.
fn scripted_upstream(workspace: &Workspace, data: &Scratch) -> Result<(Service, String)> {
    let upstream = Run::new(workspace.program("scripted-upstream"));
    Service::start_until("the upstream", upstream, &data.0.join("upstream.log"), "")
}

/// Kills around what the edge keeps. The test starts and ends the platform's runtime by itself,
/// and is told how.
pub(crate) fn kills(workspace: &Workspace, platform: Platform) -> Result<Outcome> {
    let data = Scratch::new(workspace, "kills", platform)?;
    let origin_port = local::free_port()?;
    let spot = Spot {
        edge_port: 0,
        origin: &format!("http://127.0.0.1:{origin_port}"),
        data: &data.0,
        config: None,
        configured: true,
    };
    let Ready { run, port, folder } =
        local::make_ready(workspace, platform, Flavour::Product, &spot)?;
    let mut runtime = run.to_json();
    let members = runtime.as_object_mut().context("the runtime is not an object")?;
    members.insert("edge".to_owned(), format!("http://127.0.0.1:{port}").into());
    members.insert("origin_port".to_owned(), origin_port.into());
    members.insert("data".to_owned(), data.0.to_string_lossy().into());
    let state = folder.join(CLOUDFLARE_STATE);
    members.insert("state".to_owned(), state.to_string_lossy().into());
    let told = data.0.join("runtime.json");
    fs::write(&told, runtime.to_string())?;
    let test = test_run(workspace, ["--test=platforms".to_owned()]);
    counted(test.env("OUTPORT_RUNTIME", told))
}

/// What an edge says that was deployed without its configuration: nothing secret to the world, and
/// in the log which name is missing.
pub(crate) fn unconfigured(workspace: &Workspace, platform: Platform) -> Result<Outcome> {
    let data = Scratch::new(workspace, "unconfigured", platform)?;
    let spot = Spot {
        edge_port: 0,
        origin: "http://127.0.0.1:1",
        data: &data.0,
        config: None,
        configured: false,
    };
    let edge = Local::start(workspace, platform, Flavour::Product, &spot)?;
    let missing = match platform {
        Platform::Cloudflare => "OUTPORT_CONFIG",
        Platform::Fastly | Platform::Wasmtime => "config store `outport`",
        Platform::Spin => "outport_config",
    };
    // A runtime may answer before it writes its log.
    let begun = Instant::now();
    while !edge.service.log_end().contains(missing) {
        if begun.elapsed() > LOGGED_WITHIN {
            bail!("the log does not name {missing}:\n{}", edge.service.log_end());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Outcome::Counted(Counts::PASSED))
}

/// The scenarios on wasmtime, which the other platforms' answers are compared with.
pub(crate) fn scenarios_at_home(workspace: &Workspace) -> Result<Outcome> {
    let transcript = fresh_transcript(workspace, Platform::Wasmtime)?;
    counted(scenarios_run(workspace).env("OUTPORT_TRANSCRIPT", transcript))
}

/// The scenarios on the platform's runtime.
pub(crate) fn scenarios(workspace: &Workspace, platform: Platform) -> Result<Outcome> {
    let data = Scratch::new(workspace, "scenarios", platform)?;
    let config = data.0.join("outport.toml");
    let (_upstream, upstream) = scripted_upstream(workspace, &data)?;
    fs::write(&config, scenarios_config(&upstream) + &issuers_config(workspace)?)?;
    let (data_folder, config) = (data.0.clone(), Some(config));
    let asked = Asked { platform, edge_port: 0, origin_port: 0, data: data_folder, config };
    let deployment = Deployment::start(workspace, &asked, Flavour::Product)?;
    let test = scenarios_run(workspace)
        .env("OUTPORT_PLATFORM", platform.name())
        .env("OUTPORT_EDGE", &deployment.edge.url)
        .env("OUTPORT_ROUTE", SCENARIOS_ROUTE)
        .env("OUTPORT_ISSUERS", "1")
        .env("OUTPORT_DATA", &data.0)
        .env("OUTPORT_TRANSCRIPT", fresh_transcript(workspace, platform)?);
    let scenarios = shown_if_failed(&deployment.edge, counted(test)?)?;
    let page = browser_test(workspace)
        .env("OUTPORT_PLATFORM", platform.name())
        .env("OUTPORT_EDGE", &deployment.edge.url)
        .env("OUTPORT_TOKEN", deployment.token());
    Ok(scenarios.and(counted(page)?))
}

/// A call of the scenarios, the clients of others among them.
fn scenarios_run(workspace: &Workspace) -> Run {
    let test = test_run(workspace, ["--test=scenarios".to_owned()]);
    test.env("OUTPORT_TUSPY", clients::python(workspace))
}

/// Whether the platform answered every scenario as wasmtime did.
pub(crate) fn same_answers(workspace: &Workspace, platform: Platform) -> Result<Outcome> {
    let compare = Run::new(workspace.program("compare"))
        .arg(transcript(workspace, Platform::Wasmtime))
        .arg(transcript(workspace, platform));
    counted(compare)
}

/// Prints scenarios by platforms.
pub(crate) fn print_table(workspace: &Workspace) -> Result<()> {
    let transcripts = Platform::ALL.map(|platform| transcript(workspace, platform));
    let transcripts: Vec<_> = transcripts.into_iter().filter(|file| file.is_file()).collect();
    if transcripts.is_empty() {
        return Ok(());
    }
    let table = Run::new(workspace.program("compare")).arg("--table").args(transcripts).text()?;
    say(&table);
    Ok(())
}

fn shown_if_failed(edge: &Local, outcome: Outcome) -> Result<Outcome> {
    if outcome.has_failed() {
        say(&format!("the edge says:\n{}", edge.service.log_end()));
    }
    Ok(outcome)
}

fn transcript(workspace: &Workspace, platform: Platform) -> PathBuf {
    workspace.products().join("transcripts").join(format!("{platform}.jsonl"))
}

fn fresh_transcript(workspace: &Workspace, platform: Platform) -> Result<PathBuf> {
    let file = transcript(workspace, platform);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => bail!(error),
        _ => Ok(file),
    }
}
