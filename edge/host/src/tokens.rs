//! Checks tokens of callers outside of any edge: for the origin, which looks at them once more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outport_edge_core::checker::{Asking, Checked, Checker};
use outport_edge_core::config::Issuer;
use outport_edge_core::step::{Looked, Need, Outcome};
use outport_tls::{ClientFiles, ClientTls};
use outport_wire::identity::Named;
use outport_wire::problem::Problem;
use outport_wire::secret::Secret;

use crate::cache::{Cache, Holding, NewBody};
use crate::documents::Documents;
use crate::driver::{looked, moment};

/// The keys of all issuers there may be take less, in bytes.
const KEYS_BYTES_MAX: u64 = 4 << 20;

/// Checks tokens, and asks issuers for their keys.
pub struct Tokens {
    checker: Mutex<Checker>,
    keys: Arc<Cache>,
    documents: Documents,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Checks what these issuers have issued; `secrets` are those of whoever signs with them, by name.
    /// The error says what is wrong with one.
    pub fn new(
        issuers: &[Issuer],
        secrets: &BTreeMap<String, Vec<Secret>>,
    ) -> Result<Self, String> {
        let tls = ClientTls::open(ClientFiles::default()).map_err(|error| error.to_string())?;
        Ok(Self {
            checker: Mutex::new(Checker::new(issuers, secrets)?),
            keys: Cache::new(KEYS_BYTES_MAX, KEYS_BYTES_MAX),
            documents: Documents::new(tls),
        })
    }

    /// Whom a token names, if it is good now; else what is wrong with it, or that its issuer can't be
    /// asked.
    pub async fn check(&self, token: &str) -> Result<Named, Problem> {
        let mut checked = self.checking(|checker| checker.check(token, moment()));
        let mut held = None;
        loop {
            let (asking, need) = match checked {
                Checked::Good(named) => return Ok(named),
                Checked::Bad(problem) => return Err(problem),
                Checked::Needs(asking, need) => (asking, need),
            };
            let outcome = self.fulfil(need, &mut held).await;
            checked = self.go_on(token, asking, outcome);
        }
    }

    fn go_on(&self, token: &str, asking: Asking, outcome: Outcome) -> Checked {
        self.checking(|checker| checker.go_on(token, asking, outcome, moment()))
    }

    fn checking(&self, with: impl FnOnce(&mut Checker) -> Checked) -> Checked {
        with(&mut self.checker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a check may need; `held` is what was looked up last.
    async fn fulfil(&self, need: Need, held: &mut Option<Holding>) -> Outcome {
        match need {
            Need::Lookup { key } => {
                *held = None;
                Outcome::Looked(looked(held.insert(self.keys.look(key).await)))
            }
            Need::Put { head, fresh_ms, .. } => {
                if let Some(holding) = held {
                    let fresh = Duration::from_millis(fresh_ms);
                    holding.store(head, NewBody::None, fresh, Vec::new(), None);
                }
                Outcome::Put
            }
            Need::Document { url, bytes_max, timeout_ms } => {
                let patience = Duration::from_millis(timeout_ms);
                Outcome::Document(self.documents.get(&url, bytes_max, patience).await)
            }
            // It needs nothing else.
            _ => Outcome::Looked(Looked::Vacant),
        }
    }
}

#[cfg(test)]
mod tests {
    use outport_wire::problem::ProblemType;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Of an issuer whose keys are at this address.
    fn token(issuer: &str) -> String {
        use base64::Engine as _;
        let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let header = encode("{\"alg\":\"EdDSA\",\"kid\":\"k\"}".into());
        let claims = format!(
            "{{\"iss\":\"{issuer}\",\"aud\":\"a\",\"sub\":\"s\",\"tenant\":\"t\",\"exp\":99999999999}}"
        );
        format!("{header}.{}.{}", encode(claims), encode("x".repeat(64)))
    }

    fn tokens(issuer: &str) -> Tokens {
        let issuer = Issuer {
            name: issuer.to_owned(),
            audiences: vec!["a".into()],
            publishes: true,
            keys_url: Some(format!("{issuer}/keys")),
            ..Issuer::default()
        };
        Tokens::new(&[issuer], &BTreeMap::new()).unwrap()
    }

    #[tokio::test]
    async fn an_issuer_is_asked_once_however_many_tokens_come() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1000]).await.unwrap();
            let keys = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k\",\
                        \"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", keys.len());
            stream.write_all(format!("{head}{keys}").as_bytes()).await.unwrap();
            // Nobody else comes.
            drop(listener);
        });
        let (tokens, token) = (tokens(&issuer), token(&issuer));
        let checked = futures::future::join_all((0..20).map(|_| tokens.check(&token))).await;
        for refused in checked {
            assert_eq!(refused.unwrap_err().kind, ProblemType::TokenUntrusted, "not by its key");
        }
        asked.await.unwrap();
    }

    #[tokio::test]
    async fn an_issuer_that_is_not_there_is_not_waited_for_twice() {
        let tokens = tokens("http://127.0.0.1:1");
        for _ in 0..2 {
            let refused = tokens.check(&token("http://127.0.0.1:1")).await.unwrap_err();
            assert_eq!(refused.kind, ProblemType::IssuerUnreachable);
        }
    }
}
