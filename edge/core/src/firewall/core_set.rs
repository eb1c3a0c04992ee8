//! The rules that every deployment has unless it says otherwise: tricks that no client needs, with
//! paths and queries that go to servers behind routes. Outport's own resources read theirs in one
//! way only.

use crate::guard::{canonical_path, has_dot_segment};
use crate::route::Routes;

use super::Asking;

/// The names of the rules, which none of the deployment's own begins like.
pub const NAMES: [&str; 3] = ["core-route", "core-traversal", "core-nul"];
/// What the names of these rules begin with.
pub const PREFIX: &str = "core-";

/// How often something may have been encoded one over the other. Who undoes it more often than that
/// undoes it for ever.
const ROUNDS_MAX: usize = 3;

/// The place of the rule that matches first, among [`NAMES`].
pub(super) fn first_match(asking: &Asking<'_, '_>, routes: &Routes) -> Option<usize> {
    let place = asking.route?;
    let (path, query) = (asking.request.path, asking.request.query.unwrap_or_default());
    let canonical = canonical_path(path);
    [
        is_another_route(place, &canonical, routes),
        is_traversal(&canonical),
        query.contains("%00") || decoded_again(&canonical).any(|path| path.contains(&0)),
    ]
    .into_iter()
    .position(|matches| matches)
}

/// Whether the server behind the route may take the path for one that is another route's, which may
/// ask for a token, say.
fn is_another_route(place: u16, canonical: &[u8], routes: &Routes) -> bool {
    let canonical = String::from_utf8_lossy(canonical);
    routes.place(&canonical).is_some_and(|found| found != place)
}

/// Whether there are dot segments in a path that is decoded once more than it should be, or by
/// somebody who takes overlong UTF-8. What is to be seen at once was refused before.
fn is_traversal(canonical: &[u8]) -> bool {
    decoded_again(canonical).any(|path| has_dot_segment(&path))
}

/// What is decoded once more, and again.
fn decoded_again(canonical: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let again = |path: &Vec<u8>| Some(decode(path)).filter(|again| again != path);
    std::iter::successors(again(&canonical.to_vec()), again).take(ROUNDS_MAX)
}

/// Undoes percent-encoding and overlong UTF-8 of ASCII (RFC 3629, section 3), wherever there is any.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let (byte, behind) = match rest {
            [b'%', high, low, behind @ ..] if let Some(byte) = from_hex(*high, *low) => {
                (byte, behind)
            }
            [0xc0 | 0xc1, low @ 0x80..=0xbf, behind @ ..] => ((first << 6) | (low & 0x3f), behind),
            [0xe0, 0x80 | 0x81, low @ 0x80..=0xbf, behind @ ..] => {
                let high = rest.get(1).copied().unwrap_or_default();
                ((high << 6) | (low & 0x3f), behind)
            }
            _ => (*first, behind),
        };
        decoded.push(byte);
        rest = behind;
    }
    decoded
}

fn from_hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Route};
    use crate::country::Country;
    use crate::guard::guard;
    use crate::memory::tests::config;
    use crate::route::Target;

    fn routes() -> (Config, Routes) {
        let mut config = config();
        for path in ["/api/{*rest}", "/api/admin/{*rest}", "/shop", "/{*rest}"] {
            config.routes.push(Route { path: path.into(), ..Route::default() });
        }
        let routes = Routes::new(&config).unwrap();
        (config, routes)
    }

    /// The rule that matches this target.
    fn rule(target: &str) -> Option<&'static str> {
        let head = format!("GET {target} HTTP/1.1\r\nhost: x\r\n");
        let request = guard(head.as_bytes()).unwrap();
        let (config, routes) = routes();
        let route = match routes.find(&request, &config) {
            Target::Route(place) => Some(place),
            _ => None,
        };
        let client = "192.0.2.1".parse().unwrap();
        let asking =
            Asking { request: &request, client, country: Country::UNKNOWN, route, is_proven: true };
        first_match(&asking, &routes).map(|place| NAMES[place])
    }

    #[test]
    fn ordinary_targets_pass() {
        for target in [
            "/",
            "/api/v4/projects/group%2Fproject",
            "/api/a%20b/gr%C3%BC%C3%9Fe/%E6%97%A5%E6%9C%AC",
            "/api/latin%FC",
            "/api/100%25",
            "/api/50%252foff",
            "/api/a;v=1/b",
            "/api//http://example.com/",
            "/shop/",
            "/api/x?next=../../a&q=a%0D%0Ab&p=%2e%2e%2f",
            "/api/..a/b..",
            "/api/C%C0/x",
        ] {
            assert_eq!(rule(target), None, "{target}");
        }
    }

    #[test]
    fn paths_that_are_another_route_for_its_server() {
        for target in [
            "/api/%61dmin/users",
            "/api/admin%2Fusers",
            "/api%2fadmin/users",
            "/api//admin/users",
            "/api/admin;x=1/users",
            "/api/;/admin/users",
            "/%73hop",
            "//shop",
        ] {
            assert_eq!(rule(target), Some("core-route"), "{target}");
        }
    }

    #[test]
    fn traversal_of_paths() {
        for target in [
            "/api/%252e%252e/x",
            "/api/%252e./x",
            "/api/..%252fx",
            "/api/..%255cx",
            "/api/%25252e%25252e%25252fx",
            "/api/%c0%ae%c0%ae/x",
            "/api/%c0%ae./x",
            "/api/..%c0%afx",
            "/api/..%c1%9cx",
            "/api/%e0%80%ae%e0%80%ae/x",
            "/api/..%e0%81%9cx",
            "/api/%25c0%25ae%25c0%25ae/x",
        ] {
            assert_eq!(rule(target), Some("core-traversal"), "{target}");
        }
    }

    #[test]
    fn nul() {
        for target in ["/api/x?a=%00", "/api/x?a=b%00.jpg", "/api/x.php%2500.jpg", "/api/%c0%80"] {
            assert_eq!(rule(target), Some("core-nul"), "{target}");
        }
    }

    #[test]
    fn outports_own_are_read_in_one_way_only() {
        for target in ["/files/01000G0000000C000000000004/50%252f..%252f", "/assets/x?a=%00"] {
            assert_eq!(rule(target), None, "{target}");
        }
    }
}
