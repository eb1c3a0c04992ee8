//! `/spent`, where edges learn what a tenant has spent of a budget that they share, and add to it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode};
use outport_wire::identity::NAME_BYTES_MAX;
use outport_wire::spending::{Adding, PERIOD_S_MAX, SPENT_HEADER, Spending};

use super::App;
use super::caller::Caller;
use super::failure::Failure;
use super::field::Query;

/// `GET /spent` and `POST /spent`, by an edge.
pub(super) async fn spent(
    State(app): State<App>,
    caller: Caller,
    method: Method,
    query: Query,
) -> Result<Response, Failure> {
    if !caller.is_edge() {
        return Err(Failure::not_found());
    }
    let spent = app.budgets.spend(&asked(&query, &method)?).await?;
    let told = HeaderValue::try_from(spent.encode()).map_err(Failure::internal)?;
    Ok((StatusCode::NO_CONTENT, [(SPENT_HEADER, told)]).into_response())
}

fn asked<'a>(query: &'a Query, method: &Method) -> Result<Spending<'a>, Failure> {
    let number = |name| {
        let number = query.get(name).and_then(|text| text.parse::<u64>().ok());
        number.ok_or_else(|| Failure::field(name, "a whole number"))
    };
    let text = |name| {
        let text = query.get(name).filter(|text| (1..=NAME_BYTES_MAX).contains(&text.len()));
        text.ok_or_else(|| Failure::field(name, "a name"))
    };
    let period_s = number("period_s")?;
    if !(1..=PERIOD_S_MAX).contains(&period_s) {
        return Err(Failure::field("period_s", "at least a second, at most 31 days"));
    }
    let add = match *method {
        Method::POST => Some(Adding { units: number("units")?, most: number("most")? }),
        _ => None,
    };
    Ok(Spending { tenant: text("tenant")?, budget: text("budget")?, period_s, add })
}
