//! What fuzz targets call, and what the tests give mutated bytes to: each function takes anything,
//! and asserts what holds of whatever is made of it.

use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue};
use outport_mutate::Target;
use outport_wire::id::{FileId, Home};
use outport_wire::name::FileName;

use crate::audit::{self, Verifier};
use crate::config::Limits;
use crate::digest::{Digests, Expected, Running};
use crate::http::uploads::concat::Asked;
use crate::http::{field, form};
use crate::record::Record;

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[
    Target {
        name: "upload_metadata",
        parse: upload_metadata,
        examples: &[
            b"filename Z3LDvMOfZS50eHQ=,filetype dGV4dC9wbGFpbg==, visibility cHVibGlj,k T25l,empty",
            b"name eA==,type aW1hZ2UvcG5n",
        ],
    },
    Target {
        name: "byte_count",
        parse: byte_count,
        examples: &[b"0", b"18446744073709551615", b"007"],
    },
    Target {
        name: "upload_concat",
        parse: upload_concat,
        examples: &[
            b"partial",
            b"final;/uploads/01000G0000000C000000000004 /uploads/01000G0000000C000000000005",
            b"final;https://files.example:8443/uploads/01000G0000000C000000000004",
        ],
    },
    Target {
        name: "checksum",
        parse: checksum,
        examples: &[
            b"sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=\nhello",
            b"crc32c mnG7TA==\nhello",
            b"sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:, sha-512=:AAAA:\nhello",
            b"sha-512=10, sha-256=1, unixsum=0\nhello",
        ],
    },
    Target {
        name: "record",
        parse: record,
        examples: &[
            br#"{"v":2,"tenant":"demo","owner":"alice","name":"a.txt","type":"text/plain","visibility":"private","created_s":1800000000,"metadata":{"k":"v"},"length":60,"complete":false,"parts":[[10,11],[20,21]]}"#,
            br#"{"v":1,"tenant":"demo","owner":"alice","name":"a.txt","type":"text/plain","visibility":"link","created_s":1800000000,"length":30,"parts":[[10,11],[20,21]]}"#,
            br#"{"v":2,"tenant":"d","owner":"a","name":"a","type":"t/p","visibility":"public","created_s":1,"upload_expires_s":9,"complete":true,"epoch":7,"concat":{"final":{"of":["01000G0000000C000000000004"]}},"digest":{"algorithm":"sha256","expected":"uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="},"sources":["01000G0000000C000000000004"],"parts":[[10,11],[5,6,1]]}"#,
            b"{\"v\":2,\"tenant\":\"d\",\"owner\":\"a\",\"name\":\"a\",\"type\":\"t/p\",\
              \"visibility\":\"public\",\"created_s\":1,\"length\":5,\"complete\":true,\
              \"parts\":[]}\nhello",
        ],
    },
    Target {
        name: "audit_entry",
        parse: audit_entry,
        examples: &[
            br#"{"seq":1,"time_ms":1800000000000,"kind":"file-removed","who":{"of":"00","commitment":"AA","sealed":"AAAA"},"what":{"complete":true,"file":"01000G0000000C000000000004","name":{"of":"00","commitment":"AA","sealed":"AAAA"}}}"#,
            br#"{"seq":7,"time_ms":18446744073709551615,"kind":"denied","denied":"scope-missing","what":{"left_out":3}}"#,
        ],
    },
    Target {
        name: "form",
        parse: form,
        examples: &[
            b"\x10--x\r\ncontent-disposition: form-data; name=\"visibility\"\r\n\r\npublic\r\n\
              --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
              content-type: text/plain\r\n\r\nhello\r\n--x--\r\n",
            b"\xff--x\r\ncontent-disposition: form-data; name=\"f\"; filename*=UTF-8''%C3%BC\r\n\r\n\
              \r\n--x--\r\n",
        ],
    },
];

/// Metadata that are taken are what was sent, within the limits.
pub fn upload_metadata(bytes: &[u8]) {
    let Some(headers) = headers("upload-metadata", bytes) else { return };
    let limits = Limits::default();
    let Ok(taken) = field::tus_metadata(&headers, &limits) else { return };
    assert!(FileName::parse(&taken.name, limits.name_bytes_max).is_ok(), "{:?}", taken.name);
    assert!(taken.media_type.len() <= limits.type_bytes_max);
    assert!(taken.metadata.len() <= limits.metadata_keys_max);
    if let Some(sent) = &taken.tus_metadata {
        assert_eq!(sent.as_bytes(), bytes.trim_ascii());
    }
    assert_eq!(field::tus_metadata(&headers, &limits).ok(), Some(taken));
}

/// A number of bytes is digits alone, and comes back.
pub fn byte_count(bytes: &[u8]) {
    let Some(headers) = headers("upload-offset", bytes) else { return };
    if let Ok(Some(number)) = field::bytes(&headers, "upload-offset") {
        let digits = String::from_utf8_lossy(bytes).trim().trim_start_matches('0').to_owned();
        assert_eq!(number.to_string().trim_start_matches('0'), digits);
    }
}

