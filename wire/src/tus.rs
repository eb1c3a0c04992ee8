//! What both sides must agree on about tus 1.0 (<https://tus.io/protocols/resumable-upload>).

/// The one protocol version spoken.
pub const VERSION: &str = "1.0.0";
/// The extensions that exist, as `Tus-Extension` lists them.
pub const EXTENSIONS: &str = "creation,creation-with-upload,termination";
/// The same where what is behind a body reaches the origin.
pub const EXTENSIONS_WITH_TRAILER: &str = EXTENSIONS;

/// The extensions that exist, as `Tus-Extension` lists them.
pub const fn extensions(trailers_pass: bool) -> &'static str {
    if trailers_pass { EXTENSIONS_WITH_TRAILER } else { EXTENSIONS }
}
/// The media type of a PATCH body.
pub const PATCH_TYPE: &str = "application/offset+octet-stream";
/// The algorithms that a checksum can be of, as `Tus-Checksum-Algorithm` lists them.
pub const CHECKSUM_ALGORITHMS: &str = "sha1,sha256,crc32c,md5,blake3";
