//! Who asks, where proxies stand in front of the edge.
//!
//! A proxy says for whom it asks in `Forwarded` (RFC 7239) or in the `X-Forwarded-` fields, and so
//! could anybody. They are believed as far as somebody known wrote them: from the peer on, as long
//! as the one before is in a configured network. The lists are read from their end, where the
//! nearest proxy wrote; what stands left of the first stranger is his own claim and is not looked
//! at, whatever it is.
//!
//! Where a client is, no standard says. A proxy says it in a field that the deployment names, which it
//! must set itself, whatever came with the request.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use outport_wire::network;

use crate::country::Country;
use crate::guard::Guarded;
use crate::head::{FieldLines, RequestHead};
use crate::step::Connection;

/// The networks whose proxies are believed, and how they say where a client is.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    country_field: Option<String>,
}

impl TrustedProxies {
    /// Reads networks (`10.0.0.0/8`) and single addresses (`::1`). The error is what is neither.
    pub fn parse<T: AsRef<str>>(networks: &[T]) -> Result<Self, &str> {
        networks
            .iter()
            .map(|text| network::read(text.as_ref()).ok_or(text.as_ref()))
            .collect::<Result<_, _>>()
            .map(|networks| Self { networks, country_field: None })
    }

    /// The same, who say in this field where a client is.
    #[must_use]
    pub fn telling_country(self, field: Option<String>) -> Self {
        Self { country_field: field, ..self }
    }

    fn include(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The address of who asks, as the connection and a whole head show it.
    pub fn address(&self, peer: IpAddr, head: &[u8]) -> IpAddr {
        let fields = RequestHead::parse(head).map_or(FieldLines::new(b""), |head| head.fields);
        self.client(Connection::new(peer, false), fields).address
    }

    /// Whether this is one of them.
    pub fn has(&self, peer: IpAddr) -> bool {
        self.include(peer.to_canonical())
    }

    /// Who asks, and how: what the connection shows, unless a proxy that is believed says better.
    pub(crate) fn client<'a>(&self, connection: Connection, fields: FieldLines<'a>) -> Client<'a> {
        let Connection { peer, secure, country } = connection;
        // On a socket for both families, an IPv4 peer comes as one of IPv6.
        let peer = peer.to_canonical();
        let proxied = self.include(peer);
        let seen = Client { address: peer, secure, host: None, proxied, country };
        if !proxied {
            return seen;
        }
        // Where the proxy is says nothing of where its client is.
        let seen = Client { country: self.country_told(fields), ..seen };
        let lines = nearest_first(fields, "forwarded");
        let told = if lines.is_empty() {
            self.follow(seen, unstandardized(fields))
        } else {
            self.follow(seen, standardized(&lines))
        };
        told.unwrap_or(seen)
    }

    /// Where the client is, if a proxy says it. What is said twice was not said by the proxy alone.
    fn country_told(&self, fields: FieldLines<'_>) -> Country {
        let Some(field) = &self.country_field else { return Country::UNKNOWN };
        let mut said = fields.iter().filter(|(name, _)| name == field);
        match (said.next(), said.next()) {
            (Some((_, code)), None) => Country::told(code),
            _ => Country::UNKNOWN,
        }
    }

    /// The field in which they say where a client is.
    pub(crate) fn country_field(&self) -> Option<&str> {
        self.country_field.as_deref()
    }

    /// Goes back from proxy to proxy. `None`: what one of them wrote is malformed.
    fn follow<'a>(
        &self,
        seen: Client<'a>,
        hops: impl Iterator<Item = Option<Hop<'a>>>,
    ) -> Option<Client<'a>> {
        let mut client = seen;
        for hop in hops {
            let Hop { node, secure, host } = hop?;
            client.secure = secure.unwrap_or(seen.secure);
            client.host = host;
            match node {
                Node::Address(address) => client.address = address,
                // The proxy before is the last one that is known.
                Node::Hidden => break,
            }
            if !self.include(client.address) {
                break;
            }
        }
        Some(client)
    }
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client<'a> {
    /// The client's address, as far as it is known.
    pub(crate) address: IpAddr,
    /// Whether the client's connection is encrypted.
    pub(crate) secure: bool,
    /// The host that the client asked for, if a proxy says it.
    pub(crate) host: Option<&'a str>,
    /// Whether it asks through a proxy that is trusted.
    pub(crate) proxied: bool,
    /// Where the client is, as far as somebody tells.
    pub(crate) country: Country,
}

