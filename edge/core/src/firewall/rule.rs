//! The rules as `outport.toml` states them.

use serde::{Deserialize, Serialize};

use crate::challenge::Challenge;
use crate::country::Country;

/// The most rules that are gone through for a request.
pub const RULES_MAX: usize = 64;
/// The most values of all conditions of all rules together.
pub const VALUES_MAX: usize = 4_096;
/// The longest value of a condition, name of a rule or reason, in bytes.
pub const VALUE_BYTES_MAX: usize = 256;

/// What is refused beside what is malformed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// What becomes of requests that the core set matches.
    #[serde(default)]
    pub core: CoreSet,
    /// What a challenge asks for.
    #[serde(default)]
    pub challenge: Challenge,
    /// The deployment's own rules, which are asked first, in their order. At most [`RULES_MAX`].
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// What becomes of requests that the core set matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CoreSet {
    /// They are refused.
    #[default]
    Deny,
    /// They are counted and logged.
    Log,
    /// Nothing: it is not asked.
    Off,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// By which it is counted and logged. No client is told.
    pub name: String,
    /// What it is about: all of these hold.
    #[serde(rename = "match")]
    pub matches: Conditions,
    /// What it is not about: all of these hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<Conditions>,
    /// What becomes of it.
    pub action: Action,
    /// It is counted and logged, and nothing else.
    #[serde(default)]
    pub dry_run: bool,
}

impl Rule {
    /// Whether a condition is about where the client is.
    pub fn asks_country(&self) -> bool {
        let asks = |conditions: &Conditions| !conditions.countries.is_empty();
        asks(&self.matches) || self.unless.as_ref().is_some_and(asks)
    }

    /// How many values its conditions have.
    pub fn values(&self) -> usize {
        self.matches.values() + self.unless.as_ref().map_or(0, Conditions::values)
    }
}

/// What becomes of a request that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// No rule after this one is asked, the core set included.
    Allow,
    /// It is refused, with this sentence for the client.
    Deny(Option<String>),
    /// It takes one from the limit of this name, beside whatever it spends anyway.
    Limit(String),
    /// Who is not signed in is refused until some work was done.
    Challenge,
    /// It is logged.
    Log,
}

impl Action {
    /// Its name in configurations and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
            Self::Limit(_) => "limit",
            Self::Challenge => "challenge",
            Self::Log => "log",
        }
    }

    /// Whether no rule after this one is asked.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Allow | Self::Deny(_) | Self::Challenge)
    }
}

/// What a request must be. Of a list one must hold; an empty one says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Networks and addresses of clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Where clients are; [`Country::UNKNOWN`] where nobody tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<Country>,
    /// Methods, as they are meant (`X-HTTP-Method-Override`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Paths, in which `*` stands for anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// What is so of each of these fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// Names of the query's parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
    /// Tenants of verified tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    /// Subjects of verified tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// Whether there is a verified token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_in: Option<bool>,
}

impl Conditions {
    /// How many values there are.
    pub fn values(&self) -> usize {
        let Self {
            networks,
            countries,
            methods,
            paths,
            headers,
            query,
            tenants,
            subjects,
            signed_in: _,
        } = self;
        let lists = [networks, methods, paths, query, tenants, subjects];
        let headers = headers.iter().map(|header| match &header.test {
            HeaderTest::Present(_) => 1,
            HeaderTest::Equals(values)
            | HeaderTest::Contains(values)
            | HeaderTest::Glob(values) => values.len(),
        });
        let listed: usize = lists.iter().map(|list| list.len()).sum();
        listed + countries.len() + headers.sum::<usize>()
    }
}

/// A condition on a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The field's name, in letters of either case.
    pub name: String,
    /// What is so of one of its lines.
    pub test: HeaderTest,
}

/// What is so of a line of a field. Letters of either case are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderTest {
    /// It is there, or there is none.
    Present(bool),
    /// It has one of these values.
    Equals(Vec<String>),
    /// One of these is in its value.
    Contains(Vec<String>),
    /// One of these is its value, where `*` stands for anything.
    Glob(Vec<String>),
}
