//! The program's clients, as a person or a script uses them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running, program};
use outport_tests::proxy::Proxy;
use outport_tests::suite::Check;
use outport_tests::{check, random};
use serde_json::Value;

const MIB: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(put_ls_get_share_rm),
        check!(put_several_files_of_which_one_is_missing),
        check!(put_survives_cut_connections),
        check!(put_goes_on_where_a_killed_run_stopped),
        check!(put_notices_a_changed_file),
        check!(get_goes_on_with_a_partial_file),
        check!(get_replaces_nothing_unasked),
        check!(failures_say_what_to_do),
        check!(check_shows_every_mistake),
        check!(check_knows_the_example),
    ]
}

struct Stage {
    data: Data,
    server: Running,
}

impl Stage {
    fn new() -> Self {
        let data = Data::new();
        let server = Running::serve(&data, &[]);
        std::fs::create_dir(data.path().join("here")).expect("the folder can be written to");
        Self { data, server }
    }

    /// The folder that the program is run in.
    fn here(&self) -> PathBuf {
        self.data.path().join("here")
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.here().join(name);
        std::fs::write(&path, content).expect("the folder can be written to");
        path
    }

    fn api(&self) -> Api {
        Api::new(self.server.ready("edge")).with_token(self.server.ready("token"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.here())
            .env("OUTPORT_SERVER", self.server.ready("edge"))
            .env("OUTPORT_TOKEN", self.server.ready("token"))
            .env("XDG_STATE_HOME", self.data.path());
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("the program starts");
        expect_success(&output);
        text(&output.stdout).trim().to_owned()
    }

    /// Runs what fails. Returns the exit code and what was said about it.
    fn fail(&self, args: &[&str]) -> (i32, String) {
        let output = self.command(args).output().expect("the program starts");
        (output.status.code().expect("it ends by itself"), text(&output.stderr))
    }
}

async fn put_ls_get_share_rm() {
    let stage = Stage::new();
    let content = random::bytes(3 * MIB);
    stage.file("día 1.bin", &content);

    let url = stage.run(&["put", "día 1.bin"]);
    let id = url.rsplit('/').next().expect("an address has an end").to_owned();
    assert_eq!(url, format!("{}/files/{id}", stage.server.ready("edge")));

    let listed = stage.run(&["ls"]);
    assert!(listed.contains(&id) && listed.contains("día 1.bin"), "{listed}");
    let document: Value = serde_json::from_str(&stage.run(&["ls", "--json"])).expect("it is JSON");
    assert_eq!((&document["id"], &document["size"]), (&id.as_str().into(), &content.len().into()));

    std::fs::remove_file(stage.here().join("día 1.bin")).expect("it is there");
    assert_eq!(stage.run(&["get", &id]), "día 1.bin");
    let fetched = std::fs::read(stage.here().join("día 1.bin")).expect("it was fetched");
    assert_eq!(random::digest(&fetched), random::digest(&content));

    let link = stage.run(&["share", &id, "--ttl", "1m"]);
    let shared = stage.api().anonymous().get(&link).await;
    assert_eq!(random::digest(&shared.body), random::digest(&content));
    let output = stage.command(&["get", &link, "-o", "-"]).env_remove("OUTPORT_TOKEN").output();
    let output = output.expect("the program starts");
    expect_success(&output);
    assert_eq!(random::digest(&output.stdout), random::digest(&content));

    assert_eq!(stage.run(&["rm", &id]), format!("removed {id}"));
    assert_eq!(stage.run(&["ls"]), "");
    assert_eq!(stage.fail(&["get", &id, "-o", "gone"]).0, 4);
}

async fn put_several_files_of_which_one_is_missing() {
    let stage = Stage::new();
    for (name, size) in [("empty", 0), ("small", 10), ("middle", 300_000), ("large", 2 * MIB)] {
        stage.file(name, &random::bytes(size));
    }
    let output = stage
        .command(&[
            "put",
            "--json",
            "--visibility",
            "public",
            "empty",
            "small",
            "missing",
            "middle",
            "large",
        ])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("missing"), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let mut names = Vec::new();
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let name = line["file"].as_str().expect("it names the file").to_owned();
        let id = line["id"].as_str().expect("it has an id");
        let delivered = stage.api().anonymous().get(&format!("/files/{id}")).await;
        let content = std::fs::read(stage.here().join(&name)).expect("it is there");
        assert_eq!(random::digest(&delivered.body), random::digest(&content), "{name}");
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["empty", "large", "middle", "small"]);
}

async fn put_survives_cut_connections() {
    let stage = Stage::new();
    let content = random::bytes(32 * MIB);
    let path = stage.file("cut.bin", &content);
    let proxy = Proxy::new(stage.api().authority()).await;
    proxy.cut_after(8 * MIB as i64, 3);
    let mut put = start_put(&stage, &proxy, &path);
    let status = wait(&mut put).await;
    assert!(status.success());
    assert_eq!(proxy.cuts_left(), 0, "the connection was not cut as often as it should");
    expect_delivered(&stage, "cut.bin", &content).await;
}

