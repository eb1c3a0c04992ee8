//! The kinds of faults: how often each is injected in a history, and how often it was.

use super::dice::Dice;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    MetaRefused,
    MetaUncertainDone,
    MetaUncertainNotDone,
    MetaUncertainLater,
    MetaConflict,
    MetaSlow,
    BlobRefused,
    BlobFailedDone,
    BlobFailedTorn,
    BlobReadFailed,
    BlobNotRemoved,
    BlobSlow,
    Full,
    BodyCut,
    BodyStalled,
    BodyCorrupt,
    ClientLeft,
    Killed,
    PowerCut,
    WriteLost,
    WriteTorn,
    RemovalUndone,
    Paused,
    ClockForward,
    ClockBack,
    HookRefused,
    HookUnheard,
    HookSilent,
}

impl Fault {
    /// All of them, as they are reported.
    pub(super) const ALL: [Self; 28] = [
        Self::MetaRefused,
        Self::MetaUncertainDone,
        Self::MetaUncertainNotDone,
        Self::MetaUncertainLater,
        Self::MetaConflict,
        Self::MetaSlow,
        Self::BlobRefused,
        Self::BlobFailedDone,
        Self::BlobFailedTorn,
        Self::BlobReadFailed,
        Self::BlobNotRemoved,
        Self::BlobSlow,
        Self::Full,
        Self::BodyCut,
        Self::BodyStalled,
        Self::BodyCorrupt,
        Self::ClientLeft,
        Self::Killed,
        Self::PowerCut,
        Self::WriteLost,
        Self::WriteTorn,
        Self::RemovalUndone,
        Self::Paused,
        Self::ClockForward,
        Self::ClockBack,
        Self::HookRefused,
        Self::HookUnheard,
        Self::HookSilent,
    ];

    /// As people read it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MetaRefused => "metadata: failed, nothing changed",
            Self::MetaUncertainDone => "metadata: uncertain, was done",
            Self::MetaUncertainNotDone => "metadata: uncertain, was not done",
            Self::MetaUncertainLater => "metadata: uncertain, done later",
            Self::MetaConflict => "metadata: changed by somebody else",
            Self::MetaSlow => "metadata: slow",
            Self::BlobRefused => "blobs: write failed, nothing stored",
            Self::BlobFailedDone => "blobs: write failed, all stored",
            Self::BlobFailedTorn => "blobs: write failed, a piece stored",
            Self::BlobReadFailed => "blobs: read or list failed",
            Self::BlobNotRemoved => "blobs: removal failed",
            Self::BlobSlow => "blobs: slow",
            Self::Full => "no space left",
            Self::BodyCut => "body: broke off",
            Self::BodyStalled => "body: stood still",
            Self::BodyCorrupt => "body: not what its checksum says",
            Self::ClientLeft => "client: left before the answer",
            Self::Killed => "process: killed",
            Self::PowerCut => "process: power cut",
            Self::WriteLost => "power cut: an unsynced write lost",
            Self::WriteTorn => "power cut: an unsynced write torn",
            Self::RemovalUndone => "power cut: an unsynced removal undone",
            Self::Paused => "process: paused, woke late",
            Self::ClockForward => "clock: jumped forward",
            Self::ClockBack => "clock: jumped back",
            Self::HookRefused => "receiver: refused an event",
            Self::HookUnheard => "receiver: took an event, the answer was lost",
            Self::HookSilent => "receiver: no answer in time",
        }
    }

    fn place(self) -> usize {
        self as usize
    }
}

/// How often each fault is injected, of a thousand occasions.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates([u32; Fault::ALL.len()]);

impl Rates {
    /// Some faults often, some rarely, and some not at all: what one kind hides, a history without
    /// that kind shows.
    pub(super) fn drawn(dice: &Dice) -> Self {
        if dice.one_in(16) {
            return Self::default();
        }
        Self(Fault::ALL.map(|_| dice.pick(&RATES).unwrap_or_default()))
    }

    pub(super) fn of(&self, fault: Fault) -> u32 {
        self.0.get(fault.place()).copied().unwrap_or_default()
    }
}

const RATES: [u32; 8] = [0, 0, 0, 5, 20, 20, 60, 150];

/// How often each fault was injected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Injected([u64; Fault::ALL.len()]);

impl Injected {
    pub(super) fn count(&mut self, fault: Fault) {
        if let Some(count) = self.0.get_mut(fault.place()) {
            *count += 1;
        }
    }

    pub(super) fn of(&self, fault: Fault) -> u64 {
        self.0.get(fault.place()).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum += count;
        }
    }
}
