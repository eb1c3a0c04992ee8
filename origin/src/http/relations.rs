//! `/relations`, where edges learn what is related to what, and clients read it and change it.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use outport_wire::id::FileId;
use outport_wire::identity::{Identity, Scope};
use outport_wire::problem::ProblemType;
use outport_wire::relation::{Level, Object, RELATIONS_HEADER, Relation, Subject, Tuple, encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::caller::Caller;
use super::failure::Failure;
use super::field::Query;
use super::files::{cursor, json_body, uncacheable};
use crate::audit::{Event, Kind};
use crate::record::Record;
use crate::relations::{CHANGES_MAX, Change, RelationsError, level, visible, who_sees};
use crate::store::{Held, StoreError};

/// What the query must say.
const QUESTIONS: &str = "object=OBJECT, subject=SUBJECT, who=OBJECT or what=user:NAME";

/// The file, if the caller may do this with it; else as if it were not there.
pub(super) async fn permitted(
    app: &App,
    identity: &Identity,
    id: FileId,
    wanted: Level,
) -> Result<Held, Failure> {
    let held = app.store.load(id).await?.ok_or_else(Failure::not_found)?;
    if !is_permitted(app, identity, (id, &held.record), wanted).await? {
        return Err(Failure::not_found());
    }
    Ok(held)
}

async fn is_permitted(
    app: &App,
    identity: &Identity,
    (id, record): (FileId, &Record),
    wanted: Level,
) -> Result<bool, Failure> {
    if identity.owns(&record.tenant, &record.owner) {
        return Ok(true);
    }
    // What is no file yet is nobody else's.
    if identity.tenant != record.tenant || !record.is_file() {
        return Ok(false);
    }
    let most = level(&*app.relations, identity, &Object::File(id)).await?;
    Ok(most >= Some(wanted))
}

/// `GET /relations`: an edge is told of one object or subject, a client what it asks.
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Response, Failure> {
    if caller.is_edge() {
        return tell_edge(&app, &query).await;
    }
    let identity = caller.allowed(Scope::Read)?;
    let after = query.get("cursor").map(cursor).transpose()?;
    let asked = ["object", "subject", "who", "what"].map(|name| query.get(name));
    let document = match asked {
        [Some(object), None, None, None] => {
            direct(&app, identity, &parse(object, "object")?, after).await?
        }
        [None, Some(subject), None, None] => {
            of_subject(&app, identity, &parse(subject, "subject")?, after).await?
        }
        [None, None, Some(object), None] => who(&app, identity, &parse(object, "who")?).await?,
        [None, None, None, Some(user)] => what(&app, identity, &parse(user, "what")?).await?,
        _ => return Err(Failure::field("the query", QUESTIONS)),
    };
    Ok((uncacheable(), Json(document)).into_response())
}

async fn tell_edge(app: &App, query: &Query) -> Result<Response, Failure> {
    let tenant = query.get("tenant").ok_or_else(|| Failure::field("tenant", "said"))?;
    let entry = match (query.get("object"), query.get("member")) {
        (Some(object), None) => {
            let object = parse(object, "object")?;
            app.relations.direct(tenant, &object).await?.entry().to_bytes()
        }
        (None, Some(subject)) => {
            let subject = parse(subject, "member")?;
            app.relations.closure(tenant, &subject).await?.entry().to_bytes()
        }
        _ => return Err(Failure::field("the query", "object=OBJECT or member=SUBJECT")),
    };
    let told = HeaderValue::try_from(encode(&entry)).map_err(Failure::internal)?;
    Ok((StatusCode::NO_CONTENT, [(RELATIONS_HEADER, told)]).into_response())
}

fn parse<T: std::str::FromStr<Err: ToString>>(text: &str, field: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| Failure::field(field, &error.to_string()))
}

