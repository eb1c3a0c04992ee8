//! What is likely to be wanted next, or said to be: fetched ahead, behind everybody's back.
//!
//! A route that says `prefetch = true` names it in its answers: in `Link` (RFC 8288) with the relation
//! `prefetch`, `preload` or `next`, and in playlists of HTTP Live Streaming (RFC 8216). Who may purge
//! names it by `POST /warm`; a node tells by `GET /popular` what was asked for most, in the form that
//! another takes there.

use std::net::IpAddr;

use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use crate::caching::fields::Lines;
use crate::caching::stored_response::Entry;
use crate::country::Country;
use crate::explain::Named;
use crate::forwarded::{Client, TrustedProxies};
use crate::guard::Guarded;
use crate::head::{FieldLines, Fields, is_of_type};
use crate::step::{Connection, Popular};
use crate::stored::Stored;

/// The largest body of `POST /warm`, in bytes.
pub(crate) const BODY_BYTES_MAX: u64 = 256 << 10;
/// The most that one request warms, and the most that is told to be popular.
pub(crate) const NAMED_MAX: usize = 1_000;
/// The most that one answer names.
const FOLLOWED_MAX: usize = 8;
/// The media types of a playlist.
const PLAYLISTS: [&str; 3] =
    ["application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl"];
/// The relations of a link whose target is wanted next.
const RELATIONS: [&str; 3] = ["next", "prefetch", "preload"];

/// A request that is made ahead of whoever will make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ahead {
    pub(crate) head: Vec<u8>,
    pub(crate) connection: Connection,
    pub(crate) reader: Option<Identity>,
}

/// What `POST /warm` is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    /// As those of a purge.
    urls: Vec<String>,
    /// Ids of files.
    files: Vec<String>,
}

/// Who asks to warm, and by which way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Warming {
    host: String,
    /// What a proxy has said.
    told: Option<Told>,
    /// That of who asks.
    connection: Connection,
    /// Whether who asks has an encrypted connection, to the proxy if there is one.
    secure: bool,
    reader: Option<Identity>,
}

/// What a proxy says of whom it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    host: Option<String>,
    address: IpAddr,
    /// The field that says where the client is, and what it says.
    country: Option<(String, Country)>,
}

impl Warming {
    pub(crate) fn of(
        request: &Guarded<'_>,
        client: Client<'_>,
        connection: Connection,
        proxies: &TrustedProxies,
        reader: Option<Identity>,
    ) -> Self {
        let told = client.proxied.then(|| Told {
            host: client.host.map(str::to_owned),
            address: client.address,
            country: proxies.country_field().map(|field| (field.to_owned(), client.country)),
        });
        let host = request.fields.get("host").unwrap_or_default().to_owned();
        Self { host, told, connection, secure: client.secure, reader }
    }

    /// Reads what is to be fetched.
    pub(crate) fn read(&self, body: Option<&[u8]>) -> Result<Vec<Ahead>, Problem> {
        let body = body.ok_or_else(|| {
            let detail = format!("The body has at most {BODY_BYTES_MAX} bytes.");
            Problem::new(ProblemType::TooLarge, detail).with("max", BODY_BYTES_MAX)
        })?;
        let Asked { urls, files } = serde_json::from_slice(body).map_err(|error| {
            wrong(format!(
                "{error}. It takes a document such as {{\"urls\": [\"/a\"], \"files\": []}}."
            ))
        })?;
        let named = urls.len() + files.len();
        if named == 0 || named > NAMED_MAX {
            return Err(wrong(format!("It names {named} things; it takes 1 to {NAMED_MAX}.")));
        }
        let urls = urls.iter().map(|url| Ok(self.ahead(Named::read(url)?)));
        let files = files.iter().map(|id| match id.parse::<FileId>() {
            Ok(id) => Ok(self.ahead(Named { origin: None, target: &format!("/files/{id}") })),
            Err(_) => Err(wrong(format!("\"{id}\" is no file's id."))),
        });
        urls.chain(files).collect()
    }

    /// The request for what is named, as it would come the way that this one came.
    fn ahead(&self, named: Named<'_>) -> Ahead {
        let Self { host, told, connection, secure, reader } = self;
        let (secure, authority) = named.origin.unwrap_or((*secure, host));
        let mut head = Fields::for_request("GET", named.target);
        match told {
            None => head.push("host", authority),
            Some(Told { host: told, address, country }) => {
                let told = told.as_deref().unwrap_or(host);
                let wanted = named.origin.map_or(told, |(_, authority)| authority);
                head.push("host", host);
                head.push("x-forwarded-for", address.to_string());
                head.push("x-forwarded-proto", if secure { "https" } else { "http" });
                head.push("x-forwarded-host", wanted);
                if let Some((field, country)) = country {
                    head.push(field, country.as_str());
                }
            }
        }
        let connection = Connection { secure, ..*connection };
        Ahead { head: head.into_bytes(), connection, reader: reader.clone() }
    }
}

fn wrong(detail: String) -> Problem {
    Problem::new(ProblemType::InvalidField, detail)
}

/// The URL by which what is stored can be had again. Of files, this tenant is told of its own alone:
/// who knows the id of one that is public may have it.
pub(crate) fn url_of(popular: &Popular, tenant: &str) -> Option<String> {
    let Some(id) = popular.key.strip_prefix("file ") else {
        return Entry::source(&popular.head).map(str::to_owned);
    };
    match Stored::decode(&popular.head) {
        Some(Stored::File(file)) if file.tenant == tenant => Some(format!("/files/{id}")),
        _ => None,
    }
}

