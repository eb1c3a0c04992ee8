//! When a process shall end: at SIGINT, at SIGTERM, or with the process that started it.

use std::io::Read as _;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Completes when the process is asked to end. With a parent, also when standard input closes:
/// the parent holds its other end, which the system closes however the parent dies.
pub(super) fn asked(
    with_parent: bool,
) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let listen = |kind| {
        signal(kind)
            .map_err(|source| Failure::Io { what: "can't listen to signals".into(), source })
    };
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = parent_gone(), if with_parent => {}
        }
    })
}

async fn parent_gone() {
    let (gone, told) = oneshot::channel();
    // A thread of its own, since the runtime would wait for a read that never ends.
    std::thread::spawn(move || {
        let mut ignored = [0; 64];
        while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
        let _ = gone.send(()); // Nobody listens if the process ends already.
    });
    let _ = told.await; // The sender goes away only with the thread.
}
