//! Reads responses off the wire, one message after the other, and nothing else.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The most fields of a message.
const FIELDS_MAX: usize = 16;

/// One message: an interim response, or a final one with its body.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let named = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_final(&self) -> bool {
        self.status >= 200
    }
}

/// A connection that is read.
pub(crate) struct Reader<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::new() }
    }

    /// The next message. `None` where the connection ended before one began; half a message, or
    /// what is none, panics.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        let mut message = loop {
            if let Some(message) = self.head() {
                break message;
            }
            if !self.more().await {
                let rest = String::from_utf8_lossy(&self.buffer);
                assert!(self.buffer.is_empty(), "half a message: {rest:?}");
                return None;
            }
        };
        if message.is_final() {
            message.body = match message.field("content-length") {
                Some(length) => self.take(length.parse().unwrap()).await,
                None => self.chunks().await,
            };
        }
        Some(message)
    }

    fn head(&mut self) -> Option<Message> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = response
            .parse(&self.buffer)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.buffer)))
        else {
            return None;
        };
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let fields =
            response.headers.iter().map(|field| (field.name.to_owned(), text(field.value)));
        let message =
            Message { status: response.code.unwrap(), fields: fields.collect(), body: Vec::new() };
        let _ = self.buffer.split_to(length);
        Some(message)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await;
            let length = usize::from_str_radix(&line, 16).unwrap();
            body.extend(self.take(length).await);
            assert_eq!(self.line().await, "");
            if length == 0 {
                return body;
            }
        }
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.more().await, "the body is cut");
        }
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.more().await, "the body is cut");
        }
        self.buffer.split_to(length).to_vec()
    }

    async fn more(&mut self) -> bool {
        self.from.read_buf(&mut self.buffer).await.unwrap() > 0
    }
}
