//! `outport hooks`: what receivers have yet to be told, what was given up, and sending it again.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::Server;
use super::admin::AdminArgs;
use crate::failure::Failure;
use crate::output::{self, printable};

/// Looks at webhooks that are on their way, and sends them again.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists what receivers have yet to be told, the next due first
    Ls {
        /// List what was given up instead, the oldest first
        #[arg(long)]
        dead: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Shows one event, and how the last attempt to tell of it went
    Show {
        /// The event's id, as `ls` prints it
        id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Sends an event again, at once
    Replay {
        /// The event's id, as `ls` prints it
        #[arg(required_unless_present = "dead", conflicts_with = "dead")]
        id: Option<String>,
        /// Send all that was given up
        #[arg(long)]
        dead: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// Which receivers, where, and in which form.
#[derive(clap::Args)]
struct Common {
    /// Only this hook, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    hook: Option<String>,
    /// Print JSON, one document a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Deserialize)]
struct Hooks {
    hooks: Vec<Hook>,
}

#[derive(Deserialize)]
struct Hook {
    name: String,
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Value>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Replayed {
    replayed: u64,
    #[serde(default)]
    more: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Ls { dead, common } => list(&common, dead).await,
        Command::Show { id, common } => show(&common, &id).await,
        Command::Replay { id: Some(id), common, .. } => replay(&common, &id).await,
        Command::Replay { id: None, common, .. } => replay_dead(&common).await,
    }
}

async fn list(common: &Common, dead: bool) -> Result<(), Failure> {
    let server = Server::admin(&common.admin)?;
    let shelf = if dead { "dead" } else { "waiting" };
    for hook in common.hooks(&server).await? {
        let mut cursor: Option<String> = None;
        loop {
            let mut url = server.path(&["admin", "hooks", &hook, shelf]);
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let page = server.send(server.request(Method::GET, url)).await?;
            let page: Page = server.json(page).await?;
            for event in page.events {
                common.print(&hook, event)?;
            }
            match page.cursor {
                // A server that gives the same cursor again would be asked for ever.
                next @ Some(_) if next != cursor => cursor = next,
                _ => break,
            }
        }
    }
    Ok(())
}

async fn show(common: &Common, id: &str) -> Result<(), Failure> {
    let server = Server::admin(&common.admin)?;
    let print = async |hook: &str| -> Result<(), Failure> {
        let url = server.path(&["admin", "hooks", hook, "events", id]);
        let event = server.send(server.request(Method::GET, url)).await?;
        let event = with_hook(hook, server.json(event).await?);
        if common.json { output::json(&event) } else { output::line(&format!("{event:#}")) }
    };
    common.wherever_it_is(&server, id, print).await
}

async fn replay(common: &Common, id: &str) -> Result<(), Failure> {
    let server = Server::admin(&common.admin)?;
    let send = async |hook: &str| -> Result<(), Failure> {
        let url = server.path(&["admin", "hooks", hook, "events", id, "replay"]);
        let replayed = server.send(server.request(Method::POST, url)).await?;
        let replayed: Replayed = server.json(replayed).await?;
        common.say_replayed(hook, replayed.replayed)
    };
    common.wherever_it_is(&server, id, send).await
}

async fn replay_dead(common: &Common) -> Result<(), Failure> {
    let server = Server::admin(&common.admin)?;
    for hook in common.hooks(&server).await? {
        let mut count = 0;
        loop {
            let url = server.path(&["admin", "hooks", &hook, "dead", "replay"]);
            let replayed = server.send(server.request(Method::POST, url)).await?;
            let replayed: Replayed = server.json(replayed).await?;
            count += replayed.replayed;
            // What is given up again meanwhile is not sent a third time.
            if !replayed.more || replayed.replayed == 0 {
                break;
            }
        }
        common.say_replayed(&hook, count)?;
    }
    Ok(())
}

impl Common {
    /// The names of the hooks that are meant.
    async fn hooks(&self, server: &Server) -> Result<Vec<String>, Failure> {
        if let Some(hook) = &self.hook {
            return Ok(vec![hook.clone()]);
        }
        let url = server.path(&["admin", "hooks"]);
        let hooks = server.send(server.request(Method::GET, url)).await?;
        let hooks: Hooks = server.json(hooks).await?;
        Ok(hooks.hooks.into_iter().map(|hook| hook.name).collect())
    }

    /// Does something with an event in every queue that has it. It is a failure that none does.
    async fn wherever_it_is(
        &self,
        server: &Server,
        id: &str,
        each: impl AsyncFn(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut found = false;
        for hook in self.hooks(server).await? {
            match each(&hook).await {
                Ok(()) => found = true,
                Err(Failure::Refused { status: 404, .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        if found {
            return Ok(());
        }
        Err(Failure::NoEvent(printable(id)))
    }

    fn print(&self, hook: &str, event: Value) -> Result<(), Failure> {
        let event = with_hook(hook, event);
        if self.json { output::json(&event) } else { output::line(&row(&event)) }
    }

    fn say_replayed(&self, hook: &str, count: u64) -> Result<(), Failure> {
        if self.json {
            return output::json(&serde_json::json!({ "hook": hook, "replayed": count }));
        }
        let noun = if count == 1 { "event" } else { "events" };
        output::line(&format!("{hook}: {count} {noun} will be sent again"))
    }
}

fn with_hook(hook: &str, mut event: Value) -> Value {
    if let Some(event) = event.as_object_mut() {
        event.insert("hook".into(), hook.into());
    }
    event
}

fn row(event: &Value) -> String {
    let text = |key: &str| printable(event.get(key).and_then(Value::as_str).unwrap_or("?"));
    let attempts = event.get("attempts").and_then(Value::as_u64).unwrap_or_default();
    let last = event.pointer("/last/outcome").and_then(Value::as_str).unwrap_or("not tried yet");
    let (hook, id, state, at) = (text("hook"), text("id"), text("state"), text("at"));
    format!("{hook}  {id}  {state:<7}  {at}  {attempts:>2}  {}", printable(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_a_person_looks_for() {
        let event = serde_json::json!({
            "id": "completed-01000G0000000C000000000004", "state": "dead", "attempts": 10,
            "at": "2026-11-24T07:00:00Z",
            "last": { "at": "2026-11-24T07:00:00Z", "outcome": "status 500" },
        });
        assert_eq!(
            row(&with_hook("billing", event)),
            "billing  completed-01000G0000000C000000000004  dead     2026-11-24T07:00:00Z  10  \
             status 500"
        );
    }
}
