//! Answers every request with the same 4 KiB, in the plainest way that WASI 0.3 has: no framework
//! stands between this and the host.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, HeaderError, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

/// The file that `outport-bench edge` asks everybody for.
const CONTENT: [u8; 4096] = [b'o'; 4096];

struct Peer;

impl Guest for Peer {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let fields = fields().map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
        let (mut body, body_reader) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(fields, Some(body_reader), trailers);
        wit_bindgen::spawn(async move {
            // What is left over is what a client that went away does not want.
            let _ = body.write_all(CONTENT.to_vec()).await;
        });
        Ok(response)
    }
}

fn fields() -> Result<Fields, HeaderError> {
    Fields::from_list(&[
        ("content-type".to_owned(), b"application/octet-stream".to_vec()),
        // Without it every answer is chunked.
        ("content-length".to_owned(), CONTENT.len().to_string().into_bytes()),
    ])
}

wasip3::http::service::export!(Peer);
