//! How exact a budget is that four edges share.
//!
//! Clients of each edge ask as fast as they can, for a tenant whose budget it is, until all that they are
//! told is that it is spent. What was served is compared with the budget; several tenants, one after
//! the other, show how far one differs from the next.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use outport_wire::spending::PERIOD_S_MAX;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, StatusCode};
use tokio::runtime;

use crate::product;
use crate::server::{self, Server};

const EDGES: usize = 4;
/// Of each edge.
const CLIENTS: usize = 8;
const TENANTS: usize = 6;
const BUDGETS: [u64; 3] = [1_000, 10_000, 50_000];
/// How often a client is told so until it gives up.
const REFUSALS: u32 = 10;

/// Runs the benchmark.
pub(crate) fn run() -> Result<()> {
    let program = product::program()?;
    println!("| budget | served, of each tenant | error | requests/s |\n|---|---|---|---|");
    for budget in BUDGETS {
        let folder = server::folder()?;
        let mut fleet = Fleet::start(&program, folder.path(), budget)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let url = runtime.block_on(fleet.store())?;
        let (mut served, mut took_s) = (Vec::new(), 0.0);
        for token in &fleet.tokens {
            let begun = Instant::now();
            served.push(runtime.block_on(fleet.spend(token, &url))?);
            took_s += begun.elapsed().as_secs_f64();
        }
        let error = |served: &u64| (*served as f64 - budget as f64) / budget as f64 * 100.0;
        let errors: Vec<_> = served.iter().map(error).collect();
        let (least, most) = errors
            .iter()
            .fold((f64::MAX, f64::MIN), |(least, most), error| (error.min(least), error.max(most)));
        let all: Vec<_> = served.iter().map(u64::to_string).collect();
        let per_s = served.iter().sum::<u64>() as f64 / took_s;
        println!("| {budget} | {} | {least:+.1} to {most:+.1} % | {per_s:.0} |", all.join(", "));
        fleet.servers.iter_mut().try_for_each(Server::check)?;
    }
    Ok(())
}

/// Edges before one origin.
struct Fleet {
    servers: Vec<Server>,
    edges: Vec<String>,
    /// Of the tenant that has files, and of each that spends its budget.
    owner: String,
    tokens: Vec<String>,
}

impl Fleet {
    fn start(program: &Path, folder: &Path, budget: u64) -> Result<Self> {
        let cpus = server::cpus()?;
        // Nobody is refused for anything else, and a period lasts longer than this takes.
        let settings = format!(
            "[limits.read]\nper_second = 1_000_000\nburst = 100_000_000\n\
             budget = {budget}\nbudget_period_s = {PERIOD_S_MAX}\n[overload]\ndelay_ms_max = 0\n"
        );
        let (origin_url, origin) = product::origin(&cpus, program, folder, &settings)?;
        let (mut servers, mut edges) = (vec![origin], Vec::new());
        for place in 0..EDGES {
            let data = format!("edge-{place}");
            let (url, edge) = product::edge(&cpus, program, folder, &data, &origin_url)?;
            servers.push(edge);
            edges.push(url);
        }
        let token = |number: usize| {
            let tenant = format!("tenant-{number}");
            product::token(program, folder, &["--tenant", &tenant])
        };
        let tokens = (0..TENANTS).map(token).collect::<Result<_>>()?;
        Ok(Self { servers, edges, owner: product::token(program, folder, &[])?, tokens })
    }

    /// Stores a file that everybody may read. Returns its path.
    async fn store(&self) -> Result<String> {
        let edge = self.edges.first().context("there are edges")?;
        let upload = Client::new().post(format!("{edge}/files?name=a.txt&visibility=public"));
        let upload = upload.bearer_auth(&self.owner).header(CONTENT_TYPE, "text/plain");
        let stored = upload.body("hello").send().await?;
        ensure!(stored.status() == StatusCode::CREATED, "the upload is answered {stored:?}");
        let path = stored.headers().get(LOCATION).context("the file has no address")?;
        Ok(path.to_str()?.to_owned())
    }

    /// Spends the budget of this token's tenant at all edges. Returns how often it was served.
    async fn spend(&self, token: &str, path: &str) -> Result<u64> {
        let clients = self.edges.iter().flat_map(|edge| {
            (0..CLIENTS).map(move |_| ask_until_refused(format!("{edge}{path}"), token))
        });
        Ok(try_join_all(clients).await?.into_iter().sum())
    }
}

/// How often one client is served.
async fn ask_until_refused(url: String, token: &str) -> Result<u64> {
    let client = Client::new();
    let (mut served, mut refused) = (0, 0);
    while refused < REFUSALS {
        let answer = client.get(&url).bearer_auth(token).send().await?;
        match answer.status() {
            StatusCode::OK => (served, refused) = (served + 1, 0),
            StatusCode::TOO_MANY_REQUESTS => refused += 1,
            other => bail!("a request is answered {other}"),
        }
        answer.bytes().await?;
    }
    Ok(served)
}
