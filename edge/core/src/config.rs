//! What an edge is told about the deployment it serves.
//!
//! Made from `outport.toml` once, checked, and handed to the core as a value; it crosses into a
//! component as JSON.

use std::collections::BTreeMap;

use outport_wire::identity::Identity;
use outport_wire::rules::{EdgeRules, Rules};
use outport_wire::secret::{Key, Secret};
use serde::{Deserialize, Serialize};

use crate::firewall::Firewall;
use crate::step::Allowance;

/// Everything the core needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose tokens are trusted. At most [`ISSUERS_MAX`].
    pub issuers: Vec<Issuer>,
    /// The key of new signed links comes first; older ones are still good.
    pub link_keys: Vec<Secret>,
    /// Signs what is sent to the origin.
    pub edge_key: Key,
    /// Handed to whoever opens the page on this machine; for demonstration only.
    #[serde(default)]
    pub guest: Option<Guest>,
    /// The routes of `outport.toml`, in its order.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// The named limits. [`READ_LIMIT`] and [`WRITE_LIMIT`] apply to Outport's own routes.
    pub limits: BTreeMap<String, Allowance>,
    /// The page, by path below the root.
    #[serde(default)]
    pub assets: BTreeMap<String, Asset>,
    /// Origins of pages that may use the API from a browser; `*` for all.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// Put before every `Location`, if the edge is to say absolute ones: scheme and authority.
    #[serde(default)]
    pub public_base_url: Option<String>,
    /// The networks whose proxies are believed when they say for whom they ask, as
    /// [`TrustedProxies`](crate::forwarded::TrustedProxies) reads them.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// What is refused, limited or logged.
    #[serde(default)]
    pub firewall: Firewall,
    /// What may be uploaded, by tenant.
    pub uploads: Rules<EdgeRules>,
    /// The largest file that the edge accepts by itself and hands over afterwards, in bytes, where
    /// the driver can keep it; 0: none.
    #[serde(default)]
    pub small_upload_bytes_max: u64,
    /// The region that stores what is accepted here.
    #[serde(default)]
    pub region: u8,
    /// The largest body of a request that the platform lets pass, in bytes, where it has a bound.
    #[serde(default)]
    pub request_bytes_max: Option<u64>,
    /// The largest body that is stored in the cache, in bytes.
    pub stored_bytes_max: u64,
    /// How many bytes a slice has of a file that is larger than that.
    #[serde(default = "slice_bytes")]
    pub slice_bytes: u64,
    /// How long an upstream may take to begin an answer, in milliseconds.
    pub upstream_timeout_ms: u64,
}

/// What a slice has, if nothing is said.
pub const SLICE_BYTES: u64 = 1 << 20;

const fn slice_bytes() -> u64 {
    SLICE_BYTES
}

/// The limit spent by GET, HEAD and OPTIONS.
pub const READ_LIMIT: &str = "read";
/// The limit spent by everything else.
pub const WRITE_LIMIT: &str = "write";
/// The name under which a route spends nothing.
pub const NO_LIMIT: &str = "none";
/// The most issuers that are looked through for a token's.
pub const ISSUERS_MAX: usize = 16;

/// An issuer of tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub name: String,
    /// An `aud` that its tokens must have.
    pub audience: String,
    /// The `kid` of its tokens.
    pub key_id: String,
    /// Its Ed25519 public key, base64url without padding.
    pub public_key: String,
}

/// What a visitor of the page is given in a demonstration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// A bearer token.
    pub token: String,
    /// The token's tenant.
    pub tenant: String,
    /// The token's subject.
    pub subject: String,
    /// When the token ceases to be good, in seconds since 1970.
    pub expires_s: u64,
}

/// A route of `outport.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// In matchit's syntax.
    pub path: String,
    /// The HTTP origin it goes to: scheme, authority and an optional path that is put before the
    /// request's. Absent: Outport's own origin.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Who may use it.
    #[serde(default)]
    pub auth: Auth,
    /// Whether answers may be stored.
    #[serde(default)]
    pub cache: bool,
    /// Whether stored answers are encoded here, where the driver can. The origin is then asked for
    /// them plain.
    #[serde(default)]
    pub compress: bool,
    /// Whether answers may be templates of composed pages (ESI). It needs `cache`.
    #[serde(default)]
    pub esi: bool,
    /// Whether what answers name as wanted next is fetched ahead. It needs `cache`.
    #[serde(default)]
    pub prefetch: bool,
    /// What of a token the upstream is told, and its answers vary on.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// The limit it spends: a named one, or [`NO_LIMIT`]; absent: `read` or `write` by method.
    #[serde(default)]
    pub limit: Option<String>,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Everybody; a token is not looked at and passes on.
    None,
    /// Everybody; a token must be good if there is one.
    Optional,
    /// Who has a good token.
    #[default]
    Required,
}

/// What a verified token says of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Claim {
    /// The `sub`.
    Subject,
    /// The tenant.
    Tenant,
}

impl Claim {
    /// Every claim there is.
    pub const ALL: [Self; 2] = [Self::Subject, Self::Tenant];

    /// Its name in templates and configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Tenant => "tenant",
        }
    }

    /// The claim of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|claim| claim.name() == name)
    }

    /// The field in which the upstream of a route is told. From outside it never comes through.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Subject => "outport-subject",
            Self::Tenant => "outport-tenant",
        }
    }

    /// What it is for this identity.
    pub fn of(self, identity: &Identity) -> &str {
        match self {
            Self::Subject => &identity.subject,
            Self::Tenant => &identity.tenant,
        }
    }
}

/// A small file of the page, kept as a value in the key-value store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// The `Content-Type`.
    pub content_type: String,
    /// The strong entity tag of the uncoded file, with its quotes.
    pub etag: String,
    /// Whether its name changes with its contents, so that it may be kept for ever.
    pub immutable: bool,
    /// The key of the uncoded file's value.
    pub key: String,
    /// The codings in which it is there too, best first: the name of the coding, and the key.
    #[serde(default)]
    pub codings: Vec<(String, String)>,
}

impl Config {
    /// The route at this place, if it proxies something.
    pub(crate) fn proxied(&self, place: u16) -> Option<&Route> {
        self.routes.get(usize::from(place)).filter(|route| route.proxy.is_some())
    }

    /// Reads a configuration that crossed as JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    /// The configuration as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
