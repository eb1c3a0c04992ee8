//! What both sides must agree on about Resumable Uploads for HTTP
//! (draft-ietf-httpbis-resumable-upload). The draft moves: what may change with it is named here
//! and nowhere else.

/// The version of the draft's wire format that is spoken, for clients that speak several.
pub const INTEROP_VERSION: &str = "8";
/// The field in which it is said.
pub const INTEROP_HEADER: &str = "upload-draft-interop-version";
/// Whether a request, or the upload, is complete (section 4.1.2).
pub const COMPLETE_HEADER: &str = "upload-complete";
/// Where the upload is (section 4.1.1).
pub const OFFSET_HEADER: &str = "upload-offset";
/// How long it will be (section 4.1.3).
pub const LENGTH_HEADER: &str = "upload-length";
/// What is allowed (section 4.1.4).
pub const LIMIT_HEADER: &str = "upload-limit";
/// The media type of an append (section 6).
pub const PARTIAL_TYPE: &str = "application/partial-upload";
/// The status of interim responses (section 5).
pub const STATUS_RESUMPTION_SUPPORTED: u16 = 104;
/// By this field an edge asks the origin for interim responses: the client, and all that is on the
/// way to it, can take them. Its value is the Boolean true.
pub const INTERIM_HEADER: &str = "outport-interim";

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// Reads an Item that is a Boolean (RFC 9651, section 3.3.6). Anything else counts as nothing, as
/// the draft has it.
pub fn boolean(text: &str) -> Option<bool> {
    match item(text)? {
        "?1" => Some(true),
        "?0" => Some(false),
        _ => None,
    }
}

/// Reads an Item that is a non-negative Integer (RFC 9651, section 3.3.1). Anything else counts as
/// nothing, as the draft has it.
pub fn integer(text: &str) -> Option<u64> {
    let digits = item(text)?;
    if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| *number <= INTEGER_MAX)
}

/// A Boolean as it is written.
pub const fn boolean_text(value: bool) -> &'static str {
    if value { "?1" } else { "?0" }
}

/// The bare item before its parameters, which must be well formed and mean nothing here.
fn item(text: &str) -> Option<&str> {
    let text = text.trim_matches(' ');
    let (item, parameters) = match text.split_once(';') {
        Some((item, parameters)) => (item, parameters.split(';')),
        None => return Some(text),
    };
    let well_formed = parameters.map(|parameter| parameter.trim_start_matches(' ')).all(|one| {
        let name = one.split('=').next().unwrap_or_default();
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
        let key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
        begins && name.chars().all(key)
    });
    well_formed.then_some(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        for (text, value) in [("?1", true), ("?0", false), (" ?1 ", true), ("?0;a=1; b", false)] {
            assert_eq!(boolean(text), Some(value), "{text}");
        }
        for text in ["", "1", "true", "?2", "?1, ?1", "?1 ?1", "?1;", "?1;A", "??1", "\"?1\""] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }

    #[test]
    fn integers() {
        for (text, value) in [("0", 0), ("007", 7), ("12;a", 12), ("999999999999999", INTEGER_MAX)]
        {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        for text in ["", "-1", "+1", "1.0", "1000000000000000", "1, 1", "1 2", "x", "?1", "１"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }
}
