//! Durable commits of metadata per second, by engine and number of writers.
//!
//! Every engine sits below the origin's own group commit and is asked for the same: records of
//! 400 bytes, each created and then replaced three times by compare-and-swap, in a store that
//! holds 100,000 others; each commit synced before it is acknowledged. The engines are measured in
//! turn, several rounds, and the medians are printed. Then each folder is copied while it is open,
//! as a crash would leave it, and the copy is opened.
//!
//! `--full FOLDER` instead fills a small file system (a tmpfs of 100 MB, say) through each engine
//! until there is no room, frees some, and says whether the engine goes on and has everything
//! that it acknowledged.
//!
//! Without the feature `meta-peers` only the engine that the origin uses is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures::StreamExt as _;
use outport_origin::meta::{Engine, FjallEngine, GroupCommit, Key, Meta};
use tokio::runtime::Runtime;

/// How many writers there are at once.
const WRITERS: [usize; 3] = [1, 16, 64];
/// What is there before anything is measured.
const RECORDS: usize = 100_000;
/// As long as the record of a file of a few parts.
const VALUE_BYTES: usize = 400;
/// How often a record is replaced after it was created.
const REPLACEMENTS: usize = 3;
const CACHE_BYTES: usize = 32 << 20;
const ROUNDS: usize = 3;

/// An engine by its name, and how to open it in a folder.
type Candidate = (&'static str, fn(&Path) -> Result<Box<dyn Opened>>);

/// Runs the benchmark.
pub(crate) fn run(args: impl Iterator<Item = String>) -> Result<()> {
    let options = Options::read(args)?;
    let runtime = Runtime::new()?;
    if let Some(folder) = options.full {
        return fill_up(&runtime, &folder);
    }
    let folder = tempfile::tempdir_in(&options.folder)?;
    println!(
        "durable commits of {VALUE_BYTES} bytes, {RECORDS} records there, medians of {ROUNDS}\n\n\
         | engine | writers | commits/s | group | p50 ms | p99 ms | CPU µs/commit |\n\
         |---|---|---|---|---|---|---|"
    );
    let mut engines = Vec::new();
    for (name, open) in candidates() {
        let path = folder.path().join(name);
        fs::create_dir(&path)?;
        let opened = open(&path)?;
        runtime.block_on(fill(opened.meta()));
        engines.push((name, path, opened));
    }
    for writers in WRITERS {
        let mut rounds = vec![Vec::new(); engines.len()];
        for _ in 0..ROUNDS {
            for ((_, _, engine), samples) in engines.iter().zip(&mut rounds) {
                samples.push(measure(&runtime, &**engine, writers, options.time)?);
            }
        }
        for ((name, _, _), samples) in engines.iter().zip(rounds) {
            println!("| {name} | {writers} | {} |", Sample::median(samples).columns());
        }
    }
    println!("\n| engine | files MiB | opened after a crash, ms |\n|---|---|---|");
    for ((name, path, _keep_open), (_, open)) in engines.iter().zip(candidates()) {
        let copy = folder.path().join(format!("{name}-copy"));
        let bytes = copy_folder(path, &copy)?;
        let begun = Instant::now();
        let opened = open(&copy)?;
        runtime.block_on(opened.meta().get(record(0)))?.context("a record is gone")?;
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        println!("| {name} | {:.1} | {ms:.0} |", bytes as f64 / f64::from(1 << 20));
    }
    Ok(())
}

struct Options {
    folder: PathBuf,
    full: Option<PathBuf>,
    time: Duration,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let (folder, time) = (PathBuf::from("target"), Duration::from_secs(3));
        let mut options = Self { folder, full: None, time };
        while let Some(name) = args.next() {
            let value = args.next().with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--folder" => options.folder = value.into(),
                "--full" => options.full = Some(value.into()),
                "--seconds" => options.time = Duration::from_secs(value.parse()?),
                _ => bail!("no option {name}"),
            }
        }
        fs::create_dir_all(&options.folder)?;
        Ok(options)
    }
}

