//! What fuzz targets call, and what the tests give mutated bytes to: each function takes anything,
//! and asserts what holds of whatever is made of it.

use std::net::{IpAddr, Ipv4Addr};

use outport_mutate::Target;

use crate::conditions::{Conditions, Delivery, Representation};
use crate::edge_signature::{self, Signed};
use crate::file::FileRecord;
use crate::id::FileId;
use crate::identity::Identity;
use crate::link::{Holder, Link, password_digest};
use crate::name::{FileName, NAME_BYTES_MAX};
use crate::pass::{Pass, check_prefix};
use crate::relation::{self, Memberships, Object, Related, Subject, Tuple};
use crate::revocation::Revocations;
use crate::rules::TypePattern;
use crate::secret::{Key, Secret};
use crate::{describe, resumable, time};

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[
    Target {
        name: "id",
        parse: id,
        examples: &[b"01000G0000000C000000000004", b"7zzzzzzzzzzzzzzzzzzzzzzzzz"],
    },
    Target {
        name: "identity",
        parse: identity,
        examples: &[b"demo;alice;read write", b"a%20b;%C3%BC;admin", b"demo;mailto:a@b;"],
    },
    Target {
        name: "link",
        parse: link,
        examples: &[
            b"expires=100&signature=AAAA",
            b"begins=9&network=2001:db8::/32&expires=100&signature=AAAA",
            b"download&expires=18446744073709551615&signature=uJwd9Q",
            b"issued=7&protected&expires=100&signature=AAAA",
            b"uses=3&expires=100&signature=AAAA",
        ],
    },
    Target {
        name: "pass",
        parse: pass,
        examples: &[
            b"/film/7/",
            b"eyJmb3IiOiJkZW1vO2FsaWNlOyIsInByZWZpeCI6Ii9hLyIsImlhdCI6MSwiZXhwIjoyfQ.AAAA",
        ],
    },
    Target {
        name: "edge_signature",
        parse: edge_signature,
        examples: &[
            b"edge=(\"@method\" \"@path\" \"@query\" \"outport-identity\");created=1800000000;\
              expires=1800000060;nonce=\"0000000000000007\";keyid=\"k1\";alg=\"hmac-sha256\"\n\
              edge=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:",
        ],
    },
    Target {
        name: "revocations",
        parse: revocations,
        examples: &[
            b"\x01\0\0\0\0\x6b\x49\xd2\0\0\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x05",
        ],
    },
    Target {
        name: "tuple",
        parse: tuple,
        examples: &[
            b"file:01000G0000000C000000000004#viewer@user:bob",
            b"folder:a@b#parent@folder:gr\xc3\xbc\xc3\x9fe",
            b"group:staff#member@user:alice@example.com#1",
            b"tenant#owner@role:support",
        ],
    },
    Target {
        name: "relations",
        parse: relations,
        examples: &[
            b"\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x07\x01a\
              \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\x02",
            b"\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x07\
              \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05",
        ],
    },
    Target {
        name: "file_record",
        parse: file_record,
        examples: &[
            b"{\"tenant\":\"demo\",\"owner\":\"alice\",\"visibility\":\"private\",\"name\":\"a\",\
              \"expires_s\":100}",
            b"{\"tenant\":\"\",\"owner\":\"\",\"visibility\":\"public\",\"name\":\"\\u00fc\"}",
        ],
    },
    Target {
        name: "conditions",
        parse: conditions,
        examples: &[
            b"bytes=0-9\n\n\n\n\n",
            b"bytes=-10\n\"abc\"\n\n\n\n",
            b"bytes=90-\nTue, 24 Nov 2026 06:49:10 GMT\nW/\"abc\", \"def\"\n\n\n",
            b"\n\n*\n\"abc\"\nTue, 24 Nov 2026 06:49:10 GMT\nMon, 23 Nov 2026 06:49:10 GMT",
        ],
    },
    Target {
        name: "description",
        parse: description,
        examples: &[
            b"attachment; filename=\"a \\\"b\\\"; c.txt\"",
            b"attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.txt; filename=\"x\"",
            b"text/plain; charset=utf-8",
            b"name=a+b%20c&visibility=link&type=image/png",
        ],
    },
    Target {
        name: "file_name",
        parse: file_name,
        examples: &[b"C:\\Users\\me\\c.txt", "../gr\u{fc}\u{df}e \u{202e}.txt".as_bytes(), b" . "],
    },
    Target {
        name: "structured_item",
        parse: structured_item,
        examples: &[b"?1;a=1", b"?0", b" 007;b ", b"999999999999999", b"1000000000000000"],
    },
    Target {
        name: "media_pattern",
        parse: media_pattern,
        examples: &[b"image/*", b"text/plain", b"*/*"],
    },
    Target {
        name: "moment",
        parse: moment,
        examples: &[b"1994-11-06T09:49:37.5+01:00", b"9999-12-31T23:59:59-01:00"],
    },
];

