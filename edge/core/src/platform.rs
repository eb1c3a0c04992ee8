//! What each platform's edge can do: what its driver declares, which bounds the platform sets, and
//! how well it keeps the contract of each need.
//!
//! Data only. Drivers declare their abilities from here, `outport check` and `outport render` go
//! by the bounds, and `docs/platforms.md` is printed from it, so that the three never differ.

use crate::step::{Abilities, Durable};

/// A platform that an edge runs on.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// Its name, as people say it.
    pub name: &'static str,
    /// Its name on command lines.
    pub key: &'static str,
    /// The program that deploys to it.
    pub tool: &'static str,
    /// What the driver can do beyond the needs that every driver meets.
    pub abilities: Abilities,
    /// The cache.
    pub cache: Cache,
    /// Who compresses what is stored.
    pub compresses: &'static str,
    /// The key-value store.
    pub values: Values,
    /// What small uploads are kept in until the origin has them; where nothing is, why.
    pub keeps: &'static str,
    /// The limiter.
    pub limits: Limits,
    /// Who checks signatures of tokens, and what it costs.
    pub signatures: &'static str,
    /// How bodies pass.
    pub bodies: &'static str,
    /// Who tells where clients are; empty where nobody does but a proxy.
    pub countries: &'static str,
    /// Who refuses what is least important where there is too much to do.
    pub sheds: &'static str,
    /// Where the counters of requests go.
    pub metrics: &'static str,
    /// What the platform bounds.
    pub bounds: Bounds,
    /// What can't be tested without the platform itself.
    pub untested: &'static [&'static str],
}

/// How far something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One process of the node.
    Node,
    /// One isolate: a process has several, a data centre many.
    Isolate,
    /// One data centre.
    DataCentre,
    /// Everything that shares the key-value store.
    Store,
    /// Everywhere.
    Everywhere,
}

/// A cache of responses.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    /// What it is built on.
    pub on: &'static str,
    /// Who finds what was stored.
    pub shared: Reach,
    /// Whose requests for one vacant key become one.
    pub collapses: Reach,
    /// Where what is purged is gone, and how soon; empty where nothing can be purged.
    pub purges: &'static str,
    /// Where what is forgotten is gone at once, and is not brought back by who began before.
    pub forgets: Reach,
    /// What is not exact about it; empty where all is.
    pub inexact: &'static str,
}

/// A store of small values.
#[derive(Clone, Copy, Debug)]
pub struct Values {
    /// What it is built on.
    pub on: &'static str,
    /// When a value is seen elsewhere once it was written.
    pub consistency: &'static str,
}

/// A limiter.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What it is built on.
    pub on: &'static str,
    /// Whose requests are counted together.
    pub counts: Reach,
    /// Whether it tells what is left of an allowance, for the field `RateLimit`.
    pub tells_what_is_left: bool,
    /// How exact it is, and by how much it is wrong where several count.
    pub accuracy: &'static str,
    /// What of it a restart forgets.
    pub restarts: &'static str,
}

/// What a platform bounds. `None`: it bounds nothing, or the operator does.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A request's body, in bytes.
    pub request_body_bytes: Option<u64>,
    /// A value of the key-value store, in bytes.
    pub value_bytes: Option<u64>,
    /// One piece of the configuration, in bytes.
    pub config_piece_bytes: Option<usize>,
    /// One piece of the secrets, in bytes.
    pub secret_piece_bytes: Option<usize>,
    /// A period that a named limit must be stated in, in seconds; the rate is a whole number of
    /// requests in it.
    pub limit_periods_s: &'static [u32],
}

/// All of them.
pub const ALL: [Platform; 4] = [WASMTIME, CLOUDFLARE, FASTLY, SPIN];

const MIB: u64 = 1 << 20;

/// What a node may hold in memory for each of many uploads.
const KEPT_BYTES_MAX: u64 = MIB;

