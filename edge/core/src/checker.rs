//! Who a token is of: read, checked with the keys of its issuer, and remembered once it was good.
//!
//! The edge does this with what its driver can. The origin does it once more for what changes
//! something, natively ([`Checker::check`]), so that it need not believe an edge.

use std::collections::BTreeMap;

use outport_wire::identity::Named;
use outport_wire::problem::{Problem, ProblemType};
use outport_wire::secret::Secret;

use crate::config::Issuer;
use crate::issuer::{NO_SUCH_KEY, Trusted};
use crate::issuer_keys::{KeyExchange, KeySet, Next};
use crate::step::{Moment, Need, Outcome};
use crate::token::{Grant, Refusal, Signed, Unverified, VerifiedTokens};

/// Checks tokens.
#[derive(Debug)]
pub struct Checker {
    issuers: Vec<Trusted>,
    verified: VerifiedTokens,
}

/// What whoever drives can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Able {
    /// Check signatures.
    pub(crate) signatures: bool,
    /// Fetch documents.
    pub(crate) documents: bool,
}

/// What is known of a token.
#[derive(Debug)]
pub(crate) enum Seen {
    /// It is good.
    Good(Grant),
    /// It is, if its signature is.
    Claimed(Grant, Need),
    /// Its issuer is asked for its keys first.
    Asking(KeyExchange, Need),
}

/// What came of a check.
#[derive(Debug)]
pub enum Checked {
    /// The token is good.
    Good(Named),
    /// It is not, or nobody can know.
    Bad(Problem),
    /// One of [`Need::Lookup`], [`Need::Document`] and [`Need::Put`] comes first;
    /// [`Checker::go_on`] takes the outcome.
    Needs(Asking, Need),
}

/// A check that waits for an issuer's keys.
#[derive(Debug)]
pub struct Asking(KeyExchange);

impl Checker {
    /// Checks what these issuers have issued; `secrets` are those of whoever signs with them, by name.
    /// The error says what is wrong with one.
    pub fn new(
        issuers: &[Issuer],
        secrets: &BTreeMap<String, Vec<Secret>>,
    ) -> Result<Self, String> {
        let issuers = Trusted::all(issuers, secrets)?;
        Ok(Self { issuers, verified: VerifiedTokens::default() })
    }

    /// Checks a token, with no help but for what its issuer publishes.
    pub fn check(&mut self, token: &str, moment: Moment) -> Checked {
        checked(self.look(token, ALONE, moment))
    }

    /// Goes on with a check of the same token.
    pub fn go_on(
        &mut self,
        token: &str,
        Asking(keys): Asking,
        outcome: Outcome,
        moment: Moment,
    ) -> Checked {
        checked(self.resume(token, keys, outcome, ALONE, moment).unwrap_or_else(|| {
            Err(Problem::new(ProblemType::Internal, "The outcome is of another need."))
        }))
    }

    /// Looks at a token.
    pub(crate) fn look(
        &mut self,
        token: &str,
        able: Able,
        moment: Moment,
    ) -> Result<Seen, Problem> {
        if let Some(grant) = self.verified.get(token) {
            grant.check(moment.unix_s()).map_err(Refusal::problem)?;
            return Ok(Seen::Good(grant.clone()));
        }
        self.read(token, None, able, moment)
    }

    /// Goes on once an issuer has been asked, or nearly so. `None` where the outcome is of another
    /// need.
    pub(crate) fn resume(
        &mut self,
        token: &str,
        keys: KeyExchange,
        outcome: Outcome,
        able: Able,
        moment: Moment,
    ) -> Option<Result<Seen, Problem>> {
        let anew = keys.anew;
        let trusted = self.issuers.get(usize::from(keys.place))?;
        Some(match keys.resume(outcome, &trusted.issuer, moment.unix_ms)? {
            Next::Need(keys, need) => Ok(Seen::Asking(keys, need)),
            Next::Unreachable => Err(unreachable()),
            Next::Keys(set) => self.read(token, Some((&set, anew)), able, moment),
        })
    }

    /// Remembers a token whose signature was found good.
    pub(crate) fn remember(&mut self, token: &str, grant: Grant) {
        self.verified.insert(token, grant);
    }

