//! Requests that the component sends: to where the manifest allows, and nowhere else.

use http::Uri;
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Where requests may go.
#[derive(Clone)]
pub(crate) struct Outbound(pub(crate) std::sync::Arc<[String]>);

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let allowed = self.0.iter().any(|pattern| allows(pattern, request.uri()));
        Box::new(async move {
            if !allowed {
                eprintln!("{} is not in allowed_outbound_hosts", request.uri());
                return Err(Error::HttpRequestDenied);
            }
            let sent = wasmtime_wasi_http::default_send_request(request, options).await;
            let (response, io) = sent?;
            let io: Box<dyn Future<Output = _> + Send> = Box::new(io);
            Ok((response.map(|body| body.boxed_unsync()), io))
        })
    }
}

/// Whether a pattern, `scheme://host[:port]` with wildcards, allows an address.
fn allows(pattern: &str, uri: &Uri) -> bool {
    let Some((scheme, rest)) = pattern.split_once("://") else { return false };
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let asked = uri.port_u16().unwrap_or(default);
    let port = match port {
        None => asked == default,
        Some("*") => true,
        Some(port) => port.parse() == Ok(asked),
    };
    let asked = uri.host().unwrap_or_default();
    let host = match host.strip_prefix("*.") {
        Some(parent) => asked.strip_suffix(parent).is_some_and(|sub| sub.ends_with('.')),
        None => host == "*" || host == asked,
    };
    host && port && (scheme == "*" || Some(scheme) == uri.scheme_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let allows = |pattern, uri| allows(pattern, &Uri::from_static(uri));
        assert!(allows("http://127.0.0.1:8081", "http://127.0.0.1:8081/a"));
        assert!(!allows("http://127.0.0.1:8081", "http://127.0.0.1:8082/a"));
        assert!(allows("https://*", "https://a.example/"));
        assert!(!allows("https://*", "http://a.example/"));
        assert!(!allows("https://*", "https://a.example:8443/"));
        assert!(allows("*://*:*", "http://a.example:8443/"));
        assert!(allows("https://*.example", "https://a.example/"));
        assert!(!allows("https://*.example", "https://example/"));
        assert!(!allows("https://*.example", "https://aexample/"));
    }
}