/// Our own node: wasmtime around the component.
pub const WASMTIME: Platform = Platform {
    name: "wasmtime",
    key: "wasmtime",
    tool: "outport",
    abilities: Abilities {
        signatures: true,
        request_trailers: true,
        interim: true,
        durable: Some(Durable { value_bytes_max: KEPT_BYTES_MAX }),
        unannounced: true,
        encodes: true,
        purges: true,
        composes: true,
        slices: true,
        fragments: true,
        prefetches: true,
        documents: true,
        dictionaries: true,
        escalates: true,
        shares: true,
    },
    cache: Cache {
        on: "memory, S3-FIFO",
        shared: Reach::Node,
        collapses: Reach::Node,
        purges: "on that node, at once",
        forgets: Reach::Node,
        inexact: "",
    },
    compresses: "by the node: zstd, brotli or gzip quickly at first, and well once it is asked for again",
    values: Values { on: "redb", consistency: "at once, on the node" },
    keeps: "redb, each commit synced to the disk; at most 1 GiB and 100,000 files that the origin \
            does not have yet",
    limits: Limits {
        on: "memory, GCRA",
        counts: Reach::Node,
        tells_what_is_left: true,
        accuracy: "exact on a node; of N nodes each gives as much, so who asks all gets N times the limit",
        restarts: "nothing; a kill, what was taken in the second before",
    },
    signatures: "ring, natively",
    bodies: "streamed by the node, never through WebAssembly",
    countries: "",
    sheds: "the node, by priority ([limits](limits.md#too-much-to-do))",
    metrics: "Prometheus, on a port of its own",
    bounds: Bounds {
        request_body_bytes: None,
        value_bytes: Some(25 * MIB),
        config_piece_bytes: None,
        secret_piece_bytes: None,
        limit_periods_s: &[],
    },
    untested: &[],
};

/// Cloudflare Workers.
pub const CLOUDFLARE: Platform = Platform {
    name: "Cloudflare Workers",
    key: "cloudflare",
    tool: "wrangler",
    abilities: Abilities {
        signatures: true,
        request_trailers: false,
        interim: false,
        // Where a bucket is bound.
        durable: Some(Durable { value_bytes_max: KEPT_BYTES_MAX }),
        unannounced: false,
        encodes: false,
        // Where a KV namespace is bound.
        purges: true,
        composes: true,
        slices: false,
        fragments: false,
        prefetches: false,
        documents: true,
        dictionaries: false,
        escalates: false,
        shares: false,
    },
    cache: Cache {
        on: "Cache API",
        shared: Reach::DataCentre,
        collapses: Reach::Isolate,
        purges: "in that data centre at once, everywhere within 70 s or so",
        forgets: Reach::DataCentre,
        inexact: "an exchange in another isolate that began before may bring a forgotten entry \
                  back, until its record is stale",
    },
    compresses: "by the platform, by its own rules",
    values: Values { on: "Workers KV", consistency: "within about 60 s" },
    keeps: "R2, where a bucket is bound: durable and seen everywhere once it is written; handed \
            over at once, and what is left once a minute. Of one owner in order within an isolate, \
            not across them",
    limits: Limits {
        on: "rate-limit bindings",
        counts: Reach::DataCentre,
        tells_what_is_left: false,
        accuracy: "by the platform; periods of 10 or 60 s; each data centre gives as much",
        restarts: "there are none",
    },
    signatures: "WebCrypto, natively",
    bodies: "the platform's own streams, handed on",
    countries: "the platform (`request.cf`)",
    sheds: "the platform",
    metrics: "Analytics Engine, one point a request",
    bounds: Bounds {
        request_body_bytes: Some(100_000_000),
        value_bytes: Some(25 * MIB),
        config_piece_bytes: Some(5_000),
        secret_piece_bytes: Some(5_000),
        limit_periods_s: &[10, 60],
    },
    untested: &[
        "the cache's reach over one data centre: locally there is one",
        "the reach and accuracy of the rate limits, and how late KV shows a new value, such as a \
         purge's",
        "R2's durability, and several isolates that hand over at once",
        "the limit of a plan on request bodies",
    ],
};

