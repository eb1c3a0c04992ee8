//! Content codings (RFC 9110, section 8.4.1): which form of a stored body a client is sent, and what
//! that makes of the fields.
//!
//! A form in a coding is another representation than the body itself. Its bytes are nobody's promise,
//! so its entity tag is weak, and ranges are of the body itself.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::step::{Body, ByteRange, Coding, Form};

/// What has fewer bytes is not worth the fields that a coding takes.
const BYTES_MIN: u64 = 256;
/// Against how many dictionaries a body is encoded well. Against others it is while it is sent.
const DICTIONARY_FORMS_MAX: usize = 8;

/// The codings that a client takes (RFC 9110, section 12.5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    brotli: bool,
    zstd: bool,
    gzip: bool,
    /// The dictionary that `dcz` may be encoded against.
    dictionary: Option<[u8; 32]>,
}

/// What is sent of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The body as it is, and always: no coding makes it smaller.
    Plain,
    /// The body as it is, to this client.
    Identity,
    /// Its form in a coding, which has so many bytes.
    Coded(Coding, u64),
    /// The body, encoded while it is sent.
    Encoding(Coding),
}

impl Coding {
    /// Those that need no dictionary, from the one that makes the smallest forms to the one that
    /// makes the largest.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];
    /// The names that there are.
    const NAMES: [&str; 4] = ["br", "zstd", "gzip", "dcz"];
    /// From the one that takes the least time, for what it saves, to the one that takes the most.
    const BY_SPEED: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Its name in fields.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Dcz(_) => "dcz",
        }
    }
}

impl Coding {
    /// The dictionary that it is encoded against.
    pub const fn dictionary(self) -> Option<[u8; 32]> {
        match self {
            Self::Brotli | Self::Zstd | Self::Gzip => None,
            Self::Dcz(dictionary) => Some(dictionary),
        }
    }
}

impl Accepted {
    /// Reads `Accept-Encoding`.
    pub(crate) fn read(field: Option<&str>) -> Self {
        let takes = |coding: Coding| field.is_some_and(|field| accepts(field, coding.name()));
        let [brotli, zstd, gzip] = [Coding::Brotli, Coding::Zstd, Coding::Gzip].map(takes);
        Self { brotli, zstd, gzip, dictionary: None }
    }

    /// The same with this dictionary, or with none.
    pub(crate) const fn with_dictionary(self, dictionary: Option<[u8; 32]>) -> Self {
        Self { dictionary, ..self }
    }

    fn takes(self, coding: Coding) -> bool {
        match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
            Coding::Dcz(dictionary) => self.dictionary == Some(dictionary),
        }
    }

    /// The coding in which a form is to be made for clients like this one: the best that they take,
    /// if it was not tried.
    pub(crate) fn wants_form(self, forms: &[Form]) -> Option<Coding> {
        let tried = |coding: &Coding| forms.iter().any(|form| form.coding == *coding);
        let dictionaries = forms.iter().filter(|form| form.coding.dictionary().is_some()).count();
        let has_room = |coding: &Coding| tried(coding) || dictionaries < DICTIONARY_FORMS_MAX;
        let against = self.dictionary.map(Coding::Dcz).filter(has_room);
        let best = against.or(Coding::ALL.into_iter().find(|coding| self.takes(*coding)));
        best.filter(|best| !tried(best))
    }

    /// Chooses among the forms there are of a body that is [`compressible`]: the smallest, or else
    /// one that is made while it is sent. Where one coding was tried and saved nothing, the others
    /// are not tried, but for what a dictionary may save.
    pub(crate) fn choose(self, forms: &[Form]) -> Choice {
        let tried = |coding| forms.iter().any(|form| form.coding == coding);
        if let Some(against) = self.dictionary.map(Coding::Dcz).filter(|coding| !tried(*coding)) {
            return Choice::Encoding(against);
        }
        let made = forms.iter().filter(|form| self.takes(form.coding));
        let smallest = made.filter_map(|form| Some((form.bytes?, form.coding))).min();
        if let Some((bytes, coding)) = smallest {
            return Choice::Coded(coding, bytes);
        }
        let saves_nothing =
            forms.iter().any(|form| form.bytes.is_none() && form.coding.dictionary().is_none());
        let mut untried = Coding::BY_SPEED.into_iter().filter(|coding| !tried(*coding));
        match untried.find(|coding| self.takes(*coding)) {
            Some(coding) if !saves_nothing => Choice::Encoding(coding),
            _ => Choice::Identity,
        }
    }
}

