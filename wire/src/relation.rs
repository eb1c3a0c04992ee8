//! Relations between who asks and what is asked for, after Zanzibar (Pang et al., USENIX ATC 2019), and
//! how they are evaluated.
//!
//! A [`Tuple`] says that a subject has a relation to an object, such as
//! `folder:reports#viewer@group:staff`. Nothing takes away what a tuple gives, so whoever knows only some
//! of them can err in one direction alone: to refuse.
//!
//! What is evaluated are entries: [`Related`], what is related to one object, and [`Memberships`], the
//! groups and roles of one subject. Each says for which revisions of the tenant's relations it holds.
//! Together they give an answer only where all of them hold at one revision, so that no answer mixes
//! what was never true at one time (the paper's "new enemy").

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::FileId;
use crate::identity::NAME_BYTES_MAX;

/// The response header in which the origin hands an edge an entry. Edges keep it to themselves.
pub const RELATIONS_HEADER: &str = "outport-relations";
/// Where an edge asks the origin for entries, and clients read and change relations.
pub const RELATIONS_PATH: &str = "/relations";
/// The request header by which a client that knows of a revision asks for an answer that is no older.
pub const AT_LEAST_HEADER: &str = "outport-at-least";
/// How many folders above a file count, the nearest first.
pub const FOLDERS_MAX: usize = 8;
/// The most subjects that one object is related to, and the most groups and roles that a subject is a
/// member of, by way of others too.
pub const RELATED_MAX: usize = 256;

/// The form of an entry's bytes.
const VERSION: u8 = 1;
const NUMBER_BYTES: usize = 8;

/// Counts the changes of a tenant's relations. An answer at a revision knows of all changes up to it.
pub type Revision = u64;

/// What something is related to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// `tenant`: all of a tenant's files and folders.
    Tenant,
    /// `file:ID`
    File(FileId),
    /// `folder:NAME`
    Folder(Box<str>),
    /// `group:NAME`
    Group(Box<str>),
    /// `role:NAME`
    Role(Box<str>),
}

/// Who, or what, is related to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// `tenant`: everybody with a token of the tenant.
    Tenant,
    /// `user:NAME`, the subject of tokens.
    User(Box<str>),
    /// `group:NAME`: its members.
    Group(Box<str>),
    /// `role:NAME`: its members.
    Role(Box<str>),
    /// `folder:NAME`, which a file or a folder is in.
    Folder(Box<str>),
}

/// In which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// May do everything, and say who else may what.
    Owner,
    /// May change and remove it, and put files into it.
    Editor,
    /// May fetch it.
    Viewer,
    /// Is where it is. What holds for a folder holds for what is in it.
    Parent,
    /// Belongs to it.
    Member,
}

/// What somebody may do with a file or folder, the least first. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Fetch it.
    Viewer,
    /// Change and remove it.
    Editor,
    /// Say who else may what.
    Owner,
}

/// That a subject has a relation to an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tuple {
    /// What it is related to.
    pub object: Object,
    /// In which way.
    pub relation: Relation,
    /// Who is.
    pub subject: Subject,
}

/// A text is no tuple, object or subject; it says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotATuple(&'static str);

const FORM: NotATuple = NotATuple("a tuple is object#relation@subject");
const OBJECT: NotATuple = NotATuple(
    "an object is `tenant`, `file:` and an id, or `folder:`, `group:` or `role:` and a name",
);
const SUBJECT: NotATuple =
    NotATuple("a subject is `tenant`, or `user:`, `group:`, `role:` or `folder:` and a name");
const RELATION: NotATuple =
    NotATuple("a relation is `owner`, `editor`, `viewer`, `parent` or `member`");
const GRANT: NotATuple = NotATuple(
    "owners, editors and viewers are of `tenant`, a file or a folder, and are `tenant`, a user, a group \
     or a role",
);
const PLACE: NotATuple = NotATuple("the parent of a file or a folder is another folder");
const MEMBER: NotATuple =
    NotATuple("members are of a group or a role, and are a user, another group or another role");

