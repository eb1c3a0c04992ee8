//! A rule, ready to be asked.

use std::borrow::Cow;

use ipnet::IpNet;
use outport_wire::network;

use super::rule::{Action, Conditions, Header, HeaderTest, Rule};
use super::{Asking, Who};
use crate::country::Country;
use crate::glob::Glob;
use crate::guard::{Guarded, canonical_path, decode, has_dot_segment};

/// What can't be a condition on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// It begins with neither a slash nor a star.
    Relative,
    /// It has a percent sign, a question mark, a semicolon or a backslash, slashes beside each other
    /// or dot segments: no path has, in the form in which it is compared.
    NotCanonical,
    /// It ends with a slash, which counts for nothing.
    Slash,
}

impl PatternError {
    /// What would be right.
    pub const fn right(self) -> &'static str {
        match self {
            Self::Relative => "begin it with a slash, or with * for anything",
            Self::NotCanonical => {
                "paths are compared decoded, without dot segments, parameters and query"
            }
            Self::Slash => "leave the last slash out: a path matches with and without it",
        }
    }
}

/// Whether a text is a pattern of paths.
pub fn check_path(pattern: &str) -> Result<(), PatternError> {
    if !pattern.starts_with(['/', '*']) {
        return Err(PatternError::Relative);
    }
    let is_canonical = !pattern.contains(['%', '?', ';', '\\']) && !pattern.contains("//");
    if !is_canonical || has_dot_segment(pattern.as_bytes()) {
        return Err(PatternError::NotCanonical);
    }
    if pattern.len() > 1 && pattern.ends_with('/') {
        return Err(PatternError::Slash);
    }
    Ok(())
}

/// Whether a text is a network or an address.
pub fn check_network(network: &str) -> bool {
    network::read(network).is_some()
}

/// Whether conditions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    No,
    /// That depends on who asks.
    Unknown,
}

/// A rule.
pub(super) struct Compiled {
    pub(super) name: String,
    pub(super) action: Action,
    pub(super) dry_run: bool,
    matches: Tests,
    unless: Option<Tests>,
}

impl Compiled {
    pub(super) fn new(rule: &Rule) -> Result<Self, String> {
        let Rule { name, matches, unless, action, dry_run } = rule;
        let tests = |conditions| {
            Tests::new(conditions).map_err(|wrong| format!("rule {name}: {wrong} can't be read"))
        };
        let mut tested = tests(matches)?;
        if *action == Action::Challenge {
            tested.signed_in = Some(false);
        }
        Ok(Self {
            name: name.clone(),
            action: action.clone(),
            dry_run: *dry_run,
            matches: tested,
            unless: unless.as_ref().map(tests).transpose()?,
        })
    }

    /// Whether no rule behind it is asked, if it matches.
    pub(super) const fn is_final(&self) -> bool {
        self.action.is_final() && !self.dry_run
    }

    pub(super) fn held(&self, asking: &Asking<'_, '_>, who: Who<'_>) -> Held {
        let matches = self.matches.held(asking, who);
        let unless = || self.unless.as_ref().map_or(Held::No, |unless| unless.held(asking, who));
        match matches {
            Held::No => Held::No,
            matches => match unless() {
                Held::Yes => Held::No,
                Held::No => matches,
                Held::Unknown => Held::Unknown,
            },
        }
    }
}

/// Conditions of which all must hold.
struct Tests {
    networks: Vec<IpNet>,
    countries: Vec<Country>,
    methods: Vec<String>,
    paths: Vec<PathPattern>,
    headers: Vec<Line>,
    query: Vec<String>,
    tenants: Vec<String>,
    subjects: Vec<String>,
    signed_in: Option<bool>,
}

impl Tests {
    /// The error is what can't be read.
    fn new(conditions: &Conditions) -> Result<Self, &str> {
        let Conditions {
            networks,
            countries,
            methods,
            paths,
            headers,
            query,
            tenants,
            subjects,
            signed_in,
        } = conditions;
        let network = |text| network::read(text).ok_or(text);
        let networks =
            networks.iter().map(String::as_str).map(network).collect::<Result<_, _>>()?;
        if let Some(wrong) = paths.iter().find(|path| check_path(path).is_err()) {
            return Err(wrong);
        }
        Ok(Self {
            networks,
            countries: countries.clone(),
            methods: methods.clone(),
            paths: paths.iter().map(|path| PathPattern::new(path)).collect(),
            headers: headers.iter().map(Line::new).collect(),
            query: query.clone(),
            tenants: tenants.clone(),
            subjects: subjects.clone(),
            signed_in: *signed_in,
        })
    }