impl Choice {
    /// The coding, where there is one.
    pub(crate) const fn coding(self) -> Option<Coding> {
        match self {
            Self::Plain | Self::Identity => None,
            Self::Coded(coding, _) | Self::Encoding(coding) => Some(coding),
        }
    }

    /// The body, of what is stored or arriving; of the plain one, this range.
    pub(crate) const fn body(self, range: Option<ByteRange>) -> Body {
        match self {
            Self::Plain | Self::Identity => Body::Stored(range),
            Self::Coded(coding, _) => Body::Coded(coding),
            Self::Encoding(coding) => Body::Encoding(coding),
        }
    }
}

/// Whether a field like `Accept-Encoding` names this coding, or all, and does not refuse it.
pub(crate) fn accepts(field: &str, coding: &str) -> bool {
    weight(field, coding).or_else(|| weight(field, "*")).is_some_and(|weight| weight > 0.0)
}

/// Whether a field like `Accept-Encoding` names this very coding and does not refuse it. Who says
/// that all will do has not thought of one that needs a dictionary.
pub(crate) fn is_named(field: &str, coding: &str) -> bool {
    weight(field, coding).is_some_and(|weight| weight > 0.0)
}

fn weight(field: &str, name: &str) -> Option<f32> {
    field.split(',').find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(name) {
            return None;
        }
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        // A weight that can't be read refuses: what is sent plain is always understood.
        Some(weight.map_or(1.0, |weight| weight.trim().parse::<f32>().unwrap_or(0.0)))
    })
}

/// Whether bodies of this type, of this length where it is known, are worth to be encoded: text is,
/// and what is made like text; pictures, films and archives have been compressed already.
pub(crate) fn compressible(content_type: &str, length: Option<u64>) -> bool {
    if length.is_some_and(|length| length < BYTES_MIN) {
        return false;
    }
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((family, subtype)) = essence.split_once('/') else { return false };
    let suffix = subtype.rsplit_once('+').map_or("", |(_, suffix)| suffix);
    match family {
        // Events must not be held back until there is enough of them.
        "text" => subtype != "event-stream",
        "application" => {
            matches!(suffix, "json" | "xml" | "text" | "yaml" | "json-seq")
                || matches!(
                    subtype,
                    "json"
                        | "javascript"
                        | "ecmascript"
                        | "x-javascript"
                        | "xml"
                        | "xml-dtd"
                        | "wasm"
                        | "x-ndjson"
                        | "yaml"
                        | "toml"
                        | "sql"
                        | "graphql"
                        | "rtf"
                        | "postscript"
                        | "x-sh"
                        | "x-tar"
                        | "vnd.ms-fontobject"
                )
        }
        "image" => matches!(subtype, "svg+xml" | "bmp" | "x-icon" | "vnd.microsoft.icon"),
        "font" => matches!(subtype, "ttf" | "otf" | "sfnt"),
        "model" => suffix == "json" || matches!(subtype, "obj" | "stl" | "gltf-binary"),
        _ => false,
    }
}

/// The entity tag of the form in a coding (RFC 9110, section 8.8.3.3).
pub(crate) fn entity_tag(etag: &str, coding: Coding) -> String {
    let opaque = etag.strip_prefix("W/").unwrap_or(etag);
    format!("W/{}-{}\"", opaque.trim_end_matches('"'), coding.name())
}

