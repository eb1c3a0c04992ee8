//! HTTP in front of the instances, as Spin's trigger does it.

use std::net::SocketAddr;
use std::str::FromStr as _;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::signal::unix::{SignalKind, signal};
use wasmtime_wasi_http::handler::ProxyHandler;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::instance::Instances;

/// Serves until it is told to stop.
pub(crate) async fn serve(address: SocketAddr, instances: Instances) -> Result<()> {
    let handler = ProxyHandler::new(instances);
    let listener = tokio::net::TcpListener::bind(address).await?;
    eprintln!("Serving http://{}", listener.local_addr()?);
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = interrupted.recv() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
        };
        stream.set_nodelay(true)?;
        let handler = handler.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(handler.clone(), request, peer));
            let server = auto::Builder::new(TokioExecutor::new());
            // A client that leaves is nothing to tell of.
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    handler: ProxyHandler<Instances>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<WasiBody>, std::convert::Infallible> {
    let answered = async {
        let request = prepare(request, peer)?.map(|body| body.map_err(Error::from).boxed_unsync());
        handler.handle((), request).await.map_err(|error| anyhow::anyhow!("{error:?}"))
    };
    Ok(answered.await.unwrap_or_else(|error| {
        eprintln!("a request failed: {error:#}");
        let empty = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(empty);
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    }))
}

/// Gives a request the address and the fields that Spin gives it, and refuses what Spin refuses.
fn prepare(mut request: Request<Incoming>, peer: SocketAddr) -> Result<Request<Incoming>> {
    for value in request.headers().values() {
        std::str::from_utf8(value.as_bytes()).context("a field is no UTF-8")?;
    }
    let mut parts = request.uri().clone().into_parts();
    let host = match request.headers().get(header::HOST) {
        Some(host) => Some(Authority::from_str(host.to_str()?)?),
        None => None,
    };
    if let (Some(host), Some(authority)) = (&host, &parts.authority) {
        ensure!(host == authority, "`Host` is not the target's authority");
    }
    let authority = host.or(parts.authority).context("`Host` is missing")?;
    let target = parts.path_and_query.clone().context("the target is no path")?;
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    *request.uri_mut() = Uri::from_parts(parts)?;
    let added = [
        ("spin-path-info", target.path().to_owned()),
        ("spin-full-url", format!("http://{authority}{target}")),
        ("spin-matched-route", "/...".to_owned()),
        ("spin-base-path", "/".to_owned()),
        ("spin-raw-component-route", "/...".to_owned()),
        ("spin-component-route", String::new()),
        ("spin-client-addr", peer.to_string()),
    ];
    for (name, value) in added {
        let value = HeaderValue::try_from(value)?;
        request.headers_mut().append(HeaderName::from_static(name), value);
    }
    Ok(request)
}
