//! Clients that others have written, each through the edge: what they upload comes back whole.
//!
//! `cargo xtask setup --only clients` installs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, random};

const MIB: usize = 1 << 20;
/// What clients send at once that don't send everything.
const CHUNK: &str = "1000000";

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(tus_js_client_broken_off_and_gone_on_with),
        check!(tus_js_client_with_three_uploads_at_once),
        check!(tus_js_client_with_a_length_that_comes_last),
        check!(tuspy_with_checksums_in_two_runs),
        check!(curl_step_by_step),
    ]
}

/// A server, and a file to be uploaded to it.
struct Stage {
    data: Data,
    server: Running,
    content: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let data = Data::new();
        let server = Running::serve(&data, &[]);
        let content = random::bytes(5 * MIB + 1);
        std::fs::write(data.path().join("file.bin"), &content).expect("it can be written to");
        Self { data, server, content }
    }

    fn file(&self) -> PathBuf {
        self.data.path().join("file.bin")
    }

    fn edge(&self) -> &str {
        self.server.ready("edge")
    }

    fn endpoint(&self) -> String {
        format!("{}/uploads", self.edge())
    }

    /// Runs a script that prints the address of what it has uploaded, and looks at that.
    async fn upload(&self, program: &Path, script: &str, more: &[&str]) {
        let mut command = Command::new(program);
        command
            .arg(folder(script))
            .arg(self.endpoint())
            .arg(self.server.ready("token"))
            .arg(self.file())
            .args(more);
        self.expect_whole(&output(command)).await;
    }

    /// The file of the upload at this address is what was to be uploaded.
    async fn expect_whole(&self, upload: &str) {
        let api = Api::new(self.edge()).with_token(self.server.ready("token"));
        let path = upload.strip_prefix(self.edge()).unwrap_or(upload);
        let file = api.get(&path.replace("/uploads/", "/files/")).await;
        file.expect_status(200);
        assert_eq!(random::digest(&file.body), random::digest(&self.content), "{upload}");
    }
}

/// Something in the folder of the tests.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The Python that tuspy is installed for: `OUTPORT_TUSPY`, else where it is put by default.
fn python() -> PathBuf {
    let default = || folder("../target/outport/tools/tuspy/bin/python");
    std::env::var_os("OUTPORT_TUSPY").map_or_else(default, PathBuf::from)
}

fn output(mut command: Command) -> String {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

async fn tus_js_client_broken_off_and_gone_on_with() {
    Stage::new().upload(Path::new("node"), "tus-js/upload.mjs", &["3", CHUNK]).await;
}

async fn tus_js_client_with_three_uploads_at_once() {
    Stage::new().upload(Path::new("node"), "tus-js/parallel.mjs", &["3"]).await;
}

async fn tus_js_client_with_a_length_that_comes_last() {
    Stage::new().upload(Path::new("node"), "tus-js/deferred.mjs", &[CHUNK]).await;
}

async fn tuspy_with_checksums_in_two_runs() {
    Stage::new().upload(&python(), "tuspy/upload.py", &[CHUNK]).await;
}

async fn curl_step_by_step() {
    let stage = Stage::new();
    let length = format!("Upload-Length: {}", stage.content.len());
    let head = curl(&stage, &["--request", "POST", "--header", &length], &stage.endpoint());
    let upload = format!("{}{}", stage.edge(), field(&head, "location"));
    assert_eq!(field(&head, "upload-offset"), "0");

    let append = |offset: usize, body: &Path, method: &[&str]| {
        let body = format!("@{}", body.display());
        let offset = format!("Upload-Offset: {offset}");
        let kind = "Content-Type: application/offset+octet-stream";
        let fields = ["--header", &offset, "--header", kind, "--data-binary", &body];
        curl(&stage, &[method, &fields].concat(), &upload)
    };
    let (first, rest) = stage.content.split_at(2 * MIB);
    for (name, part) in [("first", first), ("rest", rest)] {
        std::fs::write(stage.data.path().join(name), part).expect("it can be written to");
    }
    append(0, &stage.data.path().join("first"), &["--request", "PATCH"]);
    let shown = curl(&stage, &["--head"], &upload);
    assert_eq!(field(&shown, "upload-offset"), first.len().to_string());
    let as_patch = ["--header", "X-HTTP-Method-Override: PATCH"];
    let head = append(first.len(), &stage.data.path().join("rest"), &as_patch);
    assert_eq!(field(&head, "upload-offset"), stage.content.len().to_string());
    stage.expect_whole(&upload).await;
}

/// Runs curl on an address; returns the head of the answer.
fn curl(stage: &Stage, args: &[&str], url: &str) -> String {
    let token = format!("Authorization: Bearer {}", stage.server.ready("token"));
    let mut command = Command::new("curl");
    command
        .args(["--fail", "--silent", "--show-error", "--include", "--header", &token])
        .args(["--header", "Tus-Resumable: 1.0.0"])
        .args(args)
        .arg(url);
    output(command)
}

/// A field's value in a head.
fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("there is no {name} in {head}")).1.trim()
}
