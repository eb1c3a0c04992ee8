//! A deployment that speaks TLS, with an authority of its own.

use std::path::{Path, PathBuf};

use crate::api::Api;
use crate::deployment::{Data, Running};
use crate::tls::{Authority, Issued};

/// A data folder with certificates for both nodes, `edge.crt` and `origin.crt`, their keys, and the
/// authority's own, `ca.crt`.
pub struct Secured {
    /// The data folder.
    pub data: Data,
    /// Who issued them.
    pub authority: Authority,
    /// What the edge shows, to clients and where it is asked.
    pub edge_shows: Issued,
    /// What the origin shows.
    pub origin_shows: Issued,
}

impl Secured {
    /// Makes all of it.
    #[allow(clippy::new_without_default)] // It makes a folder and keys; that is no default.
    pub fn new() -> Self {
        let (data, authority) = (Data::new(), Authority::new());
        let (edge_shows, origin_shows) = (authority.issue(), authority.issue());
        edge_shows.write(data.path(), "edge");
        origin_shows.write(data.path(), "origin");
        let ca = data.path().join("ca.crt");
        std::fs::write(ca, authority.certificate()).expect("the folder can be written to");
        Self { data, authority, edge_shows, origin_shows }
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> String {
        self.data.path().join(name).to_str().expect("the path is text").to_owned()
    }

    /// A configuration of that name in the folder, for both nodes. `origin_asks`: for a certificate of
    /// whoever connects; `edge_shows`: which one the edge has for that.
    pub fn config(&self, name: &str, origin_asks: bool, edge_shows: Option<&str>) -> PathBuf {
        let identity = |name: &str| {
            let (certificate, key) =
                (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
            format!("certificate_file = {certificate:?}\nkey_file = {key:?}\n")
        };
        let (ca, edge, origin) = (self.path("ca.crt"), identity("edge"), identity("origin"));
        let asks = if origin_asks { format!("client_ca_file = {ca:?}\n") } else { String::new() };
        let shown = edge_shows.map(identity).unwrap_or_default();
        let text = format!(
            "[edge.tls]\n{edge}[edge.origin_tls]\nca_file = {ca:?}\n{shown}[origin.tls]\n{origin}{asks}"
        );
        let path = self.data.path().join(name);
        std::fs::write(&path, text).expect("the folder can be written to");
        path
    }

    /// `outport edge` or `outport origin` on a free port.
    pub fn start(&self, command: &str, config: &Path, more: &[&str]) -> Running {
        let config = config.to_str().expect("the path is text");
        let port = format!("--{command}-port");
        let args = [&[command, &port, "0", "--config", config], more].concat();
        Running::start(&self.data, &args)
    }

    /// An edge before this origin.
    pub fn edge(&self, config: &Path, origin: &str) -> Running {
        self.start("edge", config, &["--origin", origin, "--beside-origin"])
    }

    /// Somebody who believes the authority, and whom the deployment knows.
    pub fn api(&self, edge: &Running) -> Api {
        let api = Api::trusting(edge.ready("edge"), self.authority.client(None));
        api.with_token(&self.data.token("demo", "demo", "read write", "1h"))
    }
}
