//! What the ways of files and of routes through the cache have in common.

use outport_wire::problem::{Problem, ProblemType};

use crate::answer::{Visit, reply};
use crate::config::Config;
use crate::head::Fields;
use crate::limit::Limit;
use crate::step::{Abilities, Body, FetchError, Moment, Need, Reply};

/// What an exchange with the cache is decided from.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a Config,
    pub(crate) limits: &'a [Limit],
    pub(crate) visit: &'a Visit,
    pub(crate) moment: Moment,
    pub(crate) abilities: Abilities,
}

/// What comes next of an exchange of this kind.
pub(crate) enum Next<E> {
    Need(Box<E>, Need),
    Reply(Reply),
    /// The reply, and behind the client's back a need.
    ReplyFirst(Reply, Box<E>, Need),
}

impl<E> Next<E> {
    /// The same with another reply, if this is the end.
    pub(crate) fn map_reply(self, change: impl FnOnce(Reply) -> Reply) -> Self {
        match self {
            Self::Reply(reply) => Self::Reply(change(reply)),
            next => next,
        }
    }

    /// The same with another exchange, if it goes on before it replies.
    pub(crate) fn map_need(self, change: impl FnOnce(&mut E)) -> Self {
        match self {
            Self::Need(mut exchange, need) => {
                change(&mut exchange);
                Self::Need(exchange, need)
            }
            next => next,
        }
    }
}

/// Whether a form of the body is sent.
pub(crate) const fn is_coded(body: &Body) -> bool {
    matches!(body, Body::Coded(_) | Body::Encoding(_))
}

/// The end of an exchange whose client has its answer, and which stores nothing.
pub(crate) fn nobody_is_told() -> Reply {
    reply(204, Fields::new(), Body::Empty)
}

/// What a client is told when an upstream gave no usable answer.
pub(crate) fn upstream_problem(failure: FetchError, answered: Option<u16>) -> Problem {
    match (failure, answered) {
        (FetchError::Timeout, _) => {
            Problem::new(ProblemType::OriginTimeout, "Try again; the origin may be busy.")
        }
        (FetchError::RequestBroken, _) => Problem::new(
            ProblemType::BodyTooShort,
            "The request body ended early. Ask for the upload's offset and go on from there.",
        ),
        (FetchError::Unreachable, Some(401)) => Problem::new(
            ProblemType::OriginUnreachable,
            "The origin does not accept this edge's signature: give both the same keys, and \
             compare their clocks.",
        ),
        (FetchError::Unreachable, Some(status)) => Problem::new(
            ProblemType::OriginUnreachable,
            format!("The origin's answer, {status}, could not be used."),
        ),
        (FetchError::Unreachable, None) => Problem::new(
            ProblemType::OriginUnreachable,
            "Nothing was lost that was acknowledged. Try again.",
        ),
    }
}
