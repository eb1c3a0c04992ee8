//! Webhooks through the whole program: what a receiver that is away has yet to be told survives a
//! kill, can be looked at, and is sent when somebody asks for it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use outport_tests::api::Api;
use outport_tests::check;
use outport_tests::deployment::{Data, Running, program};
use outport_tests::suite::Check;
use outport_tests::upstream::Upstream;
use reqwest::Method;
use serde_json::Value;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Nothing that is waited for takes as long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn all() -> Vec<Check> {
    vec![check!(what_is_to_be_told_survives_a_kill), check!(a_question_before_creation)]
}

async fn what_is_to_be_told_survives_a_kill() {
    let data = Data::new();
    let receiver = nowhere().await;
    let config = data.config(&format!(
        "[hooks.a]\nurl = \"http://{receiver}/hook\"\nsecrets = [\"{SECRET}\"]\n"
    ));
    let start = || Running::serve(&data, &["--config", config.to_str().expect("it is text")]);

    let server = start();
    let api = Api::new(server.ready("edge")).with_token(server.ready("token"));
    let stored = api.send(Method::POST, "/files?name=a.txt", &[], "content").await;
    stored.expect_status(201);
    let event = format!("completed-{}", stored.json()["id"].as_str().expect("it has an id"));
    // One attempt at least has failed.
    until(async || listed(&data).iter().any(|row| row["attempts"].as_u64() > Some(0))).await;
    let row = listed(&data).remove(0);
    assert_eq!((&row["hook"], &row["id"]), (&"a".into(), &event.as_str().into()), "{row}");
    let shown: Value = serde_json::from_str(&run(&data, &["show", &event])).expect("it is JSON");
    assert_eq!(shown["file"]["name"], "a.txt");
    assert!(!shown.to_string().contains("whsec"), "{shown}");
    let unknown = output(&data, &["show", "completed-00EGPGAMPYV8Y49V5CRKH3SMBS"]);
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");

    server.kill();
    assert_eq!(output(&data, &["ls"]).status.code(), Some(6), "nobody is there to ask");
    let upstream = Upstream::start_at(receiver).await;
    let _server = start();
    run(&data, &["replay", &event]);
    until(async || upstream.seen().len() == 1).await;
    let seen = upstream.seen().remove(0);
    assert_eq!(seen["fields"]["webhook-id"], event.as_str());
    let body = seen["body"].as_str().expect("it has a body");
    let told: Value = serde_json::from_str(body).expect("it is JSON");
    assert_eq!(told["type"], "outport.file.completed");
    assert_eq!((&told["data"]["name"], &told["data"]["size"]), (&"a.txt".into(), &7.into()));
    until(async || listed(&data).is_empty()).await;
}

async fn a_question_before_creation() {
    let data = Data::new();
    let config = data.config(&format!(
        "[before_create]\nurl = \"http://{}/may-i\"\nsecrets = [\"{SECRET}\"]\n",
        nowhere().await
    ));
    let config = config.to_str().expect("it is text");
    let server = Running::serve(&data, &["--config", config]);
    let api = Api::new(server.ready("edge")).with_token(server.ready("token"));
    let refused = api.send(Method::POST, "/files?name=a.txt", &[], "content").await;
    refused.expect_problem(503, "hook-unavailable");
    assert_eq!(api.get("/files").await.json()["files"], Value::Array(Vec::new()));
}

/// An address where nobody listens, for now.
async fn nowhere() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    listener.local_addr().expect("it has an address")
}

async fn until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes in time");
}

fn listed(data: &Data) -> Vec<Value> {
    let printed = run(data, &["ls"]);
    printed.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn run(data: &Data, args: &[&str]) -> String {
    let output = output(data, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}

fn output(data: &Data, args: &[&str]) -> Output {
    let folder: &Path = data.path();
    let mut command = Command::new(program());
    command.arg("hooks").args(args).arg("--json").arg("--data").arg(folder);
    command.output().expect("the program starts")
}