impl<'a> Client<'a> {
    /// The host that a request is for.
    pub(crate) fn host_of(&self, request: &Guarded<'a>) -> &'a str {
        self.host.or(request.fields.get("host")).unwrap_or_default()
    }
}

/// What a proxy says of a request that it got.
struct Hop<'a> {
    node: Node,
    secure: Option<bool>,
    host: Option<&'a str>,
}

/// Who sent it.
enum Node {
    Address(IpAddr),
    /// The proxy does not say (RFC 7239, section 6.3), or does not know.
    Hidden,
}

/// The hops of `Forwarded`, nearest first.
fn standardized<'a>(lines: &[Option<&'a str>]) -> impl Iterator<Item = Option<Hop<'a>>> {
    // What is no text is no element either.
    lines.iter().flat_map(|line| from_the_end(line.unwrap_or_default(), ',')).map(element)
}

/// An element of `Forwarded` (RFC 7239, section 4).
fn element(element: &str) -> Option<Hop<'_>> {
    let (mut node, mut secure, mut host) = (None, None, None);
    for pair in from_the_end(element, ';') {
        let (name, value) = pair.split_once('=')?;
        let value = unquoted(value)?;
        let is_new = match name.to_ascii_lowercase().as_str() {
            "for" => node.replace(read_node(value)?).is_none(),
            "proto" => secure.replace(read_proto(value)?).is_none(),
            "host" => host.replace(read_host(value)?).is_none(),
            _ => true,
        };
        if !is_new {
            return None;
        }
    }
    Some(Hop { node: node.unwrap_or(Node::Hidden), secure, host })
}

/// The hops of the `X-Forwarded-` fields, nearest first. A proxy that adds to one list and sets
/// another leaves lists of different lengths: the last value that is left stands for the rest.
fn unstandardized(fields: FieldLines<'_>) -> impl Iterator<Item = Option<Hop<'_>>> {
    let values = |name| values(&nearest_first(fields, name));
    let nodes = values("x-forwarded-for");
    let (protos, hosts) = (values("x-forwarded-proto"), values("x-forwarded-host"));
    let count = nodes.len().max(usize::from(!protos.is_empty() || !hosts.is_empty()));
    (0..count).map(move |place| {
        let node = nodes.get(place).map_or(Some(Node::Hidden), |node| read_node((*node)?))?;
        let secure = match at(&protos, place) {
            Some(proto) => Some(read_proto(proto?)?),
            None => None,
        };
        let host = match at(&hosts, place) {
            Some(host) => Some(read_host(host?)?),
            None => None,
        };
        Some(Hop { node, secure, host })
    })
}

/// The members of lists without quotes. What is no text is one member, and none that can be read.
fn values<'a>(lines: &[Option<&'a str>]) -> Vec<Option<&'a str>> {
    let mut values = Vec::new();
    for line in lines {
        match line {
            Some(line) => values.extend(line.rsplit(',').map(|value| Some(value.trim()))),
            None => values.push(None),
        }
    }
    values
}

fn at<'a>(values: &[Option<&'a str>], place: usize) -> Option<Option<&'a str>> {
    values.get(place).or(values.last()).copied()
}

/// The values of all fields of this name, the last one first. `None` stands for what is no text.
fn nearest_first<'a>(fields: FieldLines<'a>, name: &str) -> Vec<Option<&'a str>> {
    let named = fields.iter().filter(|(found, _)| *found == name);
    let mut values: Vec<_> = named.map(|(_, value)| std::str::from_utf8(value).ok()).collect();
    values.reverse();
    values
}

/// The members of a list from its end. What is quoted is not split; quotes are counted from the
/// end, too, so that nobody's open quote swallows what a proxy adds behind it.
fn from_the_end(list: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let mut quoted = false;
        let at = list.char_indices().rev().find(|(_, char)| {
            quoted ^= *char == '"';
            *char == separator && !quoted
        });
        let (before, last) = match at {
            Some((at, _)) => (list.get(..at), list.get(at + separator.len_utf8()..)?),
            None => (None, list),
        };
        rest = before;
        Some(last.trim())
    })
}

/// A token, or what is between quotes. Nothing that proxies say needs an escape.
fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.contains(['"', '\\'])).then_some(inner)
}

/// An address, perhaps with a port (RFC 7239, section 6).
fn read_node(node: &str) -> Option<Node> {
    if node.eq_ignore_ascii_case("unknown") || node.starts_with('_') {
        return Some(Node::Hidden);
    }
    let address = node.parse::<IpAddr>().ok();
    let with_port = || node.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let in_brackets = || node.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let address = address.or_else(with_port).or_else(in_brackets)?;
    Some(Node::Address(address.to_canonical()))
}

