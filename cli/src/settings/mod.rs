//! The configuration, `outport.toml`: read once at start, checked as a whole, then passed on.
//!
//! Reading never stops at the first mistake. What a file leaves out has the default written here.

mod firewall;
mod hooks;
mod issuers;
mod mistake;
mod read;
mod rules;
mod section;
mod session;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use hooks::{Asked, Hooks, Peer, Secrets, Told};
pub(crate) use issuers::TrustedIssuer;
pub(crate) use mistake::{Mistake, Mistakes, Sink};
use outport_edge_core::config::{Budget, READ_LIMIT, Route, SLICE_BYTES, WRITE_LIMIT};
use outport_edge_core::firewall::Firewall;
use outport_edge_core::platform::Platform;
use outport_edge_core::step::Share;
use outport_wire::rules::{Rules, TenantRules};
pub(crate) use read::{origin_tls, route_value};
pub(crate) use session::Session;
pub(crate) use tls::Tls;

/// The file read when none is named, if it exists.
pub(crate) const DEFAULT_FILE: &str = "outport.toml";

/// What to do where a platform takes no configuration of such a size.
pub(crate) const SMALLER: &str = "fewer or shorter routes, rules, limits, tenants and web origins make the configuration smaller";

/// What to do where nobody tells where clients are.
pub(crate) const NAME_COUNTRY_FIELD: &str =
    "name the field in which a proxy tells: country_field in [edge]";

/// The largest configuration that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The edge itself.
    pub(crate) edge: Edge,
    /// Whom the origin believes.
    pub(crate) origin: Origin,
    /// The files for TLS.
    pub(crate) tls: Tls,
    /// The edge's cache.
    pub(crate) cache: Cache,
    /// When load is shed.
    pub(crate) overload: Overload,
    /// The named limits, built-in ones included.
    pub(crate) limits: BTreeMap<String, Limit>,
    /// What may be uploaded, by whom.
    pub(crate) rules: Rules,
    /// Who is told of files, and who is asked before there is one.
    pub(crate) hooks: Hooks,
    /// Whose tokens are trusted besides the deployment's own.
    pub(crate) issuers: Vec<TrustedIssuer>,
    /// How long uploads live.
    pub(crate) life: Life,
    /// Sessions of browsers.
    pub(crate) session: Session,
    /// The web origins that may call from a browser.
    pub(crate) cors_origins: Vec<String>,
    /// Routes besides Outport's own, in the order of the file.
    pub(crate) routes: Vec<Route>,
    /// What is refused, limited or logged.
    pub(crate) firewall: Firewall,
}

impl Settings {
    /// The first rule that asks where clients are, where neither the platform tells nor a proxy.
    pub(crate) fn unanswered_rule(&self, platform: &Platform) -> Option<&str> {
        let is_told = !platform.countries.is_empty() || self.edge.country_field.is_some();
        let mut asking = self.firewall.rules.iter().filter(|rule| rule.asks_country());
        asking.next().filter(|_| !is_told).map(|rule| rule.name.as_str())
    }
}

/// The edge itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// What it says its own address is: `scheme://host[:port]`. Absent, addresses in answers are
    /// relative.
    pub(crate) public_base_url: Option<String>,
    /// Where files are shown, and nothing else is.
    pub(crate) content_base_url: Option<String>,
    /// The networks of proxies that are believed.
    pub(crate) trusted_proxies: Vec<String>,
    /// The field, in lower case, by which they say where a client is.
    pub(crate) country_field: Option<String>,
    /// The tenants whose admins operate the deployment; none: all.
    pub(crate) operators: Vec<String>,
    /// How long ago operators may have signed in, in seconds; 0: any time.
    pub(crate) step_up_s: u64,
    /// Within how many seconds a revocation counts everywhere; 0: nothing is revoked.
    pub(crate) revoked_within_s: u64,
    /// Within how many seconds a change of relations counts everywhere.
    pub(crate) related_within_s: u64,
    /// How long the origin may take to begin an answer.
    pub(crate) upstream_timeout_ms: u64,
    /// Requests after which an instance of the component is replaced.
    pub(crate) instance_requests_max: u64,
    /// The largest file that the edge accepts by itself, where it can keep it; 0: none; `None`
    /// leaves it to the command.
    pub(crate) small_upload_bytes_max: Option<u64>,
}

/// Whom the origin believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Where something is to change, the caller's token or session is looked at again.
    pub(crate) checks_tokens: bool,
    /// Edges may hand over files that they have accepted by themselves.
    pub(crate) takes_handovers: bool,
}

/// How long uploads live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// How long an upload lives without progress; 0 is for ever.
    pub(crate) expire_after_s: u64,
    /// How long the collector takes to look through everything once.
    pub(crate) collect_every_s: u64,
}

/// Bounds of the edge's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    /// Memory for cached responses.
    pub(crate) memory_bytes: u64,
    /// The largest response that is cached.
    pub(crate) object_bytes_max: u64,
    /// What a slice has of a file that is larger than that.
    pub(crate) slice_bytes: u64,
    /// Disk for cached responses; 0: none.
    pub(crate) disk_bytes: u64,
}