/// An id is what it reads as, in either case.
pub fn id(bytes: &[u8]) {
    let Some(id) = text(bytes).and_then(|text| text.parse::<FileId>().ok()) else { return };
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
    assert!(text(bytes).is_some_and(|text| text.eq_ignore_ascii_case(&id.to_string())));
    let _ = (id.home(), id.unix_ms());
}

/// An identity comes back from the header that says it, which is one line of ASCII.
pub fn identity(bytes: &[u8]) {
    let Some(Ok(identity)) = text(bytes).map(Identity::decode) else { return };
    let header = identity.encode();
    assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{header}");
    assert_eq!(Identity::decode(&header), Ok(identity));
}

/// No text is a pass that we did not make; what we make is one, below its prefix and nowhere else.
pub fn pass(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    assert_eq!(Pass::open(text, &keys()), None);
    let Ok(identity) = Identity::new("demo", "alice", Default::default()) else { return };
    let made = Pass {
        identity,
        prefix: text.to_owned(),
        issued_s: 1,
        begins_s: Some(2).filter(|_| bytes.len().is_multiple_of(3)),
        expires_s: 3,
        network: None,
    };
    if check_prefix(text) {
        let opened = keys().first().and_then(|key| Pass::open(&made.seal(key), &keys()));
        assert_eq!(opened, Some(made.clone()));
        assert!(made.is_for(format!("{text}a").as_bytes()));
        let above = text.trim_end_matches('/');
        assert!(!made.is_for(above.as_bytes()) && !made.is_for(format!("{above}a/").as_bytes()));
    }
}

/// No query is a link that we did not make.
pub fn link(bytes: &[u8]) {
    let Some(query) = text(bytes) else { return };
    let id = FileId::new(crate::id::Home { region: 0, shard: 0 }, 0, 0);
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let holder = Holder { address: here, password: Some(query) };
    let read = Link::read(id, query, &keys(), 50, holder);
    assert!(!matches!(read, Some(Ok(_))), "{query}");
    // What we make for an expiry of any digits is one.
    let expires_s = query.bytes().fold(50, |sum: u64, byte| sum.wrapping_mul(31) | u64::from(byte));
    let made = Link {
        download: bytes.len().is_multiple_of(2),
        begins_s: Some(50).filter(|_| bytes.len().is_multiple_of(3)),
        network: Some(here.into()).filter(|_| bytes.len().is_multiple_of(5)),
        issued_ms: Some(expires_s).filter(|_| bytes.len().is_multiple_of(7)),
        password: Some(password_digest(query)).filter(|_| bytes.len().is_multiple_of(4)),
        uses: Some(7).filter(|_| bytes.len().is_multiple_of(11)),
        ..Link::until(id, expires_s)
    };
    let read = keys().first().and_then(|key| Link::read(id, &made.query(key), &keys(), 50, holder));
    assert_eq!(read, Some(Ok(made)));
}

/// Nothing is signed by a key that did not sign it.
pub fn edge_signature(bytes: &[u8]) {
    let Some((input, signature)) = text(bytes).and_then(|text| text.split_once('\n')) else {
        return;
    };
    let request = Signed {
        method: "PATCH",
        path: "/uploads/01000G0000000C000000000004",
        query: Some(input),
        identity: Some("demo;alice;read write"),
        content_digest: None,
    };
    let keys: Vec<Key> = keys().map(|secret| Key { id: "k1".to_owned(), secret }).into();
    let now = 1_800_000_000;
    assert!(edge_signature::verify(&keys, &request, input, signature, now).is_err());
    for key in &keys {
        let made = edge_signature::sign(key, &request, now, bytes.len() as u64);
        let checked = edge_signature::verify(&keys, &request, &made.input, &made.signature, now);
        assert_eq!(checked.is_ok(), keys.first().is_some_and(|first| first.secret == key.secret));
    }
}

/// What is revoked comes back, and all of it is revoked.
pub fn revocations(bytes: &[u8]) {
    let _ = Revocations::decode(bytes);
    let Some(revocations) = Revocations::from_bytes(bytes) else { return };
    assert_eq!(revocations.to_bytes(), bytes);
    assert_eq!(Revocations::decode(revocations.encode().as_bytes()), Ok(revocations.clone()));
    assert!(revocations.has("alice", 0, None));
}

/// A tuple is what it reads as, and so are what it is about and who is related to it.
pub fn tuple(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(tuple) = text.parse::<Tuple>() {
        // An id may be read in lower case.
        assert!(tuple.to_string().eq_ignore_ascii_case(text));
        assert_eq!(tuple.to_string().parse(), Ok(tuple));
    }
    if let Ok(object) = text.parse::<Object>() {
        assert_eq!(object.to_string().parse(), Ok(object));
    }
    if let Ok(subject) = text.parse::<Subject>() {
        assert_eq!(subject.to_string(), text);
    }
}

