//! Who is asking, as an edge tells the origin.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::UnixSeconds;

/// The request header in which an edge names the caller to the origin.
pub const IDENTITY_HEADER: &str = "outport-identity";
/// The request header in which an edge names the session of the caller to the origin, where no token
/// does.
pub const SESSION_HEADER: &str = "outport-session";
/// The response header in which the origin says that it refuses the caller, and not the edge.
pub const CALLER_REFUSED_HEADER: &str = "outport-caller-refused";
/// The longest tenant or subject, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// One thing a token may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Fetch and list files.
    Read,
    /// Upload, change and remove files.
    Write,
    /// Make signed links.
    Share,
    /// Everything in the tenant, and purging.
    Admin,
}

impl Scope {
    /// Every scope, in the order in which they are written.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Share, Self::Admin];

    /// The scope's name in a token's `scope` claim.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Share => "share",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope there is.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Reads a space-separated list (RFC 8693, section 4.2). Names that are not ours are passed
    /// over: a token may carry scopes for other services.
    pub fn parse(text: &str) -> Self {
        text.split(' ')
            .filter_map(|name| Scope::ALL.into_iter().find(|scope| scope.name() == name))
            .collect()
    }

    /// What both sets allow.
    pub fn narrowed(self, to: Self) -> Self {
        let both = |scope: &Scope| self.allow(*scope) && to.allow(*scope);
        Scope::ALL.into_iter().filter(both).collect()
    }

    /// What either set allows.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set allows `scope`. `Admin` allows everything.
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = Scope::ALL.into_iter().filter(|scope| self.0 & scope.bit() != 0);
        for (place, scope) in held.enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{}", scope.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The customer whose files these are.
    pub tenant: String,
    /// The caller within the tenant.
    pub subject: String,
    /// What the caller's token allows.
    pub scopes: Scopes,
}

/// Whom a token names that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The caller.
    pub identity: Identity,
    /// When it was issued, by its issuer's clock; 0: it does not say.
    pub issued_s: UnixSeconds,
}

/// The header's value names no identity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an identity is tenant;subject;scopes, each percent-encoded")]
pub struct NotAnIdentity;

impl Identity {
    /// Takes names from a token. Both must be there, without control characters, and short.
    pub fn new(tenant: &str, subject: &str, scopes: Scopes) -> Result<Self, NotAnIdentity> {
        if !is_name(tenant) || !is_name(subject) {
            return Err(NotAnIdentity);
        }
        Ok(Self { tenant: tenant.to_owned(), subject: subject.to_owned(), scopes })
    }

    /// Whether what `owner` of `tenant` stores is this caller's: the owner's, or an admin's of the
    /// tenant.
    pub fn owns(&self, tenant: &str, owner: &str) -> bool {
        self.tenant == tenant && (self.subject == owner || self.scopes.allow(Scope::Admin))
    }

    /// The value of [`IDENTITY_HEADER`]: printable ASCII, whatever the names.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(self.tenant.len() + self.subject.len() + 24);
        encode_name(&self.tenant, &mut text);
        text.push(';');
        encode_name(&self.subject, &mut text);
        text.push(';');
        text.push_str(&self.scopes.to_string());
        text
    }

    /// Reads the value of [`IDENTITY_HEADER`].
    pub fn decode(value: &str) -> Result<Self, NotAnIdentity> {
        let mut fields = value.split(';');
        let (Some(tenant), Some(subject), Some(scopes), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(NotAnIdentity);
        };
        Self::new(&decode_name(tenant)?, &decode_name(subject)?, Scopes::parse(scopes))
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn encode_name(name: &str, text: &mut String) {
    use fmt::Write as _;
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@:|".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}"); // Writing to a String never fails.
        }
    }
}

fn decode_name(text: &str) -> Result<String, NotAnIdentity> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = rest.next().and_then(hex).ok_or(NotAnIdentity)?;
            let low = rest.next().and_then(hex).ok_or(NotAnIdentity)?;
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| NotAnIdentity)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_comes_back() {
        for (tenant, subject) in [("demo", "alice@example.com"), ("a;b", "%2f ü\u{202e}")] {
            let identity = Identity::new(tenant, subject, Scopes::parse("read share")).unwrap();
            let value = identity.encode();
            assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{value}");
            assert_eq!(Identity::decode(&value), Ok(identity));
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for value in ["", "a;b", ";b;read", "a;;read", "a;b;read;c", "a%0;b;", "a%00;b;read"] {
            assert_eq!(Identity::decode(value), Err(NotAnIdentity), "{value}");
        }
    }

    #[test]
    fn ownership_ends_at_the_tenant() {
        let who = |tenant, subject, scopes| {
            Identity::new(tenant, subject, Scopes::parse(scopes)).unwrap()
        };
        assert!(who("demo", "alice", "read").owns("demo", "alice"));
        assert!(!who("demo", "bob", "read write share").owns("demo", "alice"));
        assert!(who("demo", "bob", "admin").owns("demo", "alice"));
        assert!(!who("other", "alice", "admin").owns("demo", "alice"));
    }

    #[test]
    fn scopes() {
        let scopes = Scopes::parse("write openid read");
        assert_eq!(scopes.to_string(), "read write");
        assert!(scopes.allow(Scope::Write) && !scopes.allow(Scope::Share));
        assert!(Scopes::parse("admin").allow(Scope::Share));
        assert!(!Scopes::default().allow(Scope::Read));
    }
}
