//! `[issuers.…]`: whose tokens are trusted besides the deployment's own, and what they grant.

use std::collections::BTreeMap;
use std::path::PathBuf;

use outport_edge_core::config::{ISSUERS_MAX, Issuer, LEEWAY_S, OUTAGE_S};
use outport_edge_core::key_set::Algorithm;
use outport_wire::identity::{NAME_BYTES_MAX, Scope};
use reqwest::Url;

use super::read::web_address;
use super::section::{Located, Section};
use crate::token::ISSUER;

/// The longest outage of an issuer that is survived: 30 days.
const OUTAGE_S_MAX: u64 = 30 * 86_400;
/// The furthest that a clock may be off, in seconds.
const LEEWAY_S_MAX: u64 = 300;
const NAME_BYTES: std::ops::RangeInclusive<usize> = 1..=512;

/// An issuer, and where what its tokens are checked with is: a file that is read at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustedIssuer {
    /// What is said of it, its keys aside.
    pub(crate) issuer: Issuer,
    /// Its public keys: a JWK Set (RFC 7517). Absent: it is asked for them, or has none.
    pub(crate) keys_file: Option<PathBuf>,
    /// The secrets that it signs with by HS256.
    pub(crate) secret_file: Option<PathBuf>,
}

/// Reads the sections of all issuers.
pub(super) fn issuers(section: Section<'_>) -> Vec<TrustedIssuer> {
    let mut taken = vec![ISSUER.to_owned()];
    let at = section.at;
    let sections = section.named_sections();
    if let Some((name, section)) = sections.get(ISSUERS_MAX - 1) {
        let wrong = format!("[issuers.{}] is one too many", name.value);
        section.note(at, wrong, format!("there may be {} besides our own", ISSUERS_MAX - 1));
    }
    let read = |(_, section)| one(section, &mut taken);
    sections.into_iter().filter_map(read).collect()
}

fn one(mut section: Section<'_>, taken: &mut Vec<String>) -> Option<TrustedIssuer> {
    let name = name(&mut section, taken);
    let audiences = audiences(&mut section);
    let algorithms = algorithms(&mut section);
    let keys_file = section.text("keys_file");
    let secret_file = section.text("secret_file");
    let keys_url = keys_url(&mut section);
    let keys = Keys { file: keys_file.as_ref(), url: keys_url.as_ref() };
    let publishes = publishes(&section, &algorithms, keys, name.as_deref());
    check_secret(&section, &algorithms, secret_file.as_ref());
    let outage = section.whole("outage_s", 0..=OUTAGE_S_MAX, "seconds");
    let tenant = section.text("tenant");
    let tenant_claim = claim(&mut section, "tenant_claim");
    if let (Some(tenant), Some(_)) = (&tenant, &tenant_claim) {
        section.note(tenant.at, "there are tenant and tenant_claim", "give one of the two");
    }
    let tenants = texts(&mut section, "tenants");
    let leeway = section.whole("leeway_s", 0..=LEEWAY_S_MAX, "seconds");
    let roles_claim = claim(&mut section, "roles_claim");
    let roles = section.section("roles").map(|roles| (roles.at, roles_of(&roles)));
    if let (Some((at, _)), None) = (&roles, &roles_claim) {
        let right = "say where tokens list them, such as: roles_claim = \"roles\"";
        section.note(*at, "roles has no effect without roles_claim", right);
    }
    let usual = Issuer::default();
    let issuer = Issuer {
        name: name.unwrap_or_default(),
        audiences,
        algorithms,
        publishes,
        keys_url: keys_url.map(|url| url.value),
        outage_s: outage.map_or(OUTAGE_S, |outage| outage.value),
        access_tokens_only: section.flag("access_tokens_only").unwrap_or(false),
        leeway_s: leeway.map_or(LEEWAY_S, |leeway| leeway.value),
        tenant: tenant.map(|tenant| tenant.value),
        tenant_claim: tenant_claim.unwrap_or(usual.tenant_claim),
        tenants,
        subject_claim: claim(&mut section, "subject_claim").unwrap_or(usual.subject_claim),
        subject_prefix: prefix(&mut section),
        scope_claim: claim(&mut section, "scope_claim").unwrap_or(usual.scope_claim),
        roles_claim,
        roles: roles.map(|(_, roles)| roles).unwrap_or_default(),
        scopes: section.texts("scopes").map(|listed| scopes(&section, listed)),
        ..Issuer::default()
    };
    section.finish();
    let path = |file: Option<Located<String>>| file.map(|file| PathBuf::from(file.value));
    Some(TrustedIssuer { issuer, keys_file: path(keys_file), secret_file: path(secret_file) })
}

