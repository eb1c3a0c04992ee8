//! What an edge does that has too much to do: the least important goes first.

use std::time::Duration;

use outport_tests::api::{Answer, Api};
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, metrics, scripted};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Eight requests may wait, of which six anonymous ones.
const ANONYMOUS_MAX: usize = 6;
/// How long what is begun, or given up, may take to be counted.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(who_is_signed_in_is_served_while_the_anonymous_are_refused),
        check!(a_forged_token_is_no_ticket),
        check!(who_does_some_work_goes_before_the_others),
        check!(a_connection_is_refused_once_a_second),
        check!(one_network_leaves_connections_to_others),
    ]
}

struct Loaded {
    data: Data,
    server: Running,
    /// Requests whose answers never come.
    hanging: Vec<TcpStream>,
}

impl Loaded {
    async fn start() -> Self {
        let data = Data::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let upstream = listener.local_addr().expect("it listens");
        tokio::spawn(scripted::serve(listener));
        let config = format!(
            "[overload]\ndelay_ms_max = 0\nrequests_max = 8\n\n[firewall]\nchallenge_bits = 8\n\n\
             [[routes]]\npath = \"/slow\"\nproxy = \"http://{upstream}\"\nauth = \"none\"\n"
        );
        let config = data.config(&config);
        let config = config.to_str().expect("the path is text");
        let server = Running::serve(&data, &["--config", config]);
        Self { data, server, hanging: Vec::new() }
    }

    fn api(&self) -> Api {
        let token = self.data.token("demo", "alice", "read write", "1h");
        Api::new(self.server.ready("edge")).with_token(&token)
    }

