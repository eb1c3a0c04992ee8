//! Passes: everything below a prefix for whoever has one.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use outport_wire::identity::{Identity, Scope, Scopes};
use outport_wire::pass::{PREFIX_BYTES_MAX, Pass, check_prefix};
use outport_wire::time::rfc3339;
use serde::{Deserialize, Serialize};

use super::App;
use super::caller::Caller;
use super::failure::Failure;
use super::files::{json_body, uncacheable};
use super::links::{Life, network_of};
use crate::audit::{Event, Kind};

/// What `POST /passes` is told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// What the paths begin with.
    prefix: Option<String>,
    /// Seconds.
    expires_in: Option<u64>,
    /// Seconds.
    starts_in: Option<u64>,
    /// A network or an address.
    network: Option<String>,
}

/// A pass that was made.
#[derive(Debug, Serialize)]
struct Made {
    /// Gives a browser the pass as a cookie, and sends it on.
    url: String,
    pass: String,
    prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    begins: Option<String>,
    expires: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
}

/// `POST /passes`
pub(super) async fn make(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Failure> {
    let by = caller.allowed(Scope::Share)?;
    let wanted: Wanted = json_body(&app, request.into_body()).await?;
    let must = format!(
        "of 1 to {PREFIX_BYTES_MAX} bytes, begin and end with a slash, and be plain: \"/film/7/\""
    );
    let prefix = wanted.prefix.filter(|prefix| check_prefix(prefix));
    let prefix = prefix.ok_or_else(|| Failure::field("prefix", &must))?;
    let Life { begins_s, expires_s } = Life::wanted(&app, wanted.expires_in, wanted.starts_in)?;
    let network = network_of(wanted.network.as_deref())?;
    let identity = Identity { scopes: Scopes::default(), ..by.clone() };
    let issued_s = app.store.now_s();
    let pass = Pass { identity, prefix, issued_s, begins_s, expires_s, network };
    app.audit.note(by, pass_made(&pass)).await?;
    let text = pass.seal(&app.link_key);
    let made = Made {
        url: format!("/passes/{text}"),
        pass: text,
        prefix: pass.prefix,
        begins: begins_s.map(rfc3339),
        expires: rfc3339(expires_s),
        network: network.map(|network| network.to_string()),
    };
    Ok((StatusCode::CREATED, uncacheable(), Json(made)).into_response())
}

/// What is noted of a pass: its restrictions, and nothing that it could be used with.
fn pass_made(pass: &Pass) -> Event {
    let Pass { identity, prefix, begins_s, expires_s, network, .. } = pass;
    let made = Event::new(Kind::PassMade, identity).with("prefix", prefix.as_str());
    let made = made.with("expires", rfc3339(*expires_s));
    let made = match begins_s {
        Some(begins_s) => made.with("begins", rfc3339(*begins_s)),
        None => made,
    };
    match network {
        // It may be somebody's address.
        Some(network) => made.about("network", &identity.subject, &network.to_string()),
        None => made,
    }
}
