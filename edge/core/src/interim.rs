//! Interim responses of the origin (1xx): which of them the client gets, and what of them.
//!
//! They come while the exchange waits for the origin's final answer, and none changes what the
//! exchange does. So they are no step of it: a driver whose platform can send them asks here.

use outport_wire::resumable::{
    INTEROP_HEADER, LIMIT_HEADER, OFFSET_HEADER, STATUS_RESUMPTION_SUPPORTED,
};

use crate::config::Config;
use crate::forward;
use crate::forwarded::Client;
use crate::head::{FieldLines, Fields};

/// What of a 104 passes on.
const FIELDS: &[&str] = &["location", INTEROP_HEADER, LIMIT_HEADER, OFFSET_HEADER];

/// What shows that a request came by a proxy, whoever says it: there is nothing to gain by a lie.
const BY_PROXY: &[&str] = &["forwarded", "via", "x-forwarded-for"];

/// Whether a client can take interim responses, as far as its request shows. By a proxy they might
/// not arrive, and worse: nginx 1.22 takes the first for the final answer, and the upload hangs
/// until a timeout. `docs/proxies.md` shows it.
pub(crate) fn can_take(client: &Client<'_>, request: FieldLines<'_>) -> bool {
    !client.proxied && !request.iter().any(|(name, _)| BY_PROXY.contains(&name))
}

/// How a deployment changes what passes on. The default changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Interims {
    public_base_url: Option<String>,
    request_bytes_max: Option<u64>,
}

impl Interims {
    /// As the configuration has it for final answers.
    pub fn new(config: &Config) -> Self {
        Self {
            public_base_url: config.public_base_url.clone(),
            request_bytes_max: config.request_bytes_max,
        }
    }

    /// The field lines of what the client gets for an interim response of the origin, under the
    /// same status. `None`: nothing. Only `104 Upload Resumption Supported` passes on: others are
    /// the affair of one connection.
    pub fn passed_on(&self, status: u16, answer: FieldLines<'_>) -> Option<Vec<u8>> {
        if status != STATUS_RESUMPTION_SUPPORTED {
            return None;
        }
        let mut fields = Fields::new();
        for (name, value) in forward::end_to_end(answer).filter(|(name, _)| FIELDS.contains(name)) {
            match name {
                "location" => {
                    fields.push(name, forward::location(value, self.public_base_url.as_deref()));
                }
                _ => fields.push(name, value),
            }
        }
        if let Some(most) = self.request_bytes_max {
            // Of a dictionary's members of one name the last counts (RFC 9651, section 4.2.2).
            fields.push(LIMIT_HEADER, format!("max-append-size={most}"));
        }
        Some(fields.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::country::Country;
    use crate::memory::tests::config;

    fn passed_on(config: &Config, status: u16, fields: &[u8]) -> Option<String> {
        let passed = Interims::new(config).passed_on(status, FieldLines::new(fields))?;
        Some(String::from_utf8(passed).unwrap())
    }

    #[test]
    fn of_a_104_the_fields_of_the_upload_pass_on() {
        let sent =
            b"upload-draft-interop-version: 8\r\nlocation: /uploads/x\r\noutport-file: a\r\n\
            upload-limit: max-size=5\r\nset-cookie: a\r\nserver: b\r\nupload-offset: 3\r\n";
        let passed = "upload-draft-interop-version: 8\r\nlocation: /uploads/x\r\n\
            upload-limit: max-size=5\r\nupload-offset: 3\r\n";
        let mut config = config();
        assert_eq!(passed_on(&config, 104, sent).as_deref(), Some(passed));

        config.public_base_url = Some("https://files.example".to_owned());
        config.request_bytes_max = Some(1_000);
        let passed = passed.replace("/uploads", "https://files.example/uploads")
            + "upload-limit: max-append-size=1000\r\n";
        assert_eq!(passed_on(&config, 104, sent), Some(passed));
    }

    #[test]
    fn what_belongs_to_the_connection_stays_there() {
        let sent = b"upload-offset: 3\r\nconnection: upload-limit\r\nupload-limit: max-size=5\r\n";
        assert_eq!(passed_on(&config(), 104, sent).as_deref(), Some("upload-offset: 3\r\n"));
    }

    #[test]
    fn who_comes_by_a_proxy_can_take_none() {
        let address = "192.0.2.1".parse().unwrap();
        let country = Country::UNKNOWN;
        let client = Client { address, secure: false, host: None, proxied: false, country };
        let can = |client: &Client<'_>, fields: &str| {
            can_take(client, FieldLines::new(fields.as_bytes()))
        };
        assert!(can(&client, "host: x\r\n"));
        assert!(!can(&Client { proxied: true, ..client }, "host: x\r\n"));
        for field in ["via: 1.1 a", "forwarded: for=_a", "x-forwarded-for: 192.0.2.9"] {
            assert!(!can(&client, &format!("host: x\r\n{field}\r\n")), "{field}");
        }
    }

    #[test]
    fn nothing_else_passes_on() {
        for status in [100, 101, 102, 103, 105, 199] {
            assert_eq!(passed_on(&config(), status, b"link: </a>\r\n"), None, "{status}");
        }
    }
}
