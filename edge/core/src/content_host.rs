//! A host of its own for what people have uploaded.
//!
//! Whatever a file holds acts there, if it should ever act, and not where pages and sessions are: the
//! same-origin policy of browsers stands between the two (RFC 6454). That host gives files and nothing
//! else; every other one gives them to be saved, never to be shown.

use outport_wire::problem::{Problem, ProblemType};

use crate::guard::Guarded;
use crate::route::Target;

/// The host that is for files, if there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContentHost(Option<String>);

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostOf {
    /// Files, and all else.
    Everything,
    /// Files alone.
    Content,
    /// Files are shown elsewhere.
    AllElse,
}

impl ContentHost {
    /// That of a base URL, scheme and authority.
    pub(crate) fn new(base: Option<&str>) -> Self {
        let authority = base.map(|base| base.split_once("://").map_or(base, |(_, rest)| rest));
        Self(authority.map(str::to_owned))
    }

    /// What the host of a request is for.
    pub(crate) fn host_of(&self, host: &str) -> HostOf {
        match &self.0 {
            None => HostOf::Everything,
            Some(own) if own.eq_ignore_ascii_case(host) => HostOf::Content,
            Some(_) => HostOf::AllElse,
        }
    }
}

impl HostOf {
    /// Refuses what the host is not for. Whether it lives, every host is asked.
    pub(crate) fn admit(self, request: &Guarded<'_>, target: &Target) -> Result<(), Problem> {
        let is_served = match target {
            Target::Health => true,
            Target::File(_) => request.is_read(),
            _ => false,
        };
        if self != Self::Content || is_served {
            return Ok(());
        }
        let detail = "This host gives files, and nothing else.";
        Err(Problem::new(ProblemType::NotFound, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_by_its_authority() {
        let content = ContentHost::new(Some("https://Content.example:8443"));
        assert_eq!(content.host_of("content.example:8443"), HostOf::Content);
        assert_eq!(content.host_of("CONTENT.EXAMPLE:8443"), HostOf::Content);
        for other in ["content.example", "a.content.example:8443", "files.example", ""] {
            assert_eq!(content.host_of(other), HostOf::AllElse, "{other}");
        }
        assert_eq!(ContentHost::new(None).host_of("content.example"), HostOf::Everything);
    }
}