/// The tuples of an object, for who says who may what with it.
async fn direct(
    app: &App,
    identity: &Identity,
    object: &Object,
    after: Option<Bytes>,
) -> Result<Value, Failure> {
    rules(app, identity, object, Level::Owner).await?;
    if matches!(object, Object::Group(_) | Object::Role(_)) {
        let page = app.relations.members(&identity.tenant, object, after).await?;
        return Ok(listed(&page.tuples, page.next));
    }
    let direct = app.relations.direct(&identity.tenant, object).await?;
    Ok(json!({ "revision": direct.holds.read, "tuples": direct.tuples, "cursor": null }))
}

/// The tuples of a subject: for an admin of any, for others of themselves.
async fn of_subject(
    app: &App,
    identity: &Identity,
    subject: &Subject,
    after: Option<Bytes>,
) -> Result<Value, Failure> {
    if *subject != user(identity) && !identity.scopes.allow(Scope::Admin) {
        return Err(theirs());
    }
    let page = app.relations.of_subject(&identity.tenant, subject, after).await?;
    Ok(listed(&page.tuples, page.next))
}

fn listed(tuples: &[Tuple], next: Option<Bytes>) -> Value {
    json!({ "tuples": tuples, "cursor": next.map(|next| URL_SAFE_NO_PAD.encode(next)) })
}

/// Who can see something.
async fn who(app: &App, identity: &Identity, object: &Object) -> Result<Value, Failure> {
    let owner = rules(app, identity, object, Level::Owner).await?;
    let answer = who_sees(&*app.relations, &identity.tenant, object).await?;
    let seers = answer.named.iter().map(|seer| {
        json!({
            "subject": seer.subject.to_string(),
            "level": seer.level.relation().name(),
            "through": seer.through,
        })
    });
    Ok(json!({
        "revision": answer.revision,
        "owner": owner,
        "subjects": seers.collect::<Vec<_>>(),
        "complete": answer.is_whole,
    }))
}

/// What somebody can see that is not their own.
async fn what(app: &App, identity: &Identity, subject: &Subject) -> Result<Value, Failure> {
    let Subject::User(name) = subject else {
        return Err(Failure::field("what", "user: and a name"));
    };
    if *subject != user(identity) && !identity.scopes.allow(Scope::Admin) {
        return Err(theirs());
    }
    let whose = Identity::new(&identity.tenant, name, Default::default())
        .map_err(|_| Failure::field("what", "user: and a name of 1 to 128 bytes"))?;
    let answer = visible(&*app.relations, &whose).await?;
    let files = answer
        .named
        .iter()
        .map(|seen| json!({ "id": seen.file.to_string(), "level": seen.level.relation().name() }));
    Ok(json!({
        "revision": answer.revision,
        "files": files.collect::<Vec<_>>(),
        "complete": answer.is_whole,
    }))
}

fn user(identity: &Identity) -> Subject {
    Subject::User(identity.subject.as_str().into())
}

fn theirs() -> Failure {
    let detail = "an admin may ask about others; you about yourself";
    Failure::new(ProblemType::ScopeMissing, detail)
}

/// Lets pass who may do this with an object: an admin with everything, others with what they own or are
/// related to. Gives the owner of a file.
async fn rules(
    app: &App,
    identity: &Identity,
    object: &Object,
    wanted: Level,
) -> Result<Option<String>, Failure> {
    if let Object::File(id) = object {
        return Ok(Some(permitted(app, identity, *id, wanted).await?.record.owner));
    }
    if identity.scopes.allow(Scope::Admin) {
        return Ok(None);
    }
    let is_place = matches!(object, Object::Folder(_) | Object::Tenant);
    if is_place && level(&*app.relations, identity, object).await? >= Some(wanted) {
        return Ok(None);
    }
    Err(Failure::not_found())
}

/// What `POST /relations` is told.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    write: Vec<Tuple>,
    delete: Vec<Tuple>,
}

