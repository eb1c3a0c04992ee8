//! Networks of clients, as configurations and links name them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Reads a network (`10.0.0.0/8`) or a single address (`::1`).
pub fn read(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| address()).ok()
}
