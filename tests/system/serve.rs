//! `outport serve`: one command that starts both, and ends both.

use std::time::Duration;

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, process};

/// How long processes may take to end.
const END_MAX: Duration = Duration::from_secs(30);

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(what_is_acknowledged_is_there_after_a_restart),
        check!(a_signal_ends_everything),
        check!(a_killed_supervisor_takes_its_nodes_with_it),
        check!(a_killed_origin_does_not_end_the_edge),
    ]
}

async fn what_is_acknowledged_is_there_after_a_restart() {
    let data = Data::new();
    let server = Running::serve(&data, &[]);
    let token = server.ready("token").to_owned();
    let api = Api::new(server.ready("edge")).with_token(&token);
    let file = api.upload("name=a.txt", "text/plain", "kept").await;
    drop(server);
    let server = Running::serve(&data, &[]);
    let api = Api::new(server.ready("edge")).with_token(&token);
    assert_eq!(api.get(&file.path()).await.body, "kept");
}

async fn a_signal_ends_everything() {
    let data = Data::new();
    let mut server = Running::serve(&data, &[]);
    let nodes = process::children(server.id());
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    // An open connection does not hold up the end.
    let api = Api::new(server.ready("edge"));
    api.get("/healthz").await.expect_status(200);
    assert!(server.stop(), "it does not end by itself");
    expect_gone(&nodes).await;
}

async fn a_killed_supervisor_takes_its_nodes_with_it() {
    let data = Data::new();
    let server = Running::serve(&data, &[]);
    let nodes = process::children(server.id());
    server.kill();
    expect_gone(&nodes).await;
}

async fn a_killed_origin_does_not_end_the_edge() {
    let data = Data::new();
    let server = Running::serve(&data, &[]);
    let api = Api::new(server.ready("edge")).with_token(server.ready("token"));
    let file = api.upload("name=a.txt", "text/plain", "cached").await;
    api.get(&file.path()).await.expect_status(200);
    let origin = process::children(server.id())[0];
    process::kill(origin);
    expect_gone(&[origin]).await;
    assert_eq!(api.get(&file.path()).await.body, "cached");
}

async fn expect_gone(nodes: &[u32]) {
    let gone = async {
        while nodes.iter().any(|node| process::is_alive(*node)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(END_MAX, gone).await.expect("they end");
}