impl Level {
    const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Owner];

    /// The relation that gives it.
    pub const fn relation(self) -> Relation {
        match self {
            Self::Viewer => Relation::Viewer,
            Self::Editor => Relation::Editor,
            Self::Owner => Relation::Owner,
        }
    }
}

impl Relation {
    const ALL: [Self; 5] = [Self::Owner, Self::Editor, Self::Viewer, Self::Parent, Self::Member];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
            Self::Parent => "parent",
            Self::Member => "member",
        }
    }

    /// What it gives, if it is one that gives something.
    pub fn level(self) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.relation() == self)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("tenant"),
            Self::File(id) => write!(f, "file:{id}"),
            Self::Folder(name) => write!(f, "folder:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Role(name) => write!(f, "role:{name}"),
        }
    }
}

impl FromStr for Object {
    type Err = NotATuple;

    fn from_str(text: &str) -> Result<Self, NotATuple> {
        match text.split_once(':') {
            None if text == "tenant" => Ok(Self::Tenant),
            Some(("file", id)) => id.parse().map(Self::File).map_err(|_| OBJECT),
            Some(("folder", name)) => object_name(name).map(Self::Folder),
            Some(("group", name)) => object_name(name).map(Self::Group),
            Some(("role", name)) => object_name(name).map(Self::Role),
            _ => Err(OBJECT),
        }
    }
}

/// A name as a tuple can hold it in front of `#`.
fn object_name(name: &str) -> Result<Box<str>, NotATuple> {
    subject_name(name).filter(|name| !name.contains('#')).ok_or(NotATuple(
        "the name of a folder, group or role has 1 to 128 bytes, none of them a control character or #",
    ))
}

fn subject_name(name: &str) -> Option<Box<str>> {
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    is_name.then(|| name.into())
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("tenant"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Role(name) => write!(f, "role:{name}"),
            Self::Folder(name) => write!(f, "folder:{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = NotATuple;

    fn from_str(text: &str) -> Result<Self, NotATuple> {
        match text.split_once(':') {
            None if text == "tenant" => Ok(Self::Tenant),
            Some(("user", name)) => subject_name(name).map(Self::User).ok_or(SUBJECT),
            Some(("group", name)) => object_name(name).map(Self::Group),
            Some(("role", name)) => object_name(name).map(Self::Role),
            Some(("folder", name)) => object_name(name).map(Self::Folder),
            _ => Err(SUBJECT),
        }
    }
}

impl Subject {
    /// A number by which an entry names it: the beginning of the SHA-256 of its text.
    pub fn number(&self) -> u128 {
        number(&self.to_string())
    }

    /// The group or role whose members it stands for.
    pub fn object(&self) -> Option<Object> {
        match self {
            Self::Group(name) => Some(Object::Group(name.clone())),
            Self::Role(name) => Some(Object::Role(name.clone())),
            Self::Folder(name) => Some(Object::Folder(name.clone())),
            Self::Tenant | Self::User(_) => None,
        }
    }
}

fn number(text: &str) -> u128 {
    let digest: [u8; 32] = Sha256::digest(text).into();
    digest.first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, relation, subject } = self;
        write!(f, "{object}#{}@{subject}", relation.name())
    }
}

impl From<Tuple> for String {
    fn from(tuple: Tuple) -> Self {
        tuple.to_string()
    }
}

impl TryFrom<String> for Tuple {
    type Error = NotATuple;

    fn try_from(text: String) -> Result<Self, NotATuple> {
        text.parse()
    }
}

impl FromStr for Tuple {
    type Err = NotATuple;

    fn from_str(text: &str) -> Result<Self, NotATuple> {
        let (object, rest) = text.split_once('#').ok_or(FORM)?;
        let (relation, subject) = rest.split_once('@').ok_or(FORM)?;
        let relation = Relation::ALL.into_iter().find(|known| known.name() == relation);
        let relation = relation.ok_or(RELATION)?;
        let tuple = Self { object: object.parse()?, relation, subject: subject.parse()? };
        tuple.fits()?;
        Ok(tuple)
    }
}

