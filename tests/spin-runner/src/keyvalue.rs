//! `spin:key-value`, `spin:variables` and `wasi:keyvalue`, hosted: stores in one file of
//! SQLite, in Spin's own table and by Spin's own rules.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension as _};
use wasmtime::component::{Accessor, FutureReader, HasData, Resource, ResourceTable, StreamReader};

use crate::instance::Host;

/// Bindings of the interfaces.
#[allow(missing_docs, unreachable_pub)] // They are generated.
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "outport:spin-runner/imports",
        imports: { default: trappable },
        with: {
            "spin:key-value/key-value.store": super::Opened,
            "wasi:keyvalue/store.bucket": super::Opened,
            "wasi:keyvalue/atomics.cas": super::Swap,
        },
        require_store_data_send: true,
    });
}

use bindings::spin::key_value::key_value;
use bindings::spin::variables::variables;
use bindings::wasi::keyvalue::{atomics, store};

/// The table, as Spin makes it: what `outport render --for spin` writes goes into either.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS spin_key_value (
  store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key))";
const GET: &str = "SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2";
const SET: &str = "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3)
  ON CONFLICT (store, key) DO UPDATE SET value = ?3";
const DELETE: &str = "DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2";
const REPLACE: &str =
    "UPDATE spin_key_value SET value = ?3 WHERE store = ?1 AND key = ?2 AND value = ?4";
const INSERT: &str = "INSERT OR IGNORE INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3)";

/// The stores.
pub(crate) struct Stores(Mutex<Connection>);

impl Stores {
    /// Opens the file that Spin has too, `sqlite_key_value.db`, in this folder.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self> {
        let stores = match folder {
            Some(folder) => {
                std::fs::create_dir_all(folder)?;
                Connection::open(folder.join("sqlite_key_value.db"))?
            }
            None => Connection::open_in_memory()?,
        };
        stores.execute(TABLE, [])?;
        // Tests need not survive the machine.
        stores.pragma_update(None, "synchronous", "off")?;
        Ok(Self(Mutex::new(stores)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, label: &str, key: &str) -> Result<Option<Vec<u8>>> {
        let connection = self.connection();
        let value = connection.prepare_cached(GET)?.query_row([label, key], |row| row.get(0));
        Ok(value.optional()?)
    }

    /// Puts a value.
    pub(crate) fn set(&self, label: &str, key: &str, value: &[u8]) -> Result<()> {
        self.connection().prepare_cached(SET)?.execute((label, key, value))?;
        Ok(())
    }

    fn delete(&self, label: &str, key: &str) -> Result<()> {
        self.connection().prepare_cached(DELETE)?.execute((label, key))?;
        Ok(())
    }

    /// Puts a value where what was read still is. Whether it was.
    fn swap(&self, swap: &Swap, value: &[u8]) -> Result<bool> {
        let (connection, place) = (self.connection(), (&swap.label, &swap.key));
        let changed = match &swap.current {
            Some(current) => {
                connection.prepare_cached(REPLACE)?.execute((place.0, place.1, value, current))?
            }
            None => connection.prepare_cached(INSERT)?.execute((place.0, place.1, value))?,
        };
        Ok(changed == 1)
    }
}

/// An opened store.
#[allow(unreachable_pub)] // The generated bindings export it.
pub struct Opened(String);

/// A compare-and-swap that was begun.
#[allow(unreachable_pub)] // The generated bindings export it.
pub struct Swap {
    label: String,
    key: String,
    /// What was there when it was read; as on Spin, nothing until then.
    current: Option<Vec<u8>>,
}

/// What the interfaces are hosted with.
pub(crate) struct View<'a> {
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) stores: &'a Arc<Stores>,
    pub(crate) allowed: &'a BTreeSet<String>,
    pub(crate) variables: &'a std::collections::BTreeMap<String, String>,
}

/// Says what the bindings borrow.
pub(crate) struct Hosted;

impl HasData for Hosted {
    type Data<'a> = View<'a>;
}

impl View<'_> {
    fn label(&self, opened: &Resource<Opened>) -> wasmtime::Result<String> {
        Ok(self.table.get(opened)?.0.clone())
    }
}

/// Runs something on the stores, off the threads that serve.
async fn on_stores<T: Send + 'static>(
    accessor: &Accessor<Host, Hosted>,
    opened: Resource<Opened>,
    run: impl FnOnce(&Stores, &str) -> Result<T> + Send + 'static,
) -> wasmtime::Result<Result<T, key_value::Error>> {
    let (stores, label) = accessor.with(|mut access| -> wasmtime::Result<_> {
        let view = access.get();
        Ok((view.stores.clone(), view.label(&opened)?))
    })?;
    let ran = tokio::task::spawn_blocking(move || run(&stores, &label)).await?;
    Ok(ran.map_err(|error| key_value::Error::Other(error.to_string())))
}

