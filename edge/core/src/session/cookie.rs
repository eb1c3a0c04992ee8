//! The cookies of a session: what they say, signed (HMAC-SHA256) so that an edge believes it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_wire::UnixSeconds;
use outport_wire::identity::Identity;
use outport_wire::secret::Secret;
use outport_wire::session::SessionId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::challenge;
use crate::guard::Guarded;
use crate::head::{Fields, without_ows};
use crate::sharing;

/// The cookie that says who somebody is. Its prefix has browsers take it from this host alone, over an
/// encrypted connection or on the machine itself (RFC 6265bis, section 4.1.3.2).
pub(crate) const SESSION: &str = "__Host-outport";
/// The cookie that begins the next generation of both.
pub(crate) const REFRESH: &str = "__Host-outport-refresh";
/// The longest cookie that is looked at, in bytes. The longest names make 730.
const COOKIE_BYTES_MAX: usize = 1024;

/// A session, as both of its cookies say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) identity: Identity,
    /// When somebody has signed in.
    pub(crate) signed_in_s: UnixSeconds,
    /// When it ends, whatever is done.
    pub(crate) until_s: UnixSeconds,
}

/// What the cookie of a session says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Short {
    pub(crate) session: Session,
    pub(crate) issued_s: UnixSeconds,
    pub(crate) expires_s: UnixSeconds,
}

/// What the refresh token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refreshing {
    pub(crate) session: Session,
    pub(crate) generation: u32,
    pub(crate) expires_s: UnixSeconds,
}

impl Short {
    /// The cookie's value, by the newest key. `None` where there is no key.
    pub(crate) fn seal(&self, keys: &[Secret]) -> Option<String> {
        seal(SESSION, self, keys)
    }

    /// Reads a cookie's value that one of the keys has signed.
    pub(crate) fn open(value: &str, keys: &[Secret]) -> Option<Self> {
        open(SESSION, value, keys)
    }
}

impl Refreshing {
    /// As [`Short::seal`].
    pub(crate) fn seal(&self, keys: &[Secret]) -> Option<String> {
        seal(REFRESH, self, keys)
    }

    /// As [`Short::open`].
    pub(crate) fn open(value: &str, keys: &[Secret]) -> Option<Self> {
        open(REFRESH, value, keys)
    }
}

/// What is signed: the cookie's name, so that none is taken for another, and what it says.
fn signed(name: &str, said: &str) -> Vec<u8> {
    [name.as_bytes(), b"=", said.as_bytes()].concat()
}

fn seal(name: &str, says: &impl Serialize, keys: &[Secret]) -> Option<String> {
    let said = URL_SAFE_NO_PAD.encode(postcard::to_stdvec(says).ok()?);
    let mac = keys.first()?.mac(&signed(name, &said));
    Some(format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac)))
}

fn open<T: DeserializeOwned>(name: &str, value: &str, keys: &[Secret]) -> Option<T> {
    if value.len() > COOKIE_BYTES_MAX {
        return None;
    }
    let (said, mac) = value.split_once('.')?;
    let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
    let message = signed(name, said);
    if !keys.iter().any(|key| key.verify(&message, &mac)) {
        return None;
    }
    postcard::from_bytes(&URL_SAFE_NO_PAD.decode(said).ok()?).ok()
}

/// The value of a cookie (RFC 6265, section 4.2). `None` where it comes twice: one is somebody
/// else's, and nobody knows which.
pub(crate) fn read<'a>(request: &Guarded<'a>, name: &str) -> Option<&'a str> {
    let lines = request.fields.iter().filter(|(field, _)| *field == "cookie");
    let mut found = lines.flat_map(|(_, line)| values(line, name));
    let value = found.next()?;
    found.next().is_none().then_some(std::str::from_utf8(value).ok()).flatten()
}

/// The values that a `Cookie` field gives to this name.
pub(crate) fn values<'a>(field: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let of_name = move |pair: &'a [u8]| {
        let (found, value) = split(pair);
        (found == name.as_bytes()).then_some(value?)
    };
    field.split(|byte| *byte == b';').filter_map(of_name)
}

/// Name and value of a pair, without the white space around them: that of HTTP (RFC 9110, section
/// 5.6.3), and no other, so that nobody else reads another name.
fn split(pair: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = pair.iter().position(|byte| *byte == b'=');
    let (name, value) = pair.split_at(end.unwrap_or(pair.len()));
    (without_ows(name), value.split_first().map(|(_, value)| without_ows(value)))
}

/// A `Cookie` field for somebody else: ours are nobody's business. `None` where nothing is left.
pub(crate) fn without_ours(value: &[u8]) -> Option<Vec<u8>> {
    let is_ours = |pair: &&[u8]| {
        let (name, _) = split(pair);
        [SESSION, REFRESH, challenge::COOKIE, sharing::COOKIE]
            .iter()
            .any(|ours| name == ours.as_bytes())
    };
    let left: Vec<_> = value.split(|byte| *byte == b';').filter(|pair| !is_ours(pair)).collect();
    let left = without_ows(&left.join(&b';')).to_vec();
    (!left.is_empty()).then_some(left)
}

