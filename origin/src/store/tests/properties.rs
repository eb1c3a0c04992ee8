//! What holds of every history of appends to one upload.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;

/// One append.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// How many bytes it has.
    bytes: usize,
    /// How many successful appends ago it looked at the upload.
    behind: usize,
    /// Whether somebody asks for the offset between its look and its bytes, and so shuts it out.
    interrupted: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![Just(0), 1..2_000_usize, 3_000..9_000_usize];
    let step = (sizes, 0..3_usize, prop::bool::weighted(0.2))
        .prop_map(|(bytes, behind, interrupted)| Step { bytes, behind, interrupted });
    prop::collection::vec(step, 1..12)
}

/// Carries the steps out, and holds the upload to a model that is a row of bytes.
async fn carry_out(steps: &[Step]) {
    let scene = Scene::new();
    let opening = Opening::default();
    let first = scene.store.begin(&alice(), description(), opening).await.unwrap();
    let (mut seen, mut model) = (vec![first.clone()], Vec::new());
    for (number, step) in steps.iter().enumerate() {
        let place = seen.len() - 1 - step.behind.min(seen.len() - 1);
        let body = vec![number as u8 + 1; step.bytes];
        let looked = seen[place].clone();
        if step.interrupted {
            let held = scene.store.interrupt(first.id).await.unwrap().unwrap();
            *seen.last_mut().unwrap() = held;
        }
        let now = &seen.last().unwrap().record;
        let is_current = (looked.record.offset(), looked.record.epoch) == (now.offset(), now.epoch);
        let appended = scene.store.append(looked, &mut intake(&body), Completes::Not).await;
        match appended {
            Ok(held) => {
                assert!(is_current || body.is_empty(), "a late append was taken: {step:?}");
                if is_current {
                    model.extend_from_slice(&body);
                    seen.push(held);
                }
            }
            Err(error) => assert!(!is_current, "{step:?}: {error}"),
        }
        assert_eq!(scene.offset(&first).await, model.len());
    }
    assert!(scene.content(&first).await == model, "the bytes are those of the winners, in order");
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]

    #[test]
    fn an_upload_is_what_was_acknowledged(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(carry_out(&steps));
    }
}
