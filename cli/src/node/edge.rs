//! `outport edge`: answers what it can, and asks the origin for the rest.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_edge_core::config::{Config as CoreConfig, Guest, Issuer};
use outport_edge_core::step::Allowance;
use outport_edge_host::{Config, EdgeNode};
use reqwest::Url;

use super::ready::EdgeReady;
use super::serve::DEMO_TOKEN_TTL;
use super::{NodeArgs, address, embedded, say, stop};
use crate::failure::Failure;
use crate::keys::Keys;
use crate::settings::{Limit, Settings};
use crate::token::{self, DEMO, ISSUER};

const SECOND_US: u64 = 1_000_000;

/// Runs an edge before an origin.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// The port; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    edge_port: u16,
    /// The origin's address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    origin: Url,
    /// Give pages that are opened on this machine a token of the demo tenant
    #[arg(long)]
    demo: bool,
    /// End when standard input closes
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let component = embedded::COMPONENT.ok_or_else(no_component)?;
    let settings = args.node.settings()?;
    let keys = Keys::open(&args.node.data)?;
    let stop = stop::asked(args.with_parent)?;
    let node = EdgeNode::start(config(&args, settings, &keys, component)?).await;
    let node = node.map_err(|error| Failure::start("edge", &error))?;
    say(&EdgeReady {
        edge: format!("http://{}", address(node.address())?),
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

fn config(
    args: &Args,
    settings: Settings,
    keys: &Keys,
    component: &'static [u8],
) -> Result<Config, Failure> {
    Ok(Config {
        listen: SocketAddr::new(args.node.bind, args.edge_port),
        metrics_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        origin: args.origin.as_str().trim_end_matches('/').to_owned(),
        cache_bytes_max: settings.cache.memory_bytes,
        instance_exchanges_max: settings.edge.instance_requests_max,
        core: core_config(settings, keys, args.demo)?,
        component,
        page: embedded::PAGE,
        data_dir: args.node.data.join("edge"),
    })
}

/// `demo` is what the command says; the configuration has the last word.
fn core_config(settings: Settings, keys: &Keys, demo: bool) -> Result<CoreConfig, Failure> {
    let guest = if settings.demo.unwrap_or(demo) { Some(guest(keys)?) } else { None };
    let issuer = keys.issuer_public()?;
    let limits = settings.limits.into_iter();
    Ok(CoreConfig {
        issuers: vec![Issuer {
            name: ISSUER.to_owned(),
            audience: ISSUER.to_owned(),
            key_id: issuer.id,
            public_key: URL_SAFE_NO_PAD.encode(issuer.public),
        }],
        link_keys: vec![keys.links.secret.clone()],
        edge_key: keys.edge.clone(),
        guest,
        routes: settings.routes,
        limits: limits.map(|(name, limit)| (name, allowance(limit))).collect(),
        assets: Default::default(),
        cors_origins: settings.cors_origins,
        public_base_url: settings.edge.public_base_url,
        upload_bytes_max: settings.upload_bytes_max,
        stored_bytes_max: settings.cache.object_bytes_max,
        upstream_timeout_ms: settings.edge.upstream_timeout_ms,
    })
}

fn allowance(limit: Limit) -> Allowance {
    let interval_us = SECOND_US / u64::from(limit.per_second.max(1));
    Allowance { interval_us: interval_us.max(1), burst: limit.burst }
}

fn guest(keys: &Keys) -> Result<Guest, Failure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Guest {
        token: token::demo(keys, DEMO_TOKEN_TTL)?,
        tenant: DEMO.to_owned(),
        subject: DEMO.to_owned(),
        expires_s: (now + DEMO_TOKEN_TTL).as_secs(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(settings: Settings, demo: bool) -> CoreConfig {
        let data = tempfile::tempdir().unwrap();
        core_config(settings, &Keys::open(data.path()).unwrap(), demo).unwrap()
    }

    #[test]
    fn what_the_settings_say_reaches_the_core() {
        let text = "[uploads]\nsize_max_bytes = 5\n[limits.api]\nper_second = 4\nburst = 9\n\
                    [[routes]]\npath = \"/x\"\nlimit = \"api\"\n";
        let core = core(crate::settings::parse(text).unwrap(), false);
        assert_eq!(core.upload_bytes_max, 5);
        assert_eq!(core.limits["api"], Allowance { interval_us: 250_000, burst: 9 });
        assert_eq!(core.limits["read"], Allowance { interval_us: 200, burst: 50_000 });
        assert_eq!(core.routes[0].limit.as_deref(), Some("api"));
        // It crosses into the component as JSON.
        CoreConfig::from_json(&core.to_json()).unwrap();
    }

    #[test]
    fn the_configuration_has_the_last_word_on_guests() {
        let demo = |configured, commanded| {
            let settings = Settings { demo: configured, ..Settings::default() };
            core(settings, commanded).guest.is_some()
        };
        assert!(demo(None, true) && demo(Some(true), false));
        assert!(!demo(None, false) && !demo(Some(false), true));
    }
}
