//! Bodies of several parts, each read when the one before has been sent.

use outport_edge_core::step::Part;
use worker::js_sys::Uint8Array;
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::web_sys::{ReadableStream, StreamPipeOptions, WritableStream};

use crate::cache::open_range;
use crate::js;

/// A body of these parts, of this length if that is known, where that which they are of is stored at
/// this URL. Where one of them can't be had, it is cut off.
pub(crate) fn body(parts: Vec<Part>, length: Option<f64>, url: String) -> JsValue {
    let passing = js::passing(length);
    let to = passing.writable();
    spawn_local(async move {
        for part in parts {
            let passed = pass(part, &url, &to).await;
            if js::logged("a body of several parts can't be sent", passed).is_none() {
                let _ = JsFuture::from(to.abort()).await; // It may have ended by itself.
                return;
            }
        }
        js::logged("a body of several parts has no end", JsFuture::from(to.close()).await);
    });
    passing.readable().into()
}

async fn pass(part: Part, url: &str, to: &WritableStream) -> Result<(), JsValue> {
    let stream: Option<ReadableStream> = match part {
        Part::Bytes(bytes) => js::stream(&Uint8Array::from(&bytes[..])),
        Part::Stored(range) => open_range(url, range).await.map(JsCast::unchecked_into),
        // Never asked: the driver declares no ability to slice.
        Part::Sliced(_) | Part::Included(_) => None,
    };
    let options = StreamPipeOptions::new();
    options.set_prevent_close(true);
    let stream = stream.ok_or("a part is gone")?;
    JsFuture::from(stream.pipe_to_with_options(to, &options)).await.map(drop)
}
