//! What signed-in users do, and how they fare.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, RequestBuilder, StatusCode};

const USERS: usize = 16;
/// How long a user thinks between two requests.
const THINKS: Duration = Duration::from_millis(50);
/// How long a user waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const FILE: [u8; 4096] = [b'o'; 4096];

/// Users with a token, a private file of their own, and one that all may read.
pub(super) struct Users {
    edge: String,
    token: String,
    private: String,
    public: String,
    clients: Vec<Client>,
}

/// How their requests went.
pub(super) struct Worked {
    /// How long each took that succeeded.
    took: Vec<Duration>,
    failed: usize,
}

impl Users {
    pub(super) async fn new(edge: &str, token: &str) -> Result<Self> {
        let client = || Client::builder().timeout(PATIENCE).build();
        let clients = (0..USERS).map(|_| client()).collect::<Result<_, _>>()?;
        let (edge, token) = (edge.to_owned(), token.to_owned());
        let mut users =
            Self { edge, token, private: String::new(), public: String::new(), clients };
        users.private = users.store("private").await?;
        users.public = users.store("public").await?;
        Ok(users)
    }

    async fn store(&self, visibility: &str) -> Result<String> {
        let client = self.clients.first().context("there are users")?;
        let stored = self.upload(client, visibility).send().await?;
        ensure!(stored.status() == StatusCode::CREATED, "the upload is answered {stored:?}");
        let path = stored.headers().get(LOCATION).context("the file has no address")?;
        Ok(format!("{}{}", self.edge, path.to_str()?))
    }

    fn upload(&self, client: &Client, visibility: &str) -> RequestBuilder {
        let url = format!("{}/files?name=a.bin&visibility={visibility}", self.edge);
        let upload = client.post(url).bearer_auth(&self.token);
        upload.header(CONTENT_TYPE, "application/octet-stream").body(FILE.as_slice())
    }

    /// The address of a file that everybody may read.
    pub(super) fn public_file(&self) -> &str {
        &self.public
    }

    /// All of them work for so long.
    pub(super) async fn work(&self, time: Duration) -> Worked {
        let until = Instant::now() + time;
        let users = self.clients.iter().enumerate();
        let worked = join_all(users.map(|(place, client)| self.user(place, client, until))).await;
        let mut all = Worked { took: Vec::new(), failed: 0 };
        for Worked { took, failed } in worked {
            all.took.extend(took);
            all.failed += failed;
        }
        all.took.sort_unstable();
        all
    }

    async fn user(&self, place: usize, client: &Client, until: Instant) -> Worked {
        let mut worked = Worked { took: Vec::new(), failed: 0 };
        // Not all at once.
        tokio::time::sleep(THINKS * place as u32 / USERS as u32).await;
        let mut number = place;
        while Instant::now() < until {
            let begun = Instant::now();
            match answered(self.request(client, number)).await {
                Ok(()) => worked.took.push(begun.elapsed()),
                Err(_) => worked.failed += 1,
            }
            number += 1;
            tokio::time::sleep(THINKS).await;
        }
        worked
    }

    /// Of twenty requests one is an upload and one asks for the list.
    fn request(&self, client: &Client, number: usize) -> RequestBuilder {
        match number % 20 {
            0 => self.upload(client, "private"),
            10 => client.get(format!("{}/files?limit=10", self.edge)).bearer_auth(&self.token),
            _ => client.get(&self.private).bearer_auth(&self.token),
        }
    }
}

/// Waits until all of an answer is there; an error if it is none.
async fn answered(request: RequestBuilder) -> reqwest::Result<()> {
    request.send().await?.error_for_status()?.bytes().await.map(drop)
}

impl Worked {
    pub(super) fn requests(&self) -> usize {
        self.took.len() + self.failed
    }

    /// The part of them that succeeded.
    pub(super) fn succeeded(&self) -> f64 {
        self.took.len() as f64 / self.requests().max(1) as f64
    }

    /// What this part of those that succeeded took at most, in milliseconds.
    pub(super) fn at_ms(&self, share: f64) -> f64 {
        let place = (self.took.len() as f64 * share) as usize;
        self.took.get(place).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }
}
