//! A deployment's configuration in the form that platforms take: text, in pieces no longer than
//! a platform allows, what is secret apart from what is not, under names that drivers and tools
//! agree on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::step::Upstream;

/// What a driver inside a platform's own wasm module is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deployment {
    /// The core's configuration.
    pub core: Config,
    /// The base URL of Outport's own origin, without a slash at its end.
    pub origin: String,
}

/// The members of [`Config`] that nobody but the edge may read.
const SECRET_MEMBERS: [&str; 5] =
    ["edge_key", "link_keys", "session_keys", "issuer_secrets", "guest"];

/// The most pieces that one text is cut into.
pub const PIECES_MAX: usize = 16;

impl Deployment {
    /// Puts the two texts together that [`Deployment::to_parts`] made. The error says which of
    /// them is wrong, and how; it repeats nothing that is secret.
    pub fn from_parts(config: &str, secrets: &str) -> Result<Self, String> {
        let mut document: Value = serde_json::from_str(config)
            .map_err(|error| format!("the configuration is no JSON: {error}"))?;
        let secrets: Map<String, Value> = serde_json::from_str(secrets)
            .map_err(|_| "the secrets are no JSON object".to_owned())?;
        let core = document.get_mut("core").and_then(Value::as_object_mut);
        core.ok_or("the configuration lacks its member `core`")?.extend(secrets);
        // The parser's own words may quote a value, and a value may be a secret.
        serde_json::from_value(document).map_err(|error| {
            let text = error.to_string();
            let known = text.starts_with("missing field") || text.starts_with("unknown field");
            let reason = if known { text } else { "a member has the wrong type".to_owned() };
            format!("configuration and secrets are none of this version's: {reason}")
        })
    }

    /// The deployment as two JSON texts: what may be read by anybody who operates it, and what
    /// may not.
    pub fn to_parts(&self) -> (String, String) {
        let mut document = serde_json::to_value(self).unwrap_or_default();
        let mut secrets = Map::new();
        if let Some(core) = document.get_mut("core").and_then(Value::as_object_mut) {
            for name in SECRET_MEMBERS {
                secrets.extend(core.remove_entry(name));
            }
        }
        (document.to_string(), Value::Object(secrets).to_string())
    }

    /// The base URL of an upstream.
    pub fn url(&self, upstream: Upstream) -> Option<&str> {
        match upstream {
            Upstream::Origin => Some(&self.origin),
            Upstream::Route(place) => self.core.routes.get(usize::from(place))?.proxy.as_deref(),
        }
    }
}

/// Puts a text together from the pieces at `name`, `name_1`, `name_2` and so on. `None` where
/// there is no first piece.
pub fn gather(name: &str, mut get: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut text = get(name)?;
    for number in 1..PIECES_MAX {
        let Some(piece) = get(&format!("{name}_{number}")) else { break };
        text.push_str(&piece);
    }
    Some(text)
}

/// Cuts a text into named pieces of at most `bytes_max` bytes. The error says that it is too long.
pub fn pieces(name: &str, text: &str, bytes_max: usize) -> Result<Vec<(String, String)>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() || pieces.is_empty() {
        let mut end = rest.len().min(bytes_max);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        let number = pieces.len();
        let named = if number == 0 { name.to_owned() } else { format!("{name}_{number}") };
        pieces.push((named, piece.to_owned()));
        if pieces.len() > PIECES_MAX || end == 0 && !rest.is_empty() {
            let (length, most) = (text.len(), PIECES_MAX * bytes_max);
            return Err(format!("{name} has {length} bytes, and the platform takes {most}"));
        }
        rest = after;
    }
    Ok(pieces)
}

/// The name of the binding that a platform limits by, for a limit of the configuration.
pub fn limit_binding(limit: &str) -> String {
    format!("OUTPORT_LIMIT_{}", limit.to_ascii_uppercase().replace('-', "_"))
}

/// The name of an upstream where a platform wants its upstreams named.
pub fn backend(upstream: Upstream) -> String {
    match upstream {
        Upstream::Origin => "origin".to_owned(),
        Upstream::Route(place) => format!("route_{place}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn deployment() -> Deployment {
        let core = crate::memory::tests::config();
        Deployment { core, origin: "http://127.0.0.1:8081".into() }
    }

    #[test]
    fn both_parts_make_the_whole() {
        let (config, secrets) = deployment().to_parts();
        let whole = Deployment::from_parts(&config, &secrets).unwrap();
        assert_eq!(whole.to_parts(), (config, secrets));
    }

    #[test]
    fn what_is_secret_is_in_the_secrets_alone() {
        let deployment = deployment();
        let (config, secrets) = deployment.to_parts();
        let secret = String::from(deployment.core.edge_key.secret.clone());
        assert!(!config.contains(&secret) && secrets.contains(&secret));
        for member in SECRET_MEMBERS {
            assert!(!config.contains(member) && secrets.contains(member), "{member}");
        }
    }

    #[test]
    fn a_part_that_is_wrong_is_named() {
        let (config, secrets) = deployment().to_parts();
        let error = |config: &str, secrets: &str| {
            Deployment::from_parts(config, secrets).err().unwrap_or_default()
        };
        assert!(error("{", &secrets).contains("configuration is no JSON"));
        assert!(error(&config, "hunter2").contains("secrets are no JSON object"));
        assert!(error(&config, "{}").contains("missing field `link_keys`"));
        let told = error(&config, r#"{"edge_key":"hunter2","link_keys":[],"guest":null}"#);
        assert!(!told.is_empty() && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn pieces_come_together_again() {
        let text = "aé".repeat(20);
        let cut = pieces("config", &text, 7).unwrap();
        assert!(cut.len() > 1 && cut.iter().all(|(_, piece)| piece.len() <= 7));
        let store: BTreeMap<_, _> = cut.into_iter().collect();
        assert_eq!(gather("config", |name| store.get(name).cloned()), Some(text));
        assert_eq!(gather("other", |name| store.get(name).cloned()), None);
    }

    #[test]
    fn a_text_over_all_pieces_is_refused_with_the_limit() {
        let most = "a".repeat(PIECES_MAX * 10);
        assert_eq!(pieces("config", &most, 10).unwrap().len(), PIECES_MAX);
        let error = pieces("config", &format!("{most}a"), 10).unwrap_err();
        assert_eq!(error, "config has 161 bytes, and the platform takes 160");
    }

    #[test]
    fn names() {
        assert_eq!(limit_binding("api-v1"), "OUTPORT_LIMIT_API_V1");
        assert_eq!(backend(Upstream::Origin), "origin");
        assert_eq!(backend(Upstream::Route(3)), "route_3");
    }
}