/// What tokens say in `iss`.
fn name(section: &mut Section<'_>, taken: &mut Vec<String>) -> Option<String> {
    let Some(name) = section.text("issuer") else {
        section.note_missing("issuer", "\"https://id.example.com\"");
        return None;
    };
    if !NAME_BYTES.contains(&name.value.len()) {
        section.note(name.at, "issuer is empty, or too long", "it takes what tokens say in `iss`");
    } else if taken.contains(&name.value) {
        let wrong = format!("the issuer \"{}\" is there already", name.value);
        section.note(name.at, wrong, format!("each is there once, and \"{ISSUER}\" is our own"));
    }
    taken.push(name.value.clone());
    Some(name.value)
}

fn audiences(section: &mut Section<'_>) -> Vec<String> {
    match section.texts("audiences") {
        Some(listed) if listed.is_empty() => {
            // RFC 8725, section 3.9: a token for others must not be taken.
            section.note(
                section.at,
                "audiences lists nothing",
                "it takes what tokens say in `aud`",
            );
            Vec::new()
        }
        Some(listed) => listed.into_iter().map(|audience| audience.value).collect(),
        None => {
            section.note_missing("audiences", "[\"outport\"]");
            Vec::new()
        }
    }
}

fn algorithms(section: &mut Section<'_>) -> Vec<Algorithm> {
    let Some(listed) = section.texts("algorithms") else { return Algorithm::ASYMMETRIC.to_vec() };
    let known = Algorithm::ALL.map(|algorithm| format!("\"{}\"", algorithm.name())).join(", ");
    let right = format!("it takes some of {known}");
    if listed.is_empty() {
        section.note(section.at, "algorithms lists nothing", &right);
    }
    let read = |name: Located<String>| {
        let algorithm = Algorithm::named(&name.value);
        if algorithm.is_none() {
            section.note(
                name.at,
                format!("tokens signed with \"{}\" are not taken", name.value),
                &right,
            );
        }
        algorithm
    };
    listed.into_iter().filter_map(read).collect()
}

/// The address of a key set. Whoever can change what comes from there can make tokens.
fn keys_url(section: &mut Section<'_>) -> Option<Located<String>> {
    let url = section.text("keys_url")?;
    let right = "it takes an address such as \"https://id.example.com/keys\"";
    let parsed = web_address(section, &url, right)?;
    check_encrypted(section, &url, &parsed, right);
    Some(Located { value: parsed.into(), at: url.at })
}

fn check_encrypted(section: &Section<'_>, said: &Located<String>, url: &Url, right: &str) {
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !is_here {
        let wrong = format!("\"{}\" is not encrypted, and not on this machine", said.value);
        section.note(said.at, wrong, right);
    }
}

/// Where an issuer's keys are.
#[derive(Clone, Copy)]
struct Keys<'a> {
    file: Option<&'a Located<String>>,
    url: Option<&'a Located<String>>,
}

/// Whether the issuer is asked for its keys.
fn publishes(
    section: &Section<'_>,
    algorithms: &[Algorithm],
    keys: Keys<'_>,
    name: Option<&str>,
) -> bool {
    let by_key = algorithms.iter().any(|algorithm| *algorithm != Algorithm::Hs256);
    match (keys.file, keys.url) {
        (Some(keys), _) | (None, Some(keys)) if !by_key => {
            let right = "leave it out, or name what the keys are for in algorithms";
            section.note(keys.at, "all is signed with HS256, which takes no public keys", right);
        }
        (Some(_), Some(url)) => {
            let right = "give one of the two";
            section.note(url.at, "there are keys_file and keys_url", right);
        }
        (None, None) if by_key => check_discovery(section, name),
        _ => {}
    }
    by_key && keys.file.is_none()
}

