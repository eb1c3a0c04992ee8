//! Who may do what, decided three times: by the edge, by the origin alone, and by a few lines that were
//! written from what is promised. Random files, callers, links and relations, and random requests, for
//! which all of them must come to the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use outport_tests::api::{Answer, Api};
use outport_tests::check;
use outport_tests::deployment::{Data, Running};
use outport_tests::issued::mac;
use outport_tests::suite::Check;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

/// How many requests are made of each.
const REQUESTS: usize = 3_000;
const TENANTS: [&str; 2] = ["north", "south"];
const SUBJECTS: [&str; 2] = ["ann", "bo"];
const SCOPES: [&str; 6] = ["read", "write", "share", "read write share", "admin", "read write"];
/// A member of the first is one of the second if the first is.
const GROUPS: [&str; 2] = ["staff", "all"];
const FOLDERS: [&str; 2] = ["a", "b"];
/// What is related by an admin, beside files.
const PLACES: [&str; 8] = [
    "folder:a#parent@folder:b",
    "folder:a#viewer@group:staff",
    "folder:b#editor@group:all",
    "folder:b#viewer@user:bo",
    "tenant#viewer@group:all",
    "group:staff#member@user:ann",
    "group:all#member@user:bo",
    "group:all#member@group:staff",
];
/// Who is related to a file.
const OF_A_FILE: [&str; 6] = [
    "viewer@user:ann",
    "viewer@user:bo",
    "viewer@tenant",
    "viewer@group:staff",
    "editor@group:all",
    "owner@user:bo",
];
const VISIBILITIES: [&str; 3] = ["private", "link", "public"];

pub(crate) fn all() -> Vec<Check> {
    vec![check!(edge_origin_and_the_reference_agree)]
}

/// Somebody who asks.
#[derive(Clone, Debug)]
struct Caller {
    tenant: &'static str,
    subject: &'static str,
    scopes: &'static str,
    token: String,
}

impl Caller {
    fn has(&self, scope: &str) -> bool {
        self.scopes.split(' ').any(|held| held == scope || held == "admin")
    }

    fn owns(&self, file: &File) -> bool {
        let is_owner = self.subject == file.owner || self.has("admin");
        self.tenant == file.tenant && is_owner
    }
}

/// A file, as it should be.
#[derive(Clone, Debug)]
struct File {
    id: String,
    tenant: &'static str,
    owner: &'static str,
    visibility: &'static str,
    is_there: bool,
    links: Vec<(Link, String)>,
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Anybody,
    Elsewhere,
    Later,
}

