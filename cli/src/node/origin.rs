//! `outport origin`: stores what the edge can't answer.

use std::net::SocketAddr;

use outport_origin::{Config, Origin};

use super::ready::OriginReady;
use super::{NodeArgs, address, origin_folder, say, stop};
use crate::failure::Failure;
use crate::hooks_config::hooks_config;
use crate::keys::Keys;
use crate::settings::Settings;

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
    let origin = Origin::bind(config(&args, &settings, keys)?).await;
    let origin = origin.map_err(|error| Failure::start("origin", &error))?;
    say(&OriginReady {
        origin: format!("http://{}", address(origin.address())?),
        origin_metrics: format!("http://{}/metrics", address(origin.metrics_address())?),
    })?;
    origin.run(stop).await;
    Ok(())
}

fn config(args: &Args, settings: &Settings, keys: Keys) -> Result<Config, Failure> {
    let folder = origin_folder(&args.node.data);
    let mut config = Config::new(folder, vec![keys.edge], keys.links.secret);
    config.listen = SocketAddr::new(args.node.bind, args.origin_port);
    config.rules = settings.rules.clone();
    config.hooks = hooks_config(&settings.hooks)?;
    Ok(config)
}
