//! What a tenant may upload: the rules of `outport.toml`, as edges and origins both read them.
//!
//! An edge decides by what a request says of itself ([`EdgeRules`]); an origin decides the same
//! again, and what has to be counted or looked at besides ([`TenantRules`]).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::problem::{Problem, ProblemType};
use crate::syntax::is_token;

/// The most patterns of one list.
pub const PATTERNS_MAX: usize = 100;
/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 127;
/// The most uploads that one identity can be allowed to have open at once. They are kept by name.
pub const OPEN_MAX: u32 = 1000;

/// Rules of the kind `T`: those of every tenant, and those of the tenants that have their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules<T = TenantRules> {
    /// For every tenant without rules of its own.
    pub default: T,
    /// By tenant, whole: what a tenant doesn't say for itself was filled in from the default.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, T>,
}

impl<T> Rules<T> {
    /// The same rules for everybody.
    pub const fn same(default: T) -> Self {
        Self { default, tenants: BTreeMap::new() }
    }

    /// The rules of a tenant.
    pub fn for_tenant(&self, tenant: &str) -> &T {
        self.tenants.get(tenant).unwrap_or(&self.default)
    }

    /// A part of each tenant's rules.
    pub fn map<U>(&self, part: impl Fn(&T) -> U) -> Rules<U> {
        let tenants = self.tenants.iter().map(|(name, rules)| (name.clone(), part(rules)));
        Rules { default: part(&self.default), tenants: tenants.collect() }
    }
}

/// Everything that bounds the uploads of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRules {
    /// What a request is held to by what it says of itself.
    pub declared: Declared,
    /// What all of the tenant's files may have together.
    pub quota: Quota,
    /// The most uploads that one identity may have open at once.
    pub open_max: Option<u32>,
}

/// What can be decided before a body is read, from the head of a request alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// The largest upload, in bytes.
    pub size_max_bytes: u64,
    /// The media types that are taken.
    #[serde(default, skip_serializing_if = "MediaTypes::takes_all")]
    pub types: MediaTypes,
}

/// What an edge knows of a tenant's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeRules {
    /// What it decides by itself.
    pub declared: Declared,
    /// Whether the origin decides more than this, so that no edge can say by itself that an upload
    /// is taken: something is counted, or contents are looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_at_origin: bool,
}

/// What all files of a tenant may have together, unfinished uploads included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes, by the announced lengths.
    pub bytes: Option<u64>,
    /// Files.
    pub files: Option<u64>,
}

impl Quota {
    /// Whether there is anything to count.
    pub const fn is_set(self) -> bool {
        self.bytes.is_some() || self.files.is_some()
    }
}

impl TenantRules {
    /// Rules that bound nothing but the size.
    pub fn sized(size_max_bytes: u64) -> Self {
        let declared = Declared { size_max_bytes, types: MediaTypes::default() };
        Self { declared, quota: Quota::default(), open_max: None }
    }

    /// What an edge must know of them.
    pub fn for_edge(&self) -> EdgeRules {
        let more_at_origin =
            self.quota.is_set() || self.open_max.is_some() || !self.declared.types.takes_all();
        EdgeRules { declared: self.declared.clone(), more_at_origin }
    }
}

impl Declared {
    /// Refuses an upload of `bytes` bytes that is too large.
    pub fn check_size(&self, bytes: u64) -> Result<(), Problem> {
        let most = self.size_max_bytes;
        if bytes <= most {
            return Ok(());
        }
        let detail = format!("An upload may have {most} bytes here.");
        Err(Problem::new(ProblemType::TooLarge, detail).with("max", most))
    }

    /// Refuses a media type that is not taken.
    pub fn check_type(&self, media_type: &str) -> Result<(), Problem> {
        if self.types.allows(media_type) {
            return Ok(());
        }
        let essence = essence(media_type);
        Err(self.types.refusal(format!("The media type {essence} is not taken here.")))
    }
}

