//! What the tests are put to: Outport on each platform, and three caches that many use.
//!
//! The peers are configured as the suite's own images configure them, whose files come with its
//! package, but for ports, folders and users.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::apt;
use crate::drivers::Flavour;
use crate::local::{free_port, until_it_answers};
use crate::platform::Platform;
use crate::process::{Run, in_path};
use crate::service::Service;
use crate::setup::{self, Part};
use crate::up::{self, Deployment};
use crate::workspace::Workspace;
use crate::{build, build::Product};

/// A program to serve with, that is there already. Absent, Outport is built.
const PROGRAM: &str = "OUTPORT_BIN";

/// What `outport serve` says when it listens.
const READY: &str = "ready ";

/// What the suite's server answers where it has nothing, and a contender that reaches it.
pub(crate) const ANSWERS: &str = "HTTP/1.1 404";

/// A cache in front of the suite's server. Ends with it.
pub(crate) struct Contender {
    /// What it is, with its version.
    pub(crate) label: String,
    /// Where it is.
    pub(crate) url: String,
    running: Running,
}

/// What is to be ended.
enum Running {
    Program(Service),
    Deployment(Deployment),
}

impl Contender {
    /// The end of what it has said.
    pub(crate) fn log_end(&self) -> String {
        let service = match &self.running {
            Running::Program(service) => service,
            Running::Deployment(deployment) => &deployment.edge.service,
        };
        format!("{} says:\n{}", self.label, service.log_end())
    }
}

/// Installs and builds what Outport takes on a platform.
pub(crate) fn make_ready(workspace: &Workspace, platform: Platform) -> Result<()> {
    match platform {
        Platform::Wasmtime if std::env::var_os(PROGRAM).is_some() => Ok(()),
        Platform::Wasmtime => {
            setup::run(workspace, &[Part::Wasm, Part::Page])?;
            build::product(workspace).map(drop)
        }
        _ => up::make_ready(workspace, platform),
    }
}

/// Outport on a platform. Whatever is no path of its own is the suite's.
pub(crate) fn outport(
    workspace: &Workspace,
    platform: Platform,
    folder: &Path,
    origin_port: u16,
) -> Result<Contender> {
    let config = folder.join("outport.toml");
    fs::write(&config, outport_toml(origin_port))?;
    let asked = up::Asked {
        platform,
        edge_port: 0,
        origin_port: 0,
        data: folder.join("data"),
        config: Some(config),
    };
    let label = format!("outport on {platform}");
    if platform != Platform::Wasmtime {
        let deployment = Deployment::start(workspace, &asked, Flavour::Product)?;
        let url = deployment.edge.url.clone();
        return Ok(Contender { label, url, running: Running::Deployment(deployment) });
    }
    let program = std::env::var_os(PROGRAM).map(PathBuf::from);
    let run = Run::new(program.unwrap_or_else(|| Product::of(workspace).program))
        .arg("serve")
        .args(up::serve_args(&asked));
    let (service, at) = Service::start_until("outport", run, &folder.join("log"), READY)?;
    let at: Value = serde_json::from_str(&at).context("the ready line is no JSON")?;
    let url = at.get("edge").and_then(Value::as_str).context("the ready line names no edge")?;
    Ok(Contender { label, url: url.to_owned(), running: Running::Program(service) })
}

fn outport_toml(origin_port: u16) -> String {
    format!(
        "[[routes]]\n\
         path = \"/{{*rest}}\"\n\
         proxy = \"http://127.0.0.1:{origin_port}\"\n\
         auth = \"none\"\n\
         cache = true\n\
         limit = \"none\"\n"
    )
}

/// A cache of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Nginx,
    Varnish,
    TrafficServer,
}

impl Peer {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Nginx, Self::Varnish, Self::TrafficServer];

    /// Installs those that are missing.
    pub(crate) fn install() -> Result<()> {
        let programs = Self::ALL.map(|peer| (peer.program(), peer.package()));
        apt::programs("caches of others", &programs)
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Varnish => "varnish",
            Self::TrafficServer => "trafficserver",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Varnish => "varnishd",
            Self::TrafficServer => "traffic_server",
        }
    }

    /// The Debian package.
    const fn package(self) -> &'static str {
        match self {
            Self::Nginx => "nginx-light",
            Self::Varnish => "varnish",
            Self::TrafficServer => "trafficserver",
        }
    }

    /// Starts it in front of the suite's server. `suite` is the suite's package.
    pub(crate) fn start(self, suite: &Path, folder: &Path, origin_port: u16) -> Result<Contender> {
        let port = free_port()?;
        let at = At { suite, folder, port, origin_port, program: program_path(self.program()) };
        let run = match self {
            Self::Nginx => nginx(&at)?,
            Self::Varnish => varnish(&at)?,
            Self::TrafficServer => traffic_server(&at)?,
        };
        let mut service = Service::start(self.name(), run, &folder.join("log"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until_it_answers(&mut service, address, ANSWERS)?;
        let label = format!("{} {}", self.name(), self.version(&at.program)?);
        let url = format!("http://{address}");
        Ok(Contender { label, url, running: Running::Program(service) })
    }

    fn version(self, program: &Path) -> Result<String> {
        let flag = match self {
            Self::Nginx => "-v",
            Self::Varnish => "-V",
            Self::TrafficServer => "--version",
        };
        // Some say it on standard error.
        let said =
            Run::new("sh").args(["-c", "exec \"$0\" \"$1\" 2>&1"]).arg(program).arg(flag).text()?;
        Ok(version_in(&said).unwrap_or_default().to_owned())
    }
}

struct At<'a> {
    suite: &'a Path,
    folder: &'a Path,
    port: u16,
    origin_port: u16,
    program: PathBuf,
}

