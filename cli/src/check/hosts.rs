//! Addresses of upstreams, and what a platform lets an edge reach.

use std::net::IpAddr;

use reqwest::Url;

/// What the host of an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name.
    Name,
    /// A bare address.
    Address,
    /// The machine itself.
    Loopback,
}

impl Kind {
    pub(super) fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() || address.is_unspecified() => Self::Loopback,
            Ok(_) => Self::Address,
            Err(_) if host == "localhost" || host.ends_with(".localhost") => Self::Loopback,
            Err(_) => Self::Name,
        }
    }
}

/// Whether one line of Spin's `allowed_outbound_hosts` covers an address: `SCHEME://HOST[:PORT]`,
/// each of which may be `*`; the host also `*.DOMAIN`, the port also a range `A..B` without its
/// end. `None` where the line is no such pattern. Networks in CIDR form are not understood here.
pub(super) fn covers(pattern: &str, url: &Url) -> Option<bool> {
    let (scheme, rest) = pattern.trim().split_once("://")?;
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let asked = url.port_or_known_default()?;
    let ports = match port {
        Some("*") => 0..=u16::MAX,
        Some(port) => port_range(port)?,
        None => {
            let known = Url::parse(&format!("{scheme}://host")).ok()?.port_or_known_default();
            known?..=known?
        }
    };
    let name = url.host_str()?;
    let host_covers = match host.strip_prefix("*.") {
        Some(domain) => name.strip_suffix(domain).is_some_and(|left| left.ends_with('.')),
        None => host == "*" || host == name,
    };
    let scheme_covers = scheme == "*" || scheme == url.scheme();
    Some(scheme_covers && host_covers && ports.contains(&asked))
}

fn port_range(port: &str) -> Option<std::ops::RangeInclusive<u16>> {
    match port.split_once("..") {
        Some((first, end)) => Some(first.parse().ok()?..=end.parse::<u16>().ok()?.checked_sub(1)?),
        None => port.parse().ok().map(|port| port..=port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (url, kind) in [
            ("http://files.example.com", Kind::Name),
            ("http://192.0.2.1:80", Kind::Address),
            ("http://[2001:db8::1]/", Kind::Address),
            ("http://127.0.0.1:8000", Kind::Loopback),
            ("http://[::1]:8000", Kind::Loopback),
            ("http://localhost:8000", Kind::Loopback),
            ("http://a.localhost", Kind::Loopback),
        ] {
            assert_eq!(Kind::of(&Url::parse(url).unwrap()), kind, "{url}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, url, covered) in [
            ("http://a.example.com", "http://a.example.com", Some(true)),
            ("http://a.example.com/", "http://a.example.com/x", Some(true)),
            ("http://a.example.com", "https://a.example.com", Some(false)),
            ("http://a.example.com", "http://a.example.com:81", Some(false)),
            ("http://a.example.com:81", "http://a.example.com:81", Some(true)),
            ("https://*.example.com", "https://a.b.example.com", Some(true)),
            ("https://*.example.com", "https://example.com", Some(false)),
            ("https://*.example.com", "https://badexample.com", Some(false)),
            ("*://*:*", "http://127.0.0.1:8081", Some(true)),
            ("http://127.0.0.1:8000..8081", "http://127.0.0.1:8081", Some(false)),
            ("http://127.0.0.1:8000..8082", "http://127.0.0.1:8081", Some(true)),
            ("http://127.0.0.1:x", "http://127.0.0.1:8081", None),
            ("*", "http://a", None),
        ] {
            assert_eq!(covers(pattern, &Url::parse(url).unwrap()), covered, "{pattern} {url}");
        }
    }
}
