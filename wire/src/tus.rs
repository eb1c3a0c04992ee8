//! What both sides must agree on about tus 1.0 (<https://tus.io/protocols/resumable-upload>).

/// The one protocol version spoken.
pub const VERSION: &str = "1.0.0";
/// The extensions that exist where what is behind a request's body does not reach the origin.
const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,checksum,\
    termination,concatenation,concatenation-unfinished";
/// All of them.
const ALL_EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,\
    checksum,checksum-trailer,termination,concatenation,concatenation-unfinished";

/// The extensions that exist, as `Tus-Extension` lists them, with or without the one that needs what
/// is behind a request's body.
pub const fn extensions(trailers_pass: bool) -> &'static str {
    if trailers_pass { ALL_EXTENSIONS } else { EXTENSIONS }
}

/// The media type of a PATCH body.
pub const PATCH_TYPE: &str = "application/offset+octet-stream";
/// The algorithms that a checksum can be of, as `Tus-Checksum-Algorithm` lists them.
pub const CHECKSUM_ALGORITHMS: &str = "sha1,sha256,crc32c,md5,blake3";