/// Gives the cookie of a session, for so long.
pub(crate) fn set(value: &str, life_s: u64, fields: &mut Fields) {
    fields.push_args(
        "set-cookie",
        format_args!("{SESSION}={value}; {} SameSite=Lax", attributes(life_s)),
    );
}

/// Gives the cookie of its refresh token, for so long.
pub(crate) fn set_refresh(value: &str, life_s: u64, fields: &mut Fields) {
    let attributes = attributes(life_s);
    fields.push_args("set-cookie", format_args!("{REFRESH}={value}; {attributes} SameSite=Strict"));
}

/// Takes both away.
pub(crate) fn clear(fields: &mut Fields) {
    set("", 0, fields);
    set_refresh("", 0, fields);
}

fn attributes(life_s: u64) -> String {
    format!("Path=/; Max-Age={life_s}; Secure; HttpOnly;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::guard;

    fn key(byte: u8) -> Secret {
        Secret::new(vec![byte; 32]).unwrap()
    }

    fn session(name: &str) -> Session {
        Session {
            id: SessionId::new(7),
            identity: Identity::new(name, name, outport_wire::identity::Scopes::all()).unwrap(),
            signed_in_s: 1_800_000_000,
            until_s: 1_900_000_000,
        }
    }

    fn short(name: &str) -> Short {
        Short { session: session(name), issued_s: 1_800_000_000, expires_s: 1_800_000_900 }
    }

    #[test]
    fn comes_back_by_any_of_the_keys() {
        let value = short("demo").seal(&[key(1), key(2)]).unwrap();
        assert_eq!(Short::open(&value, &[key(1)]), Some(short("demo")));
        assert_eq!(Short::open(&value, &[key(3), key(1)]), Some(short("demo")));
        assert_eq!(Short::open(&value, &[key(2)]), None);
        assert_eq!(Short::open(&value, &[]), None);
        assert_eq!(short("demo").seal(&[]), None);
        let long = short(&"ü".repeat(64)).seal(&[key(1)]).unwrap();
        assert!(Short::open(&long, &[key(1)]).is_some(), "{}", long.len());
    }

    #[test]
    fn none_is_taken_for_the_other() {
        let refreshing =
            Refreshing { session: session("demo"), generation: 3, expires_s: 1_900_000_000 };
        let value = refreshing.seal(&[key(1)]).unwrap();
        assert_eq!(Refreshing::open(&value, &[key(1)]), Some(refreshing));
        assert_eq!(Short::open(&value, &[key(1)]), None);
        assert_eq!(Refreshing::open(&short("demo").seal(&[key(1)]).unwrap(), &[key(1)]), None);
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let value = short("demo").seal(&[key(1)]).unwrap();
        for at in 0..value.len() {
            let mut changed = value.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            // The last letters of base64 have bits that say nothing.
            let opened = Short::open(&changed, &[key(1)]);
            assert!(opened.is_none() || opened == Some(short("demo")), "{changed}");
        }
        assert_eq!(Short::open(&format!("{value}x"), &[key(1)]), None);
        assert_eq!(Short::open(&format!("{value}.x"), &[key(1)]), None);
        assert_eq!(Short::open(&"a".repeat(5_000), &[key(1)]), None);
        // Longer than any that an edge makes, though it is signed.
        let mut long = short("demo");
        long.session.identity.tenant = "a".repeat(COOKIE_BYTES_MAX);
        assert_eq!(Short::open(&long.seal(&[key(1)]).unwrap(), &[key(1)]), None);
    }

    #[test]
    fn one_among_others() {
        let read = |cookies: &str| {
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{cookies}");
            super::read(&guard(head.as_bytes()).unwrap(), SESSION).map(str::to_owned)
        };
        assert_eq!(read("cookie: a=b; __Host-outport=v=1; c=d\r\n").as_deref(), Some("v=1"));
        assert_eq!(read("cookie: a=b\r\ncookie: __Host-outport=v\r\n").as_deref(), Some("v"));
        assert_eq!(read("cookie: __Host-outport-refresh=v\r\n"), None);
        assert_eq!(read("cookie: __Host-outport=v; __Host-outport=w\r\n"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn ours_go_to_nobody_else() {
        let left = |value: &str| {
            let left = without_ours(value.as_bytes());
            left.map(|left| String::from_utf8(left).unwrap())
        };
        assert_eq!(left("a=b; __Host-outport=v; c=d").as_deref(), Some("a=b; c=d"));
        assert_eq!(left("__Host-outport-refresh=v;c=d").as_deref(), Some("c=d"));
        assert_eq!(left("__Host-outport=v; __Host-outport-refresh=w"), None);
        assert_eq!(left("a=b; x__Host-outport=v").as_deref(), Some("a=b; x__Host-outport=v"));
    }

    #[test]
    fn what_browsers_are_given() {
        let mut fields = Fields::new();
        set("v", 900, &mut fields);
        clear(&mut fields);
        assert_eq!(
            String::from_utf8(fields.into_bytes()).unwrap(),
            "set-cookie: __Host-outport=v; Path=/; Max-Age=900; Secure; HttpOnly; SameSite=Lax\r\n\
             set-cookie: __Host-outport=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax\r\n\
             set-cookie: __Host-outport-refresh=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict\r\n"
        );
    }
}
