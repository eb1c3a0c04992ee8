//! What may be uploaded: `[uploads]` for everybody, `[tenants.NAME]` for one tenant.
//!
//! Both have the same keys. What a tenant's section leaves out is what `[uploads]` says.

use std::collections::BTreeMap;

use outport_wire::identity::{Identity, Scopes};
use outport_wire::rules::{
    Declared, MediaTypes, OPEN_MAX, PATTERNS_MAX, PatternError, Quota, TenantRules, TypePattern,
    essence,
};

use super::section::{Located, Section};

/// JavaScript clients count bytes in doubles, which are exact up to here. No quota needs more.
const BYTES_MAX: u64 = 9_007_199_254_740_991;

/// The most tenants with rules of their own: every edge holds them all.
const TENANTS_MAX: usize = 1000;

/// The rules of one section; what it leaves out is as in `defaults`.
pub(super) fn tenant(mut section: Section<'_>, defaults: &TenantRules) -> TenantRules {
    let size = section.whole("size_max_bytes", 1..=BYTES_MAX, "bytes");
    let allowed = patterns(&mut section, "media_types");
    let refused = patterns(&mut section, "media_types_refused");
    let bytes = section.whole("quota_bytes", 0..=BYTES_MAX, "bytes");
    let files = section.whole("quota_files", 0..=BYTES_MAX, "files");
    let open = section.whole("open_max", 1..=u64::from(OPEN_MAX), "uploads");
    section.finish();
    let value = |number: Option<Located<u64>>| number.map(|number| number.value);
    let types = &defaults.declared.types;
    TenantRules {
        declared: Declared {
            size_max_bytes: value(size).unwrap_or(defaults.declared.size_max_bytes),
            types: MediaTypes {
                allowed: allowed.unwrap_or_else(|| types.allowed.clone()),
                refused: refused.unwrap_or_else(|| types.refused.clone()),
            },
        },
        quota: Quota {
            bytes: value(bytes).or(defaults.quota.bytes),
            files: value(files).or(defaults.quota.files),
        },
        open_max: value(open).and_then(|open| u32::try_from(open).ok()).or(defaults.open_max),
    }
}

/// The rules of every tenant that has a section.
pub(super) fn tenants(
    section: Section<'_>,
    defaults: &TenantRules,
) -> BTreeMap<String, TenantRules> {
    let at = section.at;
    let named = section.named_sections();
    if let Some((_, section)) = named.get(TENANTS_MAX) {
        let right = format!("at most {TENANTS_MAX}; the others have what [uploads] says");
        section.note(at, format!("there are {} tenants", named.len()), right);
    }
    let read = |(name, section): (Located<String>, Section<'_>)| {
        check_name(&section, &name);
        (name.value, tenant(section, defaults))
    };
    named.into_iter().map(read).collect()
}

/// What no token can say is no tenant.
fn check_name(section: &Section<'_>, name: &Located<String>) {
    if Identity::new(&name.value, "anybody", Scopes::default()).is_err() {
        let wrong = format!("no tenant can be called {:?}", name.value);
        section.note(name.at, wrong, "a name has 1 to 128 bytes and no control characters");
    }
}

fn patterns(section: &mut Section<'_>, key: &'static str) -> Option<Vec<TypePattern>> {
    let listed = section.texts(key)?;
    if let Some(extra) = listed.get(PATTERNS_MAX) {
        let wrong = format!("{key} has {} media types", listed.len());
        section.note(extra.at, wrong, format!("at most {PATTERNS_MAX}; image/* stands for many"));
    }
    Some(listed.iter().filter_map(|text| pattern(section, text)).collect())
}

fn pattern(section: &Section<'_>, text: &Located<String>) -> Option<TypePattern> {
    let error = match text.value.parse() {
        Ok(pattern) => return Some(pattern),
        Err(error) => error,
    };
    let likely = likely(&text.value, error);
    let right = match likely.filter(|likely| likely.parse::<TypePattern>().is_ok()) {
        Some(likely) => format!("did you mean \"{likely}\"?"),
        None => "it takes media types such as \"application/pdf\" and \"image/*\"".to_owned(),
    };
    section.note(text.at, format!("\"{}\" {error}", text.value), right);
    None
}

