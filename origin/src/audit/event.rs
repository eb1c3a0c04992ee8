//! What is noted, before it has its place in a chain.

use outport_wire::identity::Identity;
use outport_wire::problem::ProblemType;
use serde_json::Value;

use super::entry::Kind;

/// Something that is about to happen, or was denied.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(super) kind: Kind,
    pub(super) denied: Option<ProblemType>,
    /// The subject that did it.
    pub(super) who: Option<String>,
    pub(super) what: Vec<(&'static str, Detail)>,
}

/// What an event is about.
#[derive(Clone, Debug)]
pub(super) enum Detail {
    /// What says nothing of anybody.
    Plain(Value),
    /// What is sealed under the key of the subject that it is about.
    Personal { subject: String, text: String },
}

impl Event {
    /// Something that `by` does.
    pub(crate) fn new(kind: Kind, by: &Identity) -> Self {
        Self { kind, denied: None, who: Some(by.subject.clone()), what: Vec::new() }
    }

    /// Something that was denied to `by`.
    pub(crate) fn denied(by: &Identity, problem: ProblemType) -> Self {
        Self { denied: Some(problem), ..Self::new(Kind::Denied, by) }
    }

    /// Something that the deployment does by itself.
    pub(super) fn by_itself(kind: Kind) -> Self {
        Self { kind, denied: None, who: None, what: Vec::new() }
    }

    /// The same, with something that says nothing of anybody.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.what.push((name, Detail::Plain(value.into())));
        self
    }

    /// The same, with something that is about this subject.
    #[must_use]
    pub(crate) fn about(mut self, name: &'static str, subject: &str, text: &str) -> Self {
        let (subject, text) = (subject.to_owned(), text.to_owned());
        self.what.push((name, Detail::Personal { subject, text }));
        self
    }
}
