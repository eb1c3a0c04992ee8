//! The vocabulary between the core and whoever drives it: needs, outcomes, the reply.
//!
//! Plain data. Each need states its contract: what the driver promises, and what each failure
//! means. The same words, one for one, are in `wit/edge.wit`.

use std::net::IpAddr;

pub use outport_wire::conditions::ByteRange;
use serde::{Deserialize, Serialize};

use crate::country::Country;
use crate::exchange::Exchange;

/// A request as the driver received it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Request line and field lines in the form of RFC 9112, each ended by CRLF. Field names are
    /// lower case; the target is path and query. `Host` is there, from `:authority` if need be.
    pub head: &'a [u8],
    /// What it came by.
    pub connection: Connection,
}

/// A connection, as far as it says who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Who is at its other end.
    pub peer: IpAddr,
    /// Whether it is encrypted.
    pub secure: bool,
    /// Where the peer is, if the platform tells.
    pub country: Country,
}

impl Connection {
    /// One of a platform that does not tell where the peer is.
    pub const fn new(peer: IpAddr, secure: bool) -> Self {
        Self { peer, secure, country: Country::UNKNOWN }
    }
}

/// What time it is, and a number nobody can guess: both come from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// From a cryptographic source; new for each call.
    pub random: u64,
}

impl Moment {
    /// Whole seconds since 1970.
    pub const fn unix_s(self) -> u64 {
        self.unix_ms / 1000
    }
}

/// What the exchange wants next.
#[derive(Debug)]
pub enum Step {
    /// Fulfil every need, in any order or at once, and resume the exchange with the outcomes in
    /// the same order.
    Needs(Exchange, Vec<Need>),
    /// Send this. The exchange is over.
    Reply(Reply),
    /// Send this, which stores nothing, and then go on as with [`Step::Needs`], whether or not the
    /// client is still there. The exchange still holds the key that it looked up last. Of the reply
    /// that it ends with nobody is sent anything: only what that forgets and stores is done. Where
    /// the driver can't go on, it may leave it there, as if the exchange had ended.
    ReplyFirst(Box<Reply>, Exchange, Vec<Need>),
}

