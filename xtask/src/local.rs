//! An edge on this machine, in the local runtime of the platform that it is built for.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::build::Product;
use crate::drivers::{self, Flavour};
use crate::platform::Platform;
use crate::process::{Run, timed};
use crate::service::Service;
use crate::tools;
use crate::workspace::Workspace;

/// The most linear memory that an edge may take, whatever passes, in bytes.
pub(crate) const LINEAR_BYTES_MAX: u64 = 16 << 20;

/// How long a runtime may take to answer for the first time.
const START_MAX: Duration = Duration::from_secs(120);
/// The limit that a limiter's contract is tested with, on a platform where it must be declared.
const CONTRACT_LIMIT: &str = "
[[ratelimits]]
name = \"OUTPORT_LIMIT_TEST\"
namespace_id = \"1999\"
simple = { limit = 3, period = 10 }
";
/// Where wrangler keeps what it keeps, in the runtime's folder.
pub(crate) const CLOUDFLARE_STATE: &str = "state";
/// How often it is asked.
const POLL: Duration = Duration::from_millis(100);

/// What an edge is started with.
pub(crate) struct Spot<'a> {
    /// The edge's port; 0 takes any free one.
    pub(crate) edge_port: u16,
    /// The base URL of its origin.
    pub(crate) origin: &'a str,
    /// The deployment's data folder; the runtime keeps what it keeps in a folder below.
    pub(crate) data: &'a Path,
    /// The configuration, if it is not the one that the program finds by itself.
    pub(crate) config: Option<&'a Path>,
    /// Whether the platform is given the configuration, or nothing.
    pub(crate) configured: bool,
}

/// A running edge.
pub(crate) struct Local {
    /// Where it is.
    pub(crate) url: String,
    /// The runtime.
    pub(crate) service: Service,
    /// What the runtime says.
    pub(crate) log: PathBuf,
}

impl Local {
    /// Renders the configuration, starts the platform's runtime around a driver that is built, and
    /// waits until it answers.
    pub(crate) fn start(
        workspace: &Workspace,
        platform: Platform,
        flavour: Flavour,
        spot: &Spot<'_>,
    ) -> Result<Self> {
        let Ready { run, port, folder } = make_ready(workspace, platform, flavour, spot)?;
        let log = folder.join("log");
        let mut service = Service::start(platform.name(), run, &log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let expected = if spot.configured { "HTTP/1.1 200" } else { "HTTP/1.1 500" };
        timed(&format!("{platform} on port {port}"), || {
            until_it_answers(&mut service, address, expected)
        })?;
        Ok(Self { url: format!("http://{address}"), service, log })
    }
}

/// A runtime that need only be started.
pub(crate) struct Ready {
    pub(crate) run: Run,
    /// Where it will listen.
    pub(crate) port: u16,
    /// What it keeps is in here.
    pub(crate) folder: PathBuf,
}

/// Renders the configuration, and puts together what starts the platform's runtime.
pub(crate) fn make_ready(
    workspace: &Workspace,
    platform: Platform,
    flavour: Flavour,
    spot: &Spot<'_>,
) -> Result<Ready> {
    let folder = spot.data.join(platform.name());
    fs::create_dir_all(&folder)?;
    let rendered = folder.join("rendered");
    render(workspace, platform, spot, &rendered)?;
    let port = if spot.edge_port == 0 { free_port()? } else { spot.edge_port };
    let rendered = spot.configured.then_some(rendered.as_path());
    let at = At { workspace, platform, flavour, folder: &folder, rendered, port };
    let run = match platform {
        Platform::Wasmtime => bail!("`outport serve` runs the edge on wasmtime"),
        Platform::Cloudflare => cloudflare(&at)?,
        Platform::Fastly => fastly(&at)?,
        Platform::Spin => spin(&at)?,
    };
    Ok(Ready { run, port, folder })
}

struct At<'a> {
    workspace: &'a Workspace,
    platform: Platform,
    flavour: Flavour,
    folder: &'a Path,
    /// What was rendered, if the platform is to have it.
    rendered: Option<&'a Path>,
    port: u16,
}

fn render(workspace: &Workspace, platform: Platform, spot: &Spot<'_>, to: &Path) -> Result<()> {
    let program = Product::of(workspace).program;
    let mut run = Run::new(program)
        .folder(&workspace.root)
        .args(["render", "--demo", "--for", platform.name(), "--origin", spot.origin, "--data"])
        .arg(spot.data)
        .arg("--out")
        .arg(to);
    if let Some(config) = spot.config {
        run = run.arg("--config").arg(config);
    }
    // What it says to do next is done here.
    run.text().map(drop)
}

