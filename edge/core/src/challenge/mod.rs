//! Challenges: whoever is not signed in shows that some work was done, before it is let pass.
//!
//! A challenge is signed and kept nowhere. The proof of work is a number behind it, so that the SHA-256 of
//! both begins with so many zero bits; from then on that is what is shown with each request, until the
//! challenge expires. An edge checks it with one HMAC and one hash, and it is good on every edge of the
//! deployment, for one network.

use std::net::IpAddr;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use outport_wire::UnixSeconds;
use outport_wire::problem::{Problem, ProblemType};
use outport_wire::secret::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::answer::{Visit, reply};
use crate::config::Config;
use crate::driver::overloaded;
use crate::guard::{Guarded, guard};
use crate::limit::{Limit, own_network};
use crate::session::cookie;
use crate::step::{Body, Moment, Reply};

/// The field in which a program shows its proof.
pub(crate) const FIELD: &str = "outport-proof";
/// The cookie in which a browser does: the page of a challenge sets it.
pub(crate) const COOKIE: &str = "outport-proof";

/// When it expires, in seconds since 1970; how many bits; what makes it another than the one before.
const SAID_BYTES: usize = 8 + 1 + 8;
/// So much of the HMAC is shown: as much as a key of 128 bits is worth.
const MAC_BYTES: usize = 16;
/// The longest number, in digits.
const NUMBER_DIGITS_MAX: usize = 20;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
/// Its own script runs, and nothing else. Made once: pages are asked for by the thousand.
static PAGE_POLICY: LazyLock<String> = LazyLock::new(|| {
    let script = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
});

/// The fewest and the most bits that can be asked for.
pub const BITS: std::ops::RangeInclusive<u8> = 1..=32;

/// How much work is asked for, and for how long it is worth something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// How many bits must be zero: each more doubles the work. Within [`BITS`].
    pub bits: u8,
    /// For how long the proof is good, in seconds.
    pub life_s: u64,
}

impl Default for Challenge {
    fn default() -> Self {
        Self { bits: 18, life_s: 3_600 }
    }
}

impl Challenge {
    /// A challenge for a client of this network. `None` where there is no key.
    pub(crate) fn issue(self, network: &str, keys: &[Secret], moment: Moment) -> Option<String> {
        let expires_s: UnixSeconds = moment.unix_s().saturating_add(self.life_s);
        let mut text = Vec::with_capacity(SAID_BYTES + MAC_BYTES);
        text.extend_from_slice(&expires_s.to_be_bytes());
        text.push(self.bits);
        text.extend_from_slice(&moment.random.to_be_bytes());
        let mac = keys.first()?.mac(&signed(&text, network));
        text.extend(mac.iter().take(MAC_BYTES));
        Some(URL_SAFE_NO_PAD.encode(text))
    }

    /// Whether a request shows work that was done for a challenge of ours: as much as is asked for now,
    /// by a client of this network, not too long ago.
    pub(crate) fn is_met(
        self,
        request: &Guarded<'_>,
        network: &str,
        keys: &[Secret],
        now_s: UnixSeconds,
    ) -> bool {
        let shown = request.fields.get(FIELD).or_else(|| cookie::read(request, COOKIE));
        shown.is_some_and(|proof| self.is_proof(proof, network, keys, now_s))
    }

    fn is_proof(self, proof: &str, network: &str, keys: &[Secret], now_s: UnixSeconds) -> bool {
        let Some((text, number)) = proof.split_once('.') else { return false };
        let is_number = (1..=NUMBER_DIGITS_MAX).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit());
        let mut bytes = [0; SAID_BYTES + MAC_BYTES];
        let decoded = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes);
        if !is_number || decoded != Ok(bytes.len()) {
            return false;
        }
        let (said, mac) = bytes.split_at(SAID_BYTES);
        let Some((expires_s, [bits, ..])) = said.split_first_chunk() else { return false };
        let message = signed(said, network);
        *bits >= self.bits
            && UnixSeconds::from_be_bytes(*expires_s) >= now_s
            && zero_bits(&Sha256::digest(proof)) >= u32::from(*bits)
            && keys.iter().any(|key| key.verify_beginning(&message, mac))
    }
}

