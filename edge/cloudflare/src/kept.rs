//! What is kept for the origin: each file an object in a bucket of R2.
//!
//! R2 says of a `put` that resolved that the object is durable, and that every read and list
//! anywhere finds it from then on, and none after a `delete` (its documentation calls this strong
//! consistency). So a file may be acknowledged then, whatever becomes of this isolate, and is
//! readable in every data centre. What R2 does not say is whether a `put` that failed has stored
//! anything; such a file is never sent on as another one.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use outport_edge_core::kept::Packed;
use outport_edge_core::step::{self, ByteRange, Fetch, Handed, KeptHead};
use worker::js_sys::{Array, Reflect, Uint8Array};
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Env, console_error};

use crate::js;
use crate::setup::{self, Setup};

/// The most that comes before a file's contents, in bytes.
const FRONT_BYTES_MAX: u32 = 16 << 10;
/// Where an object says when the origin refused it, in milliseconds since 1970.
const REFUSED: &str = "refused-ms";

/// The request that hands over what is kept with this head and has this digest.
pub(crate) type Request = dyn Fn(&[u8], &[u8; 32]) -> Option<Fetch>;

/// The bucket, and what hands over what is in it.
#[derive(Clone)]
pub(crate) struct Kept {
    bucket: js::R2Bucket,
    pub(crate) setup: Rc<Setup>,
    pub(crate) request: Rc<Request>,
}

/// What is kept under a key.
pub(crate) struct Value {
    pub(crate) head: Vec<u8>,
    pub(crate) sha256: [u8; 32],
    pub(crate) body: Uint8Array,
    /// All of it, as it is stored.
    whole: Uint8Array,
    /// Of the object that it was read from.
    etag: String,
}

/// A key of the bucket, and when the origin refused what is there.
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) refused_ms: Option<u64>,
}

impl Kept {
    /// The bucket that is bound, if there is one.
    pub(crate) fn of(env: &Env, setup: &Rc<Setup>, request: Rc<Request>) -> Option<Self> {
        let bucket = js::binding(env, setup::KEPT)?.unchecked_into();
        Some(Self { bucket, setup: setup.clone(), request })
    }

    /// Keeps a body. What has to be done afterwards comes with it.
    pub(crate) async fn keep(
        self,
        key: String,
        head: &[u8],
        body: &Uint8Array,
    ) -> (step::Kept, Option<LocalBoxFuture<'static, ()>>) {
        let sha256 = js::logged("a file can't be kept", js::sha256(body).await);
        let Some(sha256) = sha256 else { return (step::Kept::Unknown, None) };
        match self.put(&key, &packed(head, &sha256, body), []).await {
            Ok(()) => (step::Kept::Durably, Some(Box::pin(self.begin(key)))),
            Err(error) => {
                console_error!("whether {key} is kept is not known: {error:?}");
                // The origin can take it under the same name, so that there is one of it even if
                // it is kept as well.
                let kept = match self.send(head, &sha256, body).await {
                    Handed::Done => step::Kept::Durably,
                    Handed::Later | Handed::Refused => step::Kept::Unknown,
                };
                (kept, None)
            }
        }
    }

    /// What is kept under a key. `Ok(None)`: nothing.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<Value>, JsValue> {
        let object = JsFuture::from(self.bucket.get(key)).await?;
        if object.is_null() {
            return Ok(None);
        }
        let object: js::R2Object = object.unchecked_into();
        let whole = Uint8Array::new(&JsFuture::from(object.array_buffer()).await?);
        let front = whole.subarray(0, FRONT_BYTES_MAX.min(whole.length())).to_vec();
        let unpacked = Packed::unpack(&front).ok_or("it is not what was written")?;
        let begin = u32::try_from(front.len() - unpacked.body.len()).unwrap_or_default();
        Ok(Some(Value {
            head: unpacked.head.to_vec(),
            sha256: *unpacked.sha256,
            body: whole.subarray(begin, whole.length()),
            whole,
            etag: object.etag(),
        }))
    }

    /// Forgets what is kept under a key.
    pub(crate) async fn forget(&self, key: &str) -> Result<(), JsValue> {
        JsFuture::from(self.bucket.delete(key)).await.map(drop)
    }

    /// Notes that the origin refused this, unless it is gone by now.
    pub(crate) async fn note_refusal(&self, key: &str, value: &Value) -> Result<(), JsValue> {
        let noted = js::object([(REFUSED, js::now_ms().to_string().into())])?;
        let unchanged = js::object([("etagMatches", value.etag.as_str().into())])?;
        let options = [("customMetadata", noted.into()), ("onlyIf", unchanged.into())];
        self.put(key, &value.whole, options).await
    }

    /// What is kept whose key begins with `prefix` and comes after `after`, in the order of keys:
    /// a page of at most so many, and whether there is more.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: u32,
    ) -> Result<(Vec<Listed>, bool), JsValue> {
        let options = js::object([
            ("prefix", prefix.into()),
            ("startAfter", after.map_or(JsValue::UNDEFINED, JsValue::from)),
            ("limit", most.into()),
            ("include", Array::of1(&"customMetadata".into()).into()),
        ])?;
        let page: js::R2Objects =
            JsFuture::from(self.bucket.list(&options)).await?.unchecked_into();
        let listed = |object: JsValue| {
            let object: js::R2Object = object.unchecked_into();
            Listed { key: object.key(), refused_ms: refused_ms(&object) }
        };
        Ok((page.objects().iter().map(listed).collect(), page.truncated()))
    }

    /// Groups of which something is kept, and where there are more of them.
    pub(crate) async fn groups(
        &self,
        cursor: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), JsValue> {
        let options = js::object([
            ("delimiter", "/".into()),
            ("cursor", cursor.map_or(JsValue::UNDEFINED, JsValue::from)),
        ])?;
        let page: js::R2Objects =
            JsFuture::from(self.bucket.list(&options)).await?.unchecked_into();
        let groups = page.delimited_prefixes();
        let groups = groups.iter().filter_map(|group| group.as_string()).collect();
        Ok((groups, page.cursor()))
    }

    async fn put<const N: usize>(
        &self,
        key: &str,
        value: &Uint8Array,
        options: [(&str, JsValue); N],
    ) -> Result<(), JsValue> {
        let options = js::object(options)?;
        JsFuture::from(self.bucket.put(key, value, &options)).await.map(drop)
    }
}

impl Value {
    /// What the core is told of it.
    pub(crate) fn head(&self) -> KeptHead {
        KeptHead { head: self.head.clone(), bytes: self.body.length().into() }
    }
}

/// This range of a body, or all of it.
pub(crate) fn part(body: &Uint8Array, range: Option<ByteRange>) -> Uint8Array {
    let Some(ByteRange { first, last }) = range else { return body.clone() };
    let place = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
    body.subarray(place(first), place(last.saturating_add(1)))
}

fn packed(head: &[u8], sha256: &[u8; 32], body: &Uint8Array) -> Uint8Array {
    let front = Uint8Array::from(&Packed::front(head, sha256)[..]);
    let whole = Uint8Array::new_with_length(front.length() + body.length());
    whole.set(&front, 0);
    whole.set(body, front.length());
    whole
}

fn refused_ms(object: &js::R2Object) -> Option<u64> {
    Reflect::get(&object.metadata(), &REFUSED.into()).ok()?.as_string()?.parse().ok()
}
