//! Clients that others have written, each through the edge: what they upload comes back whole.
//! tus-js-client and tuspy are installed by `cargo xtask setup --only clients`; curl is there.
//! Uppy uploads in the page's own tests, `web/test`, which run on every platform, too.
//!
//! There is always an edge between: the origin takes nothing that an edge has not signed, so no
//! client can talk to it directly. What comes closest is our own host, before its origin on the
//! same machine: it hands an upload's requests on as they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use outport_tests::api::Api;
use outport_tests::deployment::Data;
use outport_tests::world::World;
use outport_tests::{random, scenarios};

scenarios![
    tus_js_client_broken_off_and_gone_on_with,
    tus_js_client_with_three_uploads_at_once,
    tus_js_client_with_a_length_that_comes_last,
    tuspy_with_checksums_in_two_runs,
    curl_step_by_step,
];

const MIB: usize = 1 << 20;
/// What clients send at once that don't send everything.
const CHUNK: &str = "1000000";

/// A caller, and a file to be uploaded by them.
struct Stage {
    owner: Api,
    folder: Data,
    content: Vec<u8>,
}

impl Stage {
    fn new(world: &World) -> Self {
        let (owner, folder) = (world.owner(), Data::new());
        let content = random::bytes(5 * MIB + 1);
        std::fs::write(folder.path().join("file.bin"), &content).expect("it can be written to");
        Self { owner, folder, content }
    }

    /// Runs a script that prints the address of what it has uploaded, and looks at that.
    async fn upload(&self, program: &Path, script: &str, more: &[&str]) {
        let mut command = Command::new(program);
        command
            .arg(here(script))
            .arg(self.owner.url("/uploads").as_str())
            .arg(self.owner.token())
            .arg(self.folder.path().join("file.bin"))
            .args(more);
        self.expect_whole(&output(command)).await;
    }

    /// The file of the upload at this address is what was to be uploaded.
    async fn expect_whole(&self, upload: &str) {
        let url = self.owner.url(upload);
        let file = self.owner.get(&url.path().replace("/uploads/", "/files/")).await;
        file.expect_status(200);
        assert_eq!(random::digest(&file.body), random::digest(&self.content), "{upload}");
    }
}

/// Something in the folder of the tests.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The Python that tuspy is installed for: `OUTPORT_TUSPY`, else where it is put by default.
fn python() -> PathBuf {
    let default = || here("../target/outport/tools/tuspy/bin/python");
    std::env::var_os("OUTPORT_TUSPY").map_or_else(default, PathBuf::from)
}

fn output(mut command: Command) -> String {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

async fn tus_js_client_broken_off_and_gone_on_with(world: World) {
    Stage::new(&world).upload(Path::new("node"), "tus-js/upload.mjs", &["3", CHUNK]).await;
}

async fn tus_js_client_with_three_uploads_at_once(world: World) {
    Stage::new(&world).upload(Path::new("node"), "tus-js/parallel.mjs", &["3"]).await;
}

async fn tus_js_client_with_a_length_that_comes_last(world: World) {
    Stage::new(&world).upload(Path::new("node"), "tus-js/deferred.mjs", &[CHUNK]).await;
}

async fn tuspy_with_checksums_in_two_runs(world: World) {
    Stage::new(&world).upload(&python(), "tuspy/upload.py", &[CHUNK]).await;
}

async fn curl_step_by_step(world: World) {
    let stage = Stage::new(&world);
    let length = format!("Upload-Length: {}", stage.content.len());
    let head = curl(&stage, &["--request", "POST", "--header", &length], "/uploads");
    let upload = field(&head, "location");
    assert_eq!(field(&head, "upload-offset"), "0");

    let append = |offset: usize, part: &[u8], method: &[&str]| {
        let file = stage.folder.path().join("part");
        std::fs::write(&file, part).expect("it can be written to");
        let body = format!("@{}", file.display());
        let offset = format!("Upload-Offset: {offset}");
        let kind = "Content-Type: application/offset+octet-stream";
        let fields = ["--header", &offset, "--header", kind, "--data-binary", &body];
        curl(&stage, &[method, &fields].concat(), upload)
    };
    let (first, rest) = stage.content.split_at(2 * MIB);
    append(0, first, &["--request", "PATCH"]);
    let shown = curl(&stage, &["--head"], upload);
    assert_eq!(field(&shown, "upload-offset"), first.len().to_string());
    let head = append(first.len(), rest, &["--header", "X-HTTP-Method-Override: PATCH"]);
    assert_eq!(field(&head, "upload-offset"), stage.content.len().to_string());
    stage.expect_whole(upload).await;
}

/// Runs curl on a path or an address; returns the head of the answer.
fn curl(stage: &Stage, args: &[&str], path: &str) -> String {
    let token = format!("Authorization: Bearer {}", stage.owner.token());
    let mut command = Command::new("curl");
    command
        .args(["--fail", "--silent", "--show-error", "--include", "--header", &token])
        .args(["--header", "Tus-Resumable: 1.0.0"])
        .args(args)
        .arg(stage.owner.url(path).as_str());
    output(command)
}

/// A field's value in a head.
fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("there is no {name} in {head}")).1.trim()
}
