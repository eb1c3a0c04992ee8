//! An origin for the conformance suites that are reached over HTTP: answers as each request tells
//! it to (see `outport_tests::scripted`), until it is ended.

#![allow(clippy::print_stdout)] // It prints where it listens.

use std::net::SocketAddr;

use clap::Parser;
use outport_tests::scripted;
use tokio::net::TcpListener;

/// Answers every request as the request's field x-script tells it to.
#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one. The base URL is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind(Args::parse().listen).await?;
    println!("http://{}", listener.local_addr()?);
    scripted::serve(listener).await;
    Ok(())
}