fn read_proto(proto: &str) -> Option<bool> {
    match proto.to_ascii_lowercase().as_str() {
        "https" => Some(true),
        "http" => Some(false),
        _ => None,
    }
}

/// Host and port (RFC 9110, section 7.2), as far as that they are one word.
fn read_host(host: &str) -> Option<&str> {
    let is_part = |byte: u8| byte.is_ascii_graphic() && !b"/\\?#@,;\"".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_part)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUSTED: [&str; 3] = ["10.0.0.0/8", "::1", "2001:db8:7::/48"];

    /// Address, whether encrypted, and host, of who asks by this peer.
    fn client(peer: &str, fields: &str) -> String {
        let trusted = TrustedProxies::parse(&TRUSTED).unwrap();
        let lines = fields.replace('|', "\r\n") + "\r\n";
        let lines = FieldLines::new(lines.as_bytes());
        let Client { address, secure, host, .. } =
            trusted.client(Connection::new(peer.parse().unwrap(), false), lines);
        format!("{address} {secure} {}", host.unwrap_or("-"))
    }

    #[test]
    fn a_stranger_is_believed_nothing() {
        for fields in [
            "forwarded: for=8.8.8.8;proto=https;host=a",
            "x-forwarded-for: 8.8.8.8|x-forwarded-proto: https|x-forwarded-host: a",
        ] {
            assert_eq!(client("192.0.2.1", fields), "192.0.2.1 false -");
            assert_eq!(client("10.0.0.1", fields), "8.8.8.8 true a");
            assert_eq!(client("::1", fields), "8.8.8.8 true a");
            assert_eq!(client("::2", fields), "::2 false -");
        }
    }

    #[test]
    fn with_no_networks_nobody_is_believed() {
        let lines = FieldLines::new(b"x-forwarded-for: 8.8.8.8\r\n");
        let peer = "10.0.0.1".parse().unwrap();
        let country = Country::told(b"DE");
        let connection = Connection { country, ..Connection::new(peer, true) };
        let client = TrustedProxies::default().client(connection, lines);
        let seen = Client { address: peer, secure: true, host: None, proxied: false, country };
        assert_eq!(client, seen);
    }

    #[test]
    fn a_proxy_tells_where_its_client_is() {
        let trusted = TrustedProxies::parse(&TRUSTED).unwrap();
        let telling = trusted.clone().telling_country(Some("x-country".into()));
        let country = Country::told(b"US");
        let by = |trusted: &TrustedProxies, peer: &str, fields: &str| {
            let lines = FieldLines::new(fields.as_bytes());
            let connection = Connection { country, ..Connection::new(peer.parse().unwrap(), true) };
            trusted.client(connection, lines).country.to_string()
        };
        for (fields, told) in [
            ("x-country: DE\r\n", "DE"),
            ("x-country: de\r\nx-forwarded-for: 8.8.8.8\r\n", "DE"),
            // The proxy's own country is none of its client's.
            ("", "XX"),
            ("x-country: Germany\r\n", "XX"),
            ("x-country: DE, FR\r\n", "XX"),
            // One of them came with the request.
            ("x-country: FR\r\nx-country: DE\r\n", "XX"),
        ] {
            assert_eq!(by(&telling, "10.0.0.1", fields), told, "{fields}");
            assert_eq!(by(&telling, "8.8.8.8", fields), "US", "a stranger is believed nothing");
            assert_eq!(by(&trusted, "10.0.0.1", fields), "XX", "no field is named");
        }
    }

    #[test]
    fn the_last_stranger_is_the_client() {
        for (fields, expected) in [
            // What the client claims itself stands before its own address, and is not looked at.
            ("x-forwarded-for: 1.1.1.1, 8.8.8.8", "8.8.8.8 false -"),
            ("x-forwarded-for: 10.0.0.9, 8.8.8.8, 10.0.0.2", "8.8.8.8 false -"),
            ("x-forwarded-for: nonsense, 8.8.8.8", "8.8.8.8 false -"),
            ("x-forwarded-for: 1.1.1.1|x-forwarded-for: 8.8.8.8", "8.8.8.8 false -"),
            ("forwarded: for=1.1.1.1;proto=https, for=8.8.8.8", "8.8.8.8 false -"),
            ("forwarded: for=\", for=8.8.8.8", "8.8.8.8 false -"),
            ("forwarded: for=\"|forwarded: for=8.8.8.8", "8.8.8.8 false -"),
            ("forwarded: nonsense, for=8.8.8.8", "8.8.8.8 false -"),
            // Proxies all the way: the outermost asks for itself.
            ("x-forwarded-for: 10.0.0.3, 10.0.0.2", "10.0.0.3 false -"),
            ("forwarded: for=10.0.0.3, for=10.0.0.2", "10.0.0.3 false -"),
        ] {
            assert_eq!(client("10.0.0.1", fields), expected, "{fields}");
        }
    }

    #[test]
    fn scheme_and_host_are_those_of_the_client_s_connection() {
        for (fields, expected) in [
            (
                "forwarded: for=8.8.8.8;proto=https;host=a.example, for=10.0.0.2;proto=http;host=b",
                "8.8.8.8 true a.example",
            ),
            ("x-forwarded-for: 8.8.8.8, 10.0.0.2|x-forwarded-proto: https, http", "8.8.8.8 true -"),
            ("x-forwarded-for: 1.1.1.1, 8.8.8.8|x-forwarded-proto: https, http", "8.8.8.8 false -"),
            ("x-forwarded-for: 8.8.8.8, 10.0.0.2|x-forwarded-proto: https", "8.8.8.8 true -"),
            ("x-forwarded-proto: https|x-forwarded-host: a:81", "10.0.0.1 true a:81"),
            ("forwarded: proto=https", "10.0.0.1 true -"),
        ] {
            assert_eq!(client("10.0.0.1", fields), expected, "{fields}");
        }
    }

    #[test]
    fn forms_of_addresses() {
        for (node, expected) in [
            ("8.8.8.8", "8.8.8.8"),
            ("8.8.8.8:4711", "8.8.8.8"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:8.8.8.8", "8.8.8.8"),
            ("unknown", "10.0.0.1"),
            ("_secret", "10.0.0.1"),
        ] {
            let expected = format!("{expected} false -");
            assert_eq!(client("10.0.0.1", &format!("x-forwarded-for: {node}")), expected);
            let quoted = format!("forwarded: For=\"{node}\"; by=10.0.0.1 ;ext=\"a,b;c\"");
            assert_eq!(client("10.0.0.1", &quoted), expected);
        }
        assert_eq!(client("::ffff:10.0.0.1", "x-forwarded-for: 8.8.8.8"), "8.8.8.8 false -");
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        for fields in [
            "x-forwarded-for: nonsense",
            "x-forwarded-for: 8.8.8.8, nonsense",
            "x-forwarded-for: 8.8.8.8,",
            "x-forwarded-for: 8.8.8.8|x-forwarded-proto: gopher",
            "x-forwarded-for: 8.8.8.8|x-forwarded-host: a/b",
            "x-forwarded-for: 256.0.0.1",
            "forwarded: for=8.8.8.8;for=9.9.9.9",
            "forwarded: for=8.8.8.8;proto=",
            "forwarded: for=\"8.8.8.8",
            "forwarded: for=\"8.8\\.8.8\"",
            "forwarded: 8.8.8.8",
            "forwarded: ",
            // Who says it in the standard's way is not asked in another.
            "forwarded: nonsense|x-forwarded-for: 8.8.8.8",
        ] {
            assert_eq!(client("10.0.0.1", fields), "10.0.0.1 false -", "{fields}");
        }
    }

    #[test]
    fn what_a_client_claims_in_bytes_that_are_no_text_changes_nothing() {
        let trusted = TrustedProxies::parse(&TRUSTED).unwrap();
        let peer = "10.0.0.1".parse().unwrap();
        for name in ["forwarded", "x-forwarded-for"] {
            let said = if name == "forwarded" { "for=8.8.8.8" } else { "8.8.8.8" };
            let behind = [name.as_bytes(), b": \xff\r\n", name.as_bytes(), b": "].concat();
            let lines = [behind.as_slice(), said.as_bytes(), b"\r\n"].concat();
            let client = trusted.client(Connection::new(peer, false), FieldLines::new(&lines));
            assert_eq!(client.address.to_string(), "8.8.8.8");
            let alone = trusted.client(Connection::new(peer, false), FieldLines::new(&behind));
            assert_eq!(alone.address, peer, "it can't be read");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        assert_eq!(TrustedProxies::parse(&["10.0.0.0/8", "x"]).unwrap_err(), "x");
        for wrong in ["10.0.0.0/33", "10.0.0/8", "", "localhost", "::1/129"] {
            assert_eq!(TrustedProxies::parse(&[wrong]).unwrap_err(), wrong);
        }
    }
}
