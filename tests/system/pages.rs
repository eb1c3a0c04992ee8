//! Pages that are composed at the edge, of what several servers give.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::upstream::Upstream;
use outport_tests::{check, metrics};
use tokio::task::JoinSet;

use crate::backend::{Answering, Backend, CACHED, Death, Framing};

/// How many ask for one page at once.
const READERS: usize = 200;
const HTML: &str = "content-type: text/html\r\ncache-control: max-age=600\r\n";

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(a_page_is_sent_while_its_parts_are_fetched),
        check!(what_is_attempted_is_whole_or_not_there),
        check!(many_readers_of_a_page_fetch_each_part_once),
        check!(a_page_is_encoded_for_who_takes_it),
        check!(parts_are_told_who_asks),
    ]
}

/// An edge with these servers, each behind the path of its name; that of `page` gives templates.
struct Parts {
    _data: Data,
    edge: Running,
    _origin: Running,
    servers: BTreeMap<&'static str, Backend>,
    api: Api,
}

fn giving(fields: &'static str, content: &str) -> Answering {
    Answering {
        fields,
        content: Arc::new(content.as_bytes().to_vec()),
        framing: Framing::Chunked,
        delay: Duration::ZERO,
        stops_after: None,
        death: Death::Reset,
    }
}

async fn start(given: Vec<(&'static str, Answering)>, more: &str) -> Parts {
    let mut servers = BTreeMap::new();
    let mut config = more.to_owned();
    for (name, answering) in given {
        let server = Backend::start(answering).await;
        let esi = if name == "page" { "esi = true\ncompress = true\n" } else { "" };
        config += &server.route().replace("/r/", &format!("/{name}/"));
        config += esi;
        servers.insert(name, server);
    }
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let config = data.config(&config);
    let config = config.to_str().expect("the path is text");
    let edge = Running::edge(&data, origin.ready("origin"), &["--config", config]);
    let api = Api::new(edge.ready("edge"));
    Parts { _data: data, edge, _origin: origin, servers, api }
}

impl Parts {
    async fn page(&self) -> String {
        let answer = self.api.get("/page/a").await;
        answer.expect_status(200);
        String::from_utf8(answer.body.to_vec()).expect("it is text")
    }

    async fn fragments(&self, outcome: &str) -> u64 {
        let label = format!("outcome=\"{outcome}\"");
        metrics::sum(self.edge.ready("edge_metrics"), "outport_edge_fragments_total", &label).await
    }
}

async fn a_page_is_sent_while_its_parts_are_fetched() {
    let template = "<p>before <esi:include src=\"/slow/b\" onerror=\"continue\"/> between \
                    <esi:include src=\"/quick/c\"/> after</p>";
    let silent = Answering { stops_after: Some(0), ..giving("", "") };
    let given = vec![
        ("page", giving(HTML, template)),
        ("quick", giving(CACHED, "quick")),
        ("slow", silent),
    ];
    let mut parts = start(given, "").await;
    let mut page = reqwest::get(parts.api.url("/page/a")).await.expect("the edge answers");
    let mut read = String::new();
    let more = |chunk: Option<bytes::Bytes>| {
        String::from_utf8(chunk.expect("it goes on").to_vec()).expect("it is text")
    };
    while read.len() < "<p>before ".len() {
        read += &more(page.chunk().await.expect("it is whole"));
    }
    // What is before the part is there, and the other part is fetched, while that says nothing.
    assert_eq!(read, "<p>before ");
    let slow = parts.servers.remove("slow").expect("it was started");
    slow.has_stopped().await;
    while parts.servers["quick"].requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slow.kill().await;
    read += &page.text().await.expect("it is whole");
    assert_eq!(read, "<p>before  between quick after</p>");
    assert_eq!(parts.page().await, read);
    assert_eq!(parts.servers["quick"].requests(), 1);
    assert_eq!(parts.servers["page"].requests(), 1);
}

async fn what_is_attempted_is_whole_or_not_there() {
    let template = "a<esi:try><esi:attempt>[<esi:include src=\"/quick/b\"/>\
                    <esi:include src=\"/cut/c\"/>]</esi:attempt>\
                    <esi:except>(<esi:include src=\"/quick/d\"/>)</esi:except></esi:try>e";
    let cut = Answering { stops_after: Some(3), ..giving("", "cut off") };
    let given =
        vec![("page", giving(HTML, template)), ("quick", giving(CACHED, "quick")), ("cut", cut)];
    let mut parts = start(given, "").await;
    let api = parts.api.clone();
    let page = tokio::spawn(async move { api.get("/page/a").await });
    let cut = parts.servers.remove("cut").expect("it was started");
    cut.has_stopped().await;
    cut.kill().await;
    let page = page.await.expect("it is answered");
    page.expect_status(200);
    assert_eq!(page.body, "a(quick)e");
    // Outside of an attempt, what has begun and breaks off is not hidden.
    let template = "a<esi:include src=\"/cut/c\" onerror=\"continue\"/>e";
    let cut = Answering { stops_after: Some(3), ..giving("", "cut off") };
    let mut parts = start(vec![("page", giving(HTML, template)), ("cut", cut)], "").await;
    let page = reqwest::get(parts.api.url("/page/a")).await.expect("the edge answers");
    let cut = parts.servers.remove("cut").expect("it was started");
    cut.has_stopped().await;
    cut.kill().await;
    page.bytes().await.expect_err("it breaks off");
}

async fn many_readers_of_a_page_fetch_each_part_once() {
    let template = "<esi:include src=\"/one/b\"/><esi:include src=\"/two/c\"/>".repeat(20);
    let delay = Duration::from_millis(200);
    let given = vec![
        ("page", giving(HTML, &template)),
        ("one", Answering { delay, ..giving(CACHED, "1") }),
        ("two", Answering { delay, ..giving(CACHED, "2") }),
    ];
    let parts = start(given, "").await;
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let api = parts.api.clone();
        readers.spawn(async move { api.get("/page/a").await });
    }
    let expected = "12".repeat(20);
    while let Some(answer) = readers.join_next().await {
        let answer = answer.expect("it is answered");
        answer.expect_status(200);
        assert_eq!(answer.body, expected);
    }
    let asked: Vec<_> = parts.servers.values().map(Backend::requests).collect();
    assert_eq!(asked, [1, 1, 1]);
    let fragments = parts.fragments("cache").await + parts.fragments("origin").await;
    assert_eq!(fragments, 40 * READERS as u64);
}