impl key_value::HostStoreWithStore<Host> for Hosted {
    async fn open(
        accessor: &Accessor<Host, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<Opened>, key_value::Error>> {
        accessor.with(|mut access| {
            let view = access.get();
            if !view.allowed.contains(&label) {
                return Ok(Err(key_value::Error::AccessDenied));
            }
            Ok(Ok(view.table.push(Opened(label))?))
        })
    }

    async fn get(
        accessor: &Accessor<Host, Self>,
        opened: Resource<Opened>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, key_value::Error>> {
        on_stores(accessor, opened, move |stores, label| stores.get(label, &key)).await
    }

    async fn set(
        accessor: &Accessor<Host, Self>,
        opened: Resource<Opened>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), key_value::Error>> {
        on_stores(accessor, opened, move |stores, label| stores.set(label, &key, &value)).await
    }

    async fn delete(
        accessor: &Accessor<Host, Self>,
        opened: Resource<Opened>,
        key: String,
    ) -> wasmtime::Result<Result<(), key_value::Error>> {
        on_stores(accessor, opened, move |stores, label| stores.delete(label, &key)).await
    }

    async fn exists(
        accessor: &Accessor<Host, Self>,
        opened: Resource<Opened>,
        key: String,
    ) -> wasmtime::Result<Result<bool, key_value::Error>> {
        let get = move |stores: &Stores, label: &str| Ok(stores.get(label, &key)?.is_some());
        on_stores(accessor, opened, get).await
    }

    async fn get_keys(
        _: &Accessor<Host, Self>,
        _: Resource<Opened>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), key_value::Error>>)> {
        wasmtime::bail!("the runner does not host get-keys, which the edge never calls")
    }
}

impl key_value::HostStore for View<'_> {
    fn drop(&mut self, opened: Resource<Opened>) -> wasmtime::Result<()> {
        self.table.delete(opened)?;
        Ok(())
    }
}

impl key_value::Host for View<'_> {}

impl variables::HostWithStore<Host> for Hosted {
    async fn get(
        accessor: &Accessor<Host, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, variables::Error>> {
        Ok(accessor.with(|mut access| {
            let value = access.get().variables.get(&name).cloned();
            value.ok_or(variables::Error::Undefined(name))
        }))
    }
}

impl variables::Host for View<'_> {}

fn failed(error: anyhow::Error) -> store::Error {
    store::Error::Other(error.to_string())
}

impl store::Host for View<'_> {
    fn open(&mut self, label: String) -> wasmtime::Result<Result<Resource<Opened>, store::Error>> {
        if !self.allowed.contains(&label) {
            return Ok(Err(store::Error::AccessDenied));
        }
        Ok(Ok(self.table.push(Opened(label))?))
    }
}

impl store::HostBucket for View<'_> {
    fn get(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        Ok(self.stores.get(&self.label(&bucket)?, &key).map_err(failed))
    }

    fn set(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        Ok(self.stores.set(&self.label(&bucket)?, &key, &value).map_err(failed))
    }

    fn delete(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        Ok(self.stores.delete(&self.label(&bucket)?, &key).map_err(failed))
    }

    fn exists(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
    ) -> wasmtime::Result<Result<bool, store::Error>> {
        let value = self.stores.get(&self.label(&bucket)?, &key);
        Ok(value.map(|value| value.is_some()).map_err(failed))
    }

    fn list_keys(
        &mut self,
        _: Resource<Opened>,
        _: Option<String>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        wasmtime::bail!("the runner does not host list-keys, which the edge never calls")
    }

    fn drop(&mut self, bucket: Resource<Opened>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::HostCas for View<'_> {
    fn new(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<Swap>, store::Error>> {
        let label = self.label(&bucket)?;
        Ok(Ok(self.table.push(Swap { label, key, current: None })?))
    }

    fn current(
        &mut self,
        cas: Resource<Swap>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        let swap = self.table.get_mut(&cas)?;
        let read = self.stores.get(&swap.label, &swap.key).map_err(failed);
        if let Ok(value) = &read {
            swap.current.clone_from(value);
        }
        Ok(read)
    }

    fn drop(&mut self, cas: Resource<Swap>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    fn increment(
        &mut self,
        _: Resource<Opened>,
        _: String,
        _: i64,
    ) -> wasmtime::Result<Result<i64, store::Error>> {
        wasmtime::bail!("the runner does not host increment, which the edge never calls")
    }

    fn swap(
        &mut self,
        cas: Resource<Swap>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let swap = self.table.delete(cas)?;
        match self.stores.swap(&swap, &value) {
            Ok(true) => Ok(Ok(())),
            Ok(false) => {
                let newer = Swap { current: None, ..swap };
                Ok(Err(atomics::CasError::CasFailed(self.table.push(newer)?)))
            }
            Err(error) => Ok(Err(atomics::CasError::StoreError(failed(error)))),
        }
    }
}