/// An issuer that is asked where its keys are must have a name that is its address.
fn check_discovery(section: &Section<'_>, name: Option<&str>) {
    let Some(name) = name else { return };
    let parsed = Url::parse(name).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let said = Located { value: name.to_owned(), at: section.at };
    let right = "add keys_file or keys_url, or name the issuer by its address, where it says where \
                 its keys are";
    match parsed {
        Some(url) => check_encrypted(section, &said, &url, right),
        None => {
            let wrong = format!("\"{name}\" can't be asked for its keys");
            section.note(section.at, wrong, right);
        }
    }
}

fn check_secret(section: &Section<'_>, algorithms: &[Algorithm], secret: Option<&Located<String>>) {
    let by_secret = algorithms.contains(&Algorithm::Hs256);
    match (secret, by_secret) {
        (None, true) => section.note_missing("secret_file", "\"/etc/outport/id.secret\""),
        (Some(secret), false) => {
            let right = "say so: algorithms = [\"HS256\"]; whoever has the secret can make tokens";
            section.note(secret.at, "secret_file has no effect without HS256", right);
        }
        _ => {}
    }
}

/// The name of a claim, or a JSON pointer to it.
fn claim(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let name = section.text(key)?;
    if name.value.is_empty() || name.value == "/" {
        let right = "it takes a claim's name, or a JSON pointer such as \"/realm_access/roles\"";
        section.note(name.at, format!("{key} names no claim"), right);
    }
    Some(name.value)
}

fn prefix(section: &mut Section<'_>) -> String {
    let Some(prefix) = section.text("subject_prefix") else { return String::new() };
    if prefix.value.len() > NAME_BYTES_MAX / 2 || prefix.value.chars().any(char::is_control) {
        let right = format!("it takes up to {} bytes of text", NAME_BYTES_MAX / 2);
        section.note(prefix.at, "subject_prefix is too long, or no text", right);
    }
    prefix.value
}

fn texts(section: &mut Section<'_>, key: &'static str) -> Vec<String> {
    let listed = section.texts(key);
    if listed.as_ref().is_some_and(Vec::is_empty) {
        section.note(section.at, format!("{key} lists nobody"), "leave it out to mean all of them");
    }
    listed.unwrap_or_default().into_iter().map(|text| text.value).collect()
}

fn roles_of(section: &Section<'_>) -> BTreeMap<String, String> {
    let roles = section.named_texts().into_iter();
    roles.map(|(name, listed)| (name.value, scopes(section, listed))).collect()
}

