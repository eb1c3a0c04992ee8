//! The second stage: what a path means, who may use it, and which limit it spends.

use outport_wire::id::FileId;
use outport_wire::identity::Scope;

use crate::config::{self, Auth, Config};
use crate::guard::Guarded;

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/healthz`, `/readyz`.
    Health,
    /// `/.well-known/jwks.json`.
    KeySet,
    /// `/session`.
    Session,
    /// A file of the page, by its name in [`Config::assets`].
    Asset(String),
    /// `/uploads`.
    Uploads,
    /// `/uploads/{id}`.
    Upload(FileId),
    /// `/files`.
    Files,
    /// `/files/{id}` and `/files/{id}/{any-name}`.
    File(FileId),
    /// `/files/{id}/links`, when posted to.
    Links(FileId),
    /// `/passes`.
    Passes,
    /// `/passes/{pass}`.
    Pass(String),
    /// `/revocations`.
    Revocations,
    /// `/relations`.
    Relations,
    /// `/audit`.
    Audit,
    /// `/audit/forgotten`.
    Forgotten,
    /// `/purge`.
    Purge,
    /// `/explain`.
    Explain,
    /// `/warm`.
    Warm,
    /// `/popular`.
    Popular,
    /// The route of `outport.toml` at this place.
    Route(u16),
    /// Nothing.
    Nothing,
}

/// Who may do what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody; a token is not looked at.
    Open,
    /// Everybody as far as authentication goes; a token must be good if there is one.
    Anybody,
    /// Who has a good token with this scope, where one is named.
    Token(Option<Scope>),
    /// Who operates the deployment: an admin, of a tenant whose admins do.
    Operator,
}

/// The routes of `outport.toml`, ready to match.
pub(crate) struct Routes {
    own: matchit::Router<u16>,
}

impl Routes {
    /// Compiles the routes, or says which is wrong and why.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let mut own = matchit::Router::new();
        for (place, route) in config.routes.iter().enumerate() {
            let place = u16::try_from(place).map_err(|_| "there are too many routes".to_owned())?;
            own.insert(route.path.as_str(), place)
                .map_err(|error| format!("route {}: {error}", route.path))?;
        }
        Ok(Self { own })
    }

    /// The place of the route that a path is one of.
    pub(crate) fn place(&self, path: &str) -> Option<u16> {
        self.own.at(path).ok().map(|found| *found.value)
    }

    /// What a request is for. Outport's own routes come first.
    pub(crate) fn find(&self, request: &Guarded<'_>, config: &Config) -> Target {
        outports(request, config)
            .or_else(|| self.place(request.path).map(Target::Route))
            .unwrap_or(Target::Nothing)
    }
}

/// Outport's own routes. A path below one of them is never another route's.
fn outports(request: &Guarded<'_>, config: &Config) -> Option<Target> {
    let path = request.path.strip_prefix('/')?;
    let (first, rest) = match path.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let target = match (first, rest) {
        ("uploads", None) => Target::Uploads,
        ("uploads", Some(id)) => id.parse().map_or(Target::Nothing, Target::Upload),
        ("files", None) => Target::Files,
        ("files", Some(rest)) => file(rest, request.method),
        ("healthz" | "readyz", None) => Target::Health,
        ("session", None) => Target::Session,
        ("passes", None) => Target::Passes,
        ("passes", Some(pass)) => Target::Pass(pass.to_owned()),
        ("revocations", None) => Target::Revocations,
        ("relations", None) => Target::Relations,
        ("audit", None) => Target::Audit,
        ("audit", Some("forgotten")) => Target::Forgotten,
        ("purge", None) => Target::Purge,
        ("explain", None) => Target::Explain,
        ("warm", None) => Target::Warm,
        ("popular", None) => Target::Popular,
        (".well-known", Some("jwks.json")) => Target::KeySet,
        ("assets", Some(_)) => asset(path, config).unwrap_or(Target::Nothing),
        ("", None) => return asset("index.html", config),
        _ => return asset(path, config),
    };
    Some(target)
}

fn file(rest: &str, method: &str) -> Target {
    let (id, name) = match rest.split_once('/') {
        Some((id, name)) => (id, Some(name)),
        None => (rest, None),
    };
    let Ok(id) = id.parse() else { return Target::Nothing };
    match name {
        Some("links") if matches!(method, "POST" | "DELETE") => Target::Links(id),
        Some(name) if name.contains('/') => Target::Nothing,
        _ => Target::File(id),
    }
}

fn asset(name: &str, config: &Config) -> Option<Target> {
    config.assets.contains_key(name).then(|| Target::Asset(name.to_owned()))
}

impl Target {
    /// The methods that are served. `None` where every method passes.
    pub(crate) const fn methods(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::Health
            | Self::KeySet
            | Self::Asset(_)
            | Self::Pass(_)
            | Self::Audit
            | Self::Explain
            | Self::Popular => Some(&["GET", "HEAD"]),
            Self::Passes | Self::Forgotten | Self::Purge | Self::Warm => Some(&["POST"]),
            Self::Session => Some(&["GET", "HEAD", "POST", "DELETE"]),
            Self::Revocations | Self::Relations => Some(&["GET", "HEAD", "POST"]),
            Self::Uploads => Some(&["POST", "OPTIONS"]),
            Self::Upload(_) => Some(&["GET", "HEAD", "PATCH", "DELETE", "OPTIONS"]),
            Self::Files => Some(&["GET", "HEAD", "POST", "OPTIONS"]),
            Self::File(_) => Some(&["GET", "HEAD", "PATCH", "DELETE", "OPTIONS"]),
            Self::Links(_) => Some(&["POST", "DELETE", "OPTIONS"]),
            Self::Route(_) | Self::Nothing => None,
        }
    }

    /// Whether the resource is served with this method.
    pub(crate) fn takes(&self, method: &str) -> bool {
        self.methods().is_none_or(|methods| methods.contains(&method))
    }

    /// The methods as `Allow` lists them.
    pub(crate) fn allow(&self) -> String {
        self.methods().unwrap_or_default().join(", ")
    }

    /// Who may use it.
    pub(crate) fn access(&self, request: &Guarded<'_>, config: &Config) -> Access {
        match self {
            Self::Health | Self::KeySet | Self::Asset(_) | Self::Pass(_) | Self::Nothing => {
                Access::Open
            }
            _ if request.method == "OPTIONS" && self.methods().is_some() => Access::Open,
            Self::Uploads | Self::Upload(_) => Access::Token(Some(Scope::Write)),
            Self::Files if request.is_read() => Access::Token(Some(Scope::Read)),
            Self::File(_) if request.is_read() => Access::Anybody,
            Self::Files | Self::File(_) => Access::Token(Some(Scope::Write)),
            Self::Links(_) | Self::Passes => Access::Token(Some(Scope::Share)),
            Self::Session if request.is_read() => Access::Token(None),
            Self::Session => Access::Anybody,
            Self::Revocations | Self::Audit | Self::Forgotten => Access::Token(Some(Scope::Admin)),
            Self::Relations if request.is_read() => Access::Token(Some(Scope::Read)),
            Self::Relations => Access::Token(Some(Scope::Share)),
            Self::Purge | Self::Explain | Self::Warm | Self::Popular => Access::Operator,
            Self::Route(place) => {
                match config.routes.get(usize::from(*place)).map(|route| route.auth) {
                    Some(Auth::None) => Access::Open,
                    Some(Auth::Optional) => Access::Anybody,
                    Some(Auth::Required) | None => Access::Token(None),
                }
            }
        }
    }

    /// The limit it spends.
    pub(crate) fn limit<'a>(&self, request: &Guarded<'_>, config: &'a Config) -> Option<&'a str> {
        let usual = if request.is_read() { config::READ_LIMIT } else { config::WRITE_LIMIT };
        match self {
            Self::Health | Self::KeySet | Self::Pass(_) => None,
            Self::Route(place) => {
                let route = config.routes.get(usize::from(*place))?;
                let name = route.limit.as_deref().unwrap_or(usual);
                (name != config::NO_LIMIT).then_some(name)
            }
            _ => Some(usual),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Route;
    use crate::guard::guard;
    use crate::memory::tests::config;

    const ID: &str = "01000G0000000C000000000004";

    fn find(method: &str, path: &str) -> Target {
        let mut config = config();
        config.routes.push(Route {
            path: "/legacy/{*rest}".into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: Auth::None,
            limit: Some("none".into()),
            ..Route::default()
        });
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n");
        Routes::new(&config).unwrap().find(&guard(head.as_bytes()).unwrap(), &config)
    }

    #[test]
    fn what_paths_mean() {
        let id: FileId = ID.parse().unwrap();
        for (path, target) in [
            ("/", Target::Asset("index.html".into())),
            ("/assets/app.js", Target::Asset("assets/app.js".into())),
            ("/assets/none.js", Target::Nothing),
            ("/uploads", Target::Uploads),
            ("/files", Target::Files),
            ("/files/nonsense", Target::Nothing),
            ("/passes", Target::Passes),
            ("/passes/a.b", Target::Pass("a.b".into())),
            ("/audit", Target::Audit),
            ("/audit/forgotten", Target::Forgotten),
            ("/audit/else", Target::Nothing),
            ("/legacy/a/b", Target::Route(0)),
            ("/other", Target::Nothing),
        ] {
            assert_eq!(find("GET", path), target, "{path}");
        }
        assert_eq!(find("GET", &format!("/files/{ID}")), Target::File(id));
        assert_eq!(find("GET", &format!("/files/{ID}/links")), Target::File(id));
        assert_eq!(find("POST", &format!("/files/{ID}/links")), Target::Links(id));
        assert_eq!(find("GET", &format!("/files/{ID}/a/style.css")), Target::Nothing);
        assert_eq!(find("HEAD", &format!("/uploads/{ID}")), Target::Upload(id));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let mut config = config();
        config.routes.push(Route { path: "/{a".into(), ..Route::default() });
        assert!(Routes::new(&config).err().unwrap().starts_with("route /{a: "));
    }
}
