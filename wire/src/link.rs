//! Signed links: a URL that lets whoever holds it fetch one file for a while, perhaps from somewhere
//! only, or with a password.
//!
//! The query carries what the link grants and an HMAC-SHA256 over that and the id, so an edge checks
//! a link without asking anybody.

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::UnixSeconds;
use crate::id::FileId;
use crate::secret::Secret;

/// The parameter of a link that a password goes with.
const PROTECTED: &str = "protected";
/// So much of a signature tells one link to a file from all others: 96 bits.
const MARK_BYTES: usize = 16;

/// What a link grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The file.
    pub id: FileId,
    /// The first second in which the link is good. Absent: it is good already.
    pub begins_s: Option<UnixSeconds>,
    /// The last second in which the link is good.
    pub expires_s: UnixSeconds,
    /// From where it is good. Absent: from everywhere.
    pub network: Option<IpNet>,
    /// When it was made, in milliseconds since 1970: a file's owner may have ended all links that
    /// were made before. Absent: before there was a way to say so.
    pub issued_ms: Option<u64>,
    /// The digest of the password that goes with it ([`password_digest`]). Absent: none does.
    pub password: Option<[u8; 32]>,
    /// Whether the file may only be saved, never shown.
    pub download: bool,
    /// How often the file may be fetched with it: the origin counts. Absent: any number of times.
    pub uses: Option<u32>,
}

/// Who comes with a link.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The password that came with the request.
    pub password: Option<&'a str>,
}

/// What is signed of a password. It is in no link: whoever has one can't try passwords without us.
pub fn password_digest(password: &str) -> [u8; 32] {
    Sha256::digest(password).into()
}

/// Why a link grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkRefusal {
    /// It was ours, and its time is over.
    Expired,
    /// It is ours, and its time has not begun.
    Early,
    /// It is ours, and for clients of another network.
    Elsewhere,
    /// It says that a password goes with it, and another one came or none; or we did not make it.
    Password,
    /// It is ours, and was used as often as it may be.
    Used,
    /// We did not make it, or it was changed.
    Invalid,
}

impl Link {
    /// A link that is good from now on, and everywhere.
    pub const fn until(id: FileId, expires_s: UnixSeconds) -> Self {
        Self {
            id,
            begins_s: None,
            expires_s,
            network: None,
            issued_ms: None,
            password: None,
            download: false,
            uses: None,
        }
    }

    /// The query of the link's URL, without the question mark.
    pub fn query(&self, key: &Secret) -> String {
        let mac = URL_SAFE_NO_PAD.encode(key.mac(self.message().as_bytes()));
        let mut query = if self.download { "download&" } else { "" }.to_owned();
        // Writing to a String never fails.
        if let Some(begins_s) = self.begins_s {
            let _ = write!(query, "begins={begins_s}&");
        }
        if let Some(network) = self.network {
            let _ = write!(query, "network={network}&");
        }
        if let Some(issued_ms) = self.issued_ms {
            let _ = write!(query, "issued={issued_ms}&");
        }
        if self.password.is_some() {
            let _ = write!(query, "{PROTECTED}&");
        }
        if let Some(uses) = self.uses {
            let _ = write!(query, "uses={uses}&");
        }
        let _ = write!(query, "expires={}&signature={mac}", self.expires_s);
        query
    }

    /// Reads a link to `id` from a query, for whoever comes with it. `None` where the query holds no
    /// signature, so that the request is an ordinary one.
    pub fn read(
        id: FileId,
        query: &str,
        keys: &[Secret],
        now: UnixSeconds,
        holder: Holder<'_>,
    ) -> Option<Result<Self, LinkRefusal>> {
        let field = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let signature = field("signature")?;
        let is_protected = is_protected(query);
        let link = Self::said(id, &field).zip(URL_SAFE_NO_PAD.decode(signature).ok());
        let Some((mut link, mac)) = link else { return Some(Err(LinkRefusal::Invalid)) };
        if is_protected {
            let Some(password) = holder.password else { return Some(Err(LinkRefusal::Password)) };
            link.password = Some(password_digest(password));
        }
        // A plain link may be asked for as a download; a download link stays one.
        let granted = [true, false].into_iter().find_map(|download| {
            let link = Self { download, ..link };
            let message = link.message();
            keys.iter().any(|key| key.verify(message.as_bytes(), &mac)).then_some(link)
        });
        Some(match granted {
            None if is_protected => Err(LinkRefusal::Password),
            None => Err(LinkRefusal::Invalid),
            Some(link) if link.expires_s < now => Err(LinkRefusal::Expired),
            Some(link) if link.begins_s.is_some_and(|begins| now < begins) => {
                Err(LinkRefusal::Early)
            }
            Some(link)
                if link.network.is_some_and(|network| !network.contains(&holder.address)) =>
            {
                Err(LinkRefusal::Elsewhere)
            }
            Some(link) => Ok(link),
        })
    }

