//! Who asks: a token is read, its issuer is asked for its keys where that is needed, and its signature
//! is checked. Then it all begins again, with the caller known.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outport_wire::link;
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use super::{Edge, Exchange, Stage};
use crate::answer::Visit;
use crate::checker::{Able, Seen};
use crate::content_host::HostOf;
use crate::explain::{self, Beside};
use crate::forwarded::Client;
use crate::guard::{Guarded, guard};
use crate::issuer_keys::KeyExchange;
use crate::revocations::RevocationExchange;
use crate::route::{Access, Target};
use crate::session::cookie::{self, Short};
use crate::session::{self, site};
use crate::sharing;
use crate::step::{Abilities, Connection, Moment, Need, Outcome, Request, Step};
use crate::token::{Grant, NOT_BY_KEY, Refusal, SignedIn};
use crate::uploads;

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Bearer {
    /// From who asks; where there is none, the cookie of a session counts.
    Caller,
    /// The same; and where there is no session either, a pass.
    Visitor,
    /// The same without any cookie.
    CallerAlone,
    /// From who wants to be told beside the answer.
    Beside,
}

impl Bearer {
    /// From where the caller of a resource is known. Who begins, refreshes or ends a session may
    /// have cookies that are good no more, and there are none where only files are.
    pub(super) fn of(target: &Target, request: &Guarded<'_>, host: HostOf) -> Self {
        match target {
            _ if host == HostOf::Content => Self::CallerAlone,
            Target::Session if !request.is_read() => Self::CallerAlone,
            Target::Route(_) if request.is_read() => Self::Visitor,
            _ => Self::Caller,
        }
    }

    const fn field(self) -> &'static str {
        match self {
            Self::Caller | Self::Visitor | Self::CallerAlone => "authorization",
            Self::Beside => explain::FIELD,
        }
    }

    /// The token (RFC 6750, section 2.1), if there is one.
    fn token<'a>(self, request: &Guarded<'a>) -> Result<Option<&'a str>, Problem> {
        let Some(value) = request.fields.get(self.field()) else { return Ok(None) };
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Ok(Some(token.trim()))
            }
            // The password of a link; there is no token.
            Some((scheme, _)) if is_basic(scheme) && goes_with_link(request) => Ok(None),
            _ => {
                let detail = match self {
                    Self::Caller | Self::Visitor | Self::CallerAlone => {
                        "`Authorization` must be `Bearer` and a token."
                    }
                    Self::Beside => "`Outport-Explain` must be `Bearer` and a token.",
                };
                Err(Problem::new(ProblemType::TokenMalformed, detail))
            }
        }
    }
}

fn is_basic(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("basic")
}

/// Whether a request has a link that a password goes with.
fn goes_with_link(request: &Guarded<'_>) -> bool {
    request.is_read() && request.query.is_some_and(link::is_protected)
}

/// The password of a request (RFC 7617), whatever the user is called.
pub(super) fn password(request: &Guarded<'_>) -> Option<String> {
    let (scheme, credentials) = request.fields.get("authorization")?.split_once(' ')?;
    let credentials = is_basic(scheme).then(|| STANDARD.decode(credentials.trim()).ok())??;
    let credentials = String::from_utf8(credentials).ok()?;
    credentials.split_once(':').map(|(_, password)| password.to_owned())
}

/// Who asks, as far as it is known.
pub(super) enum Caller {
    Nobody,
    Known(SignedIn),
    /// The driver must do something first.
    Unknown(Box<Unknown>),
}

impl Caller {
    pub(super) fn unknown(unknown: Unknown) -> Self {
        Self::Unknown(Box::new(unknown))
    }
}

/// What is to be done first.
pub(super) enum Unknown {
    /// A signature is checked.
    Claimed(Grant, Need),
    /// The issuer is asked for its keys.
    Asking(KeyExchange, Need),
    /// It is looked at what is revoked.
    Recalling(Grant, RevocationExchange, Need),
}

/// A request whose caller is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    head: Vec<u8>,
    connection: Connection,
    bearer: Bearer,
}

impl Waiting {
    /// Its token, which was read before.
    fn token(&self) -> Option<String> {
        let guarded = guard(&self.head).ok()?;
        self.bearer.token(&guarded).ok()?.map(str::to_owned)
    }
}

impl Unknown {
    /// The step that finds out.
    pub(super) fn wait(self, bearer: Bearer, request: &Request<'_>, visit: &Visit) -> Step {
        let (head, connection) = (request.head.to_vec(), request.connection);
        let waiting = Waiting { head, connection, bearer };
        self.step(waiting, visit.clone())
    }

    fn step(self, waiting: Waiting, visit: Visit) -> Step {
        let (stage, need) = match self {
            Self::Claimed(grant, need) => (Stage::Verifying(waiting, grant), need),
            Self::Asking(keys, need) => (Stage::Asking(waiting, keys), need),
            Self::Recalling(grant, exchange, need) => {
                (Stage::Recalling(waiting, grant, exchange), need)
            }
        };
        Step::Needs(Exchange { visit, stage }, vec![need])
    }
}