/// Something that only the driver can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Need {
    /// Look `key` up in the cache. Answered by [`Outcome::Looked`].
    ///
    /// Collapsing: of all exchanges on this node that look up a key with nothing stored, one is
    /// told [`Looked::Vacant`] and leads; the others wait until the leader has stored a head, or
    /// has ended without doing so, whereupon one of them leads. Where something stale is stored,
    /// everybody is given it at once and one of them is told that it leads. A leader that
    /// vanishes counts as ended.
    ///
    /// An exchange holds one key: with the next lookup it gives up what it held before.
    Lookup {
        /// Names the stored response. Any string of at most 512 bytes.
        key: String,
    },
    /// Lead these keys too, beside the one that was looked up last: in their order, those that are
    /// vacant and led by nobody, up to the first that is not. Nobody is waited for. Answered by
    /// [`Outcome::Claimed`]. They are given up when the exchange ends, or stored by
    /// [`StoreBody::Slices`]. Asked only of drivers that declare [`Abilities::slices`].
    Claim {
        /// The keys, each as in [`Need::Lookup`].
        keys: Vec<String>,
    },
    /// Store a head, with no body, under `key`, which is the one looked up last. Answered by
    /// [`Outcome::Put`]. It ends what this exchange leads there, as a reply that stores does, and
    /// is not done where the key was forgotten since.
    Put {
        /// The key.
        key: String,
        /// As in [`Store`].
        head: Vec<u8>,
        /// As in [`Store`].
        fresh_ms: u64,
    },
    /// Encode the body of what was looked up last, as small as it gets, and store that form beside
    /// it. Answered by [`Outcome::Encoded`]. Asked only of drivers that declare
    /// [`Abilities::encodes`].
    ///
    /// From then on lookups tell of the form. It goes where the body goes: a new body has no forms.
    /// Where many ask for the same, it is done once. A form that is not smaller than the body by a
    /// twentieth is told of as tried, and not stored.
    Encode {
        /// How.
        coding: Coding,
    },
    /// Look a dictionary up: what is stored with this scope as its [`Store::dictionary`], and has a
    /// body, whole, of this SHA-256. Nobody is waited for, and nothing is led. What can't be found at
    /// once need not be found. Answered by [`Outcome::Dictionary`]. Asked only of drivers that declare
    /// [`Abilities::dictionaries`].
    ///
    /// The exchange holds it to its end, beside what it has looked up: [`Coding::Dcz`] of this digest
    /// is encoded against it. What is gone, or purged otherwise than softly, is found no more.
    Dictionary {
        /// The scope: any string of at most 512 bytes.
        scope: String,
        /// The SHA-256 of the body.
        sha256: [u8; 32],
    },
    /// Tell what is stored and was asked for most since it was stored first. Answered by
    /// [`Outcome::Popular`]. Asked only of drivers that declare [`Abilities::prefetches`].
    Popular {
        /// How many at most.
        most: u64,
    },
    /// Read a body that the reply may still send or store, whole. Answered by [`Outcome::Content`].
    /// Asked only of drivers that declare [`Abilities::fragments`].
    Content {
        /// Which body.
        of: Content,
        /// The most bytes that it may have.
        bytes_max: u64,
    },
    /// Gather the bodies of these parts, each as a [`Part::Included`] would be sent. Answered by
    /// [`Outcome::Gathered`]. Asked only of drivers that declare [`Abilities::fragments`].
    Gather {
        /// For [`Edge::next_part`](crate::Edge::next_part).
        parts: Vec<Vec<u8>>,
        /// The most bytes that they may have together.
        bytes_max: u64,
    },
    /// Fetch a small document from elsewhere by GET. Answered by [`Outcome::Document`]. Redirects are
    /// not followed. Asked only of drivers that declare [`Abilities::documents`].
    Document {
        /// An absolute URL of `http` or `https`.
        url: String,
        /// The most bytes that it may have.
        bytes_max: u64,
        /// How long it may take, to its end, in milliseconds.
        timeout_ms: u64,
    },
    /// Read the request's body, whole. Answered by [`Outcome::Body`].
    Body {
        /// The most bytes that it may have.
        bytes_max: u64,
    },
    /// Read the value at `key` in the key-value store. Answered by [`Outcome::Value`]. A value
    /// written on this node is seen at once; one written elsewhere within the platform's stated
    /// time.
    Value {
        /// At most 512 bytes.
        key: String,
    },
    /// Take one from an allowance. Answered by [`Outcome::Taken`]. Atomic for the key on this
    /// node: two takers never get the same unit.
    Take {
        /// Who takes from which allowance: the limit's name, which holds no space, a space, and
        /// the taker. At most 512 bytes.
        key: String,
        /// How the allowance refills.
        allowance: Allowance,
        /// From which others one is taken then, in this order and in this way, until there is none
        /// to take: [`limit::take_each`](crate::limit::take_each) is that order. Only of drivers
        /// that declare [`Abilities::escalates`].
        wider: Vec<Wider>,
    },
    /// Count this exchange among those that its taker has under way on this node, unless there are as many
    /// as there may be. Answered by [`Outcome::Shared`]. It counts until the exchange has ended and its
    /// reply's body was sent, or given up; and its bodies, in both directions, are not passed on faster
    /// than all those of the taker may be together, and are paid for as they pass. Asked only of drivers
    /// that declare [`Abilities::shares`].
    Share {
        /// As that of [`Need::Take`].
        key: String,
        /// What the taker has.
        share: Share,
    },
    /// Check a signature. Answered by [`Outcome::Verified`]; a key or a signature that is none
    /// verifies nothing. Asked only of drivers that declare [`Abilities::signatures`].
    Verify {
        /// The public key, and with it the algorithm.
        key: PublicKey,
        /// What was signed.
        message: Vec<u8>,
        /// The signature, in the algorithm's form (RFC 7518, section 3).
        signature: Vec<u8>,
    },
    /// Send a request upstream and wait for the response head. Answered by [`Outcome::Fetched`].
    /// Not retried by the driver unless nothing was sent.
    Fetch(Fetch),
    /// Read exactly `bytes` of the request's body and keep them, durably. Answered by
    /// [`Outcome::Kept`]. This and the next two are asked only of drivers that declare
    /// [`Abilities::durable`].
    ///
    /// Once it is answered with [`Kept::Durably`], what was kept survives whatever becomes of the
    /// driver, [`Need::ReadKept`] finds it at once, and the driver hands it over: it asks the core
    /// for the request ([`Edge::hand_over`](crate::Edge::hand_over)), sends it with what was kept
    /// as its body, and asks the core what the answer means
    /// ([`handed_over`](crate::kept::handed_over)). It does so at once, and again after pauses
    /// until the core says that it is done; only then is it forgotten. Whether the exchange ended
    /// meanwhile does not matter. Those of one group set out in the order of their keys, and
    /// several may be on their way at once; one that was refused lets the others pass. Where
    /// several instances share a store, two may send the same one, as if a first answer were lost:
    /// any number of attempts leave one file.
    ///
    /// Atomic: it is kept whole or not at all. A key is kept once only.
    Keep {
        /// Its group, a slash, and a name within the group. At most 64 bytes.
        key: String,
        /// For the core, given back as it is.
        head: Vec<u8>,
        /// How many bytes the body must have.
        bytes: u64,
    },
    /// Look for what is kept under `key`. Answered by [`Outcome::ReadKept`].
    ReadKept {
        /// As in [`Need::Keep`].
        key: String,
    },
    /// Hand over now what is kept of a group. Answered by [`Outcome::HandedOver`]: whether nothing
    /// is left whose key begins with `prefix`. Where nothing is kept, that is said at once.
    HandOver {
        /// The group, a slash, and the beginning of a name, or all of it, or nothing.
        prefix: String,
        /// How long it may take.
        timeout_ms: u64,
    },
}