/// Waits until what listens there answers so.
pub(crate) fn until_it_answers(
    service: &mut Service,
    address: SocketAddr,
    expected: &str,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        service.check()?;
        match ask(address) {
            Ok(status) if status.starts_with(expected) => return Ok(()),
            answer if begun.elapsed() > START_MAX => {
                bail!("it does not answer rightly ({answer:?}); it says:\n{}", service.log_end())
            }
            _ => std::thread::sleep(POLL),
        }
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, POLL)?;
    stream.set_read_timeout(Some(START_MAX))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// A port that nobody has now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn cloudflare(at: &At<'_>) -> Result<Run> {
    let manifest = at.manifest("wrangler.toml", "main", CONTRACT_LIMIT)?;
    let state = at.folder.join(CLOUDFLARE_STATE);
    let inspector = free_port()?.to_string();
    let mut run = tools::wrangler(at.workspace)
        .args(["dev", "--local", "--inspector-port", &inspector])
        .args(["--ip", "127.0.0.1", "--port", &at.port.to_string(), "--config"])
        .arg(&manifest)
        .arg("--persist-to")
        .arg(&state);
    if let Some(rendered) = at.rendered {
        tools::put_values(at.workspace, &manifest, &state, &rendered.join("values.json"))?;
        run = run.arg("--env-file").arg(rendered.join("vars.env"));
    }
    Ok(run)
}

fn fastly(at: &At<'_>) -> Result<Run> {
    let manifest = match at.rendered {
        Some(rendered) => rendered.join("fastly.toml"),
        None => {
            let empty = at.folder.join("fastly.toml");
            fs::write(&empty, "manifest_version = 3\nname = \"outport\"\n")?;
            empty
        }
    };
    Ok(Run::new(tools::program(at.workspace, "viceroy"))
        .folder(&at.workspace.root)
        // Its word on each request's heap among it.
        .env("RUST_LOG", "info")
        .args(["-v", "--addr", &format!("127.0.0.1:{}", at.port), "--config"])
        .arg(manifest)
        .arg(drivers::module(at.workspace, Platform::Fastly, at.flavour)))
}

fn spin(at: &At<'_>) -> Result<Run> {
    let manifest = at.manifest("spin.toml", "source", "")?;
    match at.rendered {
        Some(rendered) if tools::has_spin() => spin_itself(at, &manifest, rendered),
        rendered => spin_runner(at, &manifest, rendered),
    }
}

/// Spin's own program. It takes values as text on its command line, but its store is a table.
fn spin_itself(at: &At<'_>, manifest: &Path, rendered: &Path) -> Result<Run> {
    let state = at.folder.join("spin");
    fs::create_dir_all(&state)?;
    Run::new("sqlite3")
        .arg(state.join("sqlite_key_value.db"))
        .arg(format!(".read {}", rendered.join("values.sql").display()))
        .done()
        .context("the page goes into Spin's store by sqlite3; install it")?;
    Ok(Run::new("spin")
        .folder(&at.workspace.root)
        .args(["up", "--listen", &format!("127.0.0.1:{}", at.port), "--from"])
        .arg(manifest)
        .arg("--state-dir")
        .arg(&state)
        .arg("--variable")
        .arg(format!("@{}", rendered.join("variables.json").display())))
}

/// The runner of ours that serves the interfaces which Spin does.
fn spin_runner(at: &At<'_>, manifest: &Path, rendered: Option<&Path>) -> Result<Run> {
    let run = Run::new(at.workspace.program("outport-spin-runner"))
        .folder(&at.workspace.root)
        .args(["--listen", &format!("127.0.0.1:{}", at.port), "--from"])
        .arg(manifest)
        .arg("--data")
        .arg(at.folder.join("state"))
        .args(["--memory-max", &LINEAR_BYTES_MAX.to_string()]);
    let Some(rendered) = rendered else {
        // Without a variable that it requires, an application does not start. Let it be empty.
        let required = fs::read_to_string(manifest)?;
        fs::write(manifest, required.replace("required = true", "default = \"\""))?;
        return Ok(run);
    };
    Ok(run
        .arg("--key-values")
        .arg(rendered.join("values.json"))
        .arg("--variable")
        .arg(format!("@{}", rendered.join("variables.json").display())))
}

impl At<'_> {
    /// A platform's manifest of the root, put elsewhere: at the build that is asked for, and with
    /// more where that has the suites of needs in it.
    fn manifest(&self, name: &str, member: &str, more: &str) -> Result<PathBuf> {
        let root = &self.workspace.root;
        let text = fs::read_to_string(root.join(name))?;
        let begin = format!("{member} = \"target/outport/{}/", self.platform);
        let folder = drivers::folder(self.workspace, self.platform, self.flavour);
        let moved = format!("{member} = \"{}/", folder.display());
        if !text.contains(&begin) {
            bail!("{name} has no line that begins with {begin}");
        }
        let mut text = text.replace(&begin, &moved);
        if self.flavour == Flavour::Conformance {
            text.push_str(more);
        }
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}