impl At<'_> {
    /// A file of the suite's images, changed in these places.
    fn suites_file(&self, name: &str, changes: &[(&str, String)]) -> Result<String> {
        let path = self.suite.join("docker").join(name);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        changed(&text, changes).with_context(|| format!("{} is not as expected", path.display()))
    }
}

fn changed(text: &str, changes: &[(&str, String)]) -> Result<String> {
    let mut text = text.to_owned();
    for (from, to) in changes {
        if !text.contains(from) {
            bail!("it has no {from:?}");
        }
        text = text.replace(from, to);
    }
    Ok(text)
}

fn nginx(at: &At<'_>) -> Result<Run> {
    let server = at.suites_file(
        "nginx/nginx.conf",
        &[
            ("8002", format!("127.0.0.1:{}", at.port)),
            ("localhost:8000", format!("127.0.0.1:{}", at.origin_port)),
            ("/var/cache/nginx", at.folder.join("cache").display().to_string()),
        ],
    )?;
    // Relative paths are below the prefix. Where it is started by root, its workers are root too,
    // since others may not reach the folder.
    let text = format!(
        "daemon off;\n\
         user root root;\n\
         pid nginx.pid;\n\
         error_log stderr crit;\n\
         events {{ worker_connections 2048; }}\n\
         http {{\n\
         access_log off;\n\
         client_body_temp_path client_body;\n\
         fastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi;\n\
         scgi_temp_path scgi;\n\
         {server}\n\
         }}\n"
    );
    let config = at.folder.join("nginx.conf");
    fs::write(&config, text)?;
    Ok(Run::new(&at.program).arg("-p").arg(at.folder).arg("-c").arg(config))
}

fn varnish(at: &At<'_>) -> Result<Run> {
    let text = format!(
        "vcl 4.1;\nbackend default {{ .host = \"127.0.0.1\"; .port = \"{}\"; }}\n",
        at.origin_port
    );
    let config = at.folder.join("default.vcl");
    fs::write(&config, text)?;
    // As the suite's docker/serve.sh starts it.
    Ok(Run::new(&at.program)
        .args(["-F", "-j", "none", "-a", &format!("127.0.0.1:{}", at.port), "-n"])
        .arg(at.folder.join("work"))
        .arg("-f")
        .arg(config)
        .args(["-p", "default_ttl=0", "-p", "default_grace=0", "-p", "default_keep=3600"])
        .args(["-s", "malloc,64M"]))
}

fn traffic_server(at: &At<'_>) -> Result<Run> {
    let layout = "prefix: .\nexec_prefix: .\nbindir: /usr/bin\nsbindir: /usr/bin\n\
                  sysconfdir: ./etc\ndatadir: ./cache\nincludedir: /usr/include\n\
                  libdir: /usr/lib/trafficserver\nlibexecdir: /usr/lib/trafficserver/modules\n\
                  localstatedir: .\nruntimedir: ./run\nlogdir: ./logs\ncachedir: ./cache\n";
    for name in ["etc/body_factory", "cache", "run", "logs"] {
        fs::create_dir_all(at.folder.join(name))?;
    }
    let root = at.folder.join("runroot.yaml");
    fs::write(&root, layout)?;
    let mut records = at.suites_file(
        "trafficserver/records.config",
        &[
            (
                "server_ports STRING 8003",
                format!("server_ports STRING {}:ip-in=127.0.0.1", at.port),
            ),
            // Nobody else: it stays who starts it.
            ("user_id STRING trafficserver", "user_id STRING #-1".to_owned()),
        ],
    )?;
    records.push_str(
        "\nCONFIG proxy.config.http.wait_for_cache INT 1\n\
         CONFIG proxy.config.crash_log_helper STRING NULL\n",
    );
    let remap = format!("map / http://127.0.0.1:{}/\n", at.origin_port);
    let allow = "ip_allow:\n  - apply: in\n    ip_addrs: 127.0.0.1\n    action: allow\n    \
                 methods: ALL\n";
    let etc = at.folder.join("etc");
    fs::write(etc.join("records.config"), records)?;
    fs::write(etc.join("remap.config"), remap)?;
    fs::write(etc.join("ip_allow.yaml"), allow)?;
    fs::write(etc.join("storage.config"), "./cache 64M\n")?;
    Ok(Run::new(&at.program).folder(at.folder).arg(format!("--run-root={}", root.display())))
}

// Debian puts servers where not everybody's PATH leads.
fn program_path(name: &str) -> PathBuf {
    in_path(name).unwrap_or_else(|| Path::new("/usr/sbin").join(name))
}

// "nginx version: nginx/1.22.1"
fn version_in(said: &str) -> Option<&str> {
    let mut words = said.split(|c: char| !c.is_ascii_digit() && c != '.');
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_say_their_versions() {
        assert_eq!(version_in("nginx version: nginx/1.22.1"), Some("1.22.1"));
        assert_eq!(version_in("varnishd (varnish-7.1.1 revision 7cee1c)\nfor 7."), Some("7.1.1"));
        assert_eq!(version_in("Traffic Server 9.2.9 Apr  4 2026 14:52:39"), Some("9.2.9"));
        assert_eq!(version_in("none"), None);
    }

    #[test]
    fn a_file_of_the_suite_that_has_changed_is_noticed() {
        let changes = [("8002", "1234".to_owned())];
        assert_eq!(changed("listen 8002;", &changes).unwrap(), "listen 1234;");
        assert!(changed("listen 8009;", &changes).is_err());
    }
}