/// A request to an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Where to.
    pub upstream: Upstream,
    /// Request line and field lines, as in [`Request::head`]. Framing fields are the driver's.
    pub head: Vec<u8>,
    /// Whether the client's request body goes with it, streamed.
    pub with_body: bool,
    /// How long the response head may take, in milliseconds, from when the request was sent.
    pub timeout_ms: u64,
}

/// A body that can be read before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// That of what was looked up last.
    Stored,
    /// What the upstream sends.
    Upstream,
}

/// An upstream of the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upstream {
    /// Outport's own origin.
    Origin,
    /// What the route at this place in [`Config::routes`](crate::config::Config::routes) proxies.
    Route(u16),
}

/// A public key, and with it the algorithm that it is for (RFC 8725, section 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PublicKey {
    /// For EdDSA with Ed25519 (RFC 8037). Signatures have 64 bytes.
    Ed25519([u8; 32]),
    /// For ES256 (RFC 7518, section 3.4): the coordinates of a point of P-256. Signatures are R and
    /// S, 32 bytes each.
    P256 {
        /// The first coordinate.
        x: [u8; 32],
        /// The second coordinate.
        y: [u8; 32],
    },
    /// For RS256 (RFC 7518, section 3.3): the modulus, of 2,048 to 4,096 bits, from its highest byte
    /// on. The exponent is 65537. Signatures have as many bytes as the modulus.
    Rsa(Vec<u8>),
}

/// How an allowance refills: one unit every `interval_us`, up to `burst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Microseconds for one unit.
    pub interval_us: u64,
    /// Units that can be taken at once.
    pub burst: u32,
}

/// What came of [`Need::Share`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shared {
    /// The exchange counts.
    Counts,
    /// There are as many as there may be.
    TooMany,
    /// What bodies had is not paid for.
    Owed {
        /// Until when it will be, in microseconds from now.
        retry_us: u64,
    },
}

/// What one taker has of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The most exchanges under way. Absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
    /// Bytes of bodies a second, of all its exchanges and in both directions. Absent: as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
    /// What bodies are paid from, in both directions, in units of [`PAID_BYTES`]. Nothing begins while
    /// more is owed than the whole: [`limit::pay`](crate::limit::pay). Absent: they cost nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Allowance>,
}

/// How many bytes of bodies cost a unit.
pub const PAID_BYTES: u64 = 1_024;

/// An allowance that is shared with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wider {
    /// As that of [`Need::Take`].
    pub key: String,
    /// How it refills.
    pub allowance: Allowance,
}

