//! `outport origin`: stores what the edge can't answer.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use outport_origin::{Config, Origin};

use super::ready::OriginReady;
use super::{NodeArgs, address, callers, keys_followed, origin_folder, say, scheme, stop};
use crate::failure::Failure;
use crate::hooks_config::hooks_config;
use crate::keys::Keys;
use crate::settings::{Life, Settings};

/// Runs an origin.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// The port; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    origin_port: u16,
    /// End when standard input closes
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let settings = args.node.settings()?;
    let keys = Keys::open(&args.node.data)?;
    let stop = stop::asked(args.with_parent)?;
    let config = config(&args, &settings, keys)?;
    let scheme = scheme(config.tls.is_some());
    let edge_keys = config.edge_keys.clone();
    let origin = Origin::bind(config).await;
    let origin = origin.map_err(|error| Failure::start("origin", &error))?;
    let _following = keys_followed::follow(&args.node.data, move |keys| {
        edge_keys.replace(keys.accepted());
    })?;
    say(&OriginReady {
        origin: format!("{scheme}://{}", address(origin.address())?),
        origin_metrics: format!("http://{}/metrics", address(origin.metrics_address())?),
    })?;
    origin.run(stop).await;
    Ok(())
}

fn config(args: &Args, settings: &Settings, keys: Keys) -> Result<Config, Failure> {
    let mut config = storage_config(&args.node.data, settings, keys)?;
    config.tls = settings.tls.origin.clone();
    config.listen = SocketAddr::new(args.node.bind, args.origin_port);
    Ok(config)
}

/// The configuration of an origin, wherever it listens.
pub(crate) fn storage_config(
    data: &Path,
    settings: &Settings,
    keys: Keys,
) -> Result<Config, Failure> {
    let tokens = settings.origin.checks_tokens.then(|| callers::tokens(settings, &keys));
    let mut config = Config::new(origin_folder(data), keys.accepted(), keys.links.secret);
    config.tokens = tokens.transpose()?;
    config.takes_handovers = settings.origin.takes_handovers;
    config.content_base_url = settings.edge.content_base_url.clone();
    config.rules = settings.rules.clone();
    config.hooks = hooks_config(&settings.hooks)?;
    let Life { expire_after_s, collect_every_s } = settings.life;
    config.limits.upload_expire_after =
        (expire_after_s > 0).then(|| Duration::from_secs(expire_after_s));
    config.collection.round = Duration::from_secs(collect_every_s);
    Ok(config)
}