    /// As many anonymous requests as may wait.
    async fn fill(&mut self) {
        let authority = self.api().authority();
        for _ in 0..ANONYMOUS_MAX {
            let mut stream = TcpStream::connect(&authority).await.expect("the edge takes it");
            let head =
                format!("GET /slow HTTP/1.1\r\nhost: {authority}\r\nx-script: silence\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("the edge takes it");
            self.hanging.push(stream);
        }
        self.until("outport_edge_requests_waiting", ANONYMOUS_MAX as u64).await;
    }

    async fn counted(&self, name: &str, label: &str) -> u64 {
        metrics::sum(self.server.ready("edge_metrics"), name, label).await
    }

    async fn until(&self, name: &str, value: u64) {
        let reached = async {
            while self.counted(name, "").await != value {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.unwrap_or_else(|_| panic!("{name} does not become {value}"));
    }

    async fn shed(&self, priority: &str) -> u64 {
        self.counted("outport_edge_shed_total", &format!("priority=\"{priority}\"")).await
    }
}

fn expect_shed(answer: &Answer) {
    answer.expect_problem(503, "overloaded");
    let wait = answer.number("retry-after");
    assert!((1..=4).contains(&wait), "{answer:?}");
}

async fn who_is_signed_in_is_served_while_the_anonymous_are_refused() {
    let mut loaded = Loaded::start().await;
    let api = loaded.api();
    let public = api.upload("visibility=public", "text/plain", "for all").await;
    let private = api.upload("name=a.txt", "text/plain", "mine").await;
    api.anonymous().get(&public.path()).await.expect_status(200);

    loaded.fill().await;
    for nobody in [api.anonymous(), api.anonymous().by_http_2()] {
        expect_shed(&nobody.get(&public.path()).await);
        nobody.get("/healthz").await.expect_status(200);
    }
    // What is not read of a body does not keep the answer from coming.
    let posted = api.anonymous().send(reqwest::Method::POST, "/slow", &[], vec![0; 1 << 20]).await;
    expect_shed(&posted);
    assert_eq!(api.get(&private.path()).await.body, "mine");
    api.get(&public.path()).await.expect_status(200);
    api.get("/files").await.expect_status(200);
    api.upload("name=b.txt", "text/plain", "more").await;
    assert_eq!(loaded.shed("anonymous").await, 3);
    for served in ["health", "caller", "list"] {
        assert_eq!(loaded.shed(served).await, 0, "{served}");
    }

    loaded.hanging.clear();
    loaded.until("outport_edge_requests_waiting", 0).await;
    api.anonymous().get(&public.path()).await.expect_status(200);
}

async fn who_does_some_work_goes_before_the_others() {
    let mut loaded = Loaded::start().await;
    let file = loaded.api().upload("visibility=public", "text/plain", "for all").await;
    let anonymous = loaded.api().anonymous();
    loaded.fill().await;
    let refused = anonymous.get(&file.path()).await;
    expect_shed(&refused);
    let asked = refused.json();
    let proof = outport_tests::proof::solve(&asked);
    let served = anonymous.get_with(&file.path(), &[("outport-proof", &proof)]).await;
    served.expect_status(200);
    assert_eq!(served.body, "for all");
    let none = [("outport-proof", "AAAA.1")];
    expect_shed(&anonymous.get_with(&file.path(), &none).await);
    // A browser is given the page that does it.
    let page = anonymous.get_with(&file.path(), &[("accept", "text/html")]).await;
    page.expect_status(503);
    assert_eq!(page.field("content-type"), "text/html; charset=utf-8");
    assert!((1..=4).contains(&page.number("retry-after")), "{page:?}");
}

async fn a_forged_token_is_no_ticket() {
    let mut loaded = Loaded::start().await;
    let api = loaded.api();
    let file = api.upload("name=a.txt", "text/plain", "mine").await;
    loaded.fill().await;
    let mut statuses = Vec::new();
    for number in 0..400 {
        let forged = api.with_token(&format!("{}{number}", api.token()));
        statuses.push(forged.get(&file.path()).await.status);
    }
    assert!(statuses.iter().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
    assert!(statuses.contains(&401) && statuses.contains(&503), "{statuses:?}");
    // Who was known before is served all the same, and so is somebody new.
    assert_eq!(api.get(&file.path()).await.body, "mine");
}

async fn a_connection_is_refused_once_a_second() {
    let mut loaded = Loaded::start().await;
    loaded.fill().await;
    let authority = loaded.api().authority();
    let head = format!("GET /files HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    let begun = std::time::Instant::now();
    let mut stream = TcpStream::connect(&authority).await.expect("the edge takes it");
    stream.write_all(head.repeat(50).as_bytes()).await.expect("the edge takes it");
    loaded.until("outport_edge_shed_total", 2).await;
    let shed = loaded.shed("anonymous").await;
    let seconds = begun.elapsed().as_secs();
    assert!(shed <= seconds + 1, "{shed} in {seconds} s");
}

async fn one_network_leaves_connections_to_others() {
    const CONFIG: &str = "[overload]\nnetwork_connections_max = 3\n";
    let data = Data::new();
    let config = data.config(CONFIG);
    let config = config.to_str().expect("the path is text");
    let server = Running::edge(&data, "http://127.0.0.1:1", &["--config", config]);
    let loaded = Loaded { data, server, hanging: Vec::new() };
    let authority = loaded.api().authority();
    let connect = async || TcpStream::connect(&authority).await.expect("the system takes it");
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut stream = connect().await;
        stream.write_all(b"GET /healthz HT").await.expect("the edge takes it");
        slow.push(stream);
    }
    loaded.until("outport_edge_connections", 3).await;
    let mut another = connect().await;
    let read = tokio::time::timeout(PATIENCE, another.read(&mut [0])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    assert_eq!(loaded.counted("outport_edge_connections_refused_total", "").await, 1);
    // The next place that is free is for whoever comes.
    slow.truncate(2);
    loaded.until("outport_edge_connections", 2).await;
    loaded.api().get("/healthz").await.expect_status(200);
    // And those that are slow are served in the end.
    for mut stream in slow {
        let rest = format!("TP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
        stream.write_all(rest.as_bytes()).await.expect("the edge takes it");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("there is an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}
