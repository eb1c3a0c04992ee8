//! What an origin is told at start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outport_tls::ServerFiles;
use outport_wire::describe::TYPE_BYTES_MAX;
use outport_wire::name::NAME_BYTES_MAX;
use outport_wire::rules::{Rules, TenantRules};
use outport_wire::secret::{Key, Secret};

use crate::callers::Tokens;
use crate::edges::EdgeKeys;
use crate::hooks::HooksConfig;
use crate::store::PART_AGE_MAX;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Everything an origin needs to know. [`Config::new`] has a default for all but the folder and
/// the secrets.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where requests are taken. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// What it listens with for TLS. `None`: plain HTTP.
    pub tls: Option<ServerFiles>,
    /// Where metrics are served, and where the origin is operated.
    pub metrics_listen: SocketAddr,
    /// The folder of parts and metadata. It is created if need be, and belongs to one process.
    pub folder: PathBuf,
    /// The keys of the edges whose requests are taken.
    pub edge_keys: EdgeKeys,
    /// What checks the tokens of callers again where something is to change. `None`: edges are
    /// believed.
    pub tokens: Option<Arc<dyn Tokens>>,
    /// Edges may hand over files that they have accepted by themselves. These are believed: their
    /// callers have gone, and their tokens may have expired.
    pub takes_handovers: bool,
    /// The key that links are signed with.
    pub link_key: Secret,
    /// What the addresses of signed links begin with: scheme and authority. Absent: they are relative.
    pub content_base_url: Option<String>,
    /// The region that new ids name.
    pub region: u8,
    /// What each tenant may upload.
    pub rules: Rules,
    /// Bounds on what clients send.
    pub limits: Limits,
    /// How bytes are kept.
    pub storage: Storage,
    /// Who is told of files, and who is asked before there is one.
    pub hooks: HooksConfig,
    /// How what nobody needs is removed.
    pub collection: Collection,
    /// How long requests under way are waited for at shutdown. Uploads that are still coming then
    /// are cut, and what arrived is kept.
    pub shutdown_deadline: Duration,
}

/// Bounds on what clients send.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest file name, in bytes.
    pub name_bytes_max: usize,
    /// The longest media type, in bytes.
    pub type_bytes_max: usize,
    /// The most keys of a file's metadata.
    pub metadata_keys_max: usize,
    /// All keys and values of a file's metadata together, in bytes.
    pub metadata_bytes_max: usize,
    /// The largest JSON body, in bytes.
    pub json_bytes_max: usize,
    /// The most files of one form.
    pub form_files_max: usize,
    /// The most files on one page of a list.
    pub list_files_max: usize,
    /// An upload that makes no progress for this long expires. `None`: none ever does.
    pub upload_expire_after: Option<Duration>,
    /// A body that stands still for this long is cut.
    pub body_idle_max: Duration,
    /// A connection on which no request begins for this long is closed.
    pub connection_idle_max: Duration,
    /// The most connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// The most requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// The longest life of a signed link.
    pub link_life_max: Duration,
}

/// How bytes are kept.
#[derive(Clone, Debug)]
pub struct Storage {
    /// How much of a body is read or written at once. Each request holds two of these.
    pub chunk_bytes: u64,
    /// A part is not ended below this size while its body goes on, unless it is old.
    pub part_bytes_min: u64,
    /// The largest part.
    pub part_bytes_max: u64,
    /// A part is ended, and progress committed, when it has been open for this long.
    pub part_age_max: Duration,
    /// A file of up to so many bytes that comes whole is kept in its record: it has no part of its
    /// own, which would take a block of the disk.
    pub record_content_bytes_max: u64,
    /// How much of the metadata is kept in memory, in bytes.
    pub meta_cache_bytes: usize,
}

/// How what nobody needs is removed.
#[derive(Clone, Copy, Debug)]
pub struct Collection {
    /// How long it takes to look through all parts once. What has expired is looked at a thousand
    /// times in that time.
    pub round: Duration,
    /// Parts younger than this are left alone: nobody is waited for who has written one and not
    /// named it for so long. What was acknowledged does not depend on it.
    pub grace: Duration,
    /// What has expired stays for this long, and is answered 410. Clocks may differ by as much.
    pub expired_for: Duration,
}

impl Config {
    /// Defaults, on free ports of loopback.
    pub fn new(folder: impl Into<PathBuf>, edge_keys: Vec<Key>, link_key: Secret) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any,
            tls: None,
            metrics_listen: any,
            folder: folder.into(),
            edge_keys: edge_keys.into(),
            tokens: None,
            takes_handovers: true,
            link_key,
            content_base_url: None,
            region: 0,
            rules: Rules::same(TenantRules::sized(1024 * GIB)),
            limits: Limits::default(),
            storage: Storage::default(),
            hooks: HooksConfig::default(),
            collection: Collection::default(),
            shutdown_deadline: Duration::from_secs(10),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            name_bytes_max: NAME_BYTES_MAX,
            type_bytes_max: TYPE_BYTES_MAX,
            metadata_keys_max: 32,
            metadata_bytes_max: 8 * KIB as usize,
            json_bytes_max: 64 * KIB as usize,
            form_files_max: 100,
            list_files_max: 100,
            upload_expire_after: Some(Duration::from_secs(7 * 24 * 3600)),
            body_idle_max: Duration::from_secs(60),
            connection_idle_max: Duration::from_secs(300),
            connections_max: 4096,
            streams_max: 256,
            link_life_max: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

impl Default for Collection {
    fn default() -> Self {
        Self {
            round: Duration::from_secs(24 * 3600),
            grace: PART_AGE_MAX + Duration::from_secs(3600),
            expired_for: Duration::from_secs(3600),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            chunk_bytes: 256 * KIB,
            part_bytes_min: 8 * MIB,
            part_bytes_max: GIB,
            part_age_max: Duration::from_secs(10),
            record_content_bytes_max: 4 * KIB,
            meta_cache_bytes: 32 * MIB as usize,
        }
    }
}