async fn a_page_is_encoded_for_who_takes_it() {
    let part: String = (0..5_000).map(|line| format!("<p>line {line} of a part\n")).collect();
    let template = "<main><esi:include src=\"/part/b\"/></main>".repeat(3);
    let given = vec![("page", giving(HTML, &template)), ("part", giving(CACHED, &part))];
    let parts = start(given, "").await;
    let page = parts.page().await;
    assert_eq!(page, format!("<main>{part}</main>").repeat(3));
    for coding in ["zstd", "br", "gzip"] {
        let answer = parts.api.get_with("/page/a", &[("accept-encoding", coding)]).await;
        assert_eq!(answer.field("content-encoding"), coding);
        assert!(answer.body.len() < page.len() / 5, "{coding}, {} bytes", answer.body.len());
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--compressed", "--header"]);
        curl.arg(format!("accept-encoding: {coding}")).arg(parts.api.url("/page/a").as_str());
        let read = curl.output().expect("curl runs");
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        assert!(read.stdout == page.as_bytes(), "{coding}, {} bytes", read.stdout.len());
    }
}

async fn parts_are_told_who_asks() {
    let template = "<esi:vars>$(CLAIM{subject}|nobody)</esi:vars>\
                    <esi:include src=\"/echo/b?for=$(CLAIM{subject})\" onerror=\"continue\"/>";
    let upstream = Upstream::start().await;
    let page = Backend::start(giving(HTML, template)).await;
    let auth = |auth| format!("auth = \"{auth}\"");
    let config = format!(
        "{}esi = true\n[[routes]]\npath = \"/echo/{{*rest}}\"\nproxy = \"{}\"\n\
         auth = \"required\"\nclaims = [\"subject\", \"tenant\"]\n",
        page.route().replace("/r/", "/page/").replace(&auth("none"), &auth("optional")),
        upstream.url
    );
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let config = data.config(&config);
    let config = config.to_str().expect("the path is text");
    let edge = Running::edge(&data, origin.ready("origin"), &["--config", config]);
    let api = Api::new(edge.ready("edge"));
    let forged = [("outport-subject", "mallory"), ("cookie", "a=b")];
    let nobody = api.get_with("/page/a", &forged).await;
    assert_eq!(nobody.body, "nobody");
    assert_eq!(upstream.seen().len(), 0);
    let alice = api.with_token(&data.token("demo", "alice", "read", "1h"));
    let page = alice.get_with("/page/a", &forged).await;
    let text = String::from_utf8(page.body.to_vec()).expect("it is text");
    let echoed: serde_json::Value =
        serde_json::from_str(text.strip_prefix("alice").expect("it is hers")).expect("it is JSON");
    let seen = upstream.seen();
    assert_eq!(seen, std::slice::from_ref(&echoed));
    assert_eq!(echoed["fields"]["outport-subject"], "alice", "{echoed}");
    assert_eq!(echoed["fields"]["outport-tenant"], "demo");
    assert_eq!(echoed["fields"]["cookie"], "a=b");
    assert_eq!(echoed["fields"]["accept-encoding"], serde_json::Value::Null);
    assert!(echoed["line"].as_str().is_some_and(|line| line.contains("/echo/b?for=alice")));
}