    /// What a query says to grant.
    fn said<'q>(id: FileId, field: &impl Fn(&str) -> Option<&'q str>) -> Option<Self> {
        let begins_s = field("begins").map(str::parse).transpose().ok()?;
        let network = field("network").map(str::parse).transpose().ok()?;
        let issued_ms = field("issued").map(str::parse).transpose().ok()?;
        let uses = field("uses").map(str::parse).transpose().ok()?;
        let expires_s = field("expires")?.parse().ok()?;
        Some(Self { begins_s, network, issued_ms, uses, ..Self::until(id, expires_s) })
    }

    /// What is signed. Those of older forms have less that could be said.
    fn message(&self) -> String {
        let Self { id, begins_s, expires_s, network, issued_ms, password, download, uses } = self;
        let is_old = issued_ms.is_none() && password.is_none() && uses.is_none();
        if is_old && begins_s.is_none() && network.is_none() {
            return format!("outport link 1\n{id}\n{expires_s}\n{download}");
        }
        let begins_s = begins_s.unwrap_or_default();
        let network = network.map(|network| network.to_string()).unwrap_or_default();
        if is_old {
            return format!("outport link 2\n{id}\n{begins_s}\n{expires_s}\n{network}\n{download}");
        }
        let issued_ms = issued_ms.map(|issued_ms| issued_ms.to_string()).unwrap_or_default();
        let password = password.map(|digest| URL_SAFE_NO_PAD.encode(digest)).unwrap_or_default();
        let (form, uses) = match uses {
            None => (3, String::new()),
            Some(uses) => (4, format!("\n{uses}")),
        };
        format!(
            "outport link {form}\n{id}\n{begins_s}\n{expires_s}\n{network}\n{issued_ms}\n{password}\n\
             {download}{uses}"
        )
    }
}

/// By what the uses of a link are counted: the beginning of its signature. `None` where the query has none.
pub fn mark(query: &str) -> Option<&str> {
    let mut signatures = query.split('&').filter_map(|pair| pair.strip_prefix("signature="));
    signatures.next()?.get(..MARK_BYTES)
}

