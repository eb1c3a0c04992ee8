//! What is refused, limited or logged: `[firewall]` and `[[firewall.rules]]`.

use std::collections::BTreeMap;

use outport_edge_core::challenge::{BITS, Challenge};
use outport_edge_core::country::Country;
use outport_edge_core::firewall::{
    Action, CORE_PREFIX, Conditions, CoreSet, Firewall, Header, HeaderTest, RULES_MAX, Rule,
    VALUE_BYTES_MAX, VALUES_MAX, check_network, check_path,
};
use outport_wire::syntax::is_token;

use super::Limit;
use super::read::known_limit;
use super::section::{Located, Section};

/// The longest that a proof can be good: a day. It is not asked whether the client is another by then.
const CHALLENGE_LASTS_S_MAX: u64 = 86_400;
/// The longest name of a rule, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What `[firewall]` says.
pub(super) fn firewall(mut section: Section<'_>, limits: &BTreeMap<String, Limit>) -> Firewall {
    let sets = [("deny", CoreSet::Deny), ("log", CoreSet::Log), ("off", CoreSet::Off)];
    let mut core = section.one_of("core", &sets).unwrap_or_default();
    let dry_run = section.flag("dry_run").unwrap_or(false);
    let challenge = challenge(&mut section);
    let sections = section.sections("rules");
    if let Some(extra) = sections.get(RULES_MAX) {
        let wrong = format!("there are {} rules", sections.len());
        extra.note(extra.at, wrong, format!("at most {RULES_MAX}; one rule takes lists"));
    }
    let mut names = Vec::new();
    let read = |section| rule(section, limits, &mut names);
    let mut rules: Vec<Rule> = sections.into_iter().map(read).collect();
    let values: usize = rules.iter().map(Rule::values).sum();
    if values > VALUES_MAX {
        let right = format!("at most {VALUES_MAX}; networks and * stand for many");
        section.note(section.at, format!("the rules have {values} values in all"), right);
    }
    if dry_run {
        rules.iter_mut().for_each(|rule| rule.dry_run = true);
        core = if core == CoreSet::Off { core } else { CoreSet::Log };
    }
    section.finish();
    Firewall { core, challenge, rules }
}

fn challenge(section: &mut Section<'_>) -> Challenge {
    let bits = u64::from(*BITS.start())..=u64::from(*BITS.end());
    let bits = section.whole("challenge_bits", bits, "bits");
    let bits = bits.and_then(|bits| u8::try_from(bits.value).ok());
    let life = section.whole("challenge_lasts_s", 60..=CHALLENGE_LASTS_S_MAX, "seconds");
    let usual = Challenge::default();
    Challenge {
        bits: bits.unwrap_or(usual.bits),
        life_s: life.map_or(usual.life_s, |life| life.value),
    }
}

fn rule(
    mut section: Section<'_>,
    limits: &BTreeMap<String, Limit>,
    names: &mut Vec<String>,
) -> Rule {
    let name = section.text("name");
    match &name {
        Some(name) => check_name(&section, name, names),
        None if section.has("name") => {}
        None => section.note_missing("name", "\"no-scanners\""),
    }
    let matches = section.table("match").map(conditions);
    if matches.is_none() && !section.has("match") {
        section.note_missing("match", "{ paths = [\"/admin/*\"] }");
    }
    let unless = section.table("unless").map(conditions);
    let action = action(&mut section, matches.as_ref(), limits);
    let dry_run = section.flag("dry_run").unwrap_or(false);
    section.finish();
    Rule {
        name: name.map(|name| name.value).unwrap_or_default(),
        matches: matches.unwrap_or_default(),
        unless,
        action,
        dry_run,
    }
}

/// Whether conditions hold for nobody who is not signed in.
fn wants_signed_in(conditions: &Conditions) -> bool {
    let Conditions { tenants, subjects, signed_in, .. } = conditions;
    !tenants.is_empty() || !subjects.is_empty() || *signed_in == Some(true)
}

fn check_name(section: &Section<'_>, name: &Located<String>, names: &mut Vec<String>) {
    let Located { value, at } = name;
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if value.is_empty() || value.len() > NAME_BYTES_MAX || !value.bytes().all(word) {
        let right = format!("a name has 1 to {NAME_BYTES_MAX} of a-z, 0-9 and hyphens");
        section.note(*at, format!("a rule can't be called \"{value}\""), right);
    } else if value.starts_with(CORE_PREFIX) {
        let wrong = format!("a rule can't be called \"{value}\"");
        let right = format!("what begins with \"{CORE_PREFIX}\" is of the core set");
        section.note(*at, wrong, right);
    } else if names.contains(value) {
        let right = "give each rule a name of its own: by that it is counted";
        section.note(*at, format!("there are two rules \"{value}\""), right);
    }
    names.push(value.clone());
}