    fn held(&self, asking: &Asking<'_, '_>, who: Who<'_>) -> Held {
        if !self.hold_for(asking) {
            return Held::No;
        }
        let asks_who =
            self.signed_in.is_some() || !self.tenants.is_empty() || !self.subjects.is_empty();
        let identity = match who {
            Who::Unknown if asks_who => return Held::Unknown,
            Who::Unknown | Who::Nobody => None,
            Who::Known(identity) => Some(identity),
        };
        let signed_in = self.signed_in.is_none_or(|signed_in| signed_in == identity.is_some());
        let named = |names: &[String], name: Option<&String>| {
            names.is_empty() || name.is_some_and(|name| names.contains(name))
        };
        let held = signed_in
            && named(&self.tenants, identity.map(|identity| &identity.tenant))
            && named(&self.subjects, identity.map(|identity| &identity.subject));
        if held { Held::Yes } else { Held::No }
    }

    /// Whether all hold that have nothing to do with who asks. The cheap ones come first.
    fn hold_for(&self, asking: &Asking<'_, '_>) -> bool {
        let Asking { request, client, country, .. } = asking;
        let method = || self.methods.iter().any(|method| method == request.method);
        let network = || self.networks.iter().any(|network| network.contains(client));
        let path = || {
            let path = Path::new(request.path);
            self.paths.iter().any(|pattern| pattern.matches(&path))
        };
        (self.methods.is_empty() || method())
            && (self.networks.is_empty() || network())
            && (self.countries.is_empty() || self.countries.contains(country))
            && (self.paths.is_empty() || path())
            && (self.query.is_empty() || self.has_parameter(request))
            && self.headers.iter().all(|line| line.matches(request))
    }

    fn has_parameter(&self, request: &Guarded<'_>) -> bool {
        let pairs = request.query.unwrap_or_default().split('&');
        let mut names = pairs.map(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            let name = name.replace('+', " ");
            decode(&name).unwrap_or_else(|| name.into_bytes())
        });
        names.any(|name| self.query.iter().any(|wanted| wanted.as_bytes() == name))
    }
}

/// A path in its canonical form, with a slash at its end.
struct Path<'a>(Cow<'a, [u8]>);

impl<'a> Path<'a> {
    fn new(path: &'a str) -> Self {
        let mut path = canonical_path(path);
        if path.last() != Some(&b'/') {
            path.to_mut().push(b'/');
        }
        Self(path)
    }
}

/// A pattern of paths. One that ends with `/*` takes what is before that, too.
struct PathPattern {
    glob: Glob,
    takes_slash: bool,
}

impl PathPattern {
    fn new(pattern: &str) -> Self {
        let takes_slash = pattern == "/" || pattern.ends_with("/*");
        Self { glob: Glob::new(pattern), takes_slash }
    }

    fn matches(&self, path: &Path<'_>) -> bool {
        let all = &*path.0;
        let without = all.strip_suffix(b"/").unwrap_or(all);
        self.glob.matches(if self.takes_slash { all } else { without })
    }
}

/// A condition on a field.
struct Line {
    name: String,
    test: LineTest,
}

/// What is so of a line of it; all in lower case.
enum LineTest {
    Present(bool),
    Equals(Vec<String>),
    Contains(Vec<String>),
    Glob(Vec<Glob>),
}

impl Line {
    fn new(header: &Header) -> Self {
        let lower = |text: &String| text.to_ascii_lowercase();
        let test = match &header.test {
            HeaderTest::Present(present) => LineTest::Present(*present),
            HeaderTest::Equals(values) => LineTest::Equals(values.iter().map(lower).collect()),
            HeaderTest::Contains(values) => LineTest::Contains(values.iter().map(lower).collect()),
            HeaderTest::Glob(values) => {
                LineTest::Glob(values.iter().map(|glob| Glob::new(&lower(glob))).collect())
            }
        };
        Self { name: header.name.to_ascii_lowercase(), test }
    }

    fn matches(&self, request: &Guarded<'_>) -> bool {
        let mut lines = request.fields.iter().filter(|(name, _)| *name == self.name);
        if let LineTest::Present(present) = self.test {
            return lines.next().is_some() == present;
        }
        lines.any(|(_, value)| self.test.holds(&value.to_ascii_lowercase()))
    }
}

impl LineTest {
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Present(present) => *present,
            Self::Equals(wanted) => wanted.iter().any(|wanted| wanted.as_bytes() == value),
            Self::Contains(wanted) => {
                wanted.iter().any(|wanted| memchr::memmem::find(value, wanted.as_bytes()).is_some())
            }
            Self::Glob(globs) => globs.iter().any(|glob| glob.matches(value)),
        }
    }
}