fn candidates() -> Vec<Candidate> {
    let fjall: Candidate =
        ("fjall", |folder| opened(FjallEngine::open(folder.join("meta"), CACHE_BYTES)?));
    #[cfg(feature = "meta-peers")]
    return vec![fjall, peers::REDB, peers::SQLITE];
    #[cfg(not(feature = "meta-peers"))]
    return vec![fjall];
}

/// A metadata store whose engine does not matter any more.
trait Opened {
    fn meta(&self) -> Arc<dyn Meta>;
    /// Commits and changes until now.
    fn counts(&self) -> (u64, u64);
}

impl<E: Engine> Opened for Arc<GroupCommit<E>> {
    fn meta(&self) -> Arc<dyn Meta> {
        self.clone()
    }

    fn counts(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let stats = self.stats();
        (stats.commits.load(Relaxed), stats.changes.load(Relaxed))
    }
}

fn opened(engine: impl Engine) -> Result<Box<dyn Opened>> {
    Ok(Box::new(Arc::new(GroupCommit::new(engine)?)))
}

fn record(place: usize) -> Key {
    // Spread over the order of keys, as ids are.
    let spread = (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Key::new(format!("file/{spread:016x}{place:010}"), "record")
}

fn value(seed: usize) -> Bytes {
    (0..VALUE_BYTES).map(|place| (place * 7 + seed) as u8).collect::<Vec<_>>().into()
}

async fn fill(meta: Arc<dyn Meta>) {
    let puts = (0..RECORDS).map(|place| meta.put(record(place), value(place), None));
    let done = futures::stream::iter(puts).buffer_unordered(1024);
    done.for_each(|_| futures::future::ready(())).await;
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    per_second: f64,
    group: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
}

impl Sample {
    fn median(mut samples: Vec<Self>) -> Self {
        samples.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        samples.swap_remove(samples.len() / 2)
    }

    fn columns(&self) -> String {
        let Self { per_second, group, p50_ms, p99_ms, cpu_us } = self;
        format!("{per_second:.0} | {group:.1} | {p50_ms:.2} | {p99_ms:.2} | {cpu_us:.0}")
    }
}

fn measure(
    runtime: &Runtime,
    engine: &dyn Opened,
    writers: usize,
    time: Duration,
) -> Result<Sample> {
    let (commits, changes) = engine.counts();
    let (cpu, begun) = (cpu_time()?, Instant::now());
    let mut latencies = runtime.block_on(async {
        let until = begun + time;
        let writers = (0..writers).map(|_| tokio::spawn(write(engine.meta(), until)));
        futures::future::try_join_all(writers).await
    })?;
    let elapsed = begun.elapsed().as_secs_f64();
    let mut latencies: Vec<f64> = latencies.drain(..).flatten().collect();
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (latencies.len() as f64 * share) as usize;
        latencies.get(place).copied().unwrap_or_default()
    };
    let (commits, changes) = (engine.counts().0 - commits, engine.counts().1 - changes);
    Ok(Sample {
        per_second: changes as f64 / elapsed,
        group: changes as f64 / commits.max(1) as f64,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_us: (cpu_time()? - cpu).as_secs_f64() * 1e6 / changes.max(1) as f64,
    })
}

