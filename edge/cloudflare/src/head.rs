//! Between the platform's heads and the core's, which are bytes.

use std::fmt::Write as _;

use outport_edge_core::head::FieldLines;
use worker::js_sys;
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::web_sys::{Headers, Request};

/// A request's head as the core wants it.
pub(crate) fn to_core(request: &Request) -> Vec<u8> {
    let url = request.url();
    let target = url.splitn(4, '/').nth(3).unwrap_or_default();
    let mut head = String::with_capacity(1024);
    let _ = write!(head, "{} /{target} HTTP/1.1\r\n", request.method()); // Never fails.
    let mut head = head.into_bytes();
    fields_to_core(&request.headers(), &mut head);
    head
}

/// Adds field lines.
pub(crate) fn fields_to_core(fields: &Headers, head: &mut Vec<u8>) {
    for pair in fields.entries() {
        let Ok(pair) = pair else { return };
        let pair: js_sys::Array = pair.unchecked_into();
        let text = |place: u32| pair.get(place).as_string().unwrap_or_default();
        for part in [&text(0), ": ", &text(1), "\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
    }
}

/// The core's field lines as the platform takes them.
pub(crate) fn fields_from_core(lines: FieldLines<'_>) -> Result<Headers, JsValue> {
    let fields = Headers::new()?;
    for (name, value) in lines.iter() {
        fields.append(name, &String::from_utf8_lossy(value))?;
    }
    Ok(fields)
}