/// What somebody who wrote `text` may have meant.
fn likely(text: &str, error: PatternError) -> Option<String> {
    match error {
        PatternError::NotAType => Some(format!("{}/*", text.trim_matches(['/', ' ']))),
        PatternError::Parameter => Some(essence(text).to_owned()),
        PatternError::Star => text.split_once('/').map(|(kind, _)| format!("{kind}/*")),
        PatternError::TooLong => None,
    }
}

#[cfg(test)]
mod tests {
    use outport_wire::rules::Rules;

    use super::super::{Mistake, parse};

    fn rules(text: &str) -> Rules {
        parse(text).unwrap().rules
    }

    fn mistakes(text: &str) -> Vec<String> {
        let line =
            |Mistake { line, column, wrong, right }| format!("{line}:{column} {wrong} | {right}");
        parse(text).expect_err("it is wrong").into_iter().map(line).collect()
    }

    #[test]
    fn a_tenant_has_what_it_says_and_the_rest_of_the_defaults() {
        let rules = rules(
            r#"
            [tenants.acme]
            quota_bytes = 5
            media_types = []
            [tenants."acme & sons"]
            open_max = 7
            size_max_bytes = 200
            [uploads]
            size_max_bytes = 100
            media_types = ["image/*", "Application/PDF"]
            media_types_refused = ["image/svg+xml"]
            quota_files = 9
            "#,
        );
        let default = &rules.default;
        assert_eq!((default.quota.bytes, default.quota.files), (None, Some(9)));
        assert!(default.declared.types.allows("application/pdf"));
        assert!(!default.declared.types.allows("image/svg+xml"));
        let acme = rules.for_tenant("acme");
        assert_eq!((acme.quota.bytes, acme.quota.files), (Some(5), Some(9)));
        assert!(acme.declared.types.allows("text/plain"));
        assert!(!acme.declared.types.allows("image/svg+xml"));
        let sons = rules.for_tenant("acme & sons");
        assert_eq!((sons.open_max, sons.declared.size_max_bytes), (Some(7), 200));
        assert_eq!(sons.declared.types, default.declared.types);
        assert_eq!(rules.for_tenant("other"), default);
    }

    #[test]
    fn media_types_are_checked_one_by_one() {
        let found = mistakes(
            "[uploads]\nmedia_types = [\"image\", \"image/p*\", \"text/plain; charset=utf-8\"]\n\
             media_types_refused = [\"*/png\", 5]\n",
        );
        assert_eq!(
            found,
            [
                "2:16 \"image\" is no media type | did you mean \"image/*\"?",
                "2:25 \"image/p*\" has a star where none can be | did you mean \"image/*\"?",
                "2:37 \"text/plain; charset=utf-8\" has a parameter | did you mean \"text/plain\"?",
                "3:24 \"*/png\" has a star where none can be | did you mean \"*/*\"?",
                "3:33 media_types_refused in [uploads] is the number 5 | it takes a list of texts \
                 only",
            ]
        );
    }

    #[test]
    fn tenants() {
        let found = mistakes(
            "[tenants.\"\"]\nopen_max = 1001\n[tenants.acme]\nquota = 5\nmedia_type = [\"a/b\"]\n",
        );
        assert_eq!(
            found,
            [
                "1:10 no tenant can be called \"\" | a name has 1 to 128 bytes and no control \
                 characters",
                "2:12 open_max in [tenants.] is out of range: 1001 | it takes a whole number of \
                 uploads from 1 to 1000",
                "4:1 [tenants.acme] has no key \"quota\" | did you mean \"quota_files\"?",
                "5:1 [tenants.acme] has no key \"media_type\" | did you mean \"media_types\"?",
            ]
        );
        let many: String = (0..=1000).map(|place| format!("[tenants.t{place}]\n")).collect();
        assert!(mistakes(&many)[0].contains("there are 1001 tenants"));
    }
}
