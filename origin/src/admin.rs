//! The operator's door: metrics, and what only whoever runs the origin may see and do.
//!
//! It stands on a port of its own. Metrics and health are for everybody who reaches that port,
//! without TLS and the certificates that edges may have to show elsewhere; whatever is
//! below `/admin` takes the token that this process wrote into the data folder when it started,
//! beside the address. So there is nothing to configure: who may read that file may operate the
//! origin. The metadata belongs to the process that has it open, and this is how commands that
//! work on it reach that process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use axum::extract::{RawQuery, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::header::AUTHORIZATION;
use outport_wire::problem::ProblemType;
use outport_wire::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::collector::Collected;
use crate::fsck::Fscked;
use crate::hooks;
use crate::http::failure::Failure;
use crate::http::{App, audit, health};
use crate::upkeep::Upkeep;

/// The file in the origin's folder that says where the door is, and what opens it.
const FILE: &str = "admin.json";
const OWNER_ONLY: u32 = 0o600;
const TOKEN_BYTES: usize = 32;

/// Where a running origin is operated, and the token that it takes there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminDoor {
    /// The port of metrics and administration, on this machine where it is reachable from it.
    pub address: SocketAddr,
    token: Secret,
}

impl AdminDoor {
    /// The door of the origin that runs on `folder`, or `None` where none does. After a kill the
    /// file may be left, and nobody answers there.
    pub fn find(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What goes into `Authorization` after `Bearer`.
    pub fn token(&self) -> String {
        self.token.clone().into()
    }

    fn takes(&self, token: &str) -> bool {
        // Compares MACs, and so in a time that says nothing of either token.
        self.token.verify(token.as_bytes(), &self.token.mac(self.token().as_bytes()))
    }
}

/// An open door. Its file goes with it.
#[derive(Debug)]
pub(crate) struct OpenDoor {
    door: AdminDoor,
    file: PathBuf,
}

impl OpenDoor {
    /// Makes a token and writes it into `folder`, complete or not at all. The caller has the
    /// folder to itself.
    pub(crate) fn open(folder: &Path, bound: SocketAddr) -> io::Result<Self> {
        let token = Secret::new(rand::random::<[u8; TOKEN_BYTES]>().to_vec());
        let door = AdminDoor { address: reachable(bound), token: token.map_err(io::Error::other)? };
        let (draft, file) = (folder.join(format!(".{FILE}")), folder.join(FILE));
        remove_if_there(&draft)?;
        write_for_owner(&draft, &serde_json::to_vec(&door)?)?;
        fs::rename(&draft, &file)?;
        Ok(Self { door, file })
    }
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&self.file) {
            tracing::warn!(%error, "{FILE} is left behind");
        }
    }
}

/// All that is behind the port of metrics and administration.
pub(crate) fn router(app: App, upkeep: Upkeep, door: &OpenDoor) -> Router {
    let guarded = Router::new()
        .route("/admin", get(about))
        .merge(hooks::admin::routes())
        .route("/admin/collect", post(collect))
        .route("/admin/fsck", post(fsck))
        .route("/admin/audit", get(audit::read_deployments))
        .layer(Extension(upkeep))
        .fallback(|| async { Failure::not_found() })
        .layer(from_fn_with_state(door.door.clone(), check_token));
    let open = Router::new().route("/metrics", get(metrics)).merge(health());
    open.merge(guarded).with_state(app)
}

/// `GET /admin`: which program this is.
async fn about() -> impl IntoResponse {
    Json(json!({ "program": "outport-origin", "version": env!("CARGO_PKG_VERSION") }))
}

/// `POST /admin/collect`: one round of the collector, now. `?dry_run=true` changes nothing.
async fn collect(
    Extension(upkeep): Extension<Upkeep>,
    RawQuery(query): RawQuery,
) -> Result<Json<Collected>, Failure> {
    let dry_run = switch(query.as_deref(), "dry_run")?;
    upkeep.collect(dry_run).await.map(Json).map_err(Failure::internal)
}

/// `POST /admin/fsck`: holds everything that is stored against each other. `?repair=true` repairs
/// what can be.
async fn fsck(
    Extension(upkeep): Extension<Upkeep>,
    RawQuery(query): RawQuery,
) -> Result<Json<Fscked>, Failure> {
    let repair = switch(query.as_deref(), "repair")?;
    upkeep.check(repair).await.map(Json).map_err(Failure::internal)
}

/// The value of the one parameter that there may be.
fn switch(query: Option<&str>, name: &str) -> Result<bool, Failure> {
    match query.map(|query| query.split_once('=')) {
        None => Ok(false),
        Some(Some((key, "true"))) if key == name => Ok(true),
        Some(Some((key, "false"))) if key == name => Ok(false),
        Some(_) => Err(Failure::field(name, "true or false")),
    }
}

/// `GET /metrics`, in the text format of Prometheus.
async fn metrics(State(app): State<App>) -> String {
    app.metrics.render() + &app.hooks.metrics()
}

async fn check_token(State(door): State<AdminDoor>, request: Request, next: Next) -> Response {
    let value = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match value.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if door.takes(token) => next.run(request).await,
        Some(_) => refused(ProblemType::TokenUntrusted),
        None => refused(ProblemType::TokenMissing),
    }
}

fn refused(kind: ProblemType) -> Response {
    Failure::new(kind, format!("the token is in {FILE} in the origin's folder")).into_response()
}

/// An address that this machine can connect to.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn write_for_owner(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(bytes)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn open(folder: &Path, address: &str) -> OpenDoor {
        OpenDoor::open(folder, address.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_file_is_there_while_the_door_is_open_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        assert!(AdminDoor::find(folder.path()).unwrap().is_none());
        let door = open(folder.path(), "127.0.0.1:81");
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, OWNER_ONLY);
        let found = AdminDoor::find(folder.path()).unwrap().unwrap();
        assert_eq!((found.address, found.token()), (door.door.address, door.door.token()));
        drop(door);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_start_has_a_token_of_its_own_and_takes_over_what_a_kill_left() {
        let folder = tempfile::tempdir().unwrap();
        let killed = std::mem::ManuallyDrop::new(open(folder.path(), "127.0.0.1:81"));
        fs::write(folder.path().join(format!(".{FILE}")), "half").unwrap();
        let door = open(folder.path(), "127.0.0.1:82");
        let found = AdminDoor::find(folder.path()).unwrap().unwrap();
        assert_eq!(found.address.port(), 82);
        assert!(door.door.takes(&found.token()) && !door.door.takes(&killed.door.token()));
    }

    #[test]
    fn the_address_is_one_to_connect_to() {
        let folder = tempfile::tempdir().unwrap();
        for (bound, reached) in [("0.0.0.0:81", "127.0.0.1:81"), ("[::]:81", "[::1]:81")] {
            assert_eq!(open(folder.path(), bound).door.address, reached.parse().unwrap());
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let door = open(folder.path(), "127.0.0.1:81");
        assert!(!format!("{door:?}").contains(&door.door.token()));
    }
}