    /// Reads a token. `fetched` are the keys that its issuer publishes, if it was asked, and whether
    /// it was asked for those that it has just begun to use.
    fn read(
        &mut self,
        token: &str,
        fetched: Option<(&KeySet, bool)>,
        able: Able,
        moment: Moment,
    ) -> Result<Seen, Problem> {
        let now_s = moment.unix_s();
        let keys = fetched.map(|(keys, _)| keys);
        let unverified =
            Unverified::read(token, &self.issuers, keys, now_s).map_err(Refusal::problem)?;
        if let Some(place) = unverified.lacks() {
            return self.ask_issuer(place, fetched, able, moment);
        }
        let signed = unverified.signed().map_err(Refusal::problem)?;
        if let (true, Some(signed)) = (able.signatures, signed) {
            let Signed { key, message, signature } = signed;
            let need = Need::Verify { key, message: message.as_bytes().to_vec(), signature };
            return Ok(Seen::Claimed(unverified.into_grant(), need));
        }
        unverified.verify(now_s).map_err(Refusal::problem)?;
        let grant = unverified.into_grant();
        self.remember(token, grant.clone());
        Ok(Seen::Good(grant))
    }

    /// Asks an issuer for its keys: at first those that are known, and then those that it may have
    /// begun to use since.
    fn ask_issuer(
        &self,
        place: u16,
        fetched: Option<(&KeySet, bool)>,
        able: Able,
        moment: Moment,
    ) -> Result<Seen, Problem> {
        let anew = match fetched {
            None => false,
            Some((keys, false)) if keys.may_be_old(moment.unix_ms) => true,
            Some(_) => return Err(Refusal::Untrusted(NO_SUCH_KEY).problem()),
        };
        let trusted = self.issuers.get(usize::from(place));
        let trusted = trusted.filter(|_| able.documents).ok_or_else(unreachable)?;
        let (keys, need) = KeyExchange::begin(place, &trusted.issuer, anew);
        Ok(Seen::Asking(keys, need))
    }
}

/// Nobody helps but the issuers.
const ALONE: Able = Able { signatures: false, documents: true };

fn checked(seen: Result<Seen, Problem>) -> Checked {
    match seen {
        Ok(Seen::Good(grant)) => Checked::Good(grant.named()),
        Ok(Seen::Asking(keys, need)) => Checked::Needs(Asking(keys), need),
        // Nobody was said to check signatures.
        Ok(Seen::Claimed(..)) => Checked::Bad(unreachable()),
        Err(problem) => Checked::Bad(problem),
    }
}

fn unreachable() -> Problem {
    let detail = "The token's issuer gives no keys to check it with. Try again.";
    Problem::new(ProblemType::IssuerUnreachable, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Looked;
    use crate::token::tests::{Mint, NOW};

    const NOW_MOMENT: Moment = Moment { unix_ms: NOW * 1000, random: 7 };

    fn checker(issuer: Issuer) -> Checker {
        Checker::new(&[issuer], &BTreeMap::new()).unwrap()
    }

    #[test]
    fn whom_a_good_token_names() {
        let mint = Mint::new();
        let mut checker = checker(mint.issuer());
        let token = mint.token("demo", "alice", "read write");
        for _ in 0..2 {
            let Checked::Good(named) = checker.check(&token, NOW_MOMENT) else {
                panic!("it is good")
            };
            assert_eq!(named.identity.encode(), "demo;alice;read write");
        }
        let later = Moment { unix_ms: (NOW + 40 * 86_400) * 1000, random: 7 };
        assert!(matches!(checker.check(&token, later), Checked::Bad(_)), "it has expired");
        let others = Mint::new().token("demo", "alice", "read write");
        assert!(matches!(checker.check(&others, NOW_MOMENT), Checked::Bad(_)));
    }

    #[test]
    fn an_issuer_that_publishes_is_asked() {
        let mint = Mint::new();
        let issuer = Issuer {
            publishes: true,
            keys_url: Some("https://id.example/keys".into()),
            ..mint.issuer()
        };
        let keys = serde_json::json!({ "keys": issuer.keys }).to_string();
        let mut checker = checker(issuer);
        let token = mint.token("demo", "alice", "read");
        let mut checked = checker.check(&token, NOW_MOMENT);
        let mut asked = Vec::new();
        let named = loop {
            let (asking, need) = match checked {
                Checked::Good(named) => break named,
                Checked::Bad(problem) => panic!("{problem:?}"),
                Checked::Needs(asking, need) => (asking, need),
            };
            let outcome = match &need {
                Need::Lookup { .. } => Outcome::Looked(Looked::Vacant),
                Need::Document { .. } => Outcome::Document(Some(keys.clone().into_bytes())),
                Need::Put { .. } => Outcome::Put,
                need => panic!("{need:?}"),
            };
            asked.push(need);
            checked = checker.go_on(&token, asking, outcome, NOW_MOMENT);
        };
        assert_eq!((named.identity.subject.as_str(), asked.len()), ("alice", 3));
        assert!(matches!(checker.check(&token, NOW_MOMENT), Checked::Good(_)), "it is remembered");
    }
}