/// Creates and replaces records until the time is up; milliseconds of each commit.
async fn write(meta: Arc<dyn Meta>, until: Instant) -> Vec<f64> {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(RECORDS);
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let place = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut version = None;
        for replacement in 0..=REPLACEMENTS {
            let begun = Instant::now();
            match meta.put(record(place), value(replacement), version).await {
                Ok(now) => version = Some(now),
                Err(error) => panic!("a commit failed: {error}"),
            }
            latencies.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    latencies
}

/// How much is kept free to be given back when the disk is full.
const BALLAST_BYTES: usize = 16 << 20;
/// How often a write is tried on a full disk, and after there is room again.
const FULL_ATTEMPTS: usize = 20;

fn fill_up(runtime: &Runtime, folder: &Path) -> Result<()> {
    println!(
        "| engine | acknowledged | errors while full | writes with room again | lost |\n\
         |---|---|---|---|---|"
    );
    for (name, open) in candidates() {
        let (path, ballast) = (folder.join(name), folder.join("ballast"));
        fs::create_dir(&path)?;
        fs::write(&ballast, vec![1; BALLAST_BYTES])?;
        let opened = open(&path)?;
        let meta = opened.meta();
        let mut errors = std::collections::BTreeMap::<String, usize>::new();
        let mut acknowledged = runtime.block_on(fill_until(&*meta, &mut errors));
        let full = acknowledged.len();
        fs::remove_file(&ballast)?;
        let after = runtime.block_on(put_some(&*meta, full * 2, FULL_ATTEMPTS));
        let again = after.iter().filter(|put| put.is_ok()).count();
        acknowledged.extend(after.into_iter().flatten());
        drop((meta, opened));
        let opened = open(&path)?;
        let lost = runtime.block_on(async {
            let mut lost = 0;
            for place in acknowledged {
                let found = opened.meta().get(record(place)).await;
                lost += usize::from(!matches!(found, Ok(Some(_))));
            }
            lost
        });
        println!("| {name} | {full} | {errors:?} | {again} of {FULL_ATTEMPTS} | {lost} |");
        drop(opened);
        fs::remove_dir_all(&path)?;
    }
    Ok(())
}

/// Writes until nothing is taken any more; what was acknowledged.
async fn fill_until(
    meta: &dyn Meta,
    errors: &mut std::collections::BTreeMap<String, usize>,
) -> Vec<usize> {
    let (mut taken, mut place, mut failed) = (Vec::new(), 0, 0);
    while failed < FULL_ATTEMPTS {
        let group = futures::future::join_all((place..place + 16).map(|place| async move {
            meta.put(record(place), value(place), None).await.map(|_| place)
        }))
        .await;
        place += group.len();
        for put in group {
            match put {
                Ok(place) => taken.push(place),
                Err(error) => {
                    failed += 1;
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    *errors.entry(format!("{error}: {source:?}")).or_default() += 1;
                }
            }
        }
    }
    taken
}

async fn put_some(meta: &dyn Meta, from: usize, count: usize) -> Vec<Result<usize>> {
    let mut puts = Vec::new();
    for place in from..from + count {
        let put = meta.put(record(place), value(place), None).await;
        puts.push(put.map(|_| place).map_err(Into::into));
    }
    puts
}

/// What this process has used of all processors, from /proc (Linux).
fn cpu_time() -> Result<Duration> {
    const TICKS_PER_SECOND: u64 = 100;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Copies a folder; how many bytes it has on the disk.
fn copy_folder(from: &Path, to: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    fs::create_dir(to)?;
    let mut bytes = 0;
    for entry in fs::read_dir(from)? {
        let (entry, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            bytes += copy_folder(&entry, &target)?;
        } else {
            fs::copy(&entry, &target)?;
            bytes += fs::metadata(&entry)?.blocks() * 512;
        }
    }
    Ok(bytes)
}

/// The engines that were not chosen, in the forms in which they are fastest and yet durable.
#[cfg(feature = "meta-peers")]
mod peers {
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

    use bytes::Bytes;
    use outport_origin::meta::{Change, Engine, EngineError, Stored};
    use redb::{Builder, Database, ReadableDatabase as _, TableDefinition};
    use rusqlite::{Connection, OptionalExtension as _, params};

    use super::{CACHE_BYTES, Candidate, opened};

    const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");

    pub(super) const REDB: Candidate = ("redb", |folder| {
        let path = folder.join("meta.redb");
        let open = RwLock::new(Some(open_redb(&path)?));
        opened(Redb { path, open })
    });

    pub(super) const SQLITE: Candidate = ("sqlite", |folder| {
        let connection = Connection::open(folder.join("meta.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -((CACHE_BYTES >> 10) as i64))?;
        connection.execute(
            "CREATE TABLE IF NOT EXISTS meta (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID",
            [],
        )?;
        opened(Sqlite(Mutex::new(connection)))
    });

    /// Opened again after every error, as the engine of the origin is: a database that failed
    /// takes no more writes.
    struct Redb {
        path: PathBuf,
        open: RwLock<Option<Database>>,
    }

    impl Redb {
        fn with<T>(
            &self,
            work: impl Fn(&Database) -> Result<T, redb::Error>,
        ) -> Result<T, EngineError> {
            if self.open.read().unwrap_or_else(PoisonError::into_inner).is_none() {
                let opened = open_redb(&self.path).map_err(failed)?;
                *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
            }
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            let outcome = open.as_ref().map_or(Err(redb::Error::DatabaseClosed), work);
            drop(open);
            outcome.map_err(|error| {
                *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
                failed(error)
            })
        }
    }

    fn open_redb(path: &Path) -> Result<Database, redb::Error> {
        let database = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(database)
    }

    fn stored(value: &[u8]) -> Stored {
        Stored::from_bytes(Bytes::copy_from_slice(value))
    }

    impl Engine for Redb {
        fn get(&self, key: &[u8]) -> Result<Option<Stored>, EngineError> {
            self.with(|database| {
                let table = database.begin_read()?.open_table(TABLE)?;
                Ok(table.get(key)?.map(|value| stored(value.value())))
            })
        }

        fn scan(
            &self,
            from: &[u8],
            to: &[u8],
            limit: usize,
        ) -> Result<Vec<(Bytes, Stored)>, EngineError> {
            self.with(|database| {
                let table = database.begin_read()?.open_table(TABLE)?;
                let entries = table.range(from..to)?.take(limit).map(|entry| {
                    let (key, value) = entry?;
                    Ok((Bytes::copy_from_slice(key.value()), stored(value.value())))
                });
                entries.collect()
            })
        }

        fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
            self.with(|database| {
                let transaction = database.begin_write()?;
                {
                    let mut table = transaction.open_table(TABLE)?;
                    for (key, value) in changes {
                        match value {
                            Some(value) => table.insert(key.as_ref(), value.as_bytes())?,
                            None => table.remove(key.as_ref())?,
                        };
                    }
                }
                Ok(transaction.commit()?)
            })
        }
    }

    struct Sqlite(Mutex<Connection>);

    impl Sqlite {
        fn connection(&self) -> MutexGuard<'_, Connection> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Engine for Sqlite {
        fn get(&self, key: &[u8]) -> Result<Option<Stored>, EngineError> {
            let connection = self.connection();
            let mut statement = connection
                .prepare_cached("SELECT value FROM meta WHERE key = ?")
                .map_err(failed)?;
            let value = statement.query_row([key], |row| row.get::<_, Vec<u8>>(0)).optional();
            Ok(value.map_err(failed)?.map(Stored::from_bytes))
        }

        fn scan(
            &self,
            from: &[u8],
            to: &[u8],
            limit: usize,
        ) -> Result<Vec<(Bytes, Stored)>, EngineError> {
            let connection = self.connection();
            let query =
                "SELECT key, value FROM meta WHERE key >= ? AND key < ? ORDER BY key LIMIT ?";
            let mut statement = connection.prepare_cached(query).map_err(failed)?;
            let entries = statement.query_map(params![from, to, limit as i64], |row| {
                let key = row.get::<_, Vec<u8>>(0)?;
                Ok((Bytes::from(key), Stored::from_bytes(row.get::<_, Vec<u8>>(1)?)))
            });
            entries.map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
        }

        fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
            let mut connection = self.connection();
            let transaction = connection.transaction().map_err(failed)?;
            {
                let mut put = transaction
                    .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?, ?)")
                    .map_err(failed)?;
                let mut remove =
                    transaction.prepare_cached("DELETE FROM meta WHERE key = ?").map_err(failed)?;
                for (key, value) in changes {
                    match value {
                        Some(value) => put.execute(params![&key[..], value.as_bytes()]),
                        None => remove.execute([&key[..]]),
                    }
                    .map_err(failed)?;
                }
            }
            transaction.commit().map_err(failed)
        }
    }

    fn failed(error: impl std::error::Error + Send + Sync + 'static) -> EngineError {
        EngineError::Failed(Box::new(error))
    }
}