impl Tuple {
    /// Whether such a subject can have such a relation to such an object.
    fn fits(&self) -> Result<(), NotATuple> {
        let Self { object, relation, subject } = self;
        let is_itself = subject.object().as_ref() == Some(object);
        let (fits, must) = match relation {
            Relation::Owner | Relation::Editor | Relation::Viewer => {
                let of = matches!(object, Object::Tenant | Object::File(_) | Object::Folder(_));
                (of && !matches!(subject, Subject::Folder(_)), GRANT)
            }
            Relation::Parent => {
                let of = matches!(object, Object::File(_) | Object::Folder(_));
                (of && matches!(subject, Subject::Folder(_)), PLACE)
            }
            Relation::Member => {
                let of = matches!(object, Object::Group(_) | Object::Role(_));
                (of && !matches!(subject, Subject::Folder(_) | Subject::Tenant), MEMBER)
            }
        };
        if fits && !is_itself { Ok(()) } else { Err(must) }
    }
}

/// For which revisions an entry holds: from when it last changed up to when it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Since when.
    pub changed: Revision,
    /// Until when, as far as is known.
    pub read: Revision,
}

/// What is related to one object, as an edge is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Related {
    /// When.
    pub holds: Holds,
    /// The folder that it is in.
    pub parent: Option<Box<str>>,
    /// Who may do what with it, by their [numbers](Subject::number), in order.
    grants: Vec<(u128, u8)>,
}

/// The groups and roles of one subject, those of its groups and roles among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memberships {
    /// When.
    pub holds: Holds,
    /// Their [numbers](Subject::number), in order.
    of: Vec<u128>,
}

/// The header's value is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of relations is base64url of its bytes")]
pub struct NotAnEntry;

impl Related {
    /// Of an object to which these are related, at most [`RELATED_MAX`].
    pub fn new<'a>(
        holds: Holds,
        parent: Option<Box<str>>,
        grants: impl IntoIterator<Item = (&'a Subject, Level)>,
    ) -> Self {
        let grants = grants.into_iter().take(RELATED_MAX);
        let mut grants: Vec<_> =
            grants.map(|(subject, level)| (subject.number(), level as u8)).collect();
        grants.sort_unstable();
        Self { holds, parent, grants }
    }

    /// The most that one of these subjects may do.
    fn level(&self, subjects: &[u128]) -> Option<Level> {
        let granted = |(number, _): &&(u128, u8)| subjects.binary_search(number).is_ok();
        let level = self.grants.iter().filter(granted).map(|(_, level)| *level).max()?;
        Level::ALL.into_iter().find(|known| *known as u8 == level)
    }

    /// As bytes: a version, two revisions, the length of the parent's name and the name, and 17 bytes for
    /// each grant. Numbers have the highest byte first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = head(self.holds);
        let parent = self.parent.as_deref().unwrap_or_default();
        bytes.push(u8::try_from(parent.len()).unwrap_or_default());
        bytes.extend_from_slice(parent.as_bytes());
        for (number, level) in &self.grants {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.push(*level);
        }
        bytes
    }

    /// Reads [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAnEntry> {
        let (holds, rest) = read_head(bytes)?;
        let (length, rest) = rest.split_first().ok_or(NotAnEntry)?;
        let (parent, rest) = rest.split_at_checked(usize::from(*length)).ok_or(NotAnEntry)?;
        let parent = std::str::from_utf8(parent).map_err(|_| NotAnEntry)?;
        let grants = rest.chunks(16 + 1).map(|grant| {
            let (number, level) = grant.split_first_chunk::<16>().ok_or(NotAnEntry)?;
            let [level] = level else { return Err(NotAnEntry) };
            Ok((u128::from_be_bytes(*number), *level))
        });
        let grants: Vec<_> = grants.collect::<Result<_, _>>()?;
        if grants.len() > RELATED_MAX || !grants.is_sorted() {
            return Err(NotAnEntry);
        }
        let parent = (!parent.is_empty()).then(|| parent.into());
        Ok(Self { holds, parent, grants })
    }
}

