//! Several parts of a body in one answer: `multipart/byteranges` (RFC 9110, section 14.6).

use outport_wire::conditions::{ByteRange, Delivery};

use crate::head::Fields;
use crate::step::{Body, Part};

/// Parts of a body of this type and length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multipart<'a> {
    pub(crate) content_type: Option<&'a str>,
    /// Of the whole body, in bytes.
    pub(crate) length: u64,
    /// A number that nobody could guess who wrote the body: no part may hold the boundary.
    pub(crate) random: u64,
}

impl Multipart<'_> {
    /// These parts, each behind a head of its own.
    pub(crate) fn composed(self, ranges: &[ByteRange], part: impl Fn(ByteRange) -> Part) -> Body {
        let parts = ranges.iter().enumerate().flat_map(|(place, range)| {
            [Part::Bytes(self.head(place == 0, *range).into()), part(*range)]
        });
        Body::Composed(parts.chain([Part::Bytes(self.end().into())]).collect())
    }

    /// What is delivered of the body, where it is made of these parts even if it is one alone.
    pub(crate) fn delivered(self, delivery: &Delivery, part: impl Fn(ByteRange) -> Part) -> Body {
        let whole = || ByteRange { first: 0, last: self.length.saturating_sub(1) };
        match delivery {
            Delivery::Parts(ranges) => self.composed(ranges, part),
            Delivery::Part(range) => Body::Composed(vec![part(*range)]),
            _ => Body::Composed(vec![part(whole())]),
        }
    }

    /// The fields of an answer that has these parts.
    pub(crate) fn describe(self, ranges: &[ByteRange], fields: &mut Fields) {
        let heads = ranges.iter().enumerate();
        let heads = heads.map(|(place, range)| self.head(place == 0, *range).len());
        let parts: u64 = ranges.iter().map(|range| range.length()).sum();
        let around = heads.sum::<usize>() + self.end().len();
        let boundary = self.boundary();
        fields.push_args("content-type", format_args!("multipart/byteranges; boundary={boundary}"));
        fields.push_number("content-length", parts + around as u64);
    }

    fn boundary(self) -> String {
        format!("outport-part-{:016x}", self.random)
    }

    fn head(self, is_first: bool, range: ByteRange) -> String {
        let before = if is_first { "" } else { "\r\n" };
        let (boundary, ByteRange { first, last }) = (self.boundary(), range);
        let length = self.length;
        let kind = self.content_type.map(|kind| format!("content-type: {kind}\r\n"));
        let kind = kind.unwrap_or_default();
        format!(
            "{before}--{boundary}\r\n{kind}\
             content-range: bytes {first}-{last}/{length}\r\n\r\n"
        )
    }

    fn end(self) -> String {
        format!("\r\n--{}--\r\n", self.boundary())
    }
}