/// Whether a query says that a password goes with its link.
pub fn is_protected(query: &str) -> bool {
    query.split('&').any(|parameter| parameter == PROTECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Holder<'static> =
        Holder { address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), password: None };

    fn key(byte: u8) -> Secret {
        Secret::new(vec![byte; 32]).unwrap()
    }

    fn id(last: char) -> FileId {
        format!("01000G0000000C00000000000{last}").parse().unwrap()
    }

    /// A link with everything that there is.
    fn bounded(download: bool) -> Link {
        let network = Some("192.0.2.0/24".parse().unwrap());
        Link { begins_s: Some(50), network, download, ..Link::until(id('4'), 100) }
    }

    #[test]
    fn grants_what_it_says() {
        let plain = Link::until(id('4'), 100);
        let download = Link { download: true, ..plain };
        for link in [plain, download, bounded(true), bounded(false)] {
            let query = link.query(&key(1));
            let read = |id, query: &str, now| Link::read(id, query, &[key(2), key(1)], now, HERE);
            assert_eq!(read(id('4'), &query, 100), Some(Ok(link)));
            assert_eq!(read(id('4'), &query, 101), Some(Err(LinkRefusal::Expired)));
            assert_eq!(read(id('5'), &query, 100), Some(Err(LinkRefusal::Invalid)));
            let longer = query.replace("=100", "=999");
            assert_eq!(read(id('4'), &longer, 100), Some(Err(LinkRefusal::Invalid)));
            assert_eq!(
                Link::read(id('4'), &query, &[key(3)], 100, HERE),
                Some(Err(LinkRefusal::Invalid))
            );
        }
    }

    #[test]
    fn bounds_hold_and_stay() {
        let query = bounded(false).query(&key(1));
        let read = |query: &str, now, from: &str| {
            let holder = Holder { address: from.parse().unwrap(), password: None };
            Link::read(id('4'), query, &[key(1)], now, holder)
        };
        assert_eq!(read(&query, 50, "192.0.2.255"), Some(Ok(bounded(false))));
        assert_eq!(read(&query, 49, "192.0.2.1"), Some(Err(LinkRefusal::Early)));
        for other in ["192.0.3.0", "::1", "::ffff:c000:201"] {
            assert_eq!(read(&query, 50, other), Some(Err(LinkRefusal::Elsewhere)), "{other}");
        }
        for changed in [
            query.replace("begins=50&", ""),
            query.replace("begins=50&", "begins=5&"),
            query.replace("begins=50&", "begins=&"),
            query.replace("network=192.0.2.0/24&", ""),
            query.replace("/24", "/8"),
            query.replace("network=192.0.2.0/24", "network="),
            query.replace("begins=50&network=192.0.2.0/24&", ""),
        ] {
            assert_eq!(
                read(&changed, 60, "192.0.2.1"),
                Some(Err(LinkRefusal::Invalid)),
                "{changed}"
            );
        }
        // A bound that a link does not have makes another link of it.
        let plain = Link::until(id('4'), 100).query(&key(1));
        for more in ["begins=0&", "network=0.0.0.0/0&"] {
            let changed = format!("{more}{plain}");
            assert_eq!(
                read(&changed, 60, "192.0.2.1"),
                Some(Err(LinkRefusal::Invalid)),
                "{changed}"
            );
        }
    }

    #[test]
    fn a_password_goes_with_it() {
        let password = Some(password_digest("sesame"));
        let link = Link { password, issued_ms: Some(7), ..bounded(false) };
        let query = link.query(&key(1));
        assert!(!query.contains("sesame") && query.contains("issued=7&protected&"), "{query}");
        let read = |query: &str, password, now| {
            Link::read(id('4'), query, &[key(1)], now, Holder { password, ..HERE })
        };
        assert_eq!(read(&query, Some("sesame"), 60), Some(Ok(link)));
        assert_eq!(read(&query, Some("sesam"), 60), Some(Err(LinkRefusal::Password)));
        assert_eq!(read(&query, None, 60), Some(Err(LinkRefusal::Password)));
        assert_eq!(read(&query, Some("sesame"), 101), Some(Err(LinkRefusal::Expired)));
        let open = query.replace("protected&", "");
        assert_eq!(read(&open, Some("sesame"), 60), Some(Err(LinkRefusal::Invalid)));
        let younger = query.replace("issued=7", "issued=8");
        assert_eq!(read(&younger, Some("sesame"), 60), Some(Err(LinkRefusal::Password)));
        // A link without a password is none with the empty one.
        let plain = Link { issued_ms: Some(7), ..bounded(false) }.query(&key(1));
        let closed = plain.replace("issued", "protected&issued");
        assert_eq!(read(&closed, Some(""), 60), Some(Err(LinkRefusal::Password)));
        let younger = plain.replace("issued=7", "issued=8");
        assert_eq!(read(&younger, None, 60), Some(Err(LinkRefusal::Invalid)));
    }

    #[test]
    fn uses_are_signed_and_counted_by_a_mark() {
        let link = Link { uses: Some(3), issued_ms: Some(7), ..bounded(false) };
        let query = link.query(&key(1));
        let read = |query: &str| Link::read(id('4'), query, &[key(1)], 60, HERE);
        assert_eq!(read(&query), Some(Ok(link)));
        let signature = query.split_once("signature=").unwrap().1;
        assert_eq!(mark(&query), Some(&signature[..16]));
        assert_eq!(mark(&format!("download&{query}")), mark(&query));
        for changed in [
            query.replace("uses=3", "uses=4"),
            query.replace("uses=3&", ""),
            query.replace("uses=3", "uses="),
            query.replace("uses=3", "uses=-1"),
        ] {
            assert_eq!(read(&changed), Some(Err(LinkRefusal::Invalid)), "{changed}");
        }
        let plain = Link { uses: None, ..link }.query(&key(1));
        assert_eq!(read(&format!("uses=3&{plain}")), Some(Err(LinkRefusal::Invalid)));
        assert_eq!(mark("expires=1&signature=short"), None);
        assert_eq!(mark("expires=1"), None);
    }

    #[test]
    fn no_link_is_no_refusal() {
        assert_eq!(Link::read(id('4'), "download", &[key(1)], 0, HERE), None);
        let broken = Link::read(id('4'), "signature=%&expires=1", &[key(1)], 0, HERE);
        assert_eq!(broken, Some(Err(LinkRefusal::Invalid)));
    }
}