/// Which media types are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaTypes {
    /// These and no others; where there are none, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<TypePattern>,
    /// Not these, even if they are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<TypePattern>,
}

impl MediaTypes {
    /// Whether there is no rule.
    pub fn takes_all(&self) -> bool {
        self.allowed.is_empty() && self.refused.is_empty()
    }

    /// Whether a media type is taken, parameters or not.
    pub fn allows(&self, media_type: &str) -> bool {
        let listed =
            |patterns: &[TypePattern]| patterns.iter().any(|pattern| pattern.matches(media_type));
        (self.allowed.is_empty() || listed(&self.allowed)) && !listed(&self.refused)
    }

    /// Whether a media type is among those that are refused by name.
    pub fn names_refused(&self, media_type: &str) -> bool {
        self.refused.iter().any(|pattern| pattern.matches(media_type))
    }

    /// The problem of a type that is not taken: `detail`, and what is.
    pub fn refusal(&self, detail: String) -> Problem {
        let list = |patterns: &[TypePattern]| -> Vec<String> {
            patterns.iter().map(TypePattern::to_string).collect()
        };
        let (allowed, refused) = (list(&self.allowed), list(&self.refused));
        let allowed_text = if allowed.is_empty() { "all".to_owned() } else { allowed.join(", ") };
        let mut detail = format!("{detail} Taken are {allowed_text}");
        if !refused.is_empty() {
            detail = format!("{detail}, but not {}", refused.join(", "));
        }
        detail.push('.');
        Problem::new(ProblemType::MediaTypeRefused, detail)
            .with("allowed", allowed)
            .with("refused", refused)
    }
}

/// A media type, or all of one kind (`image/*`), or all (`*/*`). Written in lower case, without
/// parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypePattern {
    kind: String,
    subtype: String,
}

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is no slash, or nothing on one side of it.
    #[error("is no media type")]
    NotAType,
    /// There is a parameter.
    #[error("has a parameter")]
    Parameter,
    /// There is a star in another place.
    #[error("has a star where none can be")]
    Star,
    /// It is too long.
    #[error("is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
}

impl FromStr for TypePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if text.contains(';') {
            return Err(PatternError::Parameter);
        }
        let (kind, subtype) = text.split_once('/').ok_or(PatternError::NotAType)?;
        if kind == "*" && subtype != "*" || kind != "*" && kind.contains('*') {
            return Err(PatternError::Star);
        }
        if subtype != "*" && subtype.contains('*') {
            return Err(PatternError::Star);
        }
        if !(is_token(kind) && is_token(subtype)) {
            return Err(PatternError::NotAType);
        }
        Ok(Self { kind: kind.to_ascii_lowercase(), subtype: subtype.to_ascii_lowercase() })
    }
}

impl TypePattern {
    /// Whether a media type is one of those that are meant. Case and parameters don't matter.
    pub fn matches(&self, media_type: &str) -> bool {
        let Some((kind, subtype)) = essence(media_type).split_once('/') else { return false };
        let is = |pattern: &str, part: &str| pattern == "*" || pattern.eq_ignore_ascii_case(part);
        is(&self.kind, kind) && is(&self.subtype, subtype)
    }
}

impl TryFrom<String> for TypePattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<TypePattern> for String {
    fn from(pattern: TypePattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.subtype)
    }
}