fn action(
    section: &mut Section<'_>,
    matches: Option<&Conditions>,
    limits: &BTreeMap<String, Limit>,
) -> Action {
    let limit = section.text("limit");
    let reason = section.text("reason");
    if let Some(Located { value, at }) = &reason
        && (value.len() > VALUE_BYTES_MAX
            || value.is_empty()
            || value.chars().any(char::is_control))
    {
        let right = format!("a sentence of at most {VALUE_BYTES_MAX} bytes in one line");
        section.note(*at, "clients can't be told this reason", right);
    }
    let Some(Located { value, at }) = section.text("action") else {
        if !section.has("action") {
            section.note_missing("action", "\"deny\"");
        }
        return Action::Log;
    };
    let only_with = |given: &Option<Located<String>>, key: &str, action: &str| {
        if let Some(given) = given.as_ref().filter(|_| value != action) {
            let wrong = format!("{key} has no effect: action is \"{value}\"");
            section.note(given.at, wrong, format!("leave it out, or set action to \"{action}\""));
        }
    };
    only_with(&limit, "limit", "limit");
    only_with(&reason, "reason", "deny");
    match value.as_str() {
        "allow" => Action::Allow,
        "deny" => Action::Deny(reason.map(|reason| reason.value)),
        "log" => Action::Log,
        "limit" => Action::Limit(limit_name(section, limit, limits)),
        "challenge" => {
            if matches.is_some_and(wants_signed_in) {
                let right = "leave signed_in, tenants and subjects out of match";
                section.note(at, "a challenge is for who is not signed in", right);
            }
            Action::Challenge
        }
        _ => {
            let wrong = format!("action in [[firewall.rules]] can't be \"{value}\"");
            let right = "it takes one of \"allow\", \"deny\", \"limit\", \"challenge\", \"log\"";
            section.note(at, wrong, right);
            Action::Log
        }
    }
}

fn limit_name(
    section: &Section<'_>,
    name: Option<Located<String>>,
    limits: &BTreeMap<String, Limit>,
) -> String {
    match name {
        Some(name) => known_limit(section, name, limits.keys().map(String::as_str)),
        None => {
            if !section.has("limit") {
                section.note_missing("limit", "\"read\"");
            }
            String::new()
        }
    }
}

fn conditions(mut section: Section<'_>) -> Conditions {
    let networks = values_of(&mut section, "networks", |network| {
        (!check_network(network))
            .then_some(("is neither network nor address", "write \"10.0.0.0/8\" or \"::1\"".into()))
    });
    let countries = values_of(&mut section, "countries", |country| {
        Country::read(country.as_bytes())
            .is_none()
            .then(|| ("is no country", "write its two letters, such as \"DE\"".into()))
    });
    let countries = countries.iter().map(|country| Country::told(country.as_bytes())).collect();
    let methods = values_of(&mut section, "methods", |method| {
        let is_method = method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        (!is_method).then(|| {
            let upper = method.to_ascii_uppercase();
            ("is no method", format!("they are in capitals: did you mean \"{upper}\"?"))
        })
    });
    let paths = values_of(&mut section, "paths", |path| {
        let error = check_path(path).err()?;
        Some(("is no pattern of paths", error.right().to_owned()))
    });
    let anything = |_: &str| None;
    let query = values_of(&mut section, "query", anything);
    let tenants = values_of(&mut section, "tenants", anything);
    let subjects = values_of(&mut section, "subjects", anything);
    let headers = section.table("headers").map(headers).unwrap_or_default();
    let signed_in = section.located_flag("signed_in");
    if let Some(Located { value: false, at }) = signed_in
        && (!tenants.is_empty() || !subjects.is_empty())
    {
        let wrong = "signed_in = false can't hold beside tenants or subjects";
        section.note(at, wrong, "whoever has a tenant is signed in; leave one of the two out");
    }
    if section.is_empty() {
        let right = "say at least one thing; paths = [\"*\"] is everything";
        section.note(section.at, "these conditions say nothing", right);
    }
    section.finish();
    let signed_in = signed_in.map(|signed_in| signed_in.value);
    Conditions { networks, countries, methods, paths, headers, query, tenants, subjects, signed_in }
}