/// `POST /relations`: writes tuples and takes others away, all at one revision.
pub(super) async fn change(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Failure> {
    let identity = caller.allowed(Scope::Share)?.clone();
    let Wanted { write, delete } = json_body(&app, request.into_body()).await?;
    let count = write.len() + delete.len();
    if !(1..=CHANGES_MAX).contains(&count) {
        let must = format!("1 to {CHANGES_MAX} tuples in \"write\" and \"delete\"");
        return Err(Failure::field("the body", &must));
    }
    if let Some(both) = write.iter().find(|tuple| delete.contains(tuple)) {
        let must = format!("in \"write\" or in \"delete\", not in both: {both}");
        return Err(Failure::field("a tuple", &must));
    }
    for tuple in write.iter().chain(&delete) {
        may_change(&app, &identity, tuple, &write).await?;
    }
    let gone = delete.into_iter().map(|tuple| Change { tuple, is_there: false });
    let there = write.into_iter().map(|tuple| Change { tuple, is_there: true });
    let changes: Vec<_> = gone.chain(there).collect();
    let this = app.clone();
    // What was begun is done, though the client went away.
    let changing = async move {
        for change in &changes {
            this.audit.note(&identity, changed(&identity, change)).await?;
        }
        Ok::<_, Failure>(this.relations.change(&identity.tenant, changes).await?)
    };
    let revision = app.tasks.finish(changing).await??;
    Ok((uncacheable(), Json(json!({ "revision": revision }))).into_response())
}

/// What is noted of a change. Who is related to what is about them, and otherwise about who says so.
fn changed(by: &Identity, Change { tuple, is_there }: &Change) -> Event {
    let kind = if *is_there { Kind::RelationWritten } else { Kind::RelationRemoved };
    let whose = match &tuple.subject {
        Subject::User(name) => name,
        _ => by.subject.as_str(),
    };
    Event::new(kind, by).about("tuple", whose, &tuple.to_string())
}

/// Whether the caller may write a tuple or take it away: who owns what it is about, and of what is put
/// somewhere also who may put something there. Groups and roles are the admins'.
async fn may_change(
    app: &App,
    identity: &Identity,
    tuple: &Tuple,
    written: &[Tuple],
) -> Result<(), Failure> {
    if identity.scopes.allow(Scope::Admin) {
        if let Object::File(id) = tuple.object {
            permitted(app, identity, id, Level::Owner).await?;
        }
        return Ok(());
    }
    match &tuple.object {
        Object::Group(_) | Object::Role(_) => {
            let detail = "groups and roles are an admin's to fill";
            return Err(Failure::new(ProblemType::ScopeMissing, detail));
        }
        object @ Object::Folder(_)
            if begins(identity, object, written) && is_new(app, identity, object).await? => {}
        object => drop(rules(app, identity, object, Level::Owner).await?),
    }
    if let (Relation::Parent, Some(folder)) = (tuple.relation, tuple.subject.object())
        && written.contains(tuple)
        && !(begins(identity, &folder, written) && is_new(app, identity, &folder).await?)
    {
        rules(app, identity, &folder, Level::Editor).await?;
    }
    Ok(())
}

/// Whether a folder is made the caller's own by what is written.
fn begins(identity: &Identity, folder: &Object, written: &[Tuple]) -> bool {
    let own = Tuple { object: folder.clone(), relation: Relation::Owner, subject: user(identity) };
    written.contains(&own)
}

async fn is_new(app: &App, identity: &Identity, folder: &Object) -> Result<bool, Failure> {
    let direct = app.relations.direct(&identity.tenant, folder).await?;
    Ok(direct.tuples.is_empty())
}

impl From<RelationsError> for Failure {
    fn from(error: RelationsError) -> Self {
        match error {
            RelationsError::Busy => Self::new(ProblemType::Conflict, "try again"),
            RelationsError::Full(_) => Self::new(ProblemType::InvalidField, error.to_string()),
            RelationsError::Meta(error) => StoreError::from(error).into(),
        }
    }
}