/// A list of entity tags as if none of them were of a form: who has a form has what is stored.
pub(crate) fn without_coding(tags: &str) -> Cow<'_, str> {
    let mut tags = Cow::Borrowed(tags);
    for name in Coding::NAMES {
        let end = format!("-{name}\"");
        if tags.contains(&end) {
            tags = Cow::Owned(tags.replace(&end, "\""));
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted() {
        for (field, names) in [
            ("gzip, deflate, br, zstd", "br zstd gzip"),
            ("GZIP;q=0.5, br;q=0", "gzip"),
            ("*", "br zstd gzip"),
            ("*;q=0.1, br;q=0.0", "zstd gzip"),
            ("identity", ""),
            ("br;q=x", ""),
            ("brotli", ""),
            ("", ""),
        ] {
            let takes = |coding: &&str| accepts(field, coding);
            let all: Vec<_> = ["br", "zstd", "gzip"].into_iter().filter(takes).collect();
            assert_eq!(all.join(" "), names, "{field}");
        }
        assert_eq!(Accepted::read(None), Accepted::default());
        assert!(is_named("br, DCZ", "dcz") && is_named("dcz;q=0.1", "dcz"));
        assert!(!is_named("*", "dcz") && !is_named("dcz;q=0, *", "dcz") && !is_named("", "dcz"));
    }

    #[test]
    fn which_form_is_sent() {
        let form = |coding, bytes| Form { coding, bytes };
        let all = Accepted::read(Some("br, zstd, gzip"));
        let gzip = Accepted::read(Some("gzip"));
        let forms = [form(Coding::Brotli, Some(10)), form(Coding::Gzip, Some(12))];
        assert_eq!(all.choose(&forms), Choice::Coded(Coding::Brotli, 10));
        assert_eq!(gzip.choose(&forms), Choice::Coded(Coding::Gzip, 12));
        assert_eq!(gzip.choose(&[]), Choice::Encoding(Coding::Gzip));
        assert_eq!(gzip.choose(&forms[..1]), Choice::Encoding(Coding::Gzip), "a form for others");
        assert_eq!(all.choose(&[]), Choice::Encoding(Coding::Zstd));
        assert_eq!(all.choose(&[form(Coding::Brotli, None)]), Choice::Identity);
        assert_eq!(Accepted::default().choose(&forms), Choice::Identity);
        assert_eq!((all.wants_form(&[]), all.wants_form(&forms)), (Some(Coding::Brotli), None));
        assert_eq!(gzip.wants_form(&forms[..1]), Some(Coding::Gzip));
    }

    #[test]
    fn a_dictionary_comes_first() {
        let form = |coding, bytes| Form { coding, bytes };
        let br = Accepted::read(Some("br"));
        let dcz = Coding::Dcz([1; 32]);
        let has = br.with_dictionary(Some([1; 32]));
        let others = form(Coding::Dcz([2; 32]), Some(1));
        let made = form(Coding::Brotli, Some(10));
        assert_eq!(has.choose(&[made, others]), Choice::Encoding(dcz), "nobody else's form");
        assert_eq!(has.choose(&[made, form(dcz, Some(5))]), Choice::Coded(dcz, 5));
        assert_eq!(has.choose(&[made, form(dcz, Some(15))]), Choice::Coded(Coding::Brotli, 10));
        assert_eq!(has.choose(&[form(dcz, None)]), Choice::Encoding(Coding::Brotli));
        assert_eq!(has.choose(&[form(Coding::Brotli, None)]), Choice::Encoding(dcz));
        assert_eq!(br.choose(&[form(dcz, Some(5)), made]), Choice::Coded(Coding::Brotli, 10));
        assert_eq!(br.choose(&[form(dcz, None)]), Choice::Encoding(Coding::Brotli));
        assert_eq!(
            (has.wants_form(&[made]), has.wants_form(&[form(dcz, None)])),
            (Some(dcz), None)
        );
        let mut many: Vec<_> = (2..10).map(|n| form(Coding::Dcz([n; 32]), Some(1))).collect();
        assert_eq!(has.wants_form(&many), Some(Coding::Brotli));
        many.push(form(dcz, Some(1)));
        assert_eq!(has.wants_form(&many), None);
        assert_eq!(has.choose(&many), Choice::Coded(dcz, 1));
    }

    #[test]
    fn what_is_worth_it() {
        for kind in ["text/html; charset=utf-8", "image/svg+xml", "application/ld+json", "font/ttf"]
        {
            assert!(compressible(kind, Some(1000)) && compressible(kind, None), "{kind}");
            assert!(!compressible(kind, Some(255)), "{kind}");
        }
        for kind in ["image/png", "application/zip", "font/woff2", "text/event-stream", "", "text"]
        {
            assert!(!compressible(kind, Some(1000)), "{kind}");
        }
    }

    #[test]
    fn a_form_has_a_weak_tag_that_is_known_again() {
        assert_eq!(entity_tag("\"abc\"", Coding::Brotli), "W/\"abc-br\"");
        assert_eq!(entity_tag("W/\"abc\"", Coding::Gzip), "W/\"abc-gzip\"");
        assert_eq!(entity_tag("\"abc\"", Coding::Dcz([0; 32])), "W/\"abc-dcz\"");
        assert_eq!(without_coding("W/\"abc-br\", \"d-e\""), "W/\"abc\", \"d-e\"");
        assert_eq!(without_coding("W/\"abc-dcz\""), "W/\"abc\"");
        assert_eq!(without_coding("\"abc\""), "\"abc\"");
    }
}