/// Who challenges before the core is asked, where there is more to do than can be done.
#[derive(Clone, Debug, Default)]
pub struct Challenger {
    asked: Challenge,
    keys: Vec<Secret>,
}

impl Challenger {
    /// Asks for so much, and signs with the first of these keys.
    pub const fn new(asked: Challenge, keys: Vec<Secret>) -> Self {
        Self { asked, keys }
    }

    /// As rules of the firewall challenge.
    pub fn of(config: &Config) -> Self {
        Self::new(config.firewall.challenge, config.link_keys.clone())
    }

    /// Whether a head, as a driver hands it over, shows work that was done by a client at this address.
    pub fn is_met(&self, head: &[u8], client: IpAddr, now_s: UnixSeconds) -> bool {
        if memchr::memmem::find(head, FIELD.as_bytes()).is_none() {
            return false;
        }
        let network = own_network(client);
        guard(head).is_ok_and(|request| self.asked.is_met(&request, &network, &self.keys, now_s))
    }

    /// The answer where there is more to do than can be done, which says what work would help.
    pub fn overloaded(
        &self,
        head: &[u8],
        client: IpAddr,
        retry_after_s: u64,
        moment: Moment,
    ) -> Reply {
        let Self { asked, keys } = self;
        let Some(challenge) = asked.issue(&own_network(client), keys, moment) else {
            return overloaded(retry_after_s);
        };
        let mut reply = if guard(head).is_ok_and(|request| wants_page(&request)) {
            let status = ProblemType::Overloaded.status();
            page(&challenge, *asked, status, &Visit::default(), &[])
        } else {
            let detail = format!(
                "Too much is asked of this edge. Wait {retry_after_s} s, and try again; or do some \
                 work, and go before others: {}",
                work(asked.bits)
            );
            let problem = Problem::new(ProblemType::Overloaded, detail);
            let problem = problem.with("retry_after_s", retry_after_s);
            let problem = problem.with("challenge", challenge).with("bits", asked.bits);
            Visit::default().problem(&[], &problem)
        };
        let wait = format!("retry-after: {retry_after_s}\r\n");
        reply.fields.extend_from_slice(wait.as_bytes());
        reply
    }
}

/// What is signed.
fn signed(said: &[u8], network: &str) -> Vec<u8> {
    [b"outport challenge 1\n", said, network.as_bytes()].concat()
}

/// How many bits are zero, up to the first that is not.
fn zero_bits(digest: &[u8]) -> u32 {
    let zeros = digest.iter().take_while(|byte| **byte == 0).count();
    let last = digest.get(zeros).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(zeros * 8).unwrap_or(u32::MAX).saturating_add(last)
}

/// What the work is.
fn work(bits: u8) -> String {
    format!(
        "Find a number so that the SHA-256 of the challenge, a full stop and the number begins with \
         {bits} zero bits, and send all three in `Outport-Proof`."
    )
}

/// What a program is told that has to do the work.
pub(crate) fn problem(challenge: &str, bits: u8) -> Problem {
    let detail = format!("{} Or send a token.", work(bits));
    Problem::new(ProblemType::ProofNeeded, detail).with("challenge", challenge).with("bits", bits)
}

/// Whether a browser is to show what it is answered.
pub(crate) fn wants_page(request: &Guarded<'_>) -> bool {
    let accepts = request.fields.get("accept");
    request.method == "GET" && accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

/// The page that has a browser do the work, and then asks again.
pub(crate) fn page(
    challenge: &str,
    asked: Challenge,
    status: u16,
    visit: &Visit,
    limits: &[Limit],
) -> Reply {
    let page = PAGE
        .replace("{challenge}", challenge)
        .replace("{bits}", &asked.bits.to_string())
        .replace("{life}", &asked.life_s.to_string())
        .replace("{script}", SCRIPT);
    let mut fields = visit.fields(limits);
    fields.push("content-type", "text/html; charset=utf-8");
    fields.push("cache-control", "no-store");
    fields.push("content-security-policy", PAGE_POLICY.as_str());
    fields.push_number("content-length", page.len() as u64);
    reply(status, fields, Body::Bytes(page.into_bytes()))
}

#[cfg(test)]
mod tests;