async fn put_goes_on_where_a_killed_run_stopped() {
    let stage = Stage::new();
    let content = random::bytes(32 * MIB);
    let path = stage.file("killed.bin", &content);
    let proxy = Proxy::new(stage.api().authority()).await;
    proxy.stall_after(24 * MIB as i64);
    let mut put = start_put(&stage, &proxy, &path);
    let stalled = async {
        while !proxy.is_stalled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, stalled).await.expect("it sends");
    put.kill().expect("it runs");
    put.wait().expect("it can be waited for");
    proxy.mend();
    // The connection ends with the process, and the origin keeps what came.
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Half of the file again would be too much.
    proxy.stall_after(20 * MIB as i64);
    let mut put = start_put(&stage, &proxy, &path);
    assert!(wait(&mut put).await.success());
    expect_delivered(&stage, "killed.bin", &content).await;
    let listed = stage.run(&["ls"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
}

async fn put_notices_a_changed_file() {
    let stage = Stage::new();
    let path = stage.file("changed.bin", &random::bytes(16 * MIB));
    let proxy = Proxy::new(stage.api().authority()).await;
    proxy.stall_after(8 * MIB as i64);
    let mut put = start_put(&stage, &proxy, &path);
    let stalled = async {
        while !proxy.is_stalled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, stalled).await.expect("it sends");
    put.kill().expect("it runs");
    put.wait().expect("it can be waited for");
    proxy.mend();
    let content = random::bytes(16 * MIB);
    std::fs::write(&path, &content).expect("the folder can be written to");
    let mut put = start_put(&stage, &proxy, &path);
    assert!(wait(&mut put).await.success());
    expect_delivered(&stage, "changed.bin", &content).await;
}

async fn get_goes_on_with_a_partial_file() {
    let stage = Stage::new();
    let content = random::bytes(2 * MIB);
    let file = stage.api().upload("name=a.bin", "application/octet-stream", content.clone()).await;
    stage.file("a.bin.partial", &content[..MIB]);
    stage.file("a.bin.partial.etag", file.text("etag").as_bytes());
    let before = stage.api().get("/healthz").await;
    before.expect_status(200);
    stage.run(&["get", file.id(), "-o", "a.bin"]);
    expect_file(&stage, "a.bin", &content);

    // What is the beginning of something else is of no use.
    stage.file("b.bin.partial", &random::bytes(MIB));
    stage.file("b.bin.partial.etag", b"\"another\"");
    stage.run(&["get", file.id(), "-o", "b.bin"]);
    expect_file(&stage, "b.bin", &content);
    for left in ["a.bin.partial", "a.bin.partial.etag", "b.bin.partial", "b.bin.partial.etag"] {
        assert!(!stage.here().join(left).exists(), "{left}");
    }
}

async fn get_replaces_nothing_unasked() {
    let stage = Stage::new();
    let file = stage.api().upload("name=a.txt", "text/plain", "new").await;
    stage.file("a.txt", b"old");
    for args in [&["get", file.id()][..], &["get", file.id(), "-o", "a.txt"]] {
        let (code, said) = stage.fail(args);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("--force"), "{said}");
        expect_file(&stage, "a.txt", b"old");
    }
    stage.run(&["get", file.id(), "--force"]);
    expect_file(&stage, "a.txt", b"new");
}

async fn failures_say_what_to_do() {
    let stage = Stage::new();
    stage.file("a.txt", b"content");
    let (code, said) = stage.fail(&["put", "a.txt", "--server", "http://127.0.0.1:1"]);
    // Nobody listens on port 1.
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("outport serve"), "{said}");
    let (code, said) = stage.fail(&["ls", "--token", "nonsense"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("outport token"), "{said}");
    let (code, said) = stage.fail(&["rm", "01000G0000000C000000000004"]);
    assert_eq!(code, 4, "{said}");
    let (code, said) = stage.fail(&["token", "--tenant", "", "--data", "x"]);
    assert_eq!(code, 2, "{said}");
    let reader = stage.data.token("demo", "demo", "read", "1h");
    let (code, said) = stage.fail(&["put", "a.txt", "--token", &reader]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("scope"), "{said}");
}

async fn check_shows_every_mistake() {
    let data = Data::new();
    let config = data.config("[cahce]\n[uploads]\nsize_max_bytes = \"large\"\n");
    let run = |more: &[&str]| {
        let config = config.to_str().expect("the path is text");
        let args = [&["check", "--config", config][..], more].concat();
        Command::new(program()).args(args).output().expect("the program starts")
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(5));
    let said = text(&output.stderr);
    for part in [":1:2: ", "did you mean \"cache\"?", ":3:18: ", "2 mistakes"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let document: Value = serde_json::from_slice(&run(&["--json"]).stdout).expect("it is JSON");
    assert_eq!((&document["right"], &document["mistakes"][1]["line"]), (&false.into(), &3.into()));
    let path = config.to_str().expect("the path is text");
    let served = Command::new(program()).args(["serve", "--config", path]).output();
    assert_eq!(served.expect("the program starts").status.code(), Some(5));
}

async fn check_knows_the_example() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../outport.toml");
    let output = Command::new(program()).arg("check").arg("--config").arg(example).output();
    let output = output.expect("the program starts");
    expect_success(&output);
    assert!(text(&output.stdout).trim().ends_with("is right"), "{}", text(&output.stdout));
}

fn start_put(stage: &Stage, proxy: &Proxy, path: &Path) -> Child {
    let mut command = stage.command(&["put", path.to_str().expect("the path is text")]);
    command.env("OUTPORT_SERVER", &proxy.url).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program starts")
}

async fn wait(child: &mut Child) -> std::process::ExitStatus {
    let ended = async {
        loop {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends")
}

async fn expect_delivered(stage: &Stage, name: &str, content: &[u8]) {
    let answer = stage.api().get(&format!("/files?prefix={name}")).await;
    let path = answer.json()["files"][0]["url"].as_str().expect("it is listed").to_owned();
    let delivered = stage.api().get(&path).await;
    assert_eq!(random::digest(&delivered.body), random::digest(content));
}

fn expect_file(stage: &Stage, name: &str, content: &[u8]) {
    let file = std::fs::read(stage.here().join(name)).expect("it is there");
    assert_eq!(random::digest(&file), random::digest(content), "{name}");
}

#[track_caller]
fn expect_success(output: &Output) {
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
