//! Small files that the edge accepts by itself: which, what is kept of them, and how they reach the
//! origin afterwards.
//!
//! Only a whole file of known length, of which everything that the client says is understood here,
//! is accepted; whatever else there is about a request, the origin decides. What would be refused
//! is the origin's too, so that it is refused in one place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outport_wire::describe::{self, Query, TYPE_BYTES_MAX};
use outport_wire::document::{FileDocument, etag, path};
use outport_wire::file::Visibility;
use outport_wire::handover::Handover;
use outport_wire::id::{FileId, Home};
use outport_wire::identity::{Identity, Scope};
use outport_wire::name::{FileName, NAME_BYTES_MAX};
use outport_wire::time::http_date;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::forward::{self, AsCaller};
use crate::guard::Guarded;
use crate::step::{Durable, Fetch, FetchError, Handed, KeptHead, Moment, Need, UpstreamHead};
use crate::stored::{Freshness, StoredFile};

/// The form in which heads are kept, written into each of them.
const FORMAT: u8 = 1;
/// The fields of a request that are understood here. Another one that would reach the origin
/// makes the request the origin's.
const UNDERSTOOD: &[&str] = &["accept", "content-disposition", "content-length", "content-type"];
/// The same of its query.
const UNDERSTOOD_QUERY: &[&str] = &["name", "visibility"];
/// The longest that a request waits for what is handed over before it, in milliseconds. The
/// signature of the request is made before that.
const HAND_OVER_MS_MAX: u64 = 10_000;

/// A file that the edge may accept by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    tenant: String,
    owner: String,
    name: String,
    media_type: String,
    visibility: Visibility,
    bytes: u64,
}

/// A file that the edge has accepted: the head it is kept with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptFile {
    #[serde(rename = "v")]
    format: u8,
    id: FileId,
    tenant: String,
    owner: String,
    name: String,
    #[serde(rename = "type")]
    media_type: String,
    visibility: Visibility,
}

impl Offer {
    /// Reads an upload. `None` where it is the origin's to answer.
    pub(crate) fn read(
        request: &Guarded<'_>,
        owner: &Identity,
        config: &Config,
        durable: Option<Durable>,
    ) -> Option<Self> {
        let bytes_max = config.small_upload_bytes_max.min(durable?.value_bytes_max);
        let bytes = length(request)?;
        let rules = config.uploads.for_tenant(&owner.tenant);
        if bytes_max == 0 || bytes > bytes_max || rules.more_at_origin {
            return None;
        }
        let understood = |name: &str| UNDERSTOOD.contains(&name) || !forward::reaches_origin(name);
        let query = Query::parse(request.query.unwrap_or_default());
        if !request.fields.iter().all(|(name, _)| understood(name))
            || !query.names().all(|name| UNDERSTOOD_QUERY.contains(&name))
        {
            return None;
        }
        let media_type = whole_file_type(request)?;
        rules.declared.check_size(bytes).and(rules.declared.check_type(&media_type)).ok()?;
        let disposition = request.fields.bytes("content-disposition");
        let disposed = disposition.map(describe::disposition_name).transpose().ok()?.flatten();
        let name = disposed.as_deref().or(query.get("name"));
        let visibility = query.get("visibility").map(describe::visibility).transpose().ok()?;
        Some(Self {
            tenant: owner.tenant.clone(),
            owner: owner.subject.clone(),
            name: FileName::given(name, NAME_BYTES_MAX).ok()?.into_string(),
            media_type,
            visibility: visibility.unwrap_or_default(),
            bytes,
        })
    }

    /// Accepts the file at this moment: what it is from now on, and the need to keep it.
    pub(crate) fn accept(self, region: u8, moment: Moment) -> (KeptFile, Need) {
        let Self { tenant, owner, name, media_type, visibility, bytes } = self;
        let home = Home::of(region, &tenant, &owner);
        let id = FileId::new_at_edge(home, moment.unix_ms, moment.random);
        let kept = KeptFile { format: FORMAT, id, tenant, owner, name, media_type, visibility };
        let need = Need::Keep { key: key(id), head: kept.encode(), bytes };
        (kept, need)
    }

