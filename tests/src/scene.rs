//! What belongs to one scenario while it runs: its random bytes, and what it asked and got.
//!
//! A scenario is one task, so what it asks at once has an order as well: that of sending.
//! Outside of scenarios nothing is recorded, and random bytes are those of the system.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use crate::random;
use crate::rename::{Names, REVISION};
use crate::transcript::{Exchange, Fields};

/// The longest text that a transcript has whole; of what is longer it has length and digest.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// The longest path that a transcript has whole.
const PATH_CHARS_MAX: usize = 300;

tokio::task_local! {
    static SCENE: Arc<Scene>;
}

/// A scenario that runs. Its random bytes depend on its name alone, so that contents are equal
/// wherever it runs.
pub struct Scene(Mutex<Notes>);

struct Notes {
    random: StdRng,
    names: Names,
    exchanges: Vec<Exchange>,
}

impl Scene {
    /// For the scenario of this name.
    pub fn new(name: &str) -> Arc<Self> {
        let random = StdRng::from_seed(Sha256::digest(name).into());
        let notes = Notes { random, names: Names::default(), exchanges: Vec::new() };
        Arc::new(Self(Mutex::new(notes)))
    }

    /// Runs the scenario in it.
    pub fn run<F: Future>(self: &Arc<Self>, scenario: F) -> impl Future<Output = F::Output> {
        SCENE.scope(Arc::clone(self), scenario)
    }

