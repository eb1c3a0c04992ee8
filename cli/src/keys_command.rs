//! `outport keys`: another key for edges to sign with, without a request that is refused.
//!
//! Origins take a key before any edge signs with it, and until no edge does any more. Whoever takes
//! the steps too quickly is told how long to wait.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use outport_tls::reread::LOOK_EVERY;
use outport_wire::UnixSeconds;
use outport_wire::edge_signature::VALID_S;
use serde_json::json;

use crate::failure::Failure;
use crate::keys::Keys;
use crate::output;

/// The most keys that origins take besides the one that is signed with.
const OTHERS_MAX: usize = 8;
/// How long until every process has read the keys again: twice the time after which it looks.
const READ_AGAIN: Duration = LOOK_EVERY.saturating_mul(2);

/// Changes the keys that edges sign with
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    step: Step,
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = "data", global = true)]
    data: PathBuf,
}

#[derive(clap::Subcommand)]
enum Step {
    /// List the keys that origins take
    List {
        /// Print one line of JSON for each
        #[arg(long)]
        json: bool,
    },
    /// Add a key, which origins take from then on
    Add,
    /// Have edges sign with a key that was added before
    Use(Chosen),
    /// Remove a key that edges don't sign with any more
    Remove(Chosen),
}

#[derive(clap::Args)]
struct Chosen {
    /// The key's id
    id: String,
    /// Don't wait until every process must have read the keys again
    #[arg(long)]
    now: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let now = unix_s();
    match &args.step {
        Step::List { json } => list(&Keys::open(&args.data)?, *json),
        Step::Add => {
            let id = Keys::change(&args.data, |keys| add(keys, now))?;
            output::line(&id)
        }
        Step::Use(chosen) => Keys::change(&args.data, |keys| {
            let place = due(keys, chosen, READ_AGAIN, now)?;
            keys.sign_with(place, now);
            Ok(())
        }),
        Step::Remove(chosen) => Keys::change(&args.data, |keys| {
            let patience = READ_AGAIN + Duration::from_secs(VALID_S);
            let place = due(keys, chosen, patience, now)?;
            keys.edge_others.remove(place);
            Ok(())
        }),
    }
}

fn unix_s() -> UnixSeconds {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn list(keys: &Keys, json: bool) -> Result<(), Failure> {
    let others = keys.edge_others.iter().map(|key| (&key.id, false));
    for (id, signs) in std::iter::once((&keys.edge.id, true)).chain(others) {
        match json {
            true => output::json(&json!({ "id": id, "signs": signs }))?,
            false => output::line(&format!("{id}  {}", if signs { "signs" } else { "is taken" }))?,
        }
    }
    Ok(())
}

fn add(keys: &mut Keys, now: UnixSeconds) -> Result<String, Failure> {
    if keys.edge_others.len() >= OTHERS_MAX {
        let message = format!("there are {OTHERS_MAX} keys besides; remove one first");
        return Err(Failure::Usage(message));
    }
    keys.add(now).map_err(|source| Failure::Io { what: "can't make a key".into(), source })
}

/// The place of a key among the others, if that has been so for long enough.
fn due(
    keys: &Keys,
    chosen: &Chosen,
    patience: Duration,
    now: UnixSeconds,
) -> Result<usize, Failure> {
    let id = &chosen.id;
    if keys.edge.id == *id {
        return Err(Failure::Usage(format!("edges sign with {id}; use another one first")));
    }
    let found = keys.edge_others.iter().enumerate().find(|(_, key)| key.id == *id);
    let Some((place, key)) = found else {
        return Err(Failure::Usage(format!("there is no key {id}; outport keys list has them")));
    };
    let wait_s = key.since_s.saturating_add(patience.as_secs()).saturating_sub(now);
    if wait_s > 0 && !chosen.now {
        let message = format!(
            "requests could be refused until every process has read the keys again: wait {wait_s} s, \
             or say --now"
        );
        return Err(Failure::Usage(message));
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = 1_800_000_000;

    fn chosen(id: &str) -> Chosen {
        Chosen { id: id.to_owned(), now: false }
    }

    fn said(outcome: Result<usize, Failure>) -> String {
        outcome.map_or_else(|failure| failure.to_string(), |place| place.to_string())
    }

    #[test]
    fn a_key_is_used_once_all_origins_take_it_and_removed_once_no_edge_signs_with_it() {
        let mut keys = Keys::fresh().unwrap();
        let first = keys.edge.id.clone();
        let id = add(&mut keys, NOW).unwrap();
        let early = due(&keys, &chosen(&id), READ_AGAIN, NOW + 59);
        assert!(said(early).contains("wait 1 s, or say --now"));
        let place = due(&keys, &chosen(&id), READ_AGAIN, NOW + 60).unwrap();
        keys.sign_with(place, NOW + 60);
        assert_eq!(keys.edge.id, id);
        let ids: Vec<_> = keys.accepted().into_iter().map(|key| key.id).collect();
        assert_eq!(ids, [id.clone(), first.clone()]);
        assert!(said(due(&keys, &chosen(&id), READ_AGAIN, NOW)).contains("edges sign with"));
        assert!(said(due(&keys, &chosen("x"), READ_AGAIN, NOW)).contains("there is no key x"));
        assert!(due(&keys, &chosen(&first), READ_AGAIN, NOW + 61).is_err());
        let at_once = Chosen { now: true, ..chosen(&first) };
        assert!(due(&keys, &at_once, READ_AGAIN, NOW + 61).is_ok());
    }

    #[test]
    fn what_is_changed_is_found_by_the_others_and_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let data = tempfile::tempdir().unwrap();
        let before = Keys::open(data.path()).unwrap();
        let id = Keys::change(data.path(), |keys| add(keys, NOW)).unwrap();
        let after = Keys::open(data.path()).unwrap();
        assert_eq!(after.edge, before.edge);
        assert_eq!(after.edge_others.first().map(|key| &key.id), Some(&id));
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 1);
        let file = std::fs::metadata(crate::keys::path(data.path())).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn keys_are_few() {
        let mut keys = Keys::fresh().unwrap();
        for _ in 0..OTHERS_MAX {
            add(&mut keys, NOW).unwrap();
        }
        assert!(add(&mut keys, NOW).unwrap_err().to_string().contains("remove one first"));
    }
}