/// Scopes, with spaces between.
fn scopes(section: &Section<'_>, listed: Vec<Located<String>>) -> String {
    let known = Scope::ALL.map(|scope| format!("\"{}\"", scope.name())).join(", ");
    for name in &listed {
        if !Scope::ALL.iter().any(|scope| scope.name() == name.value) {
            let wrong = format!("there is no scope \"{}\"", name.value);
            section.note(name.at, wrong, format!("it takes some of {known}"));
        }
    }
    let names: Vec<String> = listed.into_iter().map(|name| name.value).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::{Mistake, parse};
    use super::*;

    const WHOLE: &str = "issuer = \"https://id.example\"\naudiences = [\"outport\"]\n\
                         keys_file = \"id.jwks\"\n";

    fn mistakes(lines: &str) -> Vec<String> {
        let line = |Mistake { line, wrong, right, .. }| format!("{line} {wrong} | {right}");
        let text = format!("[issuers.a]\n{lines}");
        parse(&text).err().unwrap_or_default().into_iter().map(line).collect()
    }

    #[test]
    fn an_issuer() {
        let text = format!(
            "[issuers.company]\n{WHOLE}algorithms = [\"ES256\", \"HS256\"]\n\
             secret_file = \"s\"\ntenant_claim = \"/org/id\"\ntenants = [\"acme\"]\n\
             subject_claim = \"uid\"\nsubject_prefix = \"id:\"\nscope_claim = \"scp\"\n\
             roles_claim = \"roles\"\nscopes = [\"read\", \"write\"]\nleeway_s = 30\n\
             access_tokens_only = true\n[issuers.company.roles]\neditor = [\"read\", \"write\"]\n"
        );
        let issuer = Issuer {
            name: "https://id.example".into(),
            audiences: vec!["outport".into()],
            algorithms: vec![Algorithm::Es256, Algorithm::Hs256],
            access_tokens_only: true,
            leeway_s: 30,
            tenant_claim: "/org/id".into(),
            tenants: vec!["acme".into()],
            subject_claim: "uid".into(),
            subject_prefix: "id:".into(),
            scope_claim: "scp".into(),
            roles_claim: Some("roles".into()),
            roles: BTreeMap::from([("editor".into(), "read write".into())]),
            scopes: Some("read write".into()),
            ..Issuer::default()
        };
        let (keys_file, secret_file) = (Some("id.jwks".into()), Some("s".into()));
        let expected = TrustedIssuer { issuer, keys_file, secret_file };
        assert_eq!(parse(&text).unwrap().issuers, [expected]);
        let kept = &parse(&format!("[issuers.a]\n{WHOLE}")).unwrap().issuers[0];
        assert!(!kept.issuer.publishes);
        let asked = WHOLE.replace("keys_file = \"id.jwks\"", "outage_s = 5");
        let asked = &parse(&format!("[issuers.a]\n{asked}")).unwrap().issuers[0].issuer;
        assert_eq!((asked.publishes, asked.outage_s, &asked.keys_url), (true, 5, &None));
        let url = WHOLE.replace("keys_file = \"id.jwks\"", "keys_url = \"http://127.0.0.1:9/k\"");
        let url = &parse(&format!("[issuers.a]\n{url}")).unwrap().issuers[0].issuer;
        assert_eq!(url.keys_url.as_deref(), Some("http://127.0.0.1:9/k"));
    }

    #[test]
    fn every_mistake_has_its_place() {
        for (lines, expected) in [
            ("algorithms = [\"none\"]", "5 tokens signed with \"none\" are not taken | it takes"),
            ("algorithms = []", "1 algorithms lists nothing"),
            ("algorithms = [\"HS256\"]", "1 [issuers.a] has no secret_file"),
            ("algorithms = [\"HS256\"]", "4 all is signed with HS256, which takes no public keys"),
            ("keys_url = \"https://a\"", "5 there are keys_file and keys_url"),
            ("keys_url = \"http://a\"", "5 \"http://a\" is not encrypted, and not on this machine"),
            ("keys_url = \"x\"", "5 \"x\" is no web address"),
            (
                "[issuers.b]\nissuer = \"us\"\naudiences = [\"a\"]",
                "5 \"us\" can't be asked for its",
            ),
            (
                "[issuers.b]\nissuer = \"http://id\"\naudiences = [\"a\"]",
                "5 \"http://id\" is not encr",
            ),
            ("secret_file = \"s\"", "5 secret_file has no effect without HS256 | say so"),
            ("tenant = \"a\"\ntenant_claim = \"b\"", "5 there are tenant and tenant_claim"),
            ("tenants = []", "1 tenants lists nobody"),
            ("scopes = [\"delete\"]", "5 there is no scope \"delete\" | it takes some of \"read\""),
            ("[issuers.a.roles]\neditor = [\"delete\"]", "6 there is no scope \"delete\""),
            ("[issuers.a.roles]\neditor = \"read\"", "6 editor in [issuers.a.roles] is the text"),
            ("[issuers.a.roles]\neditor = [\"read\"]", "5 roles has no effect without roles_claim"),
            ("subject_claim = \"\"", "5 subject_claim names no claim"),
            ("leeway_s = 301", "5 leeway_s in [issuers.a] is out of range"),
            ("jwks = \"x\"", "5 [issuers.a] has no key \"jwks\""),
            ("[issuers.b]\nissuer = \"outport\"", "6 the issuer \"outport\" is there already"),
            ("[issuers.b]\nissuer = \"https://id.example\"", "6 the issuer \"https://id.ex"),
        ] {
            let found = mistakes(&format!("{WHOLE}{lines}"));
            assert!(found.iter().any(|found| found.starts_with(expected)), "{lines}: {found:?}");
        }
        let empty = mistakes("");
        assert_eq!(empty.len(), 2, "{empty:?}");
        let many: String = (0..ISSUERS_MAX)
            .map(|number| {
                format!("[issuers.n{number}]\n{}", WHOLE.replace("id.e", &format!("{number}")))
            })
            .collect();
        let many = parse(&many).unwrap_err();
        assert!(many[0].wrong.ends_with("is one too many"), "{many:?}");
    }
}