    /// How many bytes the body has.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The announced length of the body, where there is one and nothing else tells of its end.
fn length(request: &Guarded<'_>) -> Option<u64> {
    let announced = request.fields.get("content-length")?;
    let digits = announced.bytes().all(|byte| byte.is_ascii_digit());
    if digits { announced.parse().ok() } else { None }
}

/// The type of the file that the body is. `None` where the body is a form, or the type is none.
fn whole_file_type(request: &Guarded<'_>) -> Option<String> {
    let stated = match request.fields.bytes("content-type") {
        Some(stated) => Some(std::str::from_utf8(stated).ok()?),
        None => None,
    };
    if stated.is_some_and(|stated| stated.to_ascii_lowercase().contains("multipart")) {
        return None;
    }
    describe::media_type(stated, TYPE_BYTES_MAX).ok()
}

impl KeptFile {
    /// The head it is kept with.
    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a head. `None` where it is none of this version's.
    fn decode(head: &[u8]) -> Option<Self> {
        serde_json::from_slice(head).ok().filter(|kept: &Self| kept.format == FORMAT)
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> String {
        path(self.id)
    }

    /// The document of the answer.
    pub(crate) fn document(&self, bytes: u64) -> serde_json::Value {
        let document = FileDocument {
            id: self.id,
            name: &self.name,
            media_type: &self.media_type,
            size: bytes,
            visibility: self.visibility,
            created_s: self.id.unix_ms() / 1000,
            expires_s: None,
            metadata: &Default::default(),
        };
        document.to_json()
    }

    /// The request that hands the file over.
    fn hand_over(&self, sha256: &[u8; 32], config: &Config, moment: Moment) -> Option<Fetch> {
        let scopes = [Scope::Write].into_iter().collect();
        let identity = Identity::new(&self.tenant, &self.owner, scopes).ok()?;
        let handover = Handover {
            name: self.name.clone(),
            media_type: self.media_type.clone(),
            visibility: self.visibility,
        };
        let put = AsCaller {
            method: "PUT",
            path: &self.path(),
            query: &handover.query(),
            identity: &identity.encode(),
            session: None,
            token: None,
        };
        let digest = format!("sha-256=:{}:", STANDARD.encode(sha256));
        let timeout_ms = config.upstream_timeout_ms;
        Some(forward::as_caller(&put, Some(&digest), &config.edge_key, moment, timeout_ms))
    }
}

/// What a delivery needs of a file that is kept, with room for what is computed.
pub(crate) struct KeptDelivery {
    file: KeptFile,
    etag: String,
    last_modified: String,
    bytes: u64,
}

impl KeptDelivery {
    /// Of what was found. `None` where it is none of this version's.
    pub(crate) fn of(found: &KeptHead) -> Option<Self> {
        let file = KeptFile::decode(&found.head)?;
        let last_modified = http_date(file.id.unix_ms() / 1000);
        Some(Self { etag: etag(file.id), last_modified, bytes: found.bytes, file })
    }

    /// The file, as it would be stored.
    pub(crate) fn stored(&self, now_ms: u64) -> StoredFile<'_> {
        let file = &self.file;
        StoredFile {
            content_type: &file.media_type,
            etag: &self.etag,
            last_modified: &self.last_modified,
            length: self.bytes,
            tenant: &file.tenant,
            owner: &file.owner,
            name: &file.name,
            visibility: file.visibility,
            expires_s: None,
            links_after_ms: None,
            freshness: Freshness::none(now_ms),
        }
    }
}

/// The key that a file is kept under.
pub(crate) fn key(id: FileId) -> String {
    format!("{}{id}", group(id.home()))
}

/// What the keys of what one owner stores begin with. Few others share it.
pub(crate) fn group(home: Home) -> String {
    format!("{}-{}/", home.region, home.shard)
}

/// The need to hand over what is kept under these keys, before the origin is asked about it.
pub(crate) fn hand_over_first(prefix: String, config: &Config) -> Need {
    let timeout_ms = config.upstream_timeout_ms.min(HAND_OVER_MS_MAX);
    Need::HandOver { prefix, timeout_ms }
}

/// The request that hands over what is kept with this head.
pub(crate) fn hand_over(
    head: &[u8],
    sha256: &[u8; 32],
    config: &Config,
    moment: Moment,
) -> Option<Fetch> {
    KeptFile::decode(head)?.hand_over(sha256, config, moment)
}

/// What the origin's answer to a handover means.
pub fn handed_over(answer: &Result<UpstreamHead, FetchError>) -> Handed {
    match answer {
        Ok(UpstreamHead { status: 200..=299, .. }) => Handed::Done,
        // The origin is not well, has too much to do, or does not know this edge.
        Err(_) | Ok(UpstreamHead { status: 401 | 408 | 409 | 425 | 429 | 500.., .. }) => {
            Handed::Later
        }
        Ok(_) => Handed::Refused,
    }
}

/// What is kept, as one value: head, digest and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<'a> {
    /// As it was given to [`Need::Keep`].
    pub head: &'a [u8],
    /// Of the body, when it was kept.
    pub sha256: &'a [u8; 32],
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Makes the value.
    pub fn pack(head: &[u8], body: &[u8]) -> Vec<u8> {
        [&Self::front(head, &Sha256::digest(body).into()), body].concat()
    }