/// Whether an answer with these fields is a playlist.
pub(crate) fn is_playlist(fields: FieldLines<'_>) -> bool {
    is_of_type(fields, &PLAYLISTS)
}

/// The references of a playlist that a player asks for first: those at its beginning, or at its end
/// if it goes on growing.
pub(crate) fn of_playlist(playlist: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(playlist).unwrap_or_default();
    if !text.starts_with("#EXTM3U") {
        return Vec::new();
    }
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let has = |tag: &str| lines().any(|line| line.starts_with(tag));
    let uris: Vec<_> = lines().filter(|line| !line.starts_with('#')).collect();
    let ends = has("#EXT-X-ENDLIST") || has("#EXT-X-STREAM-INF");
    let map = lines().find_map(|line| {
        let (_, uri) = line.strip_prefix("#EXT-X-MAP:")?.split_once("URI=\"")?;
        Some(uri.split_once('"')?.0)
    });
    let room = FOLLOWED_MAX - usize::from(map.is_some());
    let passed = if ends { 0 } else { uris.len().saturating_sub(room) };
    let wanted = uris.into_iter().skip(passed).take(room);
    map.into_iter().chain(wanted).filter(|uri| is_here(uri)).collect()
}

/// The references that an answer's `Link` names (RFC 8288, section 3).
pub(crate) fn of_links(fields: FieldLines<'_>) -> Vec<String> {
    let lines = Lines::new(fields);
    let mut found = Vec::new();
    for line in lines.all("link").filter_map(|line| std::str::from_utf8(line).ok()) {
        let mut rest = line;
        while let Some((reference, after)) =
            rest.split_once('<').and_then(|(_, rest)| rest.split_once('>'))
        {
            let (parameters, next) = split_link(after);
            if parameters.iter().any(|parameter| is_wanted(parameter)) && is_here(reference) {
                found.push(reference.to_owned());
            }
            rest = next;
        }
    }
    found.truncate(FOLLOWED_MAX);
    found
}

/// The parameters of a link, and what is behind its comma.
fn split_link(text: &str) -> (Vec<&str>, &str) {
    let (mut parameters, mut from, mut quoted) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            ';' | ',' if !quoted => {
                parameters.push(text.get(from..at).unwrap_or_default());
                from = at + 1;
                if character == ',' {
                    return (parameters, text.get(from..).unwrap_or_default());
                }
            }
            _ => {}
        }
    }
    parameters.push(text.get(from..).unwrap_or_default());
    (parameters, "")
}

fn is_wanted(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
    name.trim().eq_ignore_ascii_case("rel")
        && relations
            .any(|relation| RELATIONS.iter().any(|known| relation.eq_ignore_ascii_case(known)))
}

/// Whether it is a reference, and names something of the same host.
fn is_here(reference: &str) -> bool {
    let is_visible = reference.bytes().all(|byte| byte.is_ascii_graphic());
    let first = reference.split(['/', '?']).next().unwrap_or_default();
    is_visible && !reference.starts_with("//") && !first.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_player_asks_for_first() {
        let segments = |numbers: std::ops::Range<usize>| -> String {
            numbers.map(|number| format!("#EXTINF:4,\nseg{number}.ts\n")).collect()
        };
        let film = format!("#EXTM3U\n{}#EXT-X-ENDLIST\n", segments(0..20));
        let names = |numbers: std::ops::Range<usize>| -> Vec<String> {
            numbers.map(|number| format!("seg{number}.ts")).collect()
        };
        assert_eq!(of_playlist(film.as_bytes()), names(0..8));
        let live = format!("#EXTM3U\r\n{}", segments(40..60));
        assert_eq!(of_playlist(live.as_bytes()), names(52..60));
        let mapped =
            format!("#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n{}#EXT-X-ENDLIST", segments(0..20));
        let expected: Vec<_> = [vec!["init.mp4".to_owned()], names(0..7)].concat();
        assert_eq!(of_playlist(mapped.as_bytes()), expected);
        let versions = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow/a.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=2\nhttps://elsewhere/a.m3u8\n//elsewhere/b.m3u8\n";
        assert_eq!(of_playlist(versions.as_bytes()), ["low/a.m3u8"]);
        for none in ["", "seg0.ts", "#EXTM3U\n"] {
            assert_eq!(of_playlist(none.as_bytes()), [""; 0], "{none}");
        }
    }

    #[test]
    fn what_links_name() {
        for (lines, expected) in [
            ("link: </a>; rel=prefetch\r\n", vec!["/a"]),
            (
                "link: </a>; rel=\"preload next\"; as=style, <b?c,d>;rel=next\r\n",
                vec!["/a", "b?c,d"],
            ),
            ("link: </a>; title=\"x, <y>; rel=next\"; rel=up\r\n", vec![]),
            ("link: </a>; rel=stylesheet\r\nlink: </b>; REL=Prefetch\r\n", vec!["/b"]),
            ("link: <https://elsewhere/a>; rel=next, <//x/y>; rel=next\r\n", vec![]),
            ("link: </a; rel=next\r\nlink: nonsense\r\n", vec![]),
            ("link: </a b>; rel=next, </\u{e4}>; rel=next\r\n", vec![]),
        ] {
            assert_eq!(of_links(FieldLines::new(lines.as_bytes())), expected, "{lines}");
        }
        let many: String =
            (0..20).map(|number| format!("link: </{number}>; rel=next\r\n")).collect();
        assert_eq!(of_links(FieldLines::new(many.as_bytes())).len(), FOLLOWED_MAX);
    }
}