impl Edge {
    /// Finds out whose token this is.
    pub(super) fn bearer(
        &mut self,
        bearer: Bearer,
        request: &Guarded<'_>,
        client: Client<'_>,
        moment: Moment,
    ) -> Result<Caller, Problem> {
        let Some(token) = bearer.token(request)? else {
            return match bearer {
                Bearer::Caller => self.by_cookie(request, client.host, moment),
                Bearer::Visitor => match self.by_cookie(request, client.host, moment) {
                    Ok(Caller::Nobody) => self.by_pass(request, client.address, moment),
                    // Whom a pass lets in, a session that has ended does not shut out.
                    Err(ended) => match self.by_pass(request, client.address, moment) {
                        Ok(Caller::Nobody) | Err(_) => Err(ended),
                        known => known,
                    },
                    known => known,
                },
                Bearer::CallerAlone | Bearer::Beside => Ok(Caller::Nobody),
            };
        };
        let seen = self.checker.look(token, self.able(), moment)?;
        self.seen(seen, moment)
    }

    /// Finds out whose session this is. Cookies come along with what other pages have a browser ask,
    /// so that they don't count everywhere.
    fn by_cookie(
        &self,
        request: &Guarded<'_>,
        host: Option<&str>,
        moment: Moment,
    ) -> Result<Caller, Problem> {
        let Some(value) = cookie::read(request, cookie::SESSION) else { return Ok(Caller::Nobody) };
        let host = host.or(request.fields.get("host")).unwrap_or_default();
        if !request.is_read() {
            site::check(request, host)?;
        } else if !site::may_read(request, host) {
            return Ok(Caller::Nobody);
        }
        let short = Short::open(value, &self.config.session_keys).ok_or_else(session::ended)?;
        let grant = Grant::of_session(short);
        grant.check(moment.unix_s()).map_err(Refusal::problem)?;
        self.unless_revoked(grant, moment)
    }

    /// Finds out by whose pass somebody comes.
    fn by_pass(
        &self,
        request: &Guarded<'_>,
        client: IpAddr,
        moment: Moment,
    ) -> Result<Caller, Problem> {
        match sharing::find(request, client, &self.config.link_keys, moment.unix_s())? {
            Some(pass) => self.unless_revoked(Grant::of_pass(pass), moment),
            None => Ok(Caller::Nobody),
        }
    }

    /// Who asks, by what is known of a token.
    fn seen(&self, seen: Seen, moment: Moment) -> Result<Caller, Problem> {
        match seen {
            Seen::Good(grant) => self.unless_revoked(grant, moment),
            Seen::Claimed(grant, need) => Ok(Caller::unknown(Unknown::Claimed(grant, need))),
            Seen::Asking(keys, need) => Ok(Caller::unknown(Unknown::Asking(keys, need))),
        }
    }

    const fn able(&self) -> Able {
        let Abilities { signatures, documents, .. } = self.abilities;
        Able { signatures, documents }
    }

    /// An issuer has been asked for its keys, or nearly so.
    pub(super) fn asked_issuer(
        &mut self,
        waiting: Waiting,
        visit: Visit,
        keys: KeyExchange,
        outcome: Outcome,
        moment: Moment,
    ) -> Step {
        let Some(token) = waiting.token() else { return self.confused(&visit) };
        let Some(seen) = self.checker.resume(&token, keys, outcome, self.able(), moment) else {
            return self.confused(&visit);
        };
        let caller = seen.and_then(|seen| self.seen(seen, moment));
        self.found_out(waiting, visit, caller, moment)
    }

    /// Something more is known of whose token it is.
    pub(super) fn found_out(
        &mut self,
        waiting: Waiting,
        visit: Visit,
        caller: Result<Caller, Problem>,
        moment: Moment,
    ) -> Step {
        match caller {
            Ok(Caller::Unknown(unknown)) => unknown.step(waiting, visit),
            Ok(Caller::Known(caller)) => self.begin_again(&waiting, visit, caller, moment),
            Ok(Caller::Nobody) => self.confused(&visit),
            Err(problem) => self.refuse(&waiting, visit, &problem),
        }
    }

    /// A driver has checked a signature.
    pub(super) fn verified(
        &mut self,
        waiting: Waiting,
        visit: Visit,
        grant: Option<Grant>,
        moment: Moment,
    ) -> Step {
        let Some(grant) = grant else {
            return self.refuse(&waiting, visit, &NOT_BY_KEY.problem());
        };
        if let Some(token) = waiting.token() {
            self.checker.remember(&token, grant.clone());
        }
        let caller = self.unless_revoked(grant, moment);
        self.found_out(waiting, visit, caller, moment)
    }

    fn refuse(&self, waiting: &Waiting, begun: Visit, problem: &Problem) -> Step {
        let is_tus = guard(&waiting.head).is_ok_and(|guarded| uploads::is_tus(&guarded));
        Step::Reply(Visit { is_tus, ..begun.again() }.problem(&self.limits, problem))
    }

    /// Begins again, with the bearer of the token known.
    fn begin_again(
        &mut self,
        waiting: &Waiting,
        begun: Visit,
        caller: SignedIn,
        moment: Moment,
    ) -> Step {
        let mut visit = begun.again();
        let Waiting { ref head, connection, bearer } = *waiting;
        let request = Request { head, connection };
        match bearer {
            Bearer::Caller | Bearer::Visitor | Bearer::CallerAlone => {
                self.begin_as(&request, moment, Some(caller), visit)
            }
            Bearer::Beside => match self.beside(&caller, moment) {
                Ok(beside) => {
                    visit.beside = Some(beside);
                    self.begin_as(&request, moment, None, visit)
                }
                Err(problem) => Step::Reply(visit.problem(&self.limits, &problem)),
            },
        }
    }

    /// What an admin is told beside the answer, if they may be.
    pub(super) fn beside(&self, caller: &SignedIn, moment: Moment) -> Result<Beside, Problem> {
        self.authorize(Access::Operator, Some(caller), moment)?;
        Ok(Beside::new(&caller.identity.tenant))
    }
}
