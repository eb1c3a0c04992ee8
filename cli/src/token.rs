//! `outport token`: development tokens, signed by the data folder's own issuer.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::EdDSAKeyPairLike as _;
use jwt_simple::claims::Claims;
use outport_wire::identity::{Identity, Scope, Scopes};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

use crate::duration;
use crate::failure::Failure;
use crate::keys::Keys;

/// Who issues our tokens, and whom they are for.
pub(crate) const ISSUER: &str = "outport";
/// The tenant and the subject of tokens that nobody asked a name for.
pub(crate) const DEMO: &str = "demo";

const TOKEN_ID_BYTES: usize = 16;

/// Prints a token that an edge with the same data folder accepts.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The data folder of the edge that is to accept the token
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// The tenant whose files they are
    #[arg(long, value_name = "NAME", default_value = DEMO)]
    tenant: String,
    /// Who the caller is within the tenant
    #[arg(long, value_name = "NAME", default_value = DEMO)]
    subject: String,
    /// What the token allows: any of read, write, share, admin [default: all of them]
    #[arg(long, value_name = "SCOPE", value_delimiter = ' ', num_args = 1.., value_parser = scope)]
    scope: Vec<Scope>,
    /// How long it is good: 90s, 15m, 1h, 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration::parse)]
    ttl: Duration,
}

/// The claims of ours besides the registered ones.
#[derive(Serialize, Deserialize)]
struct OwnClaims {
    tenant: String,
    scope: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let scopes =
        if args.scope.is_empty() { Scopes::all() } else { args.scope.iter().copied().collect() };
    let identity = identity(&args.tenant, &args.subject, scopes)?;
    let token = mint(&Keys::open(&args.data)?, &identity, args.ttl)?;
    let print = writeln!(std::io::stdout(), "{token}");
    print.map_err(|source| Failure::io("write to", Path::new("standard output"), source))
}

/// A token of the demo tenant with every scope.
pub(crate) fn demo(keys: &Keys, ttl: Duration) -> Result<String, Failure> {
    mint(keys, &identity(DEMO, DEMO, Scopes::all())?, ttl)
}

fn identity(tenant: &str, subject: &str, scopes: Scopes) -> Result<Identity, Failure> {
    Identity::new(tenant, subject, scopes).map_err(|_| {
        Failure::Usage("tenant and subject take 1 to 128 bytes, no control characters".to_owned())
    })
}

fn mint(keys: &Keys, identity: &Identity, ttl: Duration) -> Result<String, Failure> {
    let mut id = [0; TOKEN_ID_BYTES];
    rand::rng().fill_bytes(&mut id);
    let own = OwnClaims { tenant: identity.tenant.clone(), scope: identity.scopes.to_string() };
    let claims = Claims::with_custom_claims(own, ttl.into())
        .with_issuer(ISSUER)
        .with_audience(ISSUER)
        .with_subject(&identity.subject)
        .with_jwt_id(URL_SAFE_NO_PAD.encode(id));
    let signed = keys.issuer()?.sign(claims);
    signed.map_err(|error| Failure::Process(format!("can't sign a token: {error}")))
}

fn scope(name: &str) -> Result<Scope, String> {
    let known = Scope::ALL.into_iter().find(|scope| scope.name() == name);
    known.ok_or_else(|| "it takes read, write, share or admin".to_owned())
}

#[cfg(test)]
mod tests {
    use jwt_simple::algorithms::EdDSAPublicKeyLike as _;

    use super::*;

    #[test]
    fn a_token_says_who_may_do_what_and_names_its_key() {
        let data = tempfile::tempdir().unwrap();
        let keys = Keys::open(data.path()).unwrap();
        let identity = identity("acme", "alice", Scopes::parse("read share")).unwrap();
        let token = mint(&keys, &identity, Duration::from_secs(60)).unwrap();

        let public = keys.issuer().unwrap().public_key();
        let claims = public.verify_token::<OwnClaims>(&token, None).unwrap();
        assert_eq!(claims.custom.tenant, "acme");
        assert_eq!(claims.custom.scope, "read share");
        assert_eq!(claims.subject.as_deref(), Some("alice"));
        assert_eq!(claims.issuer.as_deref(), Some("outport"));
        let lifetime = claims.expires_at.unwrap() - claims.issued_at.unwrap();
        assert_eq!(lifetime.as_secs(), 60);
        let metadata = jwt_simple::token::Token::decode_metadata(&token).unwrap();
        assert_eq!(metadata.key_id(), Some(keys.issuer_public().unwrap().id.as_str()));
    }
}