/// What became of a need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Need::Lookup`].
    Looked(Looked),
    /// Of [`Need::Claim`]: how many of the keys, from the first, this exchange leads.
    Claimed(u64),
    /// Of [`Need::Put`].
    Put,
    /// Of [`Need::Encode`]: whether lookups tell of the form from now on. It may not be done where
    /// there is too much to do, or where the body is gone or still arriving.
    Encoded(bool),
    /// Of [`Need::Dictionary`]: the head, as in [`Store`], of what was found.
    Dictionary(Option<Vec<u8>>),
    /// Of [`Need::Popular`], what was asked for most often first.
    Popular(Vec<Popular>),
    /// Of [`Need::Content`]. `None`: it has more bytes, or broke off, and what the upstream sent is
    /// gone.
    Content(Option<Vec<u8>>),
    /// Of [`Need::Gather`]. `None`: one of them can't be had whole, or they have more bytes.
    Gathered(Option<Vec<Vec<u8>>>),
    /// Of [`Need::Document`]. `None`: it was not answered with status 200, has more bytes, or broke
    /// off.
    Document(Option<Vec<u8>>),
    /// Of [`Need::Body`]. `None`: it has more bytes, or broke off.
    Body(Option<Vec<u8>>),
    /// Of [`Need::Value`]: the value's length, if there is one.
    Value(Option<u64>),
    /// Of [`Need::Take`].
    Taken(Taken),
    /// Of [`Need::Share`].
    Shared(Shared),
    /// Of [`Need::Verify`]: whether the signature is right.
    Verified(bool),
    /// Of [`Need::Fetch`].
    Fetched(Result<UpstreamHead, FetchError>),
    /// Of [`Need::Keep`].
    Kept(Kept),
    /// Of [`Need::ReadKept`]: what is kept; the reply may use it.
    ReadKept(Option<KeptHead>),
    /// Of [`Need::HandOver`].
    HandedOver(bool),
}

/// What came of keeping a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is durable.
    Durably,
    /// The client's body ended before its length. Nothing is kept.
    Broken,
    /// There is no room, or the store failed. Nothing is kept, and the body is all there still: it
    /// can go along with a [`Need::Fetch`].
    Declined,
    /// The store did not say, and the origin could not be given it instead. It may be kept, and
    /// the body is gone.
    Unknown,
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptHead {
    /// As it was given to [`Need::Keep`].
    pub head: Vec<u8>,
    /// The body's length.
    pub bytes: u64,
}

/// What a handover has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// The origin has what was kept, or had it and it was removed since. Forget it.
    Done,
    /// The origin can't take anything now. Pause, and try again.
    Later,
    /// The origin does not take this one. Keep it, and try again with the longest pauses; the
    /// others go on.
    Refused,
}

/// Something that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Popular {
    /// Its key.
    pub key: String,
    /// Its head, as in [`Store`].
    pub head: Vec<u8>,
}

/// What the cache holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Something is stored; the reply may use its body.
    Found {
        /// The head, as the core gave it to [`Store`].
        head: Vec<u8>,
        /// Whether the body is stored too, or just now arriving.
        body: bool,
        /// The forms of the body that were made or tried.
        forms: Vec<Form>,
        /// It was purged softly since it was stored, and is stale.
        purged: bool,
        /// It is stale, and this exchange is the one to renew it.
        lead: bool,
        /// This exchange waited for another that led.
        collapsed: bool,
    },
    /// Nothing is stored, and this exchange leads.
    Vacant,
}

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Coding {
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878), with a window of at most 8 MiB (RFC 9659).
    Zstd,
    /// `gzip` (RFC 1952).
    Gzip,
    /// `dcz` (RFC 9842, section 5) against the dictionary of this SHA-256, which the exchange has
    /// looked up, with a window of at most 4 MiB. Asked only of drivers that declare
    /// [`Abilities::dictionaries`].
    Dcz([u8; 32]),
}

/// The most bytes that a dictionary has.
pub const DICTIONARY_BYTES_MAX: u64 = 2 << 20;

/// A form of a stored body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its coding.
    pub coding: Coding,
    /// How many bytes it has. `None`: too many to be worth it.
    pub bytes: Option<u64>,
}

/// What came of taking from an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Whether there was one to take.
    pub allowed: bool,
    /// What is left. `None` where the platform's limiter says yes or no, and nothing else.
    pub left: Option<Left>,
}

/// What is left of an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Units left.
    pub remaining: u32,
    /// When one more will be there, in microseconds from now; 0 where one is.
    pub retry_us: u64,
    /// When the allowance will be full, in microseconds from now.
    pub full_us: u64,
}

/// An upstream's response head. Its body is the driver's to stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamHead {
    /// The status.
    pub status: u16,
    /// The field lines, as in [`Request::head`], interim responses left out. The driver adds
    /// `content-length` where it knows the length and the upstream did not say it.
    pub fields: Vec<u8>,
}

/// Why there is no response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// No connection, or it broke.
    Unreachable,
    /// It took longer than allowed.
    Timeout,
    /// The client's own body broke off, so that the request could not be completed.
    RequestBroken,
}

