//! nginx in front of the edge: what of a broken upload is kept, by its two ways of passing bodies
//! on, and what becomes of interim responses. `docs/proxies.md` says the same; its configuration
//! is the one that is used here.

use std::path::Path;
use std::time::{Duration, Instant};

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, raw, tus};

use crate::nginx::{LISTEN, Nginx};

/// How long what must happen may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(50);
/// The size of the uploads, and where they break.
const LENGTH: usize = 1_000_000;
const BREAK: usize = 300_000;

/// Where the address of the edge stands in the configuration.
const EDGE: &str = "127.0.0.1:8080";
/// The line that a buffering proxy does not have.
const UNBUFFERED: &str = "proxy_request_buffering off;";
/// What nginx passes on where nobody told it to say who asks, but that it speaks HTTP/1.1.
const SILENT: &str = "upstream outport { server 127.0.0.1:8080; }
server {
    listen 80;
    location / {
        proxy_pass http://outport;
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_read_timeout 2s;
    }
}";

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(passed_on_at_once_what_arrived_before_a_break_is_kept),
        check!(kept_back_what_arrived_before_a_break_is_lost_and_nothing_else),
        check!(an_answer_comes_alone_through_a_proxy_that_says_for_whom_it_asks),
        check!(a_proxy_that_does_not_say_so_must_be_named),
    ]
}

/// nginx before an edge and its origin.
struct Proxied {
    nginx: Nginx,
    server: Running,
    /// Ends after all that use it.
    data: Data,
}

impl Proxied {
    fn start(nginx: &str, outport: &str) -> Self {
        let data = Data::new();
        let config = data.config(outport);
        let server = Running::serve(&data, &["--config", config.to_str().expect("text")]);
        let edge = server.ready("edge").trim_start_matches("http://").to_owned();
        let nginx = Nginx::start(&nginx.replace(EDGE, &edge), data.path());
        Self { nginx, server, data }
    }

    fn token(&self) -> &str {
        self.server.ready("token")
    }

    /// Through nginx.
    fn api(&self) -> Api {
        Api::new(&format!("http://{}", self.nginx.address)).with_token(self.token())
    }

    /// Waits until nginx has noted a request that ended like this.
    async fn noted(&self, status: &str) {
        let log = self.data.path().join("nginx/access.log");
        until(&format!("nginx to note {status}"), || {
            std::fs::read_to_string(&log).unwrap_or_default().contains(&format!("\" {status} "))
        })
        .await;
    }

    /// The answer to one request that makes a file, as the draft of the IETF has it.
    async fn draft(&self, authority: &str) -> String {
        let head = format!(
            "POST /files HTTP/1.1\r\nhost: files.example\r\nauthorization: Bearer {}\r\n\
             upload-draft-interop-version: 8\r\nupload-complete: ?1\r\n\
             content-type: text/plain\r\ncontent-length: 5\r\n\r\nhello",
            self.token()
        );
        raw::exchange(authority, head.as_bytes()).await.text
    }
}

/// The configuration that the documentation shows.
fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proxies.md");
    let document = std::fs::read_to_string(path).expect("it is there");
    let (_, rest) = document.split_once("```nginx\n").expect("it shows a configuration");
    let (config, _) = rest.split_once("```").expect("it ends");
    for part in [EDGE, LISTEN, UNBUFFERED] {
        assert!(config.contains(part), "it has no {part}");
    }
    config.to_owned()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| (at % 251) as u8).collect()
}

/// Begins an upload through nginx and breaks off in the midst of a PATCH.
async fn broken_off(proxied: &Proxied) -> tus::Upload {
    let upload = tus::create(&proxied.api(), LENGTH as u64, "a.bin", "private").await;
    assert!(upload.path.starts_with("/uploads/"), "{} is not relative", upload.path);
    let mut bytes = upload.raw_head(0, LENGTH as u64).into_bytes();
    bytes.extend_from_slice(&content()[..BREAK]);
    raw::send_and_cut(&proxied.nginx.address.to_string(), &bytes).await;
    // What nginx makes of a client that is gone.
    proxied.noted("400").await;
    upload
}

/// Goes on where the upload is, and compares.
async fn finish(proxied: &Proxied, upload: &tus::Upload) {
    let offset = upload.offset().await;
    let rest = content().split_off(usize::try_from(offset).expect("it is in memory"));
    upload.patch(offset, rest).await.expect_status(204);
    let file = proxied.api().get(&upload.file_path()).await;
    file.expect_status(200);
    assert!(file.body == content(), "the contents differ");
}

async fn passed_on_at_once_what_arrived_before_a_break_is_kept() {
    let proxied = Proxied::start(&documented(), "");
    let upload = broken_off(&proxied).await;
    assert_eq!(upload.offset().await, BREAK as u64);
    finish(&proxied, &upload).await;
}

async fn kept_back_what_arrived_before_a_break_is_lost_and_nothing_else() {
    let buffering = documented().replace(UNBUFFERED, "proxy_request_buffering on;");
    let proxied = Proxied::start(&buffering, "");
    let upload = broken_off(&proxied).await;
    assert_eq!(upload.offset().await, 0);
    finish(&proxied, &upload).await;
}

async fn an_answer_comes_alone_through_a_proxy_that_says_for_whom_it_asks() {
    let proxied = Proxied::start(&documented(), "");
    let edge = proxied.server.ready("edge").trim_start_matches("http://").to_owned();
    let direct = proxied.draft(&edge).await;
    assert!(direct.starts_with("HTTP/1.1 104 Upload Resumption Supported\r\n"), "{direct}");
    assert!(direct.contains("\r\n\r\nHTTP/1.1 201 Created\r\n"), "{direct}");
    let proxied = proxied.draft(&proxied.nginx.address.to_string()).await;
    assert!(proxied.starts_with("HTTP/1.1 201 Created\r\n"), "{proxied}");
}

async fn a_proxy_that_does_not_say_so_must_be_named() {
    let named = Proxied::start(SILENT, "[edge]\ntrusted_proxies = [\"127.0.0.1\"]\n");
    let answer = named.draft(&named.nginx.address.to_string()).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    // It takes the interim response for the answer, and waits for a body until its timeout.
    let unnamed = Proxied::start(SILENT, "");
    let answer = unnamed.draft(&unnamed.nginx.address.to_string()).await;
    assert!(!answer.contains("HTTP/1.1 201 "), "{answer}");
}