/// When our own node refuses what is least important, and how many connections it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overload {
    /// The longest that work which is ready may wait; 0: however long.
    pub(crate) delay_ms_max: u64,
    /// Requests that may wait for their answers.
    pub(crate) requests_max: u64,
    /// Connections.
    pub(crate) connections_max: u64,
    /// Connections of one network.
    pub(crate) network_connections_max: u64,
}

/// A rate and how much of it may be saved up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Requests per second in the long run.
    pub(crate) per_second: u32,
    /// Requests at once.
    pub(crate) burst: u32,
    /// What a taker has at the same time.
    pub(crate) share: Share,
    /// What all of a tenant may ask of all edges together.
    pub(crate) budget: Option<Budget>,
}

impl Limit {
    /// A limit of nothing but how often.
    const fn rate(per_second: u32, burst: u32) -> Self {
        let share = Share { at_once: None, bytes_per_s: None, bytes: None };
        Self { per_second, burst, share, budget: None }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            edge: Edge {
                public_base_url: None,
                content_base_url: None,
                trusted_proxies: Vec::new(),
                country_field: None,
                operators: Vec::new(),
                step_up_s: 0,
                revoked_within_s: 15,
                related_within_s: 15,
                upstream_timeout_ms: 30_000,
                instance_requests_max: 1_000_000,
                small_upload_bytes_max: None,
            },
            tls: Tls::default(),
            origin: Origin { checks_tokens: true, takes_handovers: true },
            cache: Cache {
                memory_bytes: 256 * MIB,
                object_bytes_max: 16 * MIB,
                slice_bytes: SLICE_BYTES,
                disk_bytes: 0,
            },
            overload: Overload {
                delay_ms_max: 3,
                requests_max: 20_000,
                connections_max: 50_000,
                network_connections_max: 10_000,
            },
            limits: built_in_limits(),
            rules: Rules::same(TenantRules::sized(TIB)),
            hooks: Hooks::default(),
            issuers: Vec::new(),
            life: Life { expire_after_s: 7 * 24 * 3600, collect_every_s: 24 * 3600 },
            session: Session::default(),
            cors_origins: Vec::new(),
            routes: Vec::new(),
            firewall: Firewall::default(),
        }
    }
}

fn built_in_limits() -> BTreeMap<String, Limit> {
    BTreeMap::from([
        (READ_LIMIT.to_owned(), Limit::rate(5_000, 50_000)),
        (WRITE_LIMIT.to_owned(), Limit::rate(500, 5_000)),
    ])
}

/// Why there are no settings.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file can't be read.
    Unreadable {
        /// The file as the user named it.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file was read, and is wrong.
    Wrong(Mistakes),
}

/// Where the configuration is: the named file, else `outport.toml` here if there is one.
pub(crate) fn locate(named: Option<&Path>) -> Option<PathBuf> {
    let default = || Path::new(DEFAULT_FILE).is_file().then(|| PathBuf::from(DEFAULT_FILE));
    named.map(Path::to_owned).or_else(default)
}

/// The settings of `file`, or the defaults where there is none.
pub(crate) fn load(file: Option<&Path>) -> Result<Settings, LoadError> {
    let Some(path) = file else { return Ok(Settings::default()) };
    let file = path.display().to_string();
    match read_text(path) {
        Ok(text) => parse(&text).map_err(|mistakes| LoadError::Wrong(Mistakes { file, mistakes })),
        Err(source) => Err(LoadError::Unreadable { file, source }),
    }
}

/// The settings that `text` describes, or everything that is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Settings, Vec<Mistake>> {
    read::settings(text)
}

/// The text of a configuration, unless it is longer than any is.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        let message = format!("it is {bytes} bytes long, more than {FILE_BYTES_MAX}");
        return Err(std::io::Error::other(message));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use outport_mutate::Target;

    use super::*;

    /// A configuration is taken, or every mistake has a place in the text.
    fn settings(bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Err(mistakes) = parse(text) else { return };
        let lines = 1..=text.split('\n').count();
        assert!(!mistakes.is_empty());
        assert!(mistakes.iter().all(|mistake| lines.contains(&mistake.line)), "{mistakes:?}");
    }

    const EXAMPLES: &[&[u8]] = &[
        include_bytes!("../../../outport.toml"),
        b"[edge]\npublic_base_url = \"https://files.example.com\"\n[limits.read]\nper_second = 5\n\
          [uploads]\nsize_max_bytes = 1_000\n[[routes]]\npath = \"/api/{*rest}\"\n\
          proxy = \"http://127.0.0.1:9\"\nauth = \"none\"\n[cors]\norigins = [\"*\"]\n",
    ];

    #[test]
    fn no_text_is_too_much() {
        let settings = Target { name: "settings", parse: settings, examples: EXAMPLES };
        outport_mutate::feed(&[settings]);
    }
}
