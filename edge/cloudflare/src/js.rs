//! The parts of the Workers runtime that have no binding in `worker`, or none without a copy.

use std::fmt::{Debug, Display};
use std::time::Duration;

use futures::future::{Either, LocalBoxFuture, select};
use outport_edge_core::key_set::Jwk;
use outport_edge_core::step::PublicKey;
use worker::js_sys::{self, Array, JSON, Object, Promise, Reflect, Uint8Array};
use worker::wasm_bindgen::prelude::*;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Delay, console_error, wasm_bindgen, web_sys};

/// How much of a body that nobody wants is read all the same, in bytes, and for how long.
const READ_ON_BYTES_MAX: u32 = 16 << 20;
const READ_ON_MAX: Duration = Duration::from_secs(5);
/// How long a body that is kept may stand still.
const BODY_IDLE_MAX: Duration = Duration::from_secs(30);

#[wasm_bindgen]
extern "C" {
    /// Passes on bytes, and fails if they are not just as many as were announced.
    #[wasm_bindgen(extends = web_sys::TransformStream)]
    pub(crate) type FixedLengthStream;
    #[wasm_bindgen(constructor)]
    pub(crate) fn new(length: f64) -> FixedLengthStream;

    /// Passes on bytes, however many.
    #[wasm_bindgen(extends = web_sys::TransformStream)]
    pub(crate) type IdentityTransformStream;
    #[wasm_bindgen(constructor)]
    pub(crate) fn new() -> IdentityTransformStream;

    /// A namespace of Workers KV.
    #[derive(Clone)]
    pub(crate) type KvNamespace;
    #[wasm_bindgen(method)]
    pub(crate) fn get(this: &KvNamespace, key: &str, kind: &str) -> Promise;
    #[wasm_bindgen(method, js_name = get)]
    pub(crate) fn get_all(this: &KvNamespace, keys: &Array, kind: &str) -> Promise;
    #[wasm_bindgen(method)]
    pub(crate) fn put(this: &KvNamespace, key: &str, value: &JsValue, options: &Object) -> Promise;

    /// A bucket of R2.
    #[derive(Clone)]
    pub(crate) type R2Bucket;
    #[wasm_bindgen(method)]
    pub(crate) fn get(this: &R2Bucket, key: &str) -> Promise;
    #[wasm_bindgen(method)]
    pub(crate) fn put(this: &R2Bucket, key: &str, value: &Uint8Array, options: &Object) -> Promise;
    #[wasm_bindgen(method)]
    pub(crate) fn delete(this: &R2Bucket, key: &str) -> Promise;
    #[wasm_bindgen(method)]
    pub(crate) fn list(this: &R2Bucket, options: &Object) -> Promise;

    /// An object of a bucket; its contents where it was asked for.
    pub(crate) type R2Object;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn key(this: &R2Object) -> String;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn etag(this: &R2Object) -> String;
    #[wasm_bindgen(method, getter, js_name = customMetadata)]
    pub(crate) fn metadata(this: &R2Object) -> JsValue;
    #[wasm_bindgen(method, js_name = arrayBuffer)]
    pub(crate) fn array_buffer(this: &R2Object) -> Promise;

    /// A page of what is in a bucket.
    pub(crate) type R2Objects;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn objects(this: &R2Objects) -> Array;
    #[wasm_bindgen(method, getter, js_name = delimitedPrefixes)]
    pub(crate) fn delimited_prefixes(this: &R2Objects) -> Array;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn truncated(this: &R2Objects) -> bool;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn cursor(this: &R2Objects) -> Option<String>;

    #[wasm_bindgen(js_name = fetch)]
    pub(crate) fn send(request: &web_sys::Request) -> Promise;

    #[wasm_bindgen(thread_local_v2, js_namespace = caches, js_name = default)]
    static CACHE: web_sys::Cache;

    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(bytes: &Uint8Array);
    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = importKey)]
    fn import(form: &str, key: &JsValue, how: &JsValue, extractable: bool, uses: &Array)
    -> Promise;
    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = verify)]
    fn verify(how: &JsValue, key: &JsValue, signature: &Uint8Array, of: &Uint8Array) -> Promise;
    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = digest)]
    fn digest(algorithm: &str, of: &Uint8Array) -> Promise;
}

/// The cache of this data centre.
pub(crate) fn cache() -> web_sys::Cache {
    CACHE.with(Clone::clone)
}

/// Milliseconds since 1970. The clock stands still while nothing is waited for.
pub(crate) fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}

/// A number nobody can guess.
pub(crate) fn random() -> u64 {
    let bytes = Uint8Array::new_with_length(8);
    get_random_values(&bytes);
    let mut number = [0; 8];
    bytes.copy_to(&mut number);
    u64::from_le_bytes(number)
}

/// Whether a signature is right. It fails for a key or a signature that is none.
pub(crate) async fn is_signed(
    key: &PublicKey,
    of: &[u8],
    signature: &[u8],
) -> Result<bool, JsValue> {
    let how = JSON::parse(match key {
        PublicKey::Ed25519(_) => r#"{"name":"Ed25519"}"#,
        PublicKey::P256 { .. } => r#"{"name":"ECDSA","namedCurve":"P-256","hash":"SHA-256"}"#,
        PublicKey::Rsa(_) => r#"{"name":"RSASSA-PKCS1-v1_5","hash":"SHA-256"}"#,
    })?;
    let key = JSON::parse(&Jwk::of(key).to_json())?;
    let uses = Array::of1(&"verify".into());
    let key = JsFuture::from(import("jwk", &key, &how, false, &uses)).await?;
    Ok(JsFuture::from(verify(&how, &key, &signature.into(), &of.into())).await?.is_truthy())
}