/// The values of a condition: one text or a list, none of which is what `wrong` says, nor too long.
fn values_of(
    section: &mut Section<'_>,
    key: &'static str,
    wrong: impl Fn(&str) -> Option<(&'static str, String)>,
) -> Vec<String> {
    let Some(listed) = section.text_or_texts(key) else { return Vec::new() };
    if listed.value.is_empty() {
        let right = "name what is to match, or leave it out";
        section.note(listed.at, format!("{key} is empty: nothing could match it"), right);
    }
    let mut values = Vec::with_capacity(listed.value.len());
    for Located { value, at } in listed.value {
        if value.is_empty() || value.len() > VALUE_BYTES_MAX {
            let wrong = format!("a value of {key} has {} bytes", value.len());
            section.note(at, wrong, format!("1 to {VALUE_BYTES_MAX}"));
        } else if let Some((wrong, right)) = wrong(&value) {
            section.note(at, format!("\"{value}\" {wrong}"), right);
        }
        values.push(value);
    }
    values
}

fn headers(section: Section<'_>) -> Vec<Header> {
    if section.is_empty() {
        let right = "name one: headers = { user-agent = { contains = \"curl\" } }";
        section.note(section.at, "headers is empty: nothing is said", right);
    }
    section.named_tables().into_iter().filter_map(|(name, section)| header(name, section)).collect()
}

fn header(name: Located<String>, mut section: Section<'_>) -> Option<Header> {
    if !is_token(&name.value) {
        let wrong = format!("no field is called \"{}\"", name.value);
        section.note(name.at, wrong, "it takes names such as user-agent");
    }
    let present = section.flag("present").map(HeaderTest::Present);
    let mut texts = |key, test: fn(Vec<String>) -> HeaderTest| {
        let is_there = section.has(key);
        let values = values_of(&mut section, key, |_| None);
        is_there.then(|| test(values))
    };
    let tests = [
        present,
        texts("equals", HeaderTest::Equals),
        texts("contains", HeaderTest::Contains),
        texts("glob", HeaderTest::Glob),
    ];
    let mut tests = tests.into_iter().flatten();
    let test = tests.next();
    if section.len() != 1 {
        let right = "say one of present, equals, contains, glob";
        let wrong = format!("what is to be so of the field {} is not clear", name.value);
        section.note(section.at, wrong, right);
    }
    section.finish();
    Some(Header { name: name.value, test: test? })
}

#[cfg(test)]
mod tests {
    use super::super::{Mistake, Settings, parse};
    use super::*;

    fn firewall(text: &str) -> Firewall {
        let Settings { firewall, .. } = parse(text).unwrap();
        firewall
    }

    fn mistakes(text: &str) -> Vec<String> {
        let line =
            |Mistake { line, column, wrong, right }| format!("{line}:{column} {wrong} | {right}");
        parse(text).expect_err("it is wrong").into_iter().map(line).collect()
    }

    /// What is wrong with a rule that is right but for this.
    fn rule_mistakes(lines: &str) -> Vec<String> {
        let has = |key: &str| lines.lines().any(|line| line.starts_with(key));
        let mut text = format!("[[firewall.rules]]\n{lines}\n");
        for (key, line) in [
            ("name", "name = \"a\"\n"),
            ("match", "match = { paths = \"*\" }\n"),
            ("action", "action = \"deny\"\n"),
        ] {
            if !has(key) {
                text.push_str(line);
            }
        }
        mistakes(&text)
    }

    #[test]
    fn without_a_section_there_is_the_core_set() {
        assert_eq!(firewall(""), Firewall::default());
        assert_eq!(firewall("[firewall]\ncore = \"off\"\n").core, CoreSet::Off);
    }

    #[test]
    fn what_a_challenge_asks_for() {
        let text = "[firewall]\nchallenge_bits = 20\nchallenge_lasts_s = 600\n\
            [[firewall.rules]]\nname = \"a\"\nmatch = { paths = \"*\" }\naction = \"challenge\"\n";
        let found = firewall(text);
        assert_eq!(found.challenge, Challenge { bits: 20, life_s: 600 });
        assert_eq!(found.rules[0].action, Action::Challenge);
        let found = mistakes("[firewall]\nchallenge_bits = 33\nchallenge_lasts_s = 5\n");
        assert!(found[0].contains("it takes a whole number of bits from 1 to 32"), "{found:?}");
        assert!(found[1].contains("from 60 to 86400"), "{found:?}");
    }

    #[test]
    fn a_rule() {
        let text = "[limits.rare]\nper_second = 1\n[[firewall.rules]]\nname = \"a\"\n\
            match = { networks = [\"10.0.0.0/8\", \"::1\"], countries = \"de\", methods = \"GET\", paths = [\"/a/*\"], \
            query = \"debug\", signed_in = true, \
            headers = { User-Agent = { contains = \"bot\" }, accept = { present = false } } }\n\
            unless = { tenants = [\"acme\"], subjects = \"bob\" }\naction = \"limit\"\n\
            limit = \"rare\"\ndry_run = true\n";
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let header = |name: &str, test| Header { name: name.to_owned(), test };
        let expected = Rule {
            name: "a".to_owned(),
            matches: Conditions {
                networks: texts(&["10.0.0.0/8", "::1"]),
                countries: vec![Country::told(b"DE")],
                methods: texts(&["GET"]),
                paths: texts(&["/a/*"]),
                headers: vec![
                    header("User-Agent", HeaderTest::Contains(texts(&["bot"]))),
                    header("accept", HeaderTest::Present(false)),
                ],
                query: texts(&["debug"]),
                signed_in: Some(true),
                ..Conditions::default()
            },
            unless: Some(Conditions {
                tenants: texts(&["acme"]),
                subjects: texts(&["bob"]),
                ..Conditions::default()
            }),
            action: Action::Limit("rare".to_owned()),
            dry_run: true,
        };
        assert_eq!(firewall(text).rules, [expected]);
    }

    #[test]
    fn everything_can_be_tried() {
        let rules = "[[firewall.rules]]\nname = \"a\"\nmatch = { paths = \"*\" }\naction = \"deny\"\n\
                     reason = \"No.\"\n";
        let found = firewall(&format!("[firewall]\ndry_run = true\n{rules}"));
        assert_eq!(found.core, CoreSet::Log);
        assert!(found.rules[0].dry_run);
        let found = firewall(rules);
        assert!(!found.rules[0].dry_run);
        assert_eq!(found.rules[0].action, Action::Deny(Some("No.".to_owned())));
        assert_eq!(firewall("[firewall]\ndry_run = true\ncore = \"off\"\n").core, CoreSet::Off);
    }

    #[test]
    fn every_key_says_what_is_wrong_with_it() {
        for (lines, expected) in [
            ("name = \"A b\"", "2:8 a rule can't be called \"A b\" | a name has 1 to 64 of"),
            ("name = \"core-x\"", "2:8 a rule can't be called \"core-x\" | what begins with"),
            ("name = 5", "2:8 name in [[firewall.rules]] is the number 5"),
            ("match = 5", "2:9 match in [[firewall.rules]] is the number 5 | it takes a table"),
            ("match = {}", "2:9 these conditions say nothing | say at least one thing"),
            ("unless = {}", "2:10 these conditions say nothing"),
            ("match = { path = \"/a\" }", "2:11 match in [[firewall.rules]] has no key \"path\""),
            ("match = { networks = [\"10.0.0.0/33\"] }", "2:23 \"10.0.0.0/33\" is neither network"),
            ("match = { networks = [] }", "2:22 networks is empty: nothing could match it"),
            ("match = { networks = 7 }", "2:22 networks in match in [[firewall.rules]] is the num"),
            ("match = { methods = \"get\" }", "2:21 \"get\" is no method | they are in capitals"),
            ("match = { paths = \"a\" }", "2:19 \"a\" is no pattern of paths | begin it with a sl"),
            (
                "match = { paths = \"/%61\" }",
                "2:19 \"/%61\" is no pattern of paths | paths are com",
            ),
            ("match = { paths = [\"/a/\"] }", "2:20 \"/a/\" is no pattern of paths | leave the la"),
            ("match = { query = \"\" }", "2:19 a value of query has 0 bytes | 1 to 256"),
            ("match = { tenants = [5] }", "2:22 tenants in match in [[firewall.rules]] is the nu"),
            ("match = { headers = {} }", "2:21 headers is empty"),
            ("match = { headers = { a = {} } }", "2:27 what is to be so of the field a is not cle"),
            (
                "match = { headers = { a = { present = true, equals = \"b\" } } }",
                "2:27 what is to be so of the field a is not clear",
            ),
            (
                "match = { headers = { a = { regex = \"b\" } } }",
                "2:29 a in headers in match in [[firewall.rules]] has no key \"regex\"",
            ),
            ("match = { headers = { \"a b\" = { present = true } } }", "2:23 no field is called"),
            ("match = { headers = { a = \"b\" } }", "2:27 a in headers in match in [[firewall.rul"),
            ("match = { signed_in = 1 }", "2:23 signed_in in match in [[firewall.rules]] is the"),
            (
                "match = { signed_in = false, tenants = \"a\" }",
                "2:23 signed_in = false can't hold beside tenants or subjects",
            ),
            (
                "match = { country = \"DE\" }",
                "2:11 match in [[firewall.rules]] has no key \"country\" | did you mean \"countries\"?",
            ),
            (
                "match = { countries = [\"DE\", \"Germany\"] }",
                "2:30 \"Germany\" is no country | write its two letters, such as \"DE\"",
            ),
            (
                "action = \"block\"",
                "2:10 action in [[firewall.rules]] can't be \"block\" | it takes",
            ),
            (
                "action = \"challenge\"\nmatch = { tenants = \"a\" }",
                "2:10 a challenge is for who is not signed in | leave signed_in",
            ),
            ("action = \"limit\"", "1:1 [[firewall.rules]] has no limit"),
            (
                "action = \"limit\"\nlimit = \"raed\"",
                "3:9 there is no limit \"raed\" | did you mean",
            ),
            (
                "action = \"limit\"\nlimit = \"none\"",
                "3:9 there is no limit \"none\" | it takes one",
            ),
            ("limit = \"read\"", "2:9 limit has no effect: action is \"deny\""),
            ("action = \"log\"\nreason = \"No.\"", "3:10 reason has no effect: action is \"log\""),
            ("reason = \"a\\nb\"", "2:10 clients can't be told this reason"),
            ("dry_run = \"yes\"", "2:11 dry_run in [[firewall.rules]] is the text \"yes\""),
            ("enabled = false", "2:1 [[firewall.rules]] has no key \"enabled\""),
        ] {
            let found = rule_mistakes(lines);
            assert!(found[0].starts_with(expected), "{lines}: {found:?}");
            assert!(found.len() <= 2, "{found:?}");
        }
    }

    #[test]
    fn what_is_missing_and_what_is_there_twice() {
        let found = mistakes("[[firewall.rules]]\n");
        let missing = ["name", "match", "action"];
        for (found, key) in found.iter().zip(missing) {
            assert!(
                found.starts_with(&format!("1:1 [[firewall.rules]] has no {key} |")),
                "{found}"
            );
        }
        assert_eq!(found.len(), missing.len());
        let rule =
            "[[firewall.rules]]\nname = \"a\"\nmatch = { paths = \"*\" }\naction = \"log\"\n";
        let found = mistakes(&rule.repeat(2));
        assert!(found[0].starts_with("6:8 there are two rules \"a\" | give each"), "{found:?}");
        let found = mistakes("[firewall]\ncore = true\nrules = 5\nmode = \"x\"\n");
        assert!(found[0].starts_with("2:8 core in [firewall] is true"), "{found:?}");
        assert!(found[1].starts_with("3:9 rules in [firewall] is the number 5 | it takes sections that begin with [[firewall.rules]]"), "{found:?}");
        assert!(found[2].starts_with("4:1 [firewall] has no key \"mode\""), "{found:?}");
    }

    #[test]
    fn bounds() {
        let rule = |name: usize, values: usize| {
            let paths = vec!["\"/a\""; values].join(", ");
            format!(
                "[[firewall.rules]]\nname = \"r{name}\"\nmatch = {{ paths = [{paths}] }}\n\
                 action = \"log\"\n"
            )
        };
        let rules: String = (0..=RULES_MAX).map(|name| rule(name, 1)).collect();
        assert!(mistakes(&rules)[0].contains("there are 65 rules | at most 64"));
        let values = rule(0, 4_000) + &rule(1, 97);
        assert!(mistakes(&values)[0].contains("the rules have 4097 values in all | at most 4096"));
        let long = "a".repeat(VALUE_BYTES_MAX + 1);
        let found = rule_mistakes(&format!("match = {{ paths = \"/{long}\" }}"));
        assert!(found[0].contains("a value of paths has 258 bytes | 1 to 256"), "{found:?}");
    }
}