/// A media type without its parameters (RFC 9110, section 8.3.1).
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(allowed: &[&str], refused: &[&str]) -> MediaTypes {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        MediaTypes { allowed: parse(allowed), refused: parse(refused) }
    }

    #[test]
    fn what_is_taken() {
        for (allowed, refused, media_type, taken) in [
            (&[][..], &[][..], "anything/at-all", true),
            (&["image/*", "application/pdf"], &[], "image/png", true),
            (&["image/*", "application/pdf"], &[], "Application/PDF; version=1", true),
            (&["image/*", "application/pdf"], &[], "application/pdfx", false),
            (&["image/*"], &[], "imagery/png", false),
            (&["image/*"], &["image/svg+xml"], "image/svg+xml", false),
            (&["image/*"], &["image/svg+xml"], "IMAGE/SVG+XML ;charset=utf-8", false),
            (&["*/*"], &["text/*"], "text/html", false),
            (&[], &["text/html"], "text/plain", true),
            (&["IMAGE/PNG"], &[], "image/png", true),
            (&["image/png"], &[], "image", false),
        ] {
            let types = types(allowed, refused);
            assert_eq!(types.allows(media_type), taken, "{types:?} {media_type}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for (text, error) in [
            ("image", PatternError::NotAType),
            ("image/", PatternError::NotAType),
            ("/png", PatternError::NotAType),
            ("im age/png", PatternError::NotAType),
            ("image/png/x", PatternError::NotAType),
            ("text/plain; charset=utf-8", PatternError::Parameter),
            ("*/png", PatternError::Star),
            ("image/p*", PatternError::Star),
            ("i*/png", PatternError::Star),
        ] {
            assert_eq!(text.parse::<TypePattern>(), Err(error), "{text}");
        }
        let long = format!("image/{}", "x".repeat(PATTERN_BYTES_MAX));
        assert_eq!(long.parse::<TypePattern>(), Err(PatternError::TooLong));
    }

    #[test]
    fn a_tenant_s_own_rules_come_first() {
        let mut rules = Rules::same(TenantRules::sized(10));
        rules.tenants.insert("acme".into(), TenantRules::sized(20));
        assert_eq!(rules.for_tenant("acme").declared.size_max_bytes, 20);
        assert_eq!(rules.for_tenant("other").declared.size_max_bytes, 10);
        let sizes = rules.map(|rules| rules.declared.size_max_bytes);
        assert_eq!((*sizes.for_tenant("acme"), *sizes.for_tenant("")), (20, 10));
    }

    #[test]
    fn an_edge_knows_whether_it_decides_all() {
        let mut rules = TenantRules::sized(10);
        assert!(!rules.for_edge().more_at_origin);
        rules.open_max = Some(1);
        assert!(rules.for_edge().more_at_origin);
        rules = TenantRules { quota: Quota { bytes: None, files: Some(1) }, ..rules };
        rules.open_max = None;
        assert!(rules.for_edge().more_at_origin);
        let mut rules = TenantRules::sized(10);
        rules.declared.types = types(&[], &["text/html"]);
        assert!(rules.for_edge().more_at_origin);
    }

    #[test]
    fn what_crosses_is_small_and_comes_back() {
        let plain = Rules::same(TenantRules::sized(10).for_edge());
        let text = r#"{"default":{"declared":{"size_max_bytes":10}}}"#;
        assert_eq!(serde_json::to_string(&plain).unwrap(), text);
        let mut rules = TenantRules::sized(10);
        rules.declared.types = types(&["image/*"], &["image/svg+xml"]);
        let rules = Rules::same(rules).map(TenantRules::for_edge);
        let text = serde_json::to_string(&rules).unwrap();
        assert_eq!(serde_json::from_str::<Rules<EdgeRules>>(&text).unwrap(), rules);
        assert!(serde_json::from_str::<TypePattern>("\"image\"").is_err());
    }

    #[test]
    fn a_refusal_says_what_is_taken() {
        let mut rules = TenantRules::sized(10).declared;
        rules.types = types(&["image/*"], &["image/svg+xml"]);
        let problem = rules.check_type("text/html; charset=utf-8").unwrap_err();
        assert_eq!(
            problem.detail(),
            "The media type text/html is not taken here. Taken are image/*, but not image/svg+xml."
        );
        assert!(String::from_utf8(problem.to_json()).unwrap().contains(r#""allowed":["image/*"]"#));
        assert_eq!(rules.check_size(10), Ok(()));
        assert_eq!(rules.check_size(11).unwrap_err().kind, ProblemType::TooLarge);
    }
}
