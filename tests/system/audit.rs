//! The audit log through a kill of the origin, and as the program prints and verifies it.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Duration;

use outport_tests::api::Api;
use outport_tests::check;
use outport_tests::deployment::{Data, Running, program};
use outport_tests::suite::Check;
use reqwest::Method;
use serde_json::Value;

const FILES: usize = 60;
/// How long something may take to be noted.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many are removed before the kill.
const KILL_AFTER: usize = 20;

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(a_kill_leaves_a_log_that_holds_and_misses_nothing),
        check!(the_program_verifies_and_forgets),
        check!(what_a_token_does_not_allow_is_noted),
    ]
}

fn outport(edge: &str, token: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(args).env("OUTPORT_SERVER", edge).env("OUTPORT_TOKEN", token);
    command.output().expect("the program starts")
}

/// What a command that works prints.
fn printed(edge: &str, token: &str, args: &[&str]) -> String {
    let output = outport(edge, token, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

async fn a_kill_leaves_a_log_that_holds_and_misses_nothing() {
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let port = origin.ready("origin").rsplit(':').next().and_then(|port| port.parse().ok());
    let edge = Running::edge(&data, origin.ready("origin"), &[]);
    let token = data.token("demo", "root", "admin", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    let mut files = Vec::new();
    for _ in 0..FILES {
        files.push(api.upload("name=a.txt", "text/plain", "content").await.path());
    }

    let (told, mut removed) = tokio::sync::mpsc::channel(FILES);
    let removing = futures::future::join_all(files.iter().map(|file| {
        let (api, told) = (&api, told.clone());
        async move {
            let answer = api.try_send(Method::DELETE, file, &[], "").await;
            let is_removed = answer.is_ok_and(|answer| answer.status == 204);
            if is_removed {
                told.send(()).await.expect("somebody listens");
            }
            (file, is_removed)
        }
    }));
    let restart = async {
        for _ in 0..KILL_AFTER {
            removed.recv().await.expect("more are removed");
        }
        origin.kill();
        Running::origin(&data, port.expect("an address ends in a port"))
    };
    let (outcomes, _origin) = tokio::join!(removing, restart);
    let acknowledged = outcomes.iter().filter(|(_, is_removed)| *is_removed).count();
    assert!(acknowledged < FILES, "the kill came too late to interrupt anything");

    let log = settled(|| outport(edge.ready("edge"), &token, &["audit"])).await;
    let export = data.path().join("log");
    std::fs::write(&export, &log).expect("the folder can be written to");
    let said = printed(
        edge.ready("edge"),
        &token,
        &["audit", "--verify", export.to_str().expect("it is text")],
    );
    assert!(said.starts_with(&format!("{} entries, from 1 to ", log.lines().count())), "{said}");
    let noted: BTreeSet<_> = log.lines().map(removed_file).collect();
    for (file, is_removed) in outcomes {
        // Whether it was acknowledged or only done, it is in the log.
        let is_gone = api.delete(file).await.status == 404;
        assert!(is_gone || !is_removed, "{file} was acknowledged, and is there");
        assert!(noted.contains(file) || !is_gone, "{file} is gone, and not in the log");
    }
}

/// The path of the file that an entry says was removed.
fn removed_file(line: &str) -> String {
    let entry: Value = serde_json::from_str(line).expect("it is JSON");
    assert_eq!(entry["kind"], "file-removed", "{entry}");
    format!("/files/{}", entry["what"]["file"].as_str().expect("it names a file"))
}

/// What a command prints once the origin answers again.
async fn settled(ask: impl Fn() -> Output) -> String {
    for _ in 0..600 {
        let output = ask();
        if output.status.success() {
            return String::from_utf8(output.stdout).expect("it prints text");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the origin does not come back")
}

async fn the_program_verifies_and_forgets() {
    let data = Data::new();
    let server = Running::serve(&data, &[]);
    let edge = server.ready("edge");
    let root = data.token("demo", "root", "admin", "1h");
    let alice = Api::new(edge).with_token(&data.token("demo", "alice", "write", "1h"));
    for _ in 0..3 {
        let file = alice.upload("name=a.txt", "text/plain", "content").await.path();
        alice.delete(&file).await.expect_status(204);
    }
    let log = printed(edge, &root, &["audit"]);
    assert!(log.contains("alice") && log.contains("a.txt"), "{log}");
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(printed(edge, &root, &["audit", "--after", "2"]), format!("{}\n", lines[2]));

    let path = data.path().join("log");
    let verify = |text: String| {
        std::fs::write(&path, text).expect("the folder can be written to");
        let output =
            outport(edge, &root, &["audit", "--verify", path.to_str().expect("it is text")]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("it prints text"))
    };
    let hash =
        |line: &str| serde_json::from_str::<Value>(line).expect("it is JSON")["hash"].clone();
    let last = hash(lines[2]).as_str().expect("it is text").to_owned();
    assert_eq!(
        verify(log.clone()),
        (Some(0), format!("3 entries, from 1 to 3\nlast hash {last}\n"))
    );
    for (changed, at) in [
        (log.replacen("alice", "carol", 1), 1),
        (log.replacen("file-removed", "links-ended", 1), 1),
        ([lines[0], lines[2]].join("\n"), 2),
        ([lines[0], lines[2], lines[1]].join("\n"), 2),
        ([lines[0], lines[0], lines[1]].join("\n"), 2),
        ([lines[0], "", lines[1]].join("\n"), 2),
    ] {
        let (code, said) = verify(changed);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("line {at}: ")), "{said}");
    }

    assert_eq!(printed(edge, &root, &["audit", "--forget", "alice"]), "forgotten alice\n");
    assert_eq!(outport(edge, &root, &["audit", "--forget", "alice"]).status.code(), Some(4));
    let log = printed(edge, &root, &["audit"]);
    assert!(!log.contains("alice") && !log.contains("a.txt"), "{log}");
    assert_eq!(verify(log).0, Some(0));

    let folder = data.path().to_str().expect("it is text");
    let own = printed(edge, &root, &["audit", "--deployment", "--data", folder]);
    assert!(own.contains("\"settings-changed\""), "{own}");
    assert_eq!(verify(own).0, Some(0));
}

/// The edge answers at once, and has it noted then.
async fn what_a_token_does_not_allow_is_noted() {
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let edge = Running::edge(&data, origin.ready("origin"), &[]);
    let of = |subject, scope| {
        let token = data.token("demo", subject, scope, "1h");
        Api::new(edge.ready("edge")).with_token(&token)
    };
    let (alice, root) = (of("alice", "read"), of("root", "admin"));
    let purge = serde_json::json!({ "tags": ["a"] });
    alice.json(Method::POST, "/purge", &purge).await.expect_problem(403, "scope-missing");
    let noted = async {
        loop {
            let log = root.get("/audit").await;
            if !log.body.is_empty() {
                return serde_json::from_slice::<Value>(&log.body).expect("one line of JSON");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let noted = tokio::time::timeout(PATIENCE, noted).await.expect("it is noted");
    assert_eq!((&noted["kind"], &noted["problem"]), (&"denied".into(), &"scope-missing".into()));
    assert_eq!(
        (&noted["who"]["text"], &noted["what"]["resource"]),
        (&"alice".into(), &"purge".into())
    );
    // What is done is noted first.
    root.json(Method::POST, "/purge", &purge).await.expect_status(200);
    let log = root.get("/audit?after=1").await;
    let purged: Value = serde_json::from_slice(&log.body).expect("one line of JSON");
    assert_eq!((&purged["kind"], &purged["who"]["text"]), (&"purged".into(), &"root".into()));
    assert_eq!(
        purged["what"],
        serde_json::json!({ "urls": 0, "files": 0, "tags": 1, "soft": false })
    );
}
