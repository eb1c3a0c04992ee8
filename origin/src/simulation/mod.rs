//! A way to break it: thousands of histories of clients, crashes, races and clock jumps against
//! the real upload code, in seconds.
//!
//! A history is decided by its seed alone. The [`Store`](crate::store::Store)s of several processes
//! work on one pair of simulated stores, which fail in all the ways that their contracts allow
//! (`meta`, `blobs`, `faults`); a scheduler decides at every await who goes on (`schedule`); the
//! clock moves when nobody can. Every change of a record, and every answer that a client gets, is
//! checked as it is made (`model`, `invariants`). A seed that fails fails again, step by step.

mod blobs;
mod body;
mod client;
mod dice;
mod faults;
mod history;
mod invariants;
mod meta;
mod model;
mod news;
mod objects;
mod plan;
mod quota;
mod receiver;
mod report;
mod run;
mod scene;
mod schedule;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use self::run::main;

/// What is taken away from the stores, to see that its absence is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Without {
    /// Nothing.
    #[default]
    Nothing,
    /// A record is replaced whatever state it is in.
    CompareAndSwap,
    /// Parts are acknowledged before they are durable.
    Sync,
    /// What is about to happen is not written down before it does.
    Intents,
}

impl Without {
    /// What it is called on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::CompareAndSwap => "compare-and-swap",
            Self::Sync => "sync",
            Self::Intents => "intents",
        }
    }
}
