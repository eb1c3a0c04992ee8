//! What a configuration changes: routes to other servers, other web origins, the edge's own
//! address, and who gets a guest's token.

use outport_tests::api::{Answer, Api};
use outport_tests::check;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::upstream::Upstream;
use reqwest::Method;
use serde_json::json;

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(a_route_passes_everything_through),
        check!(a_route_asks_for_a_token),
        check!(a_route_whose_server_is_down),
        check!(a_proxy_in_front_is_believed_if_it_is_trusted),
        check!(other_web_origins),
        check!(an_address_of_its_own),
        check!(a_host_for_files),
        check!(a_guest_on_this_machine),
        check!(no_guests_unless_asked_for),
    ]
}

struct Configured {
    server: Running,
    /// Ends after the server that uses it.
    _data: Data,
}

fn start(config: &str) -> Configured {
    let data = Data::new();
    let config = data.config(config);
    let server = Running::serve(&data, &["--config", config.to_str().expect("the path is text")]);
    Configured { server, _data: data }
}

impl Configured {
    fn api(&self) -> Api {
        Api::new(self.server.ready("edge")).with_token(self.server.ready("token"))
    }
}

async fn a_route_passes_everything_through() {
    let upstream = Upstream::start().await;
    let url = &upstream.url;
    let configured = start(&format!(
        "[[routes]]\npath = \"/{{*rest}}\"\nproxy = \"{url}/base\"\nauth = \"none\"\nlimit = \"none\"\n"
    ));
    let nobody = configured.api().anonymous();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let fields = [
            ("x-custom", "a"),
            ("authorization", "Basic abc"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
        ];
        let answer = nobody.send(method.clone(), "/legacy/a%20b?q=1", &fields, "content").await;
        answer.expect_status(201);
        assert_eq!(answer.field("x-upstream"), "yes");
        let seen = answer.json();
        assert_eq!(seen["line"], format!("{method} /base/legacy/a%20b?q=1 HTTP/1.1"));
        assert_eq!(seen["fields"]["x-custom"], "a");
        assert_eq!(seen["fields"]["authorization"], "Basic abc");
        assert!(
            seen["fields"]["x-hop"].is_null() && seen["fields"]["signature"].is_null(),
            "{seen}"
        );
        assert_eq!(seen["body"], if method == "GET" { "" } else { "content" });
    }
    // Outport's own routes come first.
    nobody.get("/healthz").await.expect_status(200);
    nobody.get("/files").await.expect_problem(401, "token-missing");
    assert!(nobody.get("/").await.field("content-type").starts_with("text/html"));
}

async fn a_proxy_in_front_is_believed_if_it_is_trusted() {
    let upstream = Upstream::start().await;
    let route =
        format!("[[routes]]\npath = \"/a\"\nproxy = \"{}\"\nauth = \"none\"\n", upstream.url);
    let said = [
        ("x-forwarded-for", "9.9.9.9, 8.8.8.8, 127.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "files.example"),
    ];
    for (trusted, expected) in [
        ("[\"127.0.0.0/8\"]", ["8.8.8.8", "https", "files.example"]),
        ("[]", ["127.0.0.1", "http", ""]),
    ] {
        let configured = start(&format!("[edge]\ntrusted_proxies = {trusted}\n{route}"));
        let nobody = configured.api().anonymous();
        let answer = nobody.get_with("/a", &said).await;
        answer.expect_status(201);
        let seen = answer.json();
        let own = nobody.authority();
        for (name, expected) in ["for", "proto", "host"].iter().zip(expected) {
            let expected = if expected.is_empty() { own.as_str() } else { expected };
            let found = seen["fields"][format!("x-forwarded-{name}")].as_str();
            assert_eq!(found, Some(expected), "{trusted}: {seen}");
        }
    }
}

async fn a_route_asks_for_a_token() {
    let upstream = Upstream::start().await;
    let url = &upstream.url;
    let configured = start(&format!(
        "[[routes]]\npath = \"/required\"\nproxy = \"{url}\"\n\
         [[routes]]\npath = \"/optional\"\nproxy = \"{url}\"\nauth = \"optional\"\n"
    ));
    let (owner, nobody) = (configured.api(), configured.api().anonymous());
    let stranger = nobody.with_token(&Data::new().token("demo", "demo", "read", "1h"));
    for (path, callers) in [
        ("/required", [(&owner, 201), (&nobody, 401), (&stranger, 401)]),
        ("/optional", [(&owner, 201), (&nobody, 201), (&stranger, 401)]),
    ] {
        for (caller, status) in callers {
            let answer = caller.get(path).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
        }
    }
    nobody.get("/elsewhere").await.expect_problem(404, "not-found");
}

async fn a_route_whose_server_is_down() {
    // Nobody listens on port 1.
    let configured =
        start("[[routes]]\npath = \"/down\"\nproxy = \"http://127.0.0.1:1\"\nauth = \"none\"\n");
    let answer = configured.api().anonymous().get("/down").await;
    answer.expect_problem(502, "origin-unreachable");
}

async fn other_web_origins() {
    let configured = start("[cors]\norigins = [\"https://app.example.com\"]\n");
    let api = configured.api();
    let preflight = async |origin: &str| {
        let fields = [
            ("origin", origin),
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "authorization, tus-resumable, upload-offset"),
        ];
        api.anonymous().send(Method::OPTIONS, "/uploads", &fields, "").await
    };
    let allowed = preflight("https://app.example.com").await;
    assert!(matches!(allowed.status, 200 | 204), "{allowed:?}");
    assert_eq!(allowed.field("access-control-allow-origin"), "https://app.example.com");
    assert!(allowed.field("access-control-allow-methods").contains("PATCH"), "{allowed:?}");
    for field in ["authorization", "tus-resumable", "upload-offset", "upload-metadata"] {
        assert!(allowed.field("access-control-allow-headers").contains(field), "{allowed:?}");
    }
    expect_no_access(&preflight("https://evil.example.com").await);

    let listed = api.get_with("/files", &[("origin", "https://app.example.com")]).await;
    assert_eq!(listed.field("access-control-allow-origin"), "https://app.example.com");
    assert!(listed.field("access-control-expose-headers").contains("location"), "{listed:?}");
    expect_no_access(&api.get_with("/files", &[("origin", "https://evil.example.com")]).await);
    // A page elsewhere has no business with guests' tokens, whatever the configuration.
    let fields = [("origin", "https://app.example.com")];
    let session = api.anonymous().send(Method::POST, "/session", &fields, "").await;
    session.expect_problem(404, "not-found");
    expect_no_access(&session);
}