    /// What was asked, renamed.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let Notes { names, exchanges, .. } = &mut *self.notes();
        exchanges.iter().map(|exchange| renamed(exchange, names)).collect()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn renamed(exchange: &Exchange, names: &mut Names) -> Exchange {
    let Exchange { method, path, status, fields, body } = exchange;
    let (method, path) = (names.text(method), names.text(path));
    let mut fields = fields.clone();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let renamed = names.text(body);
    for (name, value) in &mut fields {
        *value = match name.as_str() {
            // As long as the number.
            "content-length" if renamed.contains(REVISION) => "{length}".to_owned(),
            _ => names.field(name, value),
        };
    }
    Exchange { method, path, status: *status, fields, body: renamed }
}

fn current() -> Option<Arc<Scene>> {
    SCENE.try_with(Arc::clone).ok()
}

/// Fills with random bytes: the scenario's own where there is one.
pub(crate) fn fill(bytes: &mut [u8]) {
    match current() {
        Some(scene) => scene.notes().random.fill_bytes(bytes),
        None => rand::rng().fill_bytes(bytes),
    }
}

/// Lets the transcript know of a random word.
pub(crate) fn word(word: &str) {
    if let Some(scene) = current() {
        scene.notes().names.word(word);
    }
}

/// A request that was sent, and is not answered yet.
pub(crate) struct Asked(Option<(Arc<Scene>, usize)>);

/// Takes down a request; what it is answered with goes to the result.
pub(crate) fn ask(authority: &str, method: &str, path: &str) -> Asked {
    Asked(current().map(|scene| {
        let mut notes = scene.notes();
        notes.names.edge(authority);
        notes.exchanges.push(exchange(method, bounded(path), String::new()));
        let number = notes.exchanges.len() - 1;
        drop(notes);
        (scene, number)
    }))
}

impl Asked {
    /// Takes down the answer.
    pub(crate) fn answered(self, status: u16, fields: Fields, body: &[u8]) {
        let Some((scene, number)) = self.0 else { return };
        let asked = &mut scene.notes().exchanges[number];
        (asked.status, asked.fields, asked.body) = (Some(status), fields, shown(body));
    }
}

/// For what is answered in an order, or by contents, that is up to the machine, for the reason
/// given: the transcript has the statuses alone, in their own order.
pub async fn unordered<T>(why: &'static str, asked: impl Future<Output = T>) -> T {
    replaced("unordered", why, asked, |exchanges| {
        let status = |asked: &Exchange| asked.status.map_or("none".to_owned(), |s| s.to_string());
        let mut statuses: Vec<_> = exchanges.iter().map(status).collect();
        statuses.sort();
        statuses.join(" ")
    })
    .await
}

/// For what may be answered in more than one way, for the reason given: the transcript has the
/// reason alone.
pub async fn unrecorded<T>(why: &'static str, asked: impl Future<Output = T>) -> T {
    replaced("unrecorded", why, asked, |_| String::new()).await
}

/// Replaces what is asked meanwhile by one line.
async fn replaced<T>(
    how: &str,
    why: &str,
    asked: impl Future<Output = T>,
    body: impl FnOnce(&[Exchange]) -> String,
) -> T {
    let Some(scene) = current() else { return asked.await };
    let begun = scene.notes().exchanges.len();
    let output = asked.await;
    let exchanges = &mut scene.notes().exchanges;
    let body = body(&exchanges[begun..]);
    exchanges.truncate(begun);
    exchanges.push(exchange(how, why.to_owned(), body));
    output
}

fn exchange(method: &str, path: String, body: String) -> Exchange {
    Exchange { method: method.to_owned(), path, status: None, fields: Vec::new(), body }
}

fn bounded(path: &str) -> String {
    match path.chars().count() {
        count if count <= PATH_CHARS_MAX => path.to_owned(),
        count => {
            let beginning: String = path.chars().take(PATH_CHARS_MAX).collect();
            format!("{beginning}{{of {count} characters}}")
        }
    }
}

fn shown(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok(text) if body.len() <= TEXT_BYTES_MAX => text.to_owned(),
        _ => format!("{{{} bytes, sha256 {}}}", body.len(), random::digest(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(name: &str, scenario: impl Future<Output = T>) -> (T, Vec<Exchange>) {
        let scene = Scene::new(name);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let output = runtime.block_on(scene.run(scenario));
        (output, scene.exchanges())
    }

    async fn ask_and_answer(path: &str, status: u16, body: &[u8]) {
        let asked = ask("edge:1", "GET", path);
        tokio::task::yield_now().await;
        asked.answered(status, vec![("x".to_owned(), "edge:1".to_owned())], body);
    }

    #[test]
    fn random_bytes_are_the_scenarios_own() {
        let draw = || async { (random::bytes(8), random::bytes(8)) };
        let ((a, b), _) = run("one", draw());
        assert_ne!(a, b);
        assert_eq!(run("one", draw()).0, (a.clone(), b));
        assert_ne!(run("other", draw()).0.0, a);
    }

    #[test]
    fn what_is_asked_at_once_is_in_the_order_of_sending() {
        let (_, exchanges) = run("one", async {
            tokio::join!(ask_and_answer("/b", 200, b"b"), ask_and_answer("/a", 404, &[0xff]));
            ask("edge:1", "GET", "/c");
        });
        let paths: Vec<_> = exchanges.iter().map(|exchange| exchange.path.as_str()).collect();
        assert_eq!(paths, ["/b", "/a", "/c"]);
        assert_eq!(exchanges[0].body, "b");
        assert_eq!(exchanges[0].fields, [("x".to_owned(), "{edge}".to_owned())]);
        assert!(exchanges[1].body.starts_with("{1 bytes, sha256 a8100ae6"), "{exchanges:?}");
        assert_eq!(exchanges[2].status, None);
    }

    #[test]
    fn a_race_leaves_its_statuses() {
        let (_, exchanges) = run("one", async {
            ask_and_answer("/a", 201, b"").await;
            unordered("a race", async {
                ask_and_answer("/b", 409, b"x").await;
                ask_and_answer("/b", 204, b"y").await;
            })
            .await;
            unrecorded("a cut", ask_and_answer("/b", 204, b"y")).await;
        });
        let told: Vec<_> =
            exchanges.iter().map(|told| (told.path.as_str(), told.body.as_str())).collect();
        assert_eq!(told, [("/a", ""), ("a race", "204 409"), ("a cut", "")]);
    }
}