impl Memberships {
    /// Of a subject that is a member of these, at most [`RELATED_MAX`].
    pub fn new<'a>(holds: Holds, of: impl IntoIterator<Item = &'a Subject>) -> Self {
        let mut of: Vec<_> = of.into_iter().take(RELATED_MAX).map(Subject::number).collect();
        of.sort_unstable();
        Self { holds, of }
    }

    /// As bytes: a version, two revisions, and 16 bytes for each group.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = head(self.holds);
        bytes.extend(self.of.iter().flat_map(|number| number.to_be_bytes()));
        bytes
    }

    /// Reads [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAnEntry> {
        let (holds, rest) = read_head(bytes)?;
        let (of, []) = rest.as_chunks::<16>() else { return Err(NotAnEntry) };
        let of: Vec<_> = of.iter().map(|number| u128::from_be_bytes(*number)).collect();
        if of.len() > RELATED_MAX || !of.is_sorted() {
            return Err(NotAnEntry);
        }
        Ok(Self { holds, of })
    }
}

fn head(Holds { changed, read }: Holds) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&changed.to_be_bytes());
    bytes.extend_from_slice(&read.to_be_bytes());
    bytes
}

fn read_head(bytes: &[u8]) -> Result<(Holds, &[u8]), NotAnEntry> {
    let (version, rest) = bytes.split_first().ok_or(NotAnEntry)?;
    let (changed, rest) = rest.split_first_chunk::<NUMBER_BYTES>().ok_or(NotAnEntry)?;
    let (read, rest) = rest.split_first_chunk::<NUMBER_BYTES>().ok_or(NotAnEntry)?;
    let holds = Holds { changed: u64::from_be_bytes(*changed), read: u64::from_be_bytes(*read) };
    if *version != VERSION || holds.changed > holds.read {
        return Err(NotAnEntry);
    }
    Ok((holds, rest))
}

/// The value of [`RELATIONS_HEADER`].
pub fn encode(entry: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(entry)
}

/// Reads the value of [`RELATIONS_HEADER`].
pub fn decode(value: &[u8]) -> Result<Vec<u8>, NotAnEntry> {
    URL_SAFE_NO_PAD.decode(value).map_err(|_| NotAnEntry)
}

/// Where an edge asks for what is related to an object of a tenant.
pub fn object_target(tenant: &str, object: &Object) -> String {
    target(&[("tenant", tenant), ("object", &object.to_string())])
}

/// Where an edge asks for the memberships of a subject of a tenant.
pub fn member_target(tenant: &str, subject: &Subject) -> String {
    target(&[("tenant", tenant), ("member", &subject.to_string())])
}

fn target(pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    format!("{RELATIONS_PATH}?{}", query.finish())
}

/// What a user may do with a file, given what is related to the file, to each of the folders above it
/// and to the tenant. The entries must [hold together](together).
pub fn level(user: &str, of: &Memberships, chain: &[Related]) -> Option<Level> {
    let user = Subject::User(user.into());
    let mut subjects = of.of.clone();
    subjects.extend([user.number(), Subject::Tenant.number()]);
    subjects.sort_unstable();
    chain.iter().filter_map(|related| related.level(&subjects)).max()
}

