//! What a scenario runs in: a server, and callers with different tokens.
//!
//! With `OUTPORT_EDGE` set, the server is that one; the tokens come from `OUTPORT_TOKEN` and, for
//! the other callers, `OUTPORT_OTHER_TOKEN` and so on, or are minted from `OUTPORT_DATA`, the
//! server's data folder. `OUTPORT_ROUTE` is the path of a cached route for everybody to a
//! `scripted-upstream`. `OUTPORT_ISSUERS` says that the server trusts the issuers in `tests/issuers`.
//! Otherwise a server is started with a data folder of its own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::api::Api;
use crate::deployment::{Data, Running, token};
use crate::issued::{self, Issued, Signer};
use crate::scripted;

/// Somebody who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Has every scope; most scenarios are theirs.
    Owner,
    /// Of the same tenant, and somebody else. Every scope but admin.
    Other,
    /// Of another tenant. Every scope.
    Foreign,
    /// The owner, with a token that only reads.
    Reader,
    /// The owner, with a token that is over; see [`World::expired`].
    Expired,
    /// Says to be the owner, with a token of an issuer that the server does not know.
    Untrusted,
}

const CALLERS: [(Caller, &str); 6] = [
    (Caller::Owner, "OUTPORT_TOKEN"),
    (Caller::Other, "OUTPORT_OTHER_TOKEN"),
    (Caller::Foreign, "OUTPORT_FOREIGN_TOKEN"),
    (Caller::Reader, "OUTPORT_READER_TOKEN"),
    (Caller::Expired, "OUTPORT_EXPIRED_TOKEN"),
    (Caller::Untrusted, "OUTPORT_UNTRUSTED_TOKEN"),
];

/// A minted token lives this long to be expired; and servers may be this much behind.
const EXPIRED_TTL: &str = "1s";
const EXPIRY_WAIT: Duration = Duration::from_secs(13);

/// A server and its callers. Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    edge: String,
    tokens: HashMap<Caller, String>,
    route: Option<String>,
    has_issuers: bool,
    begun: Instant,
    /// Fields end in this order: the server before its folder.
    _server: Option<Running>,
    _data: Option<Data>,
}

/// The rules that scenarios are about.
const FIREWALL: &str = include_str!("../scenarios/firewall.toml");

impl World {
    /// The server named in the environment, or one of our own.
    pub fn open() -> Self {
        match std::env::var("OUTPORT_EDGE") {
            Ok(edge) => Self::named(edge),
            Err(_) => Self::own(),
        }
    }

    fn named(edge: String) -> Self {
        let mut tokens = match std::env::var_os("OUTPORT_DATA") {
            Some(data) => minted(&PathBuf::from(data)),
            None => HashMap::new(),
        };
        for (caller, variable) in CALLERS {
            if let Ok(token) = std::env::var(variable) {
                tokens.insert(caller, token);
            }
        }
        assert!(tokens.contains_key(&Caller::Owner), "set OUTPORT_TOKEN or OUTPORT_DATA");
        let route = std::env::var("OUTPORT_ROUTE").ok();
        let has_issuers = std::env::var_os("OUTPORT_ISSUERS").is_some();
        let begun = Instant::now();
        let (_server, _data) = (None, None);
        Self(Arc::new(Inner { edge, tokens, route, has_issuers, begun, _server, _data }))
    }

    fn own() -> Self {
        let data = Data::new();
        let (route, upstream) = ("/scripted", scripted::start());
        let config = data.config(&format!(
            "[[routes]]\npath = \"{route}/{{*rest}}\"\nproxy = \"{upstream}\"\nauth = \"none\"\n\
             cache = true\n\n[[routes]]\npath = \"{route}-members/{{*rest}}\"\n\
             proxy = \"{upstream}\"\nclaims = [\"subject\"]\n{FIREWALL}{}",
            issued::config()
        ));
        let config = config.to_str().expect("the path is text");
        let server = Running::serve(&data, &["--config", config]);
        Self(Arc::new(Inner {
            edge: server.ready("edge").to_owned(),
            tokens: minted(data.path()),
            route: Some(route.to_owned()),
            has_issuers: true,
            begun: Instant::now(),
            _server: Some(server),
            _data: Some(data),
        }))
    }

    /// Whether there is such a caller.
    pub fn has(&self, caller: Caller) -> bool {
        self.0.tokens.contains_key(&caller)
    }

    /// Where a cached route to a scripted upstream begins, without a slash at its end.
    pub fn route(&self) -> Option<&str> {
        self.0.route.as_deref()
    }

    /// Where a route begins that is for who is signed in, to the same upstream, without a slash at its end.
    pub fn members_route(&self) -> Option<String> {
        self.route().map(|route| format!("{route}-members"))
    }

    /// Whether tokens of the issuers in `tests/issuers` are taken.
    pub fn has_issuers(&self) -> bool {
        self.0.has_issuers
    }

    /// The server as seen by the caller.
    pub fn api(&self, caller: Caller) -> Api {
        self.anonymous().with_token(&self.0.tokens[&caller])
    }

    /// The server as seen by the owner.
    pub fn owner(&self) -> Api {
        self.api(Caller::Owner)
    }

    /// The server as seen by somebody of a tenant that a scenario has for itself; it needs `Issuers`.
    pub fn of_tenant(&self, tenant: &str, subject: &str, scope: &str) -> Api {
        let issued = Issued::by(Signer::P256).claim("tenant", json!(tenant));
        let issued = issued.claim("sub", json!(subject)).claim("scope", json!(scope));
        self.anonymous().with_token(&issued.token())
    }

    /// The server as seen by nobody in particular.
    pub fn anonymous(&self) -> Api {
        Api::new(&self.0.edge)
    }

    /// The server as seen by the holder of an expired token, once it is.
    pub async fn expired(&self) -> Api {
        tokio::time::sleep(EXPIRY_WAIT.saturating_sub(self.0.begun.elapsed())).await;
        self.api(Caller::Expired)
    }
}

fn minted(data: &std::path::Path) -> HashMap<Caller, String> {
    let stranger = Data::new();
    let all = "read write share admin";
    HashMap::from([
        (Caller::Owner, token(data, "demo", "owner", all, "1h")),
        (Caller::Other, token(data, "demo", "other", "read write share", "1h")),
        (Caller::Foreign, token(data, "foreign", "owner", all, "1h")),
        (Caller::Reader, token(data, "demo", "owner", "read", "1h")),
        (Caller::Expired, token(data, "demo", "owner", all, EXPIRED_TTL)),
        (Caller::Untrusted, stranger.token("demo", "owner", all, "1h")),
    ])
}