async fn an_address_of_its_own() {
    let configured = start("[edge]\npublic_base_url = \"https://files.example.com\"\n");
    let answer = outport_tests::tus::ask(&configured.api(), "0", "").await;
    answer.expect_status(201);
    let location = answer.field("location");
    assert!(location.starts_with("https://files.example.com/uploads/"), "{location}");
}

async fn a_host_for_files() {
    let configured = start("[edge]\ncontent_base_url = \"http://content.example\"\n");
    let api = configured.api();
    let file = api.upload("name=a.txt", "text/plain", "hello").await;
    let saved = api.get(&file.path()).await;
    assert!(saved.field("content-disposition").starts_with("attachment"), "{saved:?}");
    let made = api.json(Method::POST, &format!("{}/links", file.path()), &json!({})).await;
    made.expect_status(201);
    let link = made.json()["url"].as_str().expect("it is text").to_owned();
    let path = link.strip_prefix("http://content.example").expect("it is of that host");
    let there = [("host", "content.example")];
    let shown = api.anonymous().get_with(path, &there).await;
    shown.expect_status(200);
    assert_eq!(shown.body, "hello");
    assert!(shown.field("content-disposition").starts_with("inline"), "{shown:?}");
    for path in ["/", "/files", "/uploads", "/session"] {
        api.get_with(path, &there).await.expect_problem(404, "not-found");
    }
    api.get_with("/healthz", &there).await.expect_status(200);
}

async fn a_guest_on_this_machine() {
    let configured = start("");
    let nobody = configured.api().anonymous();
    let guest = nobody.send(Method::POST, "/session", &[], "").await;
    guest.expect_status(200);
    assert!(guest.field("cache-control").contains("no-store"), "{guest:?}");
    let token = guest.json()["token"].as_str().expect("it has a token").to_owned();
    nobody.with_token(&token).get("/files").await.expect_status(200);
    for fields in [
        [("origin", "https://evil.example.com"), ("x-a", "b")],
        [("host", "evil.example.com"), ("origin", "http://evil.example.com")],
        [("host", "evil.example.com"), ("x-a", "b")],
        [("sec-fetch-site", "cross-site"), ("x-a", "b")],
    ] {
        let answer = nobody.send(Method::POST, "/session", &fields, "").await;
        answer.expect_problem(404, "not-found");
    }
}

async fn no_guests_unless_asked_for() {
    let off = start("[session]\ndemo = false\n");
    let answer = off.api().anonymous().send(Method::POST, "/session", &[], "").await;
    answer.expect_problem(404, "not-found");
    let data = Data::new();
    let edge = Running::edge(&data, "http://127.0.0.1:1", &[]);
    let answer = Api::new(edge.ready("edge")).send(Method::POST, "/session", &[], "").await;
    answer.expect_problem(404, "not-found");
}

#[track_caller]
fn expect_no_access(answer: &Answer) {
    assert_eq!(answer.field_if_any("access-control-allow-origin"), None, "{answer:?}");
}
