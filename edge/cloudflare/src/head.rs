//! Between the platform's heads and the core's, which are bytes.

use outport_edge_core::country::Country;
use outport_edge_core::head::{FieldLines, Fields};
use worker::js_sys::{self, Reflect};
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::web_sys::{Headers, Request};

const ACCEPT_ENCODING: &str = "accept-encoding";

/// A request's head as the core wants it.
pub(crate) fn to_core(request: &Request) -> Vec<u8> {
    let url = request.url();
    let target = url.splitn(4, '/').nth(3).unwrap_or_default();
    let mut head = Fields::for_request(&request.method(), &format!("/{target}"));
    let codings = client_codings(request);
    for (name, value) in lines(&request.headers()) {
        if name != ACCEPT_ENCODING || codings.is_none() {
            head.push(&name, value);
        }
    }
    if let Some(codings) = codings.filter(|codings| !codings.is_empty()) {
        head.push(ACCEPT_ENCODING, codings);
    }
    head.into_bytes()
}

/// What the client said in `Accept-Encoding`: the platform puts its own codings in that field,
/// and the client's aside.
fn client_codings(request: &Request) -> Option<String> {
    told(request, "clientAcceptEncoding")
}

/// Where the client is.
pub(crate) fn country(request: &Request) -> Country {
    Country::told(told(request, "country").unwrap_or_default().as_bytes())
}

/// What the platform tells of a request beside it.
fn told(request: &Request, name: &str) -> Option<String> {
    let platform = Reflect::get(request, &"cf".into()).ok().filter(JsValue::is_object)?;
    Reflect::get(&platform, &name.into()).ok()?.as_string()
}

/// A response's field lines.
pub(crate) fn fields_to_core(fields: &Headers) -> Vec<u8> {
    let mut all = Fields::new();
    for (name, value) in lines(fields) {
        all.push(&name, value);
    }
    all.into_bytes()
}

fn lines(fields: &Headers) -> impl Iterator<Item = (String, String)> {
    fields.entries().into_iter().flatten().map(|pair| {
        let pair: js_sys::Array = pair.unchecked_into();
        let text = |place: u32| pair.get(place).as_string().unwrap_or_default();
        (text(0), text(1))
    })
}

/// The core's field lines as the platform takes them.
pub(crate) fn fields_from_core(lines: FieldLines<'_>) -> Result<Headers, JsValue> {
    let fields = Headers::new()?;
    for (name, value) in lines.iter() {
        fields.append(name, &String::from_utf8_lossy(value))?;
    }
    Ok(fields)
}
