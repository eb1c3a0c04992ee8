//! The demonstration's sign-in.

use outport_wire::problem::{Problem, ProblemType};
use serde_json::{Value, json};

use super::site;
use crate::config::{Config, Guest};
use crate::guard::Guarded;

/// Gives a guest's token to the page on this machine. Other pages can't ask for it: a request
/// from elsewhere says so (`Sec-Fetch-Site`, `Origin`), and a name that was pointed at this
/// machine (DNS rebinding) is not a loopback name.
pub(crate) fn start(request: &Guarded<'_>, config: &Config) -> Result<Value, Problem> {
    let nothing = || Problem::new(ProblemType::NotFound, "There are no guest sessions here.");
    let Guest { token, tenant, subject, expires_s } = config.guest.as_ref().ok_or_else(nothing)?;
    let host = request.fields.get("host").unwrap_or_default();
    if !is_loopback(host) || !is_same_origin(request, host) {
        return Err(nothing());
    }
    Ok(json!({ "token": token, "tenant": tenant, "subject": subject, "expires": expires_s }))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

fn is_same_origin(request: &Guarded<'_>, host: &str) -> bool {
    let site = request.fields.get("sec-fetch-site");
    let origin = request.fields.get("origin");
    site.is_none_or(|site| site == "same-origin")
        && origin.is_none_or(|origin| site::authority(origin) == Some(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::guard;
    use crate::memory::tests::config;

    fn ask(fields: &str) -> bool {
        let mut config = config();
        config.guest = Some(Guest {
            token: "t".into(),
            tenant: "demo".into(),
            subject: "demo".into(),
            expires_s: 1,
        });
        let head = format!("POST /session HTTP/1.1\r\n{fields}");
        start(&guard(head.as_bytes()).unwrap(), &config).is_ok()
    }

    #[test]
    fn only_the_page_on_this_machine() {
        assert!(ask("host: 127.0.0.1:8080\r\n"));
        assert!(ask(
            "host: localhost\r\norigin: http://localhost\r\nsec-fetch-site: same-origin\r\n"
        ));
        assert!(ask("host: [::1]:8080\r\n"));
        assert!(!ask("host: evil.example:8080\r\n"));
        assert!(!ask("host: 127.0.0.1:8080\r\norigin: http://evil.example\r\n"));
        assert!(!ask("host: 127.0.0.1:8080\r\nsec-fetch-site: cross-site\r\n"));
        assert!(!ask("host: \r\n"));
    }

    #[test]
    fn no_guest_no_session() {
        let head = guard(b"POST /session HTTP/1.1\r\nhost: localhost\r\n").unwrap();
        assert!(start(&head, &config()).is_err());
    }
}
