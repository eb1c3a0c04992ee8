//! `outport edge`: answers what it can, and asks the origin for the rest.

use std::net::{Ipv4Addr, SocketAddr};

use outport_edge_core::platform::WASMTIME;
use outport_edge_host::{Config, ConnectionBounds, EdgeNode, Shedding, TlsConfig};
use outport_tls::ClientFiles;
use reqwest::Url;

use super::ready::EdgeReady;
use super::{NodeArgs, address, embedded, keys_followed, say, scheme, stop};
use crate::core_config::{Said, core_config};
use crate::failure::Failure;
use crate::keys::Keys;
use crate::settings::{self, Overload, Settings};

/// Runs an edge before an origin.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// The port; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    edge_port: u16,
    /// The origin's address; https:// where it has [origin.tls]
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    origin: Url,
    /// Give pages that are opened on this machine a token of the demo tenant
    #[arg(long)]
    demo: bool,
    /// The origin is on this machine: leave small uploads to it, unless the configuration says
    /// otherwise
    #[arg(long, hide = true)]
    beside_origin: bool,
    /// End when standard input closes
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let component = embedded::COMPONENT.ok_or_else(no_component)?;
    let settings = args.node.settings()?;
    if let Some(rule) = settings.unanswered_rule(&WASMTIME) {
        let right = settings::NAME_COUNTRY_FIELD;
        tracing::warn!("rule {rule} asks where clients are, and nobody tells: {right}");
    }
    let keys = Keys::open(&args.node.data)?;
    let stop = stop::asked(args.with_parent)?;
    let config = config(&args, settings, &keys, component)?;
    let scheme = scheme(config.tls.listen.is_some());
    let node = EdgeNode::start(config).await;
    let node = node.map_err(|error| Failure::start("edge", &error))?;
    let signing = node.signing();
    let _following = keys_followed::follow(&args.node.data, move |keys| {
        if let Err(error) = signing.replace(keys.edge.clone()) {
            tracing::error!("the key before stays in use: {error}");
        }
    })?;
    say(&EdgeReady {
        edge: format!("{scheme}://{}", address(node.address())?),
        edge_metrics: format!("http://{}/metrics", address(node.metrics_address())?),
    })?;
    node.run_until(stop).await;
    Ok(())
}

fn no_component() -> Failure {
    let message = "this program was built without the edge's component; `cargo xtask build` makes \
                   one that has it";
    Failure::Process(message.to_owned())
}

/// What is meant to be encrypted is not sent in the open.
fn check_origin(origin: &Url, settings: &Settings) -> Result<(), Failure> {
    let wrong = match origin.scheme() {
        "https" => return Ok(()),
        "http" if settings.tls.to_origin == ClientFiles::default() => return Ok(()),
        "http" => "[edge.origin_tls] is for an origin whose address begins with https://",
        _ => "the origin's address begins with http:// or https://",
    };
    Err(Failure::Usage(format!("--origin {origin}: {wrong}")))
}

fn config(
    args: &Args,
    settings: Settings,
    keys: &Keys,
    component: &'static [u8],
) -> Result<Config, Failure> {
    check_origin(&args.origin, &settings)?;
    let said = Said { demo: args.demo, beside_origin: args.beside_origin };
    Ok(Config {
        listen: SocketAddr::new(args.node.bind, args.edge_port),
        metrics_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        origin: args.origin.as_str().trim_end_matches('/').to_owned(),
        tls: TlsConfig {
            listen: settings.tls.edge.clone(),
            origin: settings.tls.to_origin.clone(),
        },
        cache_bytes_max: settings.cache.memory_bytes,
        cache_disk_bytes_max: settings.cache.disk_bytes,
        instance_exchanges_max: settings.edge.instance_requests_max,
        shedding: shedding(settings.overload),
        connections: connections(settings.overload),
        core: core_config(settings, keys, said)?,
        component,
        page: embedded::PAGE,
        data_dir: args.node.data.join("edge"),
    })
}

fn shedding(overload: Overload) -> Shedding {
    let Overload { delay_ms_max, requests_max, .. } = overload;
    Shedding { delay_ms_max, requests_max: count(requests_max) }
}

fn connections(overload: Overload) -> ConnectionBounds {
    let Overload { connections_max, network_connections_max, .. } = overload;
    ConnectionBounds { most: count(connections_max), of_network: count(network_connections_max) }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