/// What an edge is told of relations comes back, and gives nothing to who is nobody.
pub fn relations(bytes: &[u8]) {
    let nobody = Memberships::default();
    if let Ok(related) = Related::from_bytes(bytes) {
        assert_eq!(related.to_bytes(), bytes);
        assert_eq!(relation::decode(relation::encode(bytes).as_bytes()).as_deref(), Ok(bytes));
        assert_eq!(relation::level("nobody", &nobody, &[related]), None);
    }
    if let Ok(memberships) = Memberships::from_bytes(bytes) {
        assert_eq!(memberships.to_bytes(), bytes);
        assert_eq!(relation::level("nobody", &memberships, &[Related::default()]), None);
    }
    let _ = relation::decode(bytes);
}

/// A record comes back from the header that says it.
pub fn file_record(bytes: &[u8]) {
    let _ = FileRecord::decode(bytes);
    let Ok(record) = serde_json::from_slice::<FileRecord>(bytes) else { return };
    assert_eq!(FileRecord::decode(record.encode().as_bytes()), Ok(record));
}

/// A range that is delivered lies within the file and is not empty. Lines: `Range`, `If-Range`,
/// `If-None-Match`, `If-Match`, `If-Modified-Since`, `If-Unmodified-Since`.
pub fn conditions(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let mut lines = text.split('\n').map(|line| Some(line).filter(|line| !line.is_empty()));
    let mut line = || lines.next().flatten();
    let conditions = Conditions {
        range: line(),
        if_range: line(),
        if_none_match: line(),
        if_match: line(),
        if_modified_since: line(),
        if_unmodified_since: line(),
        several: true,
    };
    for length in [0, 1, 100, u64::MAX] {
        let last_modified = "Tue, 24 Nov 2026 06:49:10 GMT";
        let file = Representation { etag: "\"abc\"", last_modified, length };
        let parts = match Delivery::decide(&conditions, file) {
            Delivery::Part(part) => vec![part],
            Delivery::Parts(parts) => parts,
            _ => continue,
        };
        for range in parts {
            assert!(range.first <= range.last && range.last < length, "{range:?} of {length}");
            assert!((1..=length).contains(&range.length()));
        }
    }
}

/// What a client says of a file is within bounds once it is taken.
pub fn description(bytes: &[u8]) {
    let _ = describe::disposition_name(bytes);
    let Some(text) = text(bytes) else { return };
    let query = describe::Query::parse(text);
    for name in query.names() {
        assert!(query.get(name).is_some());
    }
    if let Ok(media_type) = describe::media_type(Some(text), describe::TYPE_BYTES_MAX) {
        assert!(media_type.len() <= describe::TYPE_BYTES_MAX && media_type.contains('/'));
        assert!(media_type.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        let again = describe::media_type(Some(&media_type), describe::TYPE_BYTES_MAX);
        assert_eq!(again.ok(), Some(media_type));
    }
}

/// A name that is taken is a name, not a path, and is taken again as it is.
pub fn file_name(bytes: &[u8]) {
    let parsed = text(bytes).map(|text| FileName::parse(text, NAME_BYTES_MAX));
    let Some(Ok(name)) = parsed.map(|parsed| parsed.map(FileName::into_string)) else { return };
    assert!(!name.is_empty() && name != "." && name != ".." && name.len() <= NAME_BYTES_MAX);
    assert!(!name.contains(['/', '\\', '\0', '\r', '\n']), "{name:?}");
    assert_eq!(FileName::parse(&name, NAME_BYTES_MAX).map(FileName::into_string), Ok(name));
}

/// An Item is a boolean or an integer, not both, and comes back.
pub fn structured_item(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let (boolean, integer) = (resumable::boolean(text), resumable::integer(text));
    assert!(boolean.is_none() || integer.is_none());
    if let Some(value) = boolean {
        assert_eq!(resumable::boolean(resumable::boolean_text(value)), Some(value));
    }
    if let Some(number) = integer {
        assert_eq!(resumable::integer(&number.to_string()), Some(number));
    }
}

/// A pattern of media types comes back.
pub fn media_pattern(bytes: &[u8]) {
    let Some(Ok(pattern)) = text(bytes).map(str::parse::<TypePattern>) else { return };
    assert_eq!(pattern.to_string().parse::<TypePattern>().ok(), Some(pattern));
}

/// A moment is the same second after it was written.
pub fn moment(bytes: &[u8]) {
    let Some(seconds) = text(bytes).and_then(time::parse_rfc3339) else { return };
    assert_eq!(time::parse_rfc3339(&time::rfc3339(seconds)), Some(seconds));
    assert!(time::http_date(seconds).ends_with(" GMT"));
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn keys() -> [Secret; 2] {
    [1, 2].map(|byte| Secret::new(vec![byte; 32]).unwrap_or_else(|_| unreachable!("long enough")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_is_too_much() {
        outport_mutate::feed(super::TARGETS);
    }
}
