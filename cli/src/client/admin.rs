//! The way to the origin that runs on a data folder, for the commands that operate it.

use std::path::PathBuf;

use outport_origin::AdminDoor;
use reqwest::Url;

use super::Server;
use crate::failure::Failure;
use crate::node::origin_folder;

/// Which origin.
#[derive(clap::Args, Clone)]
pub(crate) struct AdminArgs {
    /// The data folder that the origin runs on
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
}

impl Server {
    /// Makes ready to operate the origin that runs on the folder; nothing is sent yet. What it
    /// answers is below the path `/admin`.
    pub(crate) fn admin(args: &AdminArgs) -> Result<Self, Failure> {
        let folder = origin_folder(&args.data);
        let door = AdminDoor::find(&folder).map_err(|error| Failure::io("read", &folder, error))?;
        let Some(door) = door else {
            let reason = "no origin runs on this data folder".to_owned();
            return Err(Failure::Unreachable { server: args.data.display().to_string(), reason });
        };
        let base = Url::parse(&format!("http://{}", door.address));
        let base = base.map_err(|error| Failure::Process(format!("the origin's door: {error}")))?;
        Self::at(base, Some(door.token()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_that_no_origin_runs() {
        let data = tempfile::tempdir().unwrap();
        let failure = Server::admin(&AdminArgs { data: data.path().into() }).err().unwrap();
        assert_eq!(failure.exit_code(), 6);
        assert!(failure.to_string().contains("no origin runs on this data folder"), "{failure}");
    }
}