/// A response head, its body's plan, and what to do before it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The field lines, as in [`Request::head`]. Connection fields and `date` are the driver's.
    pub fields: Vec<u8>,
    /// What the body is.
    pub body: Body,
    /// Keys to forget, at once and before anything else: lookups that begin later never see what
    /// was stored before, nor what an exchange that was then under way stores later.
    pub forget: Vec<String>,
    /// What to purge, at once and before anything else. Asked only of drivers that declare
    /// [`Abilities::purges`].
    pub purge: Vec<Purge>,
    /// What to store, before the body is read.
    pub store: Option<Store>,
    /// What is likely to be wanted next, for [`Edge::next_part`](crate::Edge::next_part): exchanges
    /// whose replies are sent to nobody. They are for when there is nothing better to do, and where
    /// there are too many, they may be left out. Only for drivers that declare
    /// [`Abilities::prefetches`].
    pub prefetch: Vec<Vec<u8>>,
    /// Where the request ended, for the metrics.
    pub ended: Ended,
    /// The rules of the firewall that the request matched.
    pub matched: Matched,
    /// Whether the request bore a token that was found good, for who prefers those
    /// ([`priority`](crate::priority)).
    pub caller_known: bool,
}

/// The rules of the firewall that a request matched, for metrics and logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matched {
    /// The places of these rules among [`Firewall::counted`](crate::firewall::Firewall::counted). At
    /// most as many as there are rules.
    pub rules: Vec<u16>,
    /// A line for the log, if one of these rules asks for that or is not enforced.
    pub note: Option<String>,
}

impl Reply {
    /// What is left of a reply that nobody is sent: what it forgets and stores.
    pub fn unsent(self) -> Self {
        Self { body: Body::Empty, ..self }
    }
}

/// What a reply's body is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Nothing. To a HEAD request every body is nothing; the driver leaves it out.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The body of what was looked up or is now stored; of it, this range.
    Stored(Option<ByteRange>),
    /// Of what was looked up, the form in this coding.
    Coded(Coding),
    /// The body of what was looked up or is now stored, encoded while it is sent: quickly rather
    /// than well. Asked only of drivers that declare [`Abilities::encodes`].
    Encoding(Coding),
    /// The value that was read.
    Value,
    /// The body that the upstream sends, untouched.
    Upstream,
    /// What is kept and was read; of it, this range.
    Kept(Option<ByteRange>),
    /// These, one behind the other. Asked only of drivers that declare [`Abilities::composes`].
    Composed(Vec<Part>),
    /// The same, encoded while it is sent. Asked only of drivers that declare [`Abilities::encodes`],
    /// too.
    ComposedEncoding(Coding, Vec<Part>),
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Of the body of what was looked up or is now stored, this range.
    Stored(ByteRange),
    /// Slices of a file, for [`Edge::next_part`](crate::Edge::next_part): each is the body of the
    /// reply of an exchange of its own, which begins when the body has come to it. A reply of any
    /// other status than 200 cuts the body off; if it is the first of the body, a driver may have
    /// waited for it, and send that reply in place of this one. Asked only of drivers that declare
    /// [`Abilities::slices`].
    Sliced(Vec<u8>),
    /// The body of the reply of an exchange of its own, for
    /// [`Edge::next_part`](crate::Edge::next_part). The exchange may begin before the body has come
    /// to it, as long as there is a bound to how many do. What is before it is sent without waiting.
    /// Asked only of drivers that declare [`Abilities::fragments`].
    Included(Vec<u8>),
}

/// An exchange that a part of a body is the reply of.
///
/// A reply of any other status than 200 is not sent. The driver does what it stores and forgets, and
/// what is `instead` takes its place; without that, the body breaks off.
#[derive(Debug)]
pub struct PartStep {
    /// How it begins.
    pub step: Step,
    /// What of the part comes behind it, for [`Edge::next_part`](crate::Edge::next_part) again.
    pub rest: Option<Vec<u8>>,
    /// What takes its place, for [`Edge::next_part`](crate::Edge::next_part) again.
    pub instead: Option<Vec<u8>>,
}

/// What is stored under a tag is to go, or to be stale.
///
/// That counts for what was stored before, and for what an exchange stores later that looked its key
/// up before: so nothing that is being fetched meanwhile brings back what was purged. On this node it
/// counts from when the reply is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// One of [`Store::tags`].
    pub tag: String,
    /// It may still be used, as what is stale may: lookups say that it was purged.
    pub soft: bool,
}