/// What is asked.
#[derive(Clone, Debug)]
enum Ask {
    /// By the query of a link, of this or of another file.
    Read(Option<(Link, bool, String)>),
    Rename,
    Publish(&'static str),
    /// Somebody is related to the file from now on, or no more.
    Relate(bool, String),
    Share,
    Remove,
    List,
}

/// The relations of all tenants, each a tuple of one.
type Relations = BTreeSet<(&'static str, String)>;

/// What should come of it: the status.
fn reference(relations: &Relations, caller: Option<&Caller>, file: &File, ask: &Ask) -> u16 {
    let (scope, wanted) = match ask {
        Ask::Read(link) => return read(relations, caller, file, link.as_ref()),
        Ask::Rename | Ask::Remove => ("write", EDITOR),
        Ask::Publish(_) => ("write", OWNER),
        Ask::Share | Ask::Relate(..) => ("share", OWNER),
        Ask::List => ("read", NOBODY),
    };
    let Some(caller) = caller else { return 401 };
    match ask {
        _ if !caller.has(scope) => 403,
        Ask::List => 200,
        _ if !file.is_there || level(relations, caller, file) < wanted => 404,
        Ask::Remove => 204,
        Ask::Share => 201,
        _ => 200,
    }
}

const NOBODY: u8 = 0;
const VIEWER: u8 = 1;
const EDITOR: u8 = 2;
const OWNER: u8 = 3;

/// What somebody may do with a file: its owner and the tenant's admins everything, and others what the
/// relations of the tenant give to them, to a group of theirs or to everybody, of the file, of a folder
/// that it is in or of the tenant.
fn level(relations: &Relations, caller: &Caller, file: &File) -> u8 {
    if caller.owns(file) {
        return OWNER;
    }
    if caller.tenant != file.tenant {
        return NOBODY;
    }
    let has = |tuple: String| relations.contains(&(file.tenant, tuple));
    let mut subjects = vec![format!("user:{}", caller.subject), "tenant".to_owned()];
    for group in GROUPS {
        if subjects.iter().any(|subject| has(format!("group:{group}#member@{subject}"))) {
            subjects.push(format!("group:{group}"));
        }
    }
    let mut objects = vec![format!("file:{}", file.id)];
    for _ in FOLDERS {
        let of =
            |folder: &&&str| has(format!("{}#parent@folder:{folder}", objects[objects.len() - 1]));
        if let Some(folder) = FOLDERS.iter().find(of) {
            objects.push(format!("folder:{folder}"));
        }
    }
    objects.push("tenant".to_owned());
    let given = |relation: &str| {
        let of = |object: &String| {
            subjects.iter().any(|subject| has(format!("{object}#{relation}@{subject}")))
        };
        objects.iter().any(of)
    };
    let all = [("owner", OWNER), ("editor", EDITOR), ("viewer", VIEWER)];
    all.into_iter().find(|(relation, _)| given(relation)).map_or(NOBODY, |(_, level)| level)
}

fn read(
    relations: &Relations,
    caller: Option<&Caller>,
    file: &File,
    link: Option<&(Link, bool, String)>,
) -> u16 {
    let may = |caller: &Caller| caller.has("read") && level(relations, caller, file) >= VIEWER;
    let is_open = file.visibility == "public" || caller.is_some_and(may);
    match link {
        _ if file.is_there && is_open => 200,
        Some((Link::Anybody, true, _)) if file.is_there => 200,
        // Whoever holds a link that is good elsewhere is told so, whatever has become of the file.
        Some((Link::Elsewhere | Link::Later, true, _)) => 403,
        _ => 404,
    }
}

/// A deployment, and who and what there is.
struct World {
    edge: Api,
    origin: Api,
    key: Value,
    callers: Vec<Caller>,
    files: Vec<File>,
    relations: Relations,
    /// Each tenant's revision of them.
    revisions: BTreeMap<&'static str, u64>,
    dice: StdRng,
    _server: Running,
    _data: Data,
}

impl World {
    fn new(seed: u64) -> Self {
        let data = Data::new();
        let server = Running::serve(&data, &[]);
        let mut callers = Vec::new();
        for tenant in TENANTS {
            for subject in SUBJECTS {
                for scopes in SCOPES {
                    let token = data.token(tenant, subject, scopes, "1h");
                    callers.push(Caller { tenant, subject, scopes, token });
                }
            }
        }
        let keys = std::fs::read(data.path().join("keys.json")).expect("the keys are there");
        let keys: Value = serde_json::from_slice(&keys).expect("they are JSON");
        Self {
            edge: Api::new(server.ready("edge")),
            origin: Api::new(server.ready("origin")),
            key: keys["edge"].clone(),
            callers,
            files: Vec::new(),
            relations: Relations::new(),
            revisions: BTreeMap::new(),
            dice: StdRng::seed_from_u64(seed),
            _server: server,
            _data: data,
        }
    }

    async fn store(&mut self) {
        let writer = self.callers.iter().filter(|caller| caller.has("write")).collect::<Vec<_>>();
        let writer = (*writer.choose(&mut self.dice).expect("there are some")).clone();
        let visibility = *VISIBILITIES.choose(&mut self.dice).expect("there are some");
        let api = self.edge.with_token(&writer.token);
        let query = format!("name=a.txt&visibility={visibility}");
        let id = api.upload(&query, "text/plain", "content").await.id().to_owned();
        let mut links = Vec::new();
        let owner = |caller: &&Caller| {
            (caller.tenant, caller.subject) == (writer.tenant, writer.subject)
                && caller.has("share")
        };
        let sharer = self.callers.iter().find(owner).expect("each has a token for sharing");
        let api = self.edge.with_token(&sharer.token);
        for (link, wanted) in [
            (Link::Anybody, json!({})),
            (Link::Elsewhere, json!({"network": "192.0.2.0/24"})),
            (Link::Later, json!({"starts_in": 3000})),
        ] {
            let made = api.json(Method::POST, &format!("/files/{id}/links"), &wanted).await;
            made.expect_status(201);
            let url = made.json()["url"].as_str().expect("a link has a URL").to_owned();
            links.push((link, url.split_once('?').expect("and a query").1.to_owned()));
        }
        let (tenant, owner) = (writer.tenant, writer.subject);
        self.files.push(File { id, tenant, owner, visibility, is_there: true, links });
    }

    fn draw(&mut self) -> (Option<Caller>, usize, Ask) {
        let caller = match self.dice.random_bool(0.15) {
            true => None,
            false => self.callers.choose(&mut self.dice).cloned(),
        };
        let file = self.dice.random_range(0..self.files.len());
        let ask = match self.dice.random_range(0..14) {
            0..=2 | 10..=11 => Ask::Read(None),
            12 => Ask::Rename,
            13 => {
                let tuple = OF_A_FILE.choose(&mut self.dice).expect("there are some");
                let tuple = format!("file:{}#{tuple}", self.files[file].id);
                Ask::Relate(self.dice.random_bool(0.6), tuple)
            }
            3..=5 => {
                let is_own = self.dice.random_bool(0.7);
                let other = self.dice.random_range(0..self.files.len());
                let of = if is_own { file } else { other };
                let links = self.files[of].links.clone();
                let (link, query) = links.choose(&mut self.dice).expect("each has some").clone();
                Ask::Read(Some((link, of == file, query)))
            }
            6 => Ask::Publish(VISIBILITIES.choose(&mut self.dice).expect("there are some")),
            7 => Ask::Share,
            8 if self.dice.random_bool(0.5) => Ask::Remove,
            _ => Ask::List,
        };
        (caller, file, ask)
    }

    /// What the edge says.
    async fn at_edge(&self, caller: Option<&Caller>, file: &File, ask: &Ask) -> Answer {
        let (method, path, body) = request(file, ask);
        let api = match caller {
            Some(caller) => self.edge.with_token(&caller.token),
            None => self.edge.anonymous(),
        };
        let revision = caller.and_then(|caller| self.revisions.get(caller.tenant));
        let least = revision.copied().unwrap_or_default().to_string();
        let fields = [("content-type", "application/json"), ("outport-at-least", &*least)];
        api.send(method, &path, &fields, body).await
    }

    /// An admin of some tenant changes its folders and groups, and where its files are.
    async fn relate(&mut self) {
        let tenant = *TENANTS.choose(&mut self.dice).expect("there are some");
        let admin = |caller: &&Caller| caller.tenant == tenant && caller.has("admin");
        let admin = self.callers.iter().find(admin).expect("there is one").clone();
        let is_there = self.dice.random_bool(0.6);
        let of_tenant = |file: &&File| file.tenant == tenant && file.is_there;
        let files: Vec<_> = self.files.iter().filter(of_tenant).map(|file| &file.id).collect();
        let tuple = match files.choose(&mut self.dice) {
            Some(file) if self.dice.random_bool(0.4) => {
                let folder = FOLDERS.choose(&mut self.dice).expect("there are some");
                format!("file:{file}#parent@folder:{folder}")
            }
            _ => (*PLACES.choose(&mut self.dice).expect("there are some")).to_owned(),
        };
        let api = self.edge.with_token(&admin.token);
        let answer = api.json(Method::POST, "/relations", &changes(is_there, &tuple)).await;
        answer.expect_status(200);
        self.related(tenant, is_there, &tuple, &answer);
    }

    /// It is so from now on.
    fn related(&mut self, tenant: &'static str, is_there: bool, tuple: &str, answer: &Answer) {
        let revision = answer.json()["revision"].as_u64().expect("there is a revision");
        let before = self.revisions.insert(tenant, revision);
        assert!(before < Some(revision), "{before:?}, {revision}");
        if !is_there {
            self.relations.remove(&(tenant, tuple.to_owned()));
            return;
        }
        if let Some((object, _)) = tuple.split_once("#parent@") {
            let begin = format!("{object}#parent@");
            self.relations.retain(|(of, old)| *of != tenant || !old.starts_with(&begin));
        }
        self.relations.insert((tenant, tuple.to_owned()));
    }

    /// What the origin says to an edge that lets everything through.
    async fn at_origin(&mut self, caller: Option<&Caller>, file: &File, ask: &Ask) -> Answer {
        let (method, path, body) = request(file, ask);
        let identity = caller.map(|of| format!("{};{};{}", of.tenant, of.subject, of.scopes));
        let identity = identity.as_deref();
        let (input, signature) = self.sign(method.as_str(), &path, identity);
        let mut fields = vec![
            ("content-type", "application/json"),
            ("signature-input", input.as_str()),
            ("signature", signature.as_str()),
        ];
        fields.extend(identity.map(|identity| ("outport-identity", identity)));
        let token = caller.map(|caller| format!("Bearer {}", caller.token));
        fields.extend(token.as_deref().map(|token| ("authorization", token)));
        self.origin.send(method, &path, &fields, body).await
    }

    /// Signs a request as an edge does (RFC 9421).
    fn sign(&mut self, method: &str, path: &str, identity: Option<&str>) -> (String, String) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let (id, secret) = (self.key["id"].as_str(), self.key["secret"].as_str());
        let secret = URL_SAFE_NO_PAD.decode(secret.expect("a secret")).expect("base64url");
        let covered = if identity.is_some() { " \"outport-identity\"" } else { "" };
        let params = format!(
            "(\"@method\" \"@path\" \"@query\"{covered});created={now};expires={};\
             nonce=\"{:016x}\";keyid=\"{}\";alg=\"hmac-sha256\"",
            now + 60,
            self.dice.random::<u64>(),
            id.expect("an id"),
        );
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut base = format!("\"@method\": {method}\n\"@path\": {path}\n\"@query\": ?{query}\n");
        if let Some(identity) = identity {
            base.push_str(&format!("\"outport-identity\": {identity}\n"));
        }
        base.push_str(&format!("\"@signature-params\": {params}"));
        let signature = STANDARD.encode(mac(&secret, base.as_bytes()));
        (format!("edge={params}"), format!("edge=:{signature}:"))
    }
}

fn request(file: &File, ask: &Ask) -> (Method, String, String) {
    let path = format!("/files/{}", file.id);
    match ask {
        Ask::Read(None) => (Method::GET, path, String::new()),
        Ask::Read(Some((_, _, query))) => (Method::GET, format!("{path}?{query}"), String::new()),
        Ask::Publish(visibility) => {
            (Method::PATCH, path, json!({ "visibility": visibility }).to_string())
        }
        Ask::Rename => (Method::PATCH, path, json!({ "name": "b.txt" }).to_string()),
        Ask::Relate(is_there, tuple) => {
            (Method::POST, "/relations".to_owned(), changes(*is_there, tuple).to_string())
        }
        Ask::Share => (Method::POST, format!("{path}/links"), "{}".to_owned()),
        Ask::Remove => (Method::DELETE, path, String::new()),
        Ask::List => (Method::GET, "/files".to_owned(), String::new()),
    }
}

fn changes(is_there: bool, tuple: &str) -> Value {
    if is_there { json!({ "write": [tuple] }) } else { json!({ "delete": [tuple] }) }
}

async fn edge_origin_and_the_reference_agree() {
    let seed = std::env::var("OUTPORT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    let mut world = World::new(seed);
    for _ in 0..12 {
        world.store().await;
    }
    let mut came = BTreeMap::<(bool, u16), usize>::new();
    for number in 0..REQUESTS {
        if world.dice.random_bool(0.2) {
            world.relate().await;
        }
        let (caller, place, ask) = world.draw();
        let file = world.files[place].clone();
        let expected = reference(&world.relations, caller.as_ref(), &file, &ask);
        // Reads are the edge's to decide. A change is made once, by either.
        let is_read = matches!(ask, Ask::Read(_));
        let by_origin = !is_read && world.dice.random_bool(0.5);
        let answer = match by_origin {
            true => world.at_origin(caller.as_ref(), &file, &ask).await,
            false => world.at_edge(caller.as_ref(), &file, &ask).await,
        };
        let what = format!("seed {seed}, request {number}: {caller:?} {ask:?} {file:?}");
        assert_eq!(answer.status, expected, "{what}, by the origin: {by_origin}: {answer:?}");
        *came.entry((by_origin, expected)).or_default() += 1;
        // What is asked for only, both are asked for.
        if matches!(ask, Ask::List | Ask::Share) {
            let other = match by_origin {
                true => world.at_edge(caller.as_ref(), &file, &ask).await,
                false => world.at_origin(caller.as_ref(), &file, &ask).await,
            };
            assert_eq!(other.status, expected, "{what}, the other: {other:?}");
        }
        match (&ask, expected) {
            (Ask::Publish(visibility), 200) => world.files[place].visibility = visibility,
            (Ask::Relate(is_there, tuple), 200) => {
                world.related(file.tenant, *is_there, tuple, &answer);
                continue;
            }
            (Ask::Rename, 200) => {}
            (Ask::Remove, 204) => {
                // What was related to it goes with it, in a change of its own if there was something.
                let begin = format!("file:{}#", file.id);
                world.relations.retain(|(_, tuple)| !tuple.starts_with(&begin));
                world.files[place].is_there = false;
                world.store().await;
            }
            _ => continue,
        }
        if by_origin {
            // An edge learns of what was done elsewhere within a minute; here it is told.
            let operator = world.callers.iter().find(|caller| caller.has("admin")).expect("one");
            let purge = json!({ "files": [file.id] });
            let api = world.edge.with_token(&operator.token);
            api.json(Method::POST, "/purge", &purge).await.expect_status(200);
        }
    }
    // Each kind of answer has come, of both.
    for kind in [
        (false, 200),
        (false, 201),
        (false, 204),
        (false, 401),
        (false, 403),
        (false, 404),
        (true, 200),
        (true, 201),
        (true, 204),
        (true, 401),
        (true, 403),
        (true, 404),
    ] {
        assert!(came.contains_key(&kind), "seed {seed}: {kind:?} never came: {came:?}");
    }
}
