//! The operator's door.

use outport_origin::AdminDoor;

use crate::support::Running;

#[tokio::test(flavor = "multi_thread")]
async fn takes_the_token_of_the_folder_and_no_other() {
    let origin = Running::start().await;
    let door = AdminDoor::find(origin.folder.path()).unwrap().unwrap();
    assert_eq!(door.address, origin.metrics);
    let operator = origin.operator();
    let answer = operator.send_unsigned("GET", "/admin", &[], "").await.expect(401);
    assert_eq!(answer.problem(), (401, "token-missing".into()));
    for (token, status) in [("Bearer x".into(), 401), (format!("Bearer {}", door.token()), 200)] {
        let fields = [("authorization", token.as_str())];
        operator.send_unsigned("GET", "/admin", &fields, "").await.expect(status);
        operator.send_unsigned("GET", "/admin/x", &fields, "").await.expect(match status {
            200 => 404,
            status => status,
        });
    }
    operator.send_unsigned("GET", "/metrics", &[], "").await.expect(200);
    // A public port it is not.
    let fields = [("authorization", &*format!("Bearer {}", door.token()))];
    origin.alice().send_unsigned("GET", "/admin", &fields, "").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn is_closed_after_a_stop() {
    let origin = Running::start().await;
    let folder = origin.stop().await;
    assert!(AdminDoor::find(folder.path()).unwrap().is_none());
}
