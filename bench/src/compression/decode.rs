//! What a client makes of a body in a coding.

use std::io::Read as _;

use anyhow::{Result, bail};

/// How much is decoded at a time, in bytes.
const BUFFER_BYTES: usize = 16 << 10;

/// The body in no coding.
pub(super) fn decoded(coding: &str, body: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    match coding {
        "" => plain.extend(body),
        "br" => drop(brotli::Decompressor::new(body, BUFFER_BYTES).read_to_end(&mut plain)?),
        "gzip" => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut plain)?),
        "zstd" => plain = zstd::stream::decode_all(body)?,
        _ => bail!("nobody asked for {coding}"),
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_encoded_comes_back_and_what_is_cut_does_not() {
        let text = b"text, text, text and text".repeat(50);
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 18);
        brotli.write_all(&text).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        for (coding, form) in [
            ("br", brotli.into_inner()),
            ("gzip", gzip.finish().unwrap()),
            ("zstd", zstd::stream::encode_all(&text[..], 3).unwrap()),
        ] {
            assert_eq!(decoded(coding, &form).unwrap(), text, "{coding}");
            assert!(decoded(coding, &form[..form.len() - 2]).is_err(), "{coding}");
        }
        assert_eq!(decoded("", &text).unwrap(), text);
        assert!(decoded("deflate", &text).is_err());
    }
}