/// What to put into the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// The key that was looked up.
    pub key: String,
    /// The head, for [`Looked::Found`].
    pub head: Vec<u8>,
    /// Where the body comes from.
    pub body: StoreBody,
    /// How long, from now, the driver may leave lookups without a leader, in milliseconds.
    pub fresh_ms: u64,
    /// By what it can be purged: at most 72, each of at most 300 bytes.
    pub tags: Vec<String>,
    /// The scope in which [`Need::Dictionary`] finds it once its body is whole, if that has at most
    /// [`DICTIONARY_BYTES_MAX`] bytes. Only for drivers that declare [`Abilities::dictionaries`].
    pub dictionary: Option<String>,
}

impl Store {
    /// A head alone.
    pub const fn head(key: String, head: Vec<u8>, fresh_ms: u64) -> Self {
        Self { key, head, body: StoreBody::None, fresh_ms, tags: Vec::new(), dictionary: None }
    }
}

/// The body that goes with a stored head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreBody {
    /// There is none.
    None,
    /// What the upstream sends, of this length. A body that ends early, or is longer, is never
    /// stored as whole: who reads it meanwhile sees the connection end, and the entry goes. The
    /// driver reads it to its end even if the client leaves.
    Upstream(Extent),
    /// What the upstream sends, cut into slices: the first is stored under the key that was looked
    /// up, the others under those that were claimed, in their order, all with the same head. A body
    /// that ends early leaves the slices that are whole.
    Slices {
        /// How many bytes each has; the last may have fewer.
        slice_bytes: u64,
        /// How many bytes they have together.
        bytes: u64,
    },
    /// What is stored already; only the head is new.
    Keep,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// Just so many bytes.
    Exactly(u64),
    /// Nobody knows before it ends. One that has more bytes than this is not stored; who reads it
    /// meanwhile gets it all the same, to its end.
    AtMost(u64),
}

impl Extent {
    /// The length, where it is known.
    pub const fn exact(self) -> Option<u64> {
        match self {
            Self::Exactly(length) => Some(length),
            Self::AtMost(_) => None,
        }
    }

    /// Whether a body of so many bytes is stored.
    pub const fn holds(self, bytes: u64) -> bool {
        match self {
            Self::Exactly(length) => bytes == length,
            Self::AtMost(most) => bytes <= most,
        }
    }
}

/// Where a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It was decided at the edge.
    Edge,
    /// It was answered from the cache.
    Cache,
    /// It reached an upstream.
    Origin,
}

impl Ended {
    /// The value of the metric's `outcome` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Cache => "cache",
            Self::Origin => "origin",
        }
    }
}

/// What a driver can do beyond the needs that every driver meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It checks signatures natively. Without it the core does so itself.
    pub signatures: bool,
    /// What is behind a request's body (RFC 9110, section 6.5) goes to the origin along with it, as
    /// far as the head of the fetch names it in `trailer`.
    pub request_trailers: bool,
    /// It passes interim responses of the origin on to clients. The origin is asked for them only
    /// where they are.
    pub interim: bool,
    /// It keeps what it is given through every crash, until the origin has it.
    pub durable: Option<Durable>,
    /// It stores bodies whose length nobody said before they came.
    pub unannounced: bool,
    /// It encodes bodies. Elsewhere the platform does so by itself, or nobody does.
    pub encodes: bool,
    /// It purges by tag.
    pub purges: bool,
    /// It makes bodies of several parts. Without it, one range of a body is sent at once.
    pub composes: bool,
    /// It cuts what an upstream sends into slices, and makes bodies of them. It declares
    /// [`Self::composes`] too. Without it, what is too large to be stored passes through.
    pub slices: bool,
    /// It makes bodies of other exchanges' replies. It declares [`Self::composes`] too. Without it,
    /// templates are not composed.
    pub fragments: bool,
    /// It fetches ahead what a reply names, and knows what is asked for most. It declares
    /// [`Self::fragments`] too.
    pub prefetches: bool,
    /// It fetches documents from elsewhere. Without it, issuers can't be asked for their keys.
    pub documents: bool,
    /// It finds what is stored by the digest of its body, and encodes against it. It declares
    /// [`Self::encodes`] too.
    pub dictionaries: bool,
    /// It takes from several allowances for one [`Need::Take`]. Without it, networks are limited
    /// each by itself, however many of them somebody has.
    pub escalates: bool,
    /// It counts what each taker has under way, and keeps their bodies to a pace. Without it, nothing does.
    pub shares: bool,
}

/// How a driver keeps things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The largest body that is kept, in bytes.
    pub value_bytes_max: u64,
}
