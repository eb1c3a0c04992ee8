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
use crate::key_set::{Algorithm, Jwk};
use crate::step::{Allowance, Share};

/// Everything the core needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose tokens are trusted. At most [`ISSUERS_MAX`].
    pub issuers: Vec<Issuer>,
    /// What issuers sign with whose tokens are signed with a shared secret (HS256), by the issuer's
    /// name: the newest first, older ones are still good.
    #[serde(default)]
    pub issuer_secrets: BTreeMap<String, Vec<Secret>>,
    /// The key of new signed links comes first; older ones are still good.
    pub link_keys: Vec<Secret>,
    /// What browsers' sessions are signed with: the newest first, older ones are still good.
    #[serde(default)]
    pub session_keys: Vec<Secret>,
    /// How long browsers' sessions last.
    #[serde(default)]
    pub sessions: Sessions,
    /// Within how many seconds a revocation counts that was made elsewhere; 0: nothing is revoked.
    #[serde(default)]
    pub revoked_within_s: u64,
    /// Within how many seconds a change of relations counts that was made elsewhere, for who does not
    /// ask for it by its revision.
    #[serde(default)]
    pub related_within_s: u64,
    /// How long ago operators may have signed in, in seconds; 0: any time.
    #[serde(default)]
    pub step_up_s: u64,
    /// Signs what is sent to the origin.
    pub edge_key: Key,
    /// The tenants whose admins operate the deployment: they ask about and change what is stored of
    /// all routes and tenants. None: those of all tenants.
    #[serde(default)]
    pub operators: Vec<String>,
    /// Handed to whoever opens the page on this machine; for demonstration only.
    #[serde(default)]
    pub guest: Option<Guest>,
    /// The routes of `outport.toml`, in its order.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// The named limits. [`READ_LIMIT`] and [`WRITE_LIMIT`] apply to Outport's own routes.
    pub limits: BTreeMap<String, Allowance>,
    /// What takers of these limits have at the same time, where the driver counts it.
    #[serde(default)]
    pub shares: BTreeMap<String, Share>,
    /// What all of a tenant may ask of all edges together, by the name of the limit that it asks by.
    #[serde(default)]
    pub budgets: BTreeMap<String, Budget>,
    /// The page, by path below the root.
    #[serde(default)]
    pub assets: BTreeMap<String, Asset>,
    /// Origins of pages that may use the API from a browser; `*` for all.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// Put before every `Location`, if the edge is to say absolute ones: scheme and authority.
    #[serde(default)]
    pub public_base_url: Option<String>,
    /// Where files are shown, and nothing else is: scheme and authority. Absent: everything is everywhere.
    #[serde(default)]
    pub content_base_url: Option<String>,
    /// The networks whose proxies are believed when they say for whom they ask, as
    /// [`TrustedProxies`](crate::forwarded::TrustedProxies) reads them.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// The field, in lower case, by which they say where a client is, if they do.
    #[serde(default)]
    pub country_field: Option<String>,
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

/// What all of a tenant may ask of all edges together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// So many requests. At least one.
    pub requests: u64,
    /// In each period of so many seconds. The periods begin at multiples of it since 1970.
    pub period_s: u64,
}

/// How long sessions of browsers last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// What a browser shows with each request, in seconds. At most an hour: for as long the origin
    /// has edges told of a session that has ended.
    pub short_s: u64,
    /// One that is not used, in seconds.
    pub idle_s: u64,
    /// One that is, in seconds.
    pub lifetime_s: u64,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { short_s: 900, idle_s: 7 * 86_400, lifetime_s: 30 * 86_400 }
    }
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

/// The most public keys, and the most secrets, of one issuer.
pub const ISSUER_KEYS_MAX: usize = 32;
/// How far an issuer's clock may differ from ours, if nothing is said, in seconds.
pub const LEEWAY_S: u64 = 10;

/// For how long an issuer's keys are used while it can't be asked, if nothing is said, in seconds.
pub const OUTAGE_S: u64 = 86_400;

/// An issuer of tokens, and what is made of what they say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub name: String,
    /// Its tokens must have one of these as an `aud`.
    pub audiences: Vec<String>,
    /// What its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Its public keys. At most [`ISSUER_KEYS_MAX`].
    pub keys: Vec<Jwk>,
    /// Whether it is asked for its keys instead, where the driver can.
    pub publishes: bool,
    /// The address of its key set. Absent: its discovery document says it.
    pub keys_url: Option<String>,
    /// For how long its keys are used while it can't be asked, in seconds.
    pub outage_s: u64,
    /// Whether it is the deployment's own, whose keys are published here.
    pub is_own: bool,
    /// Whether its tokens begin sessions of browsers, which outlast them.
    pub begins_sessions: bool,
    /// Whether its tokens must be access tokens by their `typ` (RFC 9068, section 2.1).
    pub access_tokens_only: bool,
    /// How far its clock may differ from ours, in seconds.
    pub leeway_s: u64,
    /// The tenant of all its tokens. Absent: the claim says it.
    pub tenant: Option<String>,
    /// The claim that says the tenant. A claim is named as it is in the token, or by a JSON pointer
    /// (RFC 6901).
    pub tenant_claim: String,
    /// The tenants for which it may issue tokens; none: all.
    pub tenants: Vec<String>,
    /// The claim that says who the caller is within the tenant.
    pub subject_claim: String,
    /// What is put before it, where two issuers of one tenant could name different people alike.
    pub subject_prefix: String,
    /// The claim that lists scopes.
    pub scope_claim: String,
    /// The claim that lists roles.
    pub roles_claim: Option<String>,
    /// What roles allow, as scopes with spaces between.
    pub roles: BTreeMap<String, String>,
    /// The most that its tokens may allow, as scopes with spaces between. Absent: everything.
    pub scopes: Option<String>,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            name: String::new(),
            audiences: Vec::new(),
            algorithms: Algorithm::ASYMMETRIC.to_vec(),
            keys: Vec::new(),
            publishes: false,
            keys_url: None,
            outage_s: OUTAGE_S,
            is_own: false,
            begins_sessions: false,
            access_tokens_only: false,
            leeway_s: LEEWAY_S,
            tenant: None,
            tenant_claim: "tenant".to_owned(),
            tenants: Vec::new(),
            subject_claim: "sub".to_owned(),
            subject_prefix: String::new(),
            scope_claim: "scope".to_owned(),
            roles_claim: None,
            roles: BTreeMap::new(),
            scopes: None,
        }
    }
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
    /// Whether what is stored may be encoded against dictionaries (RFC 9842). It needs `compress`, and
    /// is for routes whose answers are everybody's: without `auth`, `claims` and `esi`.
    #[serde(default)]
    pub dictionaries: bool,
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
