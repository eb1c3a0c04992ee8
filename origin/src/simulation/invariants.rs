//! What must hold, how often each was looked at, and which was found broken.

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invariant {
    Durable,
    Offset,
    OneWriter,
    Complete,
    Gone,
    Listed,
    Parts,
    Swept,
    Checksum,
    ShutOut,
    Errors,
    Quota,
    Ledger,
    Told,
    News,
    Sound,
    Ends,
}

impl Invariant {
    /// All of them, as they are reported.
    pub(super) const ALL: [Self; 17] = [
        Self::Durable,
        Self::Offset,
        Self::OneWriter,
        Self::Complete,
        Self::Gone,
        Self::Listed,
        Self::Parts,
        Self::Swept,
        Self::Checksum,
        Self::ShutOut,
        Self::Errors,
        Self::Quota,
        Self::Ledger,
        Self::Told,
        Self::News,
        Self::Sound,
        Self::Ends,
    ];

    /// As people read it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Durable => "what was acknowledged is there, as it was sent",
            Self::Offset => "an offset never goes back, nor beyond what is stored",
            Self::OneWriter => "a stretch of bytes is what one request sent, once",
            Self::Complete => "a complete file keeps its length and its bytes",
            Self::Gone => "what is removed was to be, and never comes back",
            Self::Listed => "every record is in its owner's list",
            Self::Parts => "every part that a record names is there",
            Self::Swept => "once collected, every part has a record that names it",
            Self::Checksum => "a body that its checksum belies changes nothing",
            Self::ShutOut => "no request commits after a newer one was answered",
            Self::Errors => "an error that says nothing changed is right",
            Self::Quota => "no more than the quota is stored or reserved at once",
            Self::Ledger => "a ledger has all that is stored, and no more at the end",
            Self::Told => "what has happened to a file is told at least once",
            Self::News => "nothing is told that has not happened",
            Self::Sound => "in the end fsck finds that everything agrees",
            Self::Ends => "once nothing fails, every upload can be completed",
        }
    }
}

/// What was found broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) invariant: Invariant,
    pub(super) detail: String,
}

/// How often each invariant was looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    counts: [u64; Invariant::ALL.len()],
    broken: Option<Broken>,
}

impl Checks {
    /// Looks at an invariant.
    pub(super) fn hold(
        &mut self,
        invariant: Invariant,
        holds: bool,
        detail: impl FnOnce() -> String,
    ) {
        if let Some(count) = self.counts.get_mut(invariant as usize) {
            *count += 1;
        }
        if !holds && self.broken.is_none() {
            self.broken = Some(Broken { invariant, detail: detail() });
        }
    }

    /// What was found broken first.
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    pub(super) fn of(&self, invariant: Invariant) -> u64 {
        self.counts.get(invariant as usize).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
    }
}
