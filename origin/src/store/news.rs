//! What is announced of files, and what their records say of it afterwards.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use outport_wire::id::FileId;

use super::{Held, Store, StoreError, Trace, shut_out};
use crate::hooks::{self, Announced, Files, Kind, Standing};
use crate::meta::{MetaError, Version};
use crate::record::Record;

impl Store {
    /// Replaces a record that was no file before, and may become one by this.
    pub(super) async fn advance(&self, held: &Held) -> Result<Version, MetaError> {
        let announced = self.announce_completion(held.id, &held.record).await?;
        let version = self.replace(held).await?;
        self.hooks.made(announced);
        Ok(version)
    }

    /// To be called before a record is stored that may be a file, and was none before.
    pub(super) async fn announce_completion(
        &self,
        id: FileId,
        record: &Record,
    ) -> Result<Announced, MetaError> {
        if !record.is_file() {
            return Ok(Announced::default());
        }
        let document = || hooks::document(id, record);
        self.hooks.announce(Kind::Completed, id, &record.tenant, document).await
    }

    /// To be called before a record is removed. `news` is what is told of it, if anybody is to know.
    pub(super) async fn announce_removal(
        &self,
        held: &Held,
        news: Option<Kind>,
    ) -> Result<Announced, MetaError> {
        let Held { id, record, .. } = held;
        let document = || hooks::document(*id, record);
        if record.is_file() {
            self.hooks.secure_completion(*id, &record.tenant, document).await?;
        }
        match news {
            Some(kind) => self.hooks.announce(kind, *id, &record.tenant, document).await,
            None => Ok(Announced::default()),
        }
    }
}

impl Files for Store {
    fn standing(&self, id: FileId) -> BoxFuture<'_, Result<Standing, StoreError>> {
        async move { Ok(standing(id, self.slot(id).await?.trace())) }.boxed()
    }

    fn shut_out(&self, id: FileId) -> BoxFuture<'_, Result<Standing, StoreError>> {
        async move { Ok(standing(id, shut_out(&*self.meta, self.now_s(), id).await?)) }.boxed()
    }
}

fn standing(id: FileId, trace: Trace) -> Standing {
    match trace {
        Trace::Here(record) if record.is_file() => Standing::Complete(hooks::document(id, &record)),
        Trace::Here(_) => Standing::Open,
        Trace::Removed { .. } | Trace::Nothing => Standing::Absent,
    }
}
