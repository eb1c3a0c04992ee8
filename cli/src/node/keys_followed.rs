//! `keys.json` while a node serves: whoever changes it need not restart anybody.

use std::path::Path;
use std::sync::Arc;

use outport_tls::reread::{self, Look, Reread, Watching};

use crate::failure::Failure;
use crate::keys::{self, Keys};

/// Reads the keys again when they change, and tells of them. As long as it is held.
pub(super) fn follow(
    data: &Path,
    told: impl Fn(&Keys) + Send + Sync + 'static,
) -> Result<Watching, Failure> {
    let path = keys::path(data);
    let read = {
        let path = path.clone();
        move || keys::read(&path).map_err(|source| Failure::io("take the keys of", &path, source))
    };
    let file = Reread::open(vec![path], read)?;
    // What was written since the node read it.
    told(&file.current());
    let followed: Arc<dyn Look> = Arc::new(Followed { file, told });
    reread::watch(vec![followed])
        .map_err(|source| Failure::Io { what: "can't listen to signals".into(), source })
}

struct Followed<T> {
    file: Reread<Keys>,
    told: T,
}

impl<T: Fn(&Keys) + Send + Sync + 'static> Look for Followed<T> {
    fn look(&self, asked: bool) -> bool {
        let changed = self.file.look(asked);
        if changed {
            (self.told)(&self.file.current());
        }
        changed
    }
}
