//! Passes: cookies that let whoever has one read everything below a prefix, for a while.
//!
//! As a signed link is for one file, a pass is for a tree of paths behind a route: a film in its thousand
//! pieces, a site of documentation. It acts for whoever made it. What it says is signed (HMAC-SHA256), so
//! an edge checks it without asking anybody.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::UnixSeconds;
use crate::identity::Identity;
use crate::link::LinkRefusal;
use crate::secret::Secret;

/// The longest prefix, in bytes.
pub const PREFIX_BYTES_MAX: usize = 200;
/// The longest pass that is looked at, in bytes. The longest names make 1,030.
pub const PASS_BYTES_MAX: usize = 1_536;
/// What is signed begins with this, so that nothing else that is signed is taken for a pass.
const DOMAIN: &[u8] = b"outport pass 1\n";

/// What a pass grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Whoever made it, for whom it acts. Its scopes are not told: a pass reads.
    #[serde(rename = "for")]
    pub identity: Identity,
    /// The paths that begin with it, as [`check_prefix`] has it.
    pub prefix: String,
    /// When it was made: what was issued until some second may have been revoked.
    #[serde(rename = "iat")]
    pub issued_s: UnixSeconds,
    /// The first second in which it is good. Absent: it is good already.
    #[serde(rename = "nbf", default, skip_serializing_if = "Option::is_none")]
    pub begins_s: Option<UnixSeconds>,
    /// The last second in which it is good.
    #[serde(rename = "exp")]
    pub expires_s: UnixSeconds,
    /// From where it is good. Absent: from everywhere.
    #[serde(rename = "net", default, skip_serializing_if = "Option::is_none")]
    pub network: Option<IpNet>,
}

impl Pass {
    /// The pass as text: base64url, a full stop, base64url.
    pub fn seal(&self, key: &Secret) -> String {
        let said = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default());
        let mac = key.mac(&signed(&said));
        format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Reads a pass that one of the keys has signed.
    pub fn open(text: &str, keys: &[Secret]) -> Option<Self> {
        if text.len() > PASS_BYTES_MAX {
            return None;
        }
        let (said, mac) = text.split_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let message = signed(said);
        if !keys.iter().any(|key| key.verify(&message, &mac)) {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(said).ok()?).ok()
    }

    /// Whether it is for this path, in the one form of all paths that may be taken for the same.
    pub fn is_for(&self, canonical_path: &[u8]) -> bool {
        canonical_path.starts_with(self.prefix.as_bytes())
    }

    /// Refuses it before its time, after it, and elsewhere.
    pub fn check(&self, address: IpAddr, now: UnixSeconds) -> Result<(), LinkRefusal> {
        if self.expires_s < now {
            return Err(LinkRefusal::Expired);
        }
        if self.begins_s.is_some_and(|begins| now < begins) {
            return Err(LinkRefusal::Early);
        }
        if self.network.is_some_and(|network| !network.contains(&address)) {
            return Err(LinkRefusal::Elsewhere);
        }
        Ok(())
    }
}

/// Whether a text can be the prefix of a pass: it begins and ends with a slash, so that no path is meant
/// that goes on with other letters; and it is as paths are compared, decoded, without dot segments and
/// parameters.
pub fn check_prefix(prefix: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"%?#;\\\"".contains(&byte);
    prefix.len() <= PREFIX_BYTES_MAX
        && prefix.starts_with('/')
        && prefix.ends_with('/')
        && prefix.bytes().all(is_plain)
        && !prefix.contains("//")
        && !prefix.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn signed(said: &str) -> Vec<u8> {
    [DOMAIN, said.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Scopes;

    fn key(byte: u8) -> Secret {
        Secret::new(vec![byte; 32]).unwrap()
    }

    fn pass() -> Pass {
        Pass {
            identity: Identity::new("demo", "alice", Scopes::default()).unwrap(),
            prefix: "/film/7/".to_owned(),
            issued_s: 40,
            begins_s: Some(50),
            expires_s: 100,
            network: Some("192.0.2.0/24".parse().unwrap()),
        }
    }

    #[test]
    fn comes_back_by_any_of_the_keys_and_by_no_other() {
        let text = pass().seal(&key(1));
        assert_eq!(Pass::open(&text, &[key(2), key(1)]), Some(pass()));
        assert_eq!(Pass::open(&text, &[key(2)]), None);
        let (said, mac) = text.split_once('.').unwrap();
        let other = Pass { prefix: "/".to_owned(), ..pass() }.seal(&key(2));
        let (wider, _) = other.split_once('.').unwrap();
        for changed in [
            format!("{wider}.{mac}"),
            format!("{said}.{}", &mac[..22]),
            format!("{said}."),
            format!("{said}A.{mac}"),
            said.to_owned(),
            String::new(),
            format!("{text}{}", "A".repeat(PASS_BYTES_MAX)),
        ] {
            assert_eq!(Pass::open(&changed, &[key(1)]), None, "{changed}");
        }
        let name = "\u{fc}".repeat(64);
        let identity = Identity::new(&name, &name, Scopes::all()).unwrap();
        let prefix = format!("/{}/", "a".repeat(PREFIX_BYTES_MAX - 2));
        let long = Pass { identity, prefix, ..pass() };
        assert_eq!(Pass::open(&long.seal(&key(1)), &[key(1)]), Some(long));
    }

    #[test]
    fn bounds_hold() {
        let check = |now, address: &str| pass().check(address.parse().unwrap(), now);
        assert_eq!(check(50, "192.0.2.1"), Ok(()));
        assert_eq!(check(100, "192.0.2.255"), Ok(()));
        assert_eq!(check(49, "192.0.2.1"), Err(LinkRefusal::Early));
        assert_eq!(check(101, "192.0.2.1"), Err(LinkRefusal::Expired));
        assert_eq!(check(50, "192.0.3.1"), Err(LinkRefusal::Elsewhere));
        for (path, expected) in [
            ("/film/7/", true),
            ("/film/7/a/b.ts", true),
            ("/film/7", false),
            ("/film/70/a", false),
            ("/Film/7/a", false),
            ("/", false),
        ] {
            assert_eq!(pass().is_for(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn what_is_a_prefix() {
        for prefix in ["/", "/a/", "/a/b-c_d~e/", "/.well-known/", "/a=b,c/"] {
            assert!(check_prefix(prefix), "{prefix}");
        }
        let long = format!("/{}/", "a".repeat(PREFIX_BYTES_MAX));
        for wrong in [
            "", "a/", "/a", "//", "/a//b/", "/../", "/a/./", "/%61/", "/a;b/", "/a?b/", "/a b/",
            "/a\\b/", "/\u{fc}/", "/a\"/", &long,
        ] {
            assert!(!check_prefix(wrong), "{wrong}");
        }
    }
}
