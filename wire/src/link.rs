//! Signed links: a URL that lets whoever holds it fetch one file for a while.
//!
//! The query carries the expiry and an HMAC-SHA256 over the id, the expiry and whether the link
//! is for download only, so an edge checks a link without asking anybody.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::UnixSeconds;
use crate::id::FileId;
use crate::secret::Secret;

/// What a link grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The file.
    pub id: FileId,
    /// The last second in which the link is good.
    pub expires_s: UnixSeconds,
    /// Whether the file may only be saved, never shown.
    pub download: bool,
}

/// Why a link grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRefusal {
    /// It was ours, and its time is over.
    Expired,
    /// We did not make it, or it was changed.
    Invalid,
}

impl Link {
    /// The query of the link's URL, without the question mark.
    pub fn query(&self, key: &Secret) -> String {
        let mac = URL_SAFE_NO_PAD.encode(key.mac(self.message().as_bytes()));
        let download = if self.download { "download&" } else { "" };
        format!("{download}expires={}&signature={mac}", self.expires_s)
    }

    /// Reads a link to `id` from a query. `None` where the query holds no signature, so that the
    /// request is an ordinary one.
    pub fn read(
        id: FileId,
        query: &str,
        keys: &[Secret],
        now: UnixSeconds,
    ) -> Option<Result<Self, LinkRefusal>> {
        let field = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let signature = field("signature")?;
        let expires_s = field("expires").and_then(|expires| expires.parse().ok());
        let mac = URL_SAFE_NO_PAD.decode(signature).ok();
        let (Some(expires_s), Some(mac)) = (expires_s, mac) else {
            return Some(Err(LinkRefusal::Invalid));
        };
        // A plain link may be asked for as a download; a download link stays one.
        let granted = [true, false].into_iter().find_map(|download| {
            let link = Self { id, expires_s, download };
            let message = link.message();
            keys.iter().any(|key| key.verify(message.as_bytes(), &mac)).then_some(link)
        });
        Some(match granted {
            None => Err(LinkRefusal::Invalid),
            Some(link) if link.expires_s < now => Err(LinkRefusal::Expired),
            Some(link) => Ok(link),
        })
    }

    fn message(&self) -> String {
        let Self { id, expires_s, download } = self;
        format!("outport link 1\n{id}\n{expires_s}\n{download}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Secret {
        Secret::new(vec![byte; 32]).unwrap()
    }

    fn id(last: char) -> FileId {
        format!("01000G0000000C00000000000{last}").parse().unwrap()
    }

    #[test]
    fn grants_what_it_says() {
        for download in [true, false] {
            let link = Link { id: id('4'), expires_s: 100, download };
            let query = link.query(&key(1));
            let read = |id, query: &str, now| Link::read(id, query, &[key(2), key(1)], now);
            assert_eq!(read(id('4'), &query, 100), Some(Ok(link)));
            assert_eq!(read(id('4'), &query, 101), Some(Err(LinkRefusal::Expired)));
            assert_eq!(read(id('5'), &query, 100), Some(Err(LinkRefusal::Invalid)));
            let longer = query.replace("=100", "=999");
            assert_eq!(read(id('4'), &longer, 100), Some(Err(LinkRefusal::Invalid)));
            assert_eq!(
                Link::read(id('4'), &query, &[key(3)], 100),
                Some(Err(LinkRefusal::Invalid))
            );
        }
    }

    #[test]
    fn no_link_is_no_refusal() {
        assert_eq!(Link::read(id('4'), "download", &[key(1)], 0), None);
        let broken = Link::read(id('4'), "signature=%&expires=1", &[key(1)], 0);
        assert_eq!(broken, Some(Err(LinkRefusal::Invalid)));
    }
}
