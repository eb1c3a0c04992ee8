//! The page: small files that are kept as values at the edge.

use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use crate::answer::{Visit, reply};
use crate::coding::accepts;
use crate::config::{Asset, Config};
use crate::guard::Guarded;
use crate::head::Fields;
use crate::limit::Limit;
use crate::step::{Body, Need, Reply};

/// The page may run its own scripts and nothing else; nobody may frame it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; media-src 'self' blob:; font-src 'self'; connect-src 'self'; \
    worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

/// A small file that is being answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AssetAsk {
    name: String,
    /// The place of the chosen coding among the asset's.
    coding: Option<u8>,
}

/// What comes of asking for a small file.
pub(crate) enum Asked {
    /// Its value is needed.
    Value(AssetAsk, Need),
    /// The client has it already.
    NotModified(Fields),
}

/// Decides which representation is wanted, if any.
pub(crate) fn ask(
    request: &Guarded<'_>,
    name: String,
    visit: &Visit,
    limits: &[Limit],
    config: &Config,
) -> Option<Asked> {
    let asset = config.assets.get(&name)?;
    let seen = request.fields.get("if-none-match").unwrap_or_default();
    let coding = choose(asset, request.fields.get("accept-encoding"));
    let etag = entity_tag(asset, coding);
    if outport_wire::conditions::matches_weakly(seen, &etag) {
        return Some(Asked::NotModified(describe(asset, &etag, visit.fields(limits))));
    }
    let key = match coding.and_then(|place| asset.codings.get(usize::from(place))) {
        Some((_, key)) => key.clone(),
        None => asset.key.clone(),
    };
    Some(Asked::Value(AssetAsk { name, coding }, Need::Value { key }))
}

/// Answers with the value, now that its length is known.
pub(crate) fn answer(
    asked: &AssetAsk,
    length: Option<u64>,
    visit: &Visit,
    limits: &[Limit],
    config: &Config,
) -> Reply {
    let (Some(asset), Some(length)) = (config.assets.get(&asked.name), length) else {
        let detail = "The edge's store lacks a file of the page; deploy the page again.";
        return visit.problem(limits, &Problem::new(ProblemType::Internal, detail));
    };
    let etag = entity_tag(asset, asked.coding);
    let mut fields = describe(asset, &etag, visit.fields(limits));
    fields.push("content-type", &asset.content_type);
    fields.push_number("content-length", length);
    if let Some((coding, _)) = asked.coding.and_then(|place| asset.codings.get(usize::from(place)))
    {
        fields.push("content-encoding", coding);
    }
    if asset.content_type.starts_with("text/html") {
        fields.push("content-security-policy", PAGE_POLICY);
        fields.push("referrer-policy", "no-referrer");
        fields.push("cross-origin-opener-policy", "same-origin");
    }
    reply(200, fields, Body::Value)
}

fn describe(asset: &Asset, etag: &str, mut fields: Fields) -> Fields {
    let lifetime = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    fields.push("cache-control", lifetime);
    fields.push("etag", etag);
    if !asset.codings.is_empty() {
        fields.push("vary", "Accept-Encoding");
    }
    fields
}

/// Another coding is another representation, with its own strong tag (RFC 9110, section 8.8.3.3).
fn entity_tag(asset: &Asset, coding: Option<u8>) -> String {
    match coding.and_then(|place| asset.codings.get(usize::from(place))) {
        Some((coding, _)) => format!("{}-{coding}\"", asset.etag.trim_end_matches('"')),
        None => asset.etag.clone(),
    }
}

/// The first of the asset's codings that the client takes (RFC 9110, section 12.5.3).
fn choose(asset: &Asset, accepted: Option<&str>) -> Option<u8> {
    let accepted = accepted?;
    let place = asset.codings.iter().position(|(coding, _)| accepts(accepted, coding))?;
    u8::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset() -> Asset {
        Asset {
            content_type: "text/css".into(),
            etag: "\"abc\"".into(),
            immutable: true,
            key: "a.css".into(),
            codings: vec![("br".into(), "a.css.br".into()), ("gzip".into(), "a.css.gz".into())],
        }
    }

    #[test]
    fn codings() {
        let chosen = |accept: &str| choose(&asset(), Some(accept));
        assert_eq!(chosen("gzip, deflate, br"), Some(0));
        assert_eq!(chosen("gzip;q=0.5, br;q=0"), Some(1));
        assert_eq!(chosen("identity"), None);
        assert_eq!(choose(&asset(), None), None);
    }

    #[test]
    fn each_coding_has_its_tag() {
        assert_eq!(entity_tag(&asset(), Some(0)), "\"abc-br\"");
        assert_eq!(entity_tag(&asset(), None), "\"abc\"");
    }
}