    /// What the value has before the body: the head's length in four bytes, the head, the digest.
    pub fn front(head: &[u8], sha256: &[u8; 32]) -> Vec<u8> {
        let length = u32::try_from(head.len()).unwrap_or_default().to_be_bytes();
        [&length[..], head, sha256].concat()
    }

    /// Takes the value, or the beginning of one, apart. `None` where it is none.
    pub fn unpack(value: &'a [u8]) -> Option<Self> {
        let (length, rest) = value.split_first_chunk::<4>()?;
        let (head, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let (sha256, body) = rest.split_first_chunk::<32>()?;
        Some(Self { head, sha256, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::guard;
    use crate::head::RequestHead;
    use crate::memory::tests::config;

    const ID: &str = "01000G0000001W000000000004";
    const DURABLE: Option<Durable> = Some(Durable { value_bytes_max: 1 << 20 });

    fn small() -> Config {
        Config { small_upload_bytes_max: 100, ..config() }
    }

    fn alice() -> Identity {
        Identity::new("demo", "alice", Default::default()).unwrap()
    }

    fn offer(target: &str, fields: &str) -> Option<Offer> {
        let head = format!("POST {target} HTTP/1.1\r\nhost: x\r\n{fields}");
        Offer::read(&guard(head.as_bytes()).unwrap(), &alice(), &small(), DURABLE)
    }

    fn kept() -> KeptFile {
        KeptFile {
            format: FORMAT,
            id: ID.parse().unwrap(),
            tenant: "demo".into(),
            owner: "alice".into(),
            name: "grüße.txt".into(),
            media_type: "text/plain".into(),
            visibility: Visibility::Link,
        }
    }

    #[test]
    fn what_is_accepted() {
        let plain = offer("/files", "content-length: 5\r\n").unwrap();
        assert_eq!((plain.name.as_str(), plain.bytes), ("untitled", 5));
        assert_eq!(plain.media_type, "application/octet-stream");
        let told = offer(
            "/files?name=b.txt&visibility=public",
            "content-length: 100\r\ncontent-type: text/plain\r\n\
             content-disposition: attachment; filename=a.txt\r\nuser-agent: x\r\n",
        );
        let told = told.unwrap();
        assert_eq!((told.name.as_str(), told.visibility), ("a.txt", Visibility::Public));
        assert!(offer("/files", "content-length: 0\r\n").is_some());
    }

    #[test]
    fn what_is_the_origins() {
        for (target, fields) in [
            ("/files", ""),
            ("/files", "transfer-encoding: chunked\r\n"),
            ("/files", "content-length: 101\r\n"),
            ("/files", "content-length: +5\r\n"),
            ("/files", "content-length: 5\r\ncontent-digest: sha-256=:AA==:\r\n"),
            ("/files", "content-length: 5\r\nrepr-digest: sha-256=:AA==:\r\n"),
            ("/files", "content-length: 5\r\ntus-resumable: 1.0.0\r\n"),
            ("/files", "content-length: 5\r\nif-none-match: *\r\n"),
            ("/files", "content-length: 5\r\ncontent-type: Multipart/Form-Data; boundary=x\r\n"),
            ("/files", "content-length: 5\r\ncontent-type: nonsense\r\n"),
            ("/files", "content-length: 5\r\ncontent-disposition: a; filename*=x\r\n"),
            ("/files?name=..", "content-length: 5\r\n"),
            ("/files?visibility=secret", "content-length: 5\r\n"),
            ("/files?expires=1", "content-length: 5\r\n"),
        ] {
            assert_eq!(offer(target, fields), None, "{target} {fields}");
        }
        for (longest, accepted) in [(NAME_BYTES_MAX, true), (NAME_BYTES_MAX + 1, false)] {
            let target = format!("/files?name={}", "a".repeat(longest));
            assert_eq!(offer(&target, "content-length: 5\r\n").is_some(), accepted, "{longest}");
        }
        let mut head = b"POST /files HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n".to_vec();
        head.extend_from_slice(b"content-disposition: attachment; filename=\xff\r\n");
        let read = |head: &[u8], config: &Config, durable| {
            Offer::read(&guard(head).unwrap(), &alice(), config, durable)
        };
        assert_eq!(read(&head, &small(), DURABLE), None);
        let plain = b"POST /files HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n";
        assert!(read(plain, &small(), DURABLE).is_some());
        assert_eq!(read(plain, &config(), DURABLE), None, "it is turned off");
        assert_eq!(read(plain, &small(), None), None, "the platform promises nothing");
        let mut counted = small();
        counted.uploads.default.more_at_origin = true;
        assert_eq!(read(plain, &counted, DURABLE), None, "the origin has more to decide");
        let mut smaller = small();
        smaller.uploads.default.declared.size_max_bytes = 4;
        assert_eq!(read(plain, &smaller, DURABLE), None, "it is too large for its tenant");
        let little = Some(Durable { value_bytes_max: 4 });
        assert_eq!(read(plain, &small(), little), None, "the platform takes no more");
    }

    #[test]
    fn the_kept_form_is_stable() {
        let head = r#"{"v":1,"id":"01000G0000001W000000000004","tenant":"demo","owner":"alice","name":"grüße.txt","type":"text/plain","visibility":"link"}"#;
        assert_eq!(String::from_utf8(kept().encode()).unwrap(), head);
        assert_eq!(KeptFile::decode(head.as_bytes()), Some(kept()));
        assert_eq!(KeptFile::decode(head.replace(":1,", ":2,").as_bytes()), None);
        let packed = Packed::pack(b"head", b"body");
        let begin = [&[0, 0, 0, 4][..], b"head"].concat();
        assert!(packed.starts_with(&begin) && packed.ends_with(b"body"));
        assert_eq!(packed.len(), 4 + 4 + 32 + 4);
        let unpacked = Packed::unpack(&packed).unwrap();
        assert_eq!((unpacked.head, unpacked.body), (&b"head"[..], &b"body"[..]));
        assert_eq!(unpacked.sha256[..], Sha256::digest(b"body")[..]);
        assert_eq!(Packed::unpack(&packed[..20]), None);
        assert_eq!(key(kept().id), format!("1-2/{ID}"));
    }

    #[test]
    fn a_handover_says_all_of_it_under_the_signature() {
        let moment = Moment { unix_ms: 1_800_000_000_000, random: 7 };
        let fetch = hand_over(&kept().encode(), &[7; 32], &config(), moment).unwrap();
        assert!(fetch.with_body);
        let head = RequestHead::parse(&fetch.head).unwrap();
        assert_eq!(head.method, "PUT");
        let (path, query) = head.target.split_once('?').unwrap();
        assert_eq!(path, format!("/files/{ID}"));
        assert_eq!(Handover::read(&Query::parse(query)).unwrap().name, "grüße.txt");
        assert_eq!(head.fields.get("outport-identity"), Some("demo;alice;write"));
        let covered = head.fields.get("signature-input").unwrap();
        assert!(covered.contains("\"@query\" \"outport-identity\" \"content-digest\""));
        assert_eq!(hand_over(b"{}", &[7; 32], &config(), moment), None);
    }

    #[test]
    fn what_answers_to_a_handover_mean() {
        let means = |status| handed_over(&Ok(UpstreamHead { status, fields: Vec::new() }));
        for status in [200, 201, 204] {
            assert_eq!(means(status), Handed::Done, "{status}");
        }
        for status in [401, 408, 409, 429, 500, 503, 507] {
            assert_eq!(means(status), Handed::Later, "{status}");
        }
        for status in [304, 400, 403, 404, 405, 410, 413] {
            assert_eq!(means(status), Handed::Refused, "{status}");
        }
        assert_eq!(handed_over(&Err(FetchError::Timeout)), Handed::Later);
    }
}
