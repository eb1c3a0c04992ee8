//! Words that the syntax of HTTP is made of.

/// Whether a text is a token, as names of fields and methods are (RFC 9110, section 5.6.2).
pub fn is_token(text: &str) -> bool {
    let is_mark = |byte: u8| {
        matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
    };
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_token() {
        for token in ["a", "cf-ipcountry", "X_1.2", "!#$%&'*+-.^_`|~"] {
            assert!(is_token(token), "{token}");
        }
        for text in ["", "a b", "a:", "a/b", "a\t", "ä", "\"a\"", "(a)", "a,b", "{a}"] {
            assert!(!is_token(text), "{text}");
        }
    }
}
