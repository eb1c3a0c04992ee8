//! `outport fsck`: proves that records, manifests and parts agree.

use outport_origin::Fscked;

use crate::collect::StorageArgs;
use crate::failure::Failure;
use crate::output;

/// Holds records, lists and parts against each other. Exits with 1 if anything disagrees that was
/// not repaired.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Repair what loses nothing by it
    #[arg(long)]
    repair: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: StorageArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let query = format!("repair={}", args.repair);
    let found = match args.storage.ask(&["admin", "fsck"], &query).await? {
        Some(found) => found,
        None => {
            let upkeep = args.storage.open()?;
            let found = upkeep.check(args.repair).await;
            found.map_err(|error| Failure::Process(format!("the storage: {error}")))?
        }
    };
    if args.json {
        output::json(&found)?
    } else {
        print(&found)?
    }
    match found.unrepaired() {
        0 => Ok(()),
        1 => Err(Failure::Process("1 thing disagrees".into())),
        many => Err(Failure::Process(format!("{many} things disagree"))),
    }
}

fn print(found: &Fscked) -> Result<(), Failure> {
    let sized = [
        ("files", found.files),
        ("uploads that go on, and pieces of files", found.uploads),
        ("parts", found.parts),
        ("parts that nothing names: in the making, or for the collector", found.unnamed_parts),
    ];
    for (what, tally) in sized {
        output::line(&format!("{:>10}  {what}, {}", tally.count, output::size(tally.bytes)))?;
    }
    let counted = [
        (found.list_entries, "entries of lists"),
        (found.due_entries, "entries of the index of what is due"),
        (found.tombstones, "tombstones"),
        (found.others, "other entries, which are not checked"),
    ];
    for (count, what) in counted {
        output::line(&format!("{count:>10}  {what}"))?;
    }
    if !found.index_compared {
        output::line("There are too many uploads to compare all of them with that index.")?;
    }
    for told in &found.disagreements {
        let repaired = if told.repaired { " (repaired)" } else { "" };
        let detail = output::printable(&told.detail);
        output::line(&format!("{}: {}{repaired}: {detail}", told.id, told.kind.meaning()))?;
    }
    let counted: u64 = found.counts.values().sum();
    match counted.saturating_sub(found.disagreements.len() as u64) {
        0 => Ok(()),
        more => output::line(&format!("and {more} more")),
    }
}
