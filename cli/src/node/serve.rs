//! `outport serve`: an edge and its origin, as two processes, on embedded defaults.

use std::ffi::OsString;

use super::process::Node;
use super::ready::{EdgeReady, OriginReady, ServeReady};
use super::{NodeArgs, say, stop};
use crate::core_config::DEMO_TOKEN_TTL;
use crate::failure::Failure;
use crate::keys::Keys;
use crate::{settings, token};

/// Runs an edge and its origin here.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// The edge's port; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    edge_port: u16,
    /// The origin's port, on this machine only; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    origin_port: u16,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    // Mistakes show here once, before anything runs, and not in each process.
    args.node.settings()?;
    let token = token::demo(&Keys::open(&args.node.data)?, DEMO_TOKEN_TTL)?;
    let stop = stop::asked(false)?;
    let (mut origin, at) = Node::start::<OriginReady>("origin", origin_args(&args)).await?;
    let (mut edge, front) = match Node::start::<EdgeReady>("edge", edge_args(&args, &at)).await {
        Ok(started) => started,
        Err(failure) => {
            origin.stop().await;
            return Err(failure);
        }
    };
    announce(front, at, token)?;
    let outcome = watch(&mut edge, &mut origin, stop).await;
    edge.stop().await;
    origin.stop().await;
    outcome
}

/// Completes when all shall end. The edge goes on without its origin, on what it has cached.
async fn watch(
    edge: &mut Node,
    origin: &mut Node,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::pin!(stop);
    let mut origin_lives = true;
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            end = edge.ended() => return Err(Failure::Process(end)),
            end = origin.ended(), if origin_lives => {
                origin_lives = false;
                eprintln!("outport: {end}; what the edge has cached is still served");
            }
        }
    }
}

fn announce(front: EdgeReady, at: OriginReady, token: String) -> Result<(), Failure> {
    eprintln!("\n  Outport is ready. Open {}/#token={token}\n", front.edge);
    let ready = ServeReady {
        edge: front.edge,
        origin: at.origin,
        token,
        edge_metrics: front.edge_metrics,
        origin_metrics: at.origin_metrics,
    };
    say(&ready)
}

fn origin_args(args: &Args) -> Vec<OsString> {
    let mut all = shared_args(&args.node);
    all.extend(["--origin-port".into(), args.origin_port.to_string().into()]);
    all
}

fn edge_args(args: &Args, origin: &OriginReady) -> Vec<OsString> {
    let mut all = shared_args(&args.node);
    all.extend(["--edge-port".into(), args.edge_port.to_string().into()]);
    all.extend(["--origin".into(), origin.origin.clone().into()]);
    all.extend(["--bind".into(), args.node.bind.to_string().into()]);
    all.push("--beside-origin".into());
    if args.node.bind.is_loopback() {
        all.push("--demo".into());
    }
    all
}

fn shared_args(node: &NodeArgs) -> Vec<OsString> {
    let mut all = vec!["--data".into(), node.data.clone().into()];
    if let Some(file) = settings::locate(node.config.as_deref()) {
        all.extend(["--config".into(), file.into()]);
    }
    all
}