/// Whether entries all hold at one revision, and at one that is not older than `least`: the error is the
/// revision at which those must be read again that were read before.
pub fn together(entries: impl IntoIterator<Item = Holds>, least: Revision) -> Result<(), Revision> {
    let (mut changed, mut read) = (least, Revision::MAX);
    for holds in entries {
        (changed, read) = (changed.max(holds.changed), read.min(holds.read));
    }
    if changed <= read { Ok(()) } else { Err(changed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "file:01000G0000000C000000000004";

    #[test]
    fn tuples_come_back() {
        for text in [
            &format!("{FILE}#viewer@user:bob"),
            &format!("{FILE}#parent@folder:reports/2026"),
            "folder:reports#editor@group:staff",
            "folder:a@b#parent@folder:grüße & more",
            "tenant#viewer@role:support",
            "tenant#viewer@tenant",
            "group:staff#member@user:alice@example.com#1",
            "role:support#member@group:staff",
        ] {
            let tuple: Tuple = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(tuple.to_string(), *text);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, must) in [
            ("", FORM),
            ("folder:a", FORM),
            ("folder:a#viewer", FORM),
            ("folder:a#admires@user:b", RELATION),
            ("bucket:a#viewer@user:b", OBJECT),
            ("file:nonsense#viewer@user:b", OBJECT),
            ("tenant:a#viewer@user:b", OBJECT),
            ("folder:a#viewer@robot:b", SUBJECT),
            ("folder:a#viewer@user:", SUBJECT),
            ("folder:a#viewer@user:\u{7}", SUBJECT),
            ("folder:a#viewer@folder:b", GRANT),
            ("group:a#viewer@user:b", GRANT),
            ("folder:a#parent@folder:a", PLACE),
            ("folder:a#parent@user:b", PLACE),
            ("tenant#parent@folder:b", PLACE),
            ("group:a#member@group:a", MEMBER),
            ("group:a#member@tenant", MEMBER),
            ("folder:a#member@user:b", MEMBER),
        ] {
            assert_eq!(text.parse::<Tuple>(), Err(must), "{text}");
        }
        let long = format!("folder:{}#viewer@user:b", "a".repeat(129));
        assert!(long.parse::<Tuple>().is_err() && "group:#member@user:b".parse::<Tuple>().is_err());
    }

    fn user(name: &str) -> Subject {
        Subject::User(name.into())
    }

    fn group(name: &str) -> Subject {
        Subject::Group(name.into())
    }

    const NOW: Holds = Holds { changed: 3, read: 7 };

    #[test]
    fn entries_come_back() {
        let grants = [(&user("bob"), Level::Viewer), (&group("staff"), Level::Owner)];
        let related = Related::new(NOW, Some("reports".into()), grants);
        assert_eq!(Related::from_bytes(&related.to_bytes()), Ok(related.clone()));
        let of = Memberships::new(NOW, [&group("staff"), &group("all")]);
        assert_eq!(Memberships::from_bytes(&of.to_bytes()), Ok(of.clone()));
        assert_eq!(decode(encode(&of.to_bytes()).as_bytes()), Ok(of.to_bytes()));
        for (entry, head) in [(related.to_bytes(), 17 + 8), (of.to_bytes(), 17)] {
            for length in 0..entry.len() {
                let cut = &entry[..length];
                let is_whole =
                    length >= head && (length - head) % (if head == 17 { 16 } else { 17 }) == 0;
                let read = if head == 17 {
                    Memberships::from_bytes(cut).is_ok()
                } else {
                    Related::from_bytes(cut).is_ok()
                };
                assert_eq!(read, is_whole, "{length}");
            }
        }
    }

    #[test]
    fn the_most_that_any_of_them_gives() {
        let of = Memberships::new(NOW, [&group("staff")]);
        let file = Related::new(NOW, None, [(&user("bob"), Level::Viewer)]);
        let folder = Related::new(NOW, None, [(&group("staff"), Level::Editor)]);
        let tenant = Related::new(NOW, None, [(&Subject::Tenant, Level::Viewer)]);
        let none = Memberships::default();
        let at = |name, of, chain: &[Related]| level(name, of, chain);
        assert_eq!(at("bob", &none, std::slice::from_ref(&file)), Some(Level::Viewer));
        assert_eq!(at("eve", &none, &[file.clone(), folder.clone()]), None);
        assert_eq!(at("bob", &of, &[file.clone(), folder.clone()]), Some(Level::Editor));
        assert_eq!(at("eve", &none, &[file, folder, tenant]), Some(Level::Viewer));
    }

    #[test]
    fn what_never_was_at_one_time_is_noticed() {
        let holds = |changed, read| Holds { changed, read };
        assert_eq!(together([holds(3, 7), holds(7, 9)], 0), Ok(()));
        assert_eq!(together([holds(3, 7), holds(8, 9)], 0), Err(8));
        assert_eq!(together([holds(3, 7), holds(1, 9)], 8), Err(8));
        assert_eq!(together([], 5), Ok(()));
    }
}