/// The SHA-256 of these bytes.
pub(crate) async fn sha256(of: &Uint8Array) -> Result<[u8; 32], JsValue> {
    let digest = Uint8Array::new(&JsFuture::from(digest("SHA-256", of)).await?).to_vec();
    digest.try_into().map_err(|_| JsValue::from("a digest of another length"))
}

/// What came of a call, if it did not fail; the log says why it did.
pub(crate) fn logged<T, E: Debug>(what: impl Display, tried: Result<T, E>) -> Option<T> {
    tried.inspect_err(|error| console_error!("{what}: {error:?}")).ok()
}

/// An object with these members.
pub(crate) fn object<const N: usize>(members: [(&str, JsValue); N]) -> Result<Object, JsValue> {
    let object = Object::new();
    for (name, value) in members {
        Reflect::set(&object, &name.into(), &value)?;
    }
    Ok(object)
}

/// The binding of this name.
pub(crate) fn binding(env: &worker::Env, name: &str) -> Option<JsValue> {
    Reflect::get(env, &name.into()).ok().filter(JsValue::is_object)
}

/// A response. Its body is coded already, if at all: nothing codes it again.
pub(crate) fn response(
    status: u16,
    fields: &web_sys::Headers,
    body: Option<&JsValue>,
) -> Result<web_sys::Response, JsValue> {
    let init = web_sys::ResponseInit::new();
    init.set_status(status);
    init.set_headers(fields);
    let body: Option<&Object> = body.map(JsCast::unchecked_ref);
    // A stream of the platform's own carries its coding with it, and is passed on as it is only
    // where the platform knows that both sides have the same.
    if !body.is_some_and(|body| body.is_instance_of::<web_sys::ReadableStream>()) {
        Reflect::set(&init, &"encodeBody".into(), &"manual".into())?;
    }
    web_sys::Response::new_with_opt_buffer_source_and_init(body, &init)
}

/// The body of a response, as the next one takes it.
pub(crate) fn body(response: &web_sys::Response) -> Option<JsValue> {
    response.body().map(JsValue::from)
}

/// Passes on a body of this length, or of any.
pub(crate) fn passing(length: Option<f64>) -> web_sys::TransformStream {
    match length {
        Some(length) => FixedLengthStream::new(length).into(),
        None => IdentityTransformStream::new().into(),
    }
}

/// These bytes as a stream.
pub(crate) fn stream(bytes: &Uint8Array) -> Option<web_sys::ReadableStream> {
    web_sys::Response::new_with_opt_buffer_source(Some(bytes)).ok()?.body()
}

/// Reads a request's body of at most so many bytes. `None` where it broke off, has more, or stands
/// still.
pub(crate) async fn read_whole(
    body: Option<web_sys::ReadableStream>,
    bytes_max: u64,
) -> Option<Uint8Array> {
    let whole = Uint8Array::new_with_length(u32::try_from(bytes_max).ok()?);
    let mut filled = 0;
    if let Some(body) = body {
        let reader = web_sys::ReadableStreamDefaultReader::new(&body).ok()?;
        loop {
            let read = JsFuture::from(reader.read());
            let Either::Left((read, _)) = select(read, Delay::from(BODY_IDLE_MAX)).await else {
                let _ = reader.cancel(); // Nobody waits for what it is told.
                return None;
            };
            let chunk = Reflect::get(&read.ok()?, &"value".into()).ok()?;
            let Some(chunk) = chunk.dyn_ref::<Uint8Array>() else { break };
            let end = chunk.byte_length().checked_add(filled)?;
            if end > whole.length() {
                return None;
            }
            whole.set(chunk, filled);
            filled = end;
        }
    }
    Some(whole.subarray(0, filled))
}

/// Two streams of what one brings.
pub(crate) fn tee(body: &web_sys::ReadableStream) -> (JsValue, web_sys::ReadableStream) {
    let both = body.tee();
    (both.get(0), both.get(1).unchecked_into())
}

/// Lets go of a body that nobody reads.
pub(crate) fn discard(answer: &web_sys::Response) {
    if let Some(body) = answer.body().filter(|body| !body.locked()) {
        let _ = body.cancel();
    }
}

/// Reads a request's body on while its answer is on its way, within bounds. Closing at once would
/// reset the connection, and the client might never read the answer (RFC 9112, section 9.6).
pub(crate) async fn read_on(body: web_sys::ReadableStream) {
    let all = Box::pin(async move {
        let reader = web_sys::ReadableStreamDefaultReader::new(&body)?;
        let mut left = READ_ON_BYTES_MAX;
        loop {
            let read = JsFuture::from(reader.read()).await?;
            let chunk = Reflect::get(&read, &"value".into())?;
            let chunk: &Uint8Array = chunk.dyn_ref().ok_or(JsValue::NULL)?;
            left = left.checked_sub(chunk.byte_length()).ok_or(JsValue::NULL)?;
        }
    });
    let all: LocalBoxFuture<'_, Result<(), JsValue>> = all;
    select(all, Delay::from(READ_ON_MAX)).await;
}