/// Every address of a final upload names one, and HEAD can repeat them as they were sent.
pub fn upload_concat(bytes: &[u8]) {
    let Some(headers) = headers("upload-concat", bytes) else { return };
    let Ok(Asked::Final(pieces)) = Asked::read(&headers) else { return };
    let sent = pieces.tus_concat.unwrap_or_default();
    assert_eq!(
        Some(sent.as_str()),
        headers.get("upload-concat").and_then(|value| value.to_str().ok())
    );
    let addresses = sent.strip_prefix("final;").unwrap_or_default().split(' ');
    for (address, id) in addresses.filter(|address| !address.is_empty()).zip(&pieces.of) {
        let (_, last) = address.rsplit_once('/').unwrap_or_default();
        assert_eq!(last.parse(), Ok(*id), "{address}");
    }
}

/// Only what has a digest passes for it, however the bytes come. The first line is the field, what
/// follows is the body.
pub fn checksum(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let field = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let body = parts.next().unwrap_or_default();
    for expected in [Expected::of_tus(&field), Expected::of_field(&field)].into_iter().flatten() {
        let check = |body: &[u8], piece_bytes: usize| {
            let mut digests = Digests::default().content(expected.clone());
            body.chunks(piece_bytes).for_each(|piece| digests.update(piece));
            digests.check().is_ok()
        };
        assert_eq!(check(body, 1), check(body, 1 << 20));
        assert!(!(check(body, 7) && check(&[body, b"x"].concat(), 7)));
    }
    let wanted =
        Running::wanted(&field).or_else(|| Expected::of_field(&field).ok().map(Running::expecting));
    let Some(mut running) = wanted else { return };
    let whole = carried_on(&running, body).field();
    for piece in body.chunks(5) {
        running = carried_on(&running, piece);
        // Between two requests it is in the record.
        let stored = serde_json::to_vec(&running).unwrap_or_default();
        assert_eq!(serde_json::from_slice::<Running>(&stored).ok().as_ref(), Some(&running));
    }
    assert_eq!(running.field(), whole);
    assert!(running.agrees().is_some());
}

fn carried_on(running: &Running, bytes: &[u8]) -> Running {
    let mut digests = Digests::default().file(Some(running));
    digests.update(bytes);
    digests.running().unwrap_or_else(|| running.clone())
}

/// A record that is read is read again as it is, and its stretches are its parts.
pub fn record(bytes: &[u8]) {
    let Ok(record) = Record::from_bytes(&Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(Record::from_bytes(&record.to_bytes().into()).ok().as_ref(), Some(&record));
    let id = FileId::new(Home { region: 0, shard: 0 }, 0, 0);
    let offset = record.offset();
    let stretches = record.stretches(id, 0..offset);
    let together: u64 = stretches.iter().map(|found| found.range.end - found.range.start).sum();
    assert_eq!(together + record.content.len() as u64, offset);
    assert_eq!(record.part_names(id).len(), record.parts.len());
    let mut completed = record.clone();
    completed.complete();
    assert_eq!(completed.length, Some(offset));
    let _ = (
        record.is_expired(0),
        record.is_file(),
        record.file_record(),
        record.digest.map(|digest| digest.agrees()),
    );
}

/// Whatever an entry says, the line that shows it verifies, and no other does.
pub fn audit_entry(said: &[u8]) {
    let Some((seq, line)) = audit::shown(said) else { return };
    let verified = |line: &str| Verifier::default().line(line).is_ok();
    assert_eq!(verified(&line), seq > 0, "{line}");
    assert!(!verified(&line.replacen("\"kind\":\"", "\"kind\":\"x", 1)));
    assert!(!verified(&format!("{line} ")));
}

/// A form is gone through, in pieces as long as the first byte says, and answered if it is wrong.
pub fn form(bytes: &[u8]) {
    let Some((piece_bytes, body)) = bytes.split_first() else { return };
    let pieces = body.chunks(usize::from(*piece_bytes).max(1)).map(Bytes::copy_from_slice);
    let body = stream::iter(pieces.map(Ok).collect::<Vec<_>>()).boxed();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    let limits = Limits::default();
    match runtime.block_on(form::go_through("x".to_owned(), body, &limits)) {
        Ok(files) => {
            assert!(files.iter().all(|name| FileName::parse(name, limits.name_bytes_max).is_ok()))
        }
        Err(failure) => assert!(failure.into_response().status().is_client_error()),
    }
}

/// A header with this value, where a server would take it for one.
fn headers(name: &'static str, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
    Some(HeaderMap::from_iter([(http::HeaderName::from_static(name), value)]))
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_is_too_much() {
        outport_mutate::feed(super::TARGETS);
    }
}
