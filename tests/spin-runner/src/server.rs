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
            // Nobody need be told that a client has left, or was refused without an answer.
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// Answers a request. An error closes the connection without an answer, as Spin does where it
/// can't tell whose the request is.
async fn answer(
    handler: ProxyHandler<Instances>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<WasiBody>> {
    address(&mut request)?;
    let answered = async {
        add_fields(&mut request, peer)?;
        let request = request.map(|body| body.map_err(Error::from).boxed_unsync());
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

/// Makes a request's address a whole one, by its field `Host`.
fn address(request: &mut Request<Incoming>) -> Result<()> {
    let mut parts = request.uri().clone().into_parts();
    let host = match request.headers().get(header::HOST) {
        Some(host) => Some(Authority::from_str(host.to_str()?)?),
        None => None,
    };
    if let (Some(host), Some(authority)) = (&host, &parts.authority) {
        ensure!(host == authority, "`Host` is not the target's authority");
    }
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(host.or(parts.authority).context("`Host` is missing")?);
    *request.uri_mut() = Uri::from_parts(parts)?;
    Ok(())
}

/// Adds the fields that Spin adds to a request, and refuses what is no UTF-8 as Spin does.
fn add_fields(request: &mut Request<Incoming>, peer: SocketAddr) -> Result<()> {
    for value in request.headers().values() {
        std::str::from_utf8(value.as_bytes()).context("a field is no UTF-8")?;
    }
    let added = [
        ("spin-path-info", request.uri().path().to_owned()),
        ("spin-full-url", request.uri().to_string()),
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
    Ok(())
}
