//! Asks whoever is to be asked before an upload is created, and takes what the answer wants to be
//! different as if the client had sent it.

use outport_wire::identity::Identity;
use outport_wire::problem::ProblemType;

use super::App;
use super::failure::Failure;
use super::field;
use crate::hooks::{Protocol, Question, Reply, Wishes};
use crate::record::Description;

/// The description that the upload is created with, or why it is not. Called after everything else
/// that may refuse, and before anything is stored.
pub(crate) async fn ask(
    app: &App,
    owner: &Identity,
    description: Description,
    length: Option<u64>,
    protocol: Protocol,
) -> Result<Description, Failure> {
    let question = Question {
        tenant: &owner.tenant,
        owner: &owner.subject,
        name: &description.name,
        media_type: &description.media_type,
        visibility: description.visibility,
        metadata: &description.metadata,
        length,
        protocol,
    };
    match app.hooks.ask(question).await {
        Reply::Allowed(wishes) => granted(app, description, wishes),
        Reply::Refused(reason) => Err(Failure::new(ProblemType::RefusedByHook, reason)),
        Reply::Failed => Err(unavailable()),
    }
}

/// A wish that can't be granted is a fault of who was asked, not of the client.
fn granted(app: &App, description: Description, wishes: Wishes) -> Result<Description, Failure> {
    let Wishes { name, visibility, metadata } = wishes;
    let fault = |failure: Failure| {
        tracing::error!(?failure, "who is asked before creation wants what can't be");
        unavailable()
    };
    let name = name.map(|name| field::file_name(Some(&name), &app.limits)).transpose();
    let metadata = metadata.map(|own| field::metadata(own, &app.limits)).transpose();
    Ok(Description {
        name: name.map_err(fault)?.unwrap_or(description.name),
        visibility: visibility.unwrap_or(description.visibility),
        metadata: metadata.map_err(fault)?.unwrap_or(description.metadata),
        ..description
    })
}

fn unavailable() -> Failure {
    Failure::new(ProblemType::HookUnavailable, "nothing was created; try again")
}