/// Fastly Compute.
pub const FASTLY: Platform = Platform {
    name: "Fastly Compute",
    key: "fastly",
    tool: "fastly",
    abilities: Abilities {
        signatures: false,
        request_trailers: false,
        interim: false,
        durable: None,
        unannounced: false,
        encodes: false,
        purges: true,
        composes: true,
        slices: false,
        fragments: false,
        prefetches: false,
        documents: true,
        dictionaries: false,
        escalates: true,
        shares: false,
    },
    cache: Cache {
        on: "core cache, transactions",
        shared: Reach::DataCentre,
        collapses: Reach::DataCentre,
        purges: "in that data centre at once, everywhere within 150 ms or so; what another data centre was fetching meanwhile may come back there",
        forgets: Reach::Everywhere,
        inexact: "an exchange in another data centre that began before may bring a forgotten entry \
                  back, until its record is stale",
    },
    compresses: "by the platform, where it is asked to by its own settings",
    values: Values { on: "KV store", consistency: "mostly at once, up to 300 ms for new values" },
    keeps: "nothing: the KV store may answer a read with what was there before a write, so that an \
            upload might not be found by whoever made it",
    limits: Limits {
        on: "edge rate limiting",
        counts: Reach::DataCentre,
        tells_what_is_left: false,
        accuracy: "may count 10 % too few; windows of 1, 10 and 60 s, penalties of two minutes; each \
                   data centre gives as much",
        restarts: "there are none",
    },
    signatures: "inside WebAssembly",
    bodies: "the platform's own bodies, handed on",
    countries: "the platform, by a lookup for each request where a rule asks",
    sheds: "the platform",
    metrics: "log endpoint `outport`, one line a request",
    bounds: Bounds {
        request_body_bytes: None,
        value_bytes: Some(25 * MIB),
        config_piece_bytes: Some(8_000),
        secret_piece_bytes: Some(64_000),
        limit_periods_s: &[],
    },
    untested: &[
        "limits: the local runtime's limiter never limits",
        "requests that are broken off while they are sent: the local runtime reads a body of known \
         length whole before the edge sees the request",
        "the reach of cache and purge over several data centres: locally there is one",
    ],
};

/// Spin.
pub const SPIN: Platform = Platform {
    name: "Spin",
    key: "spin",
    tool: "spin",
    abilities: Abilities {
        signatures: false,
        request_trailers: false,
        interim: false,
        durable: None,
        unannounced: false,
        encodes: false,
        purges: true,
        composes: true,
        slices: false,
        fragments: false,
        prefetches: false,
        documents: true,
        dictionaries: false,
        escalates: true,
        shares: false,
    },
    cache: Cache {
        on: "key-value store",
        shared: Reach::Store,
        collapses: Reach::Store,
        purges: "everywhere that shares the store, at once; 65,536 tags are kept apart",
        forgets: Reach::Store,
        inexact: "with a store that can't compare and swap (Redis), two may lead at once",
    },
    compresses: "no",
    values: Values { on: "key-value store", consistency: "the store's" },
    keeps: "nothing: the interface of the key-value store promises no durability, and which store \
            it is the operator decides",
    limits: Limits {
        on: "key-value store, GCRA",
        counts: Reach::Store,
        tells_what_is_left: true,
        accuracy: "exact with a store that can compare and swap (SQLite); 65,536 takers are kept apart",
        restarts: "nothing: what is spent is in the store",
    },
    signatures: "inside WebAssembly",
    bodies: "handed on by the host; what comes from the cache or goes into it passes through \
             WebAssembly in pieces of 64 KiB",
    countries: "",
    sheds: "the host, if anybody",
    metrics: "log, one line a request",
    bounds: Bounds {
        request_body_bytes: None,
        value_bytes: None,
        config_piece_bytes: None,
        secret_piece_bytes: None,
        limit_periods_s: &[],
    },
    untested: &["Spin itself, where its program is not installed: its interfaces are served by \
                 a runner of ours"],
};
