//! Where certificates and keys are: `[edge.tls]`, `[edge.origin_tls]` and `[origin.tls]`.

use std::path::PathBuf;

use outport_tls::{ClientFiles, Identity, ServerFiles};

use super::section::Section;

/// The files of all three.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// What the edge listens with.
    pub(crate) edge: Option<ServerFiles>,
    /// How the edge connects to the origin.
    pub(crate) to_origin: ClientFiles,
    /// What the origin listens with.
    pub(crate) origin: Option<ServerFiles>,
}

/// `[edge.tls]`: clients need no certificate.
pub(super) fn edge(mut section: Section<'_>) -> Option<ServerFiles> {
    let identity = needed_identity(&mut section);
    section.finish();
    Some(ServerFiles { identity: identity?, client_ca_file: None })
}

/// `[origin.tls]`.
pub(super) fn origin(mut section: Section<'_>) -> Option<ServerFiles> {
    let identity = needed_identity(&mut section);
    let client_ca_file = path(&mut section, "client_ca_file");
    section.finish();
    Some(ServerFiles { identity: identity?, client_ca_file })
}

/// `[edge.origin_tls]`.
pub(super) fn to_origin(mut section: Section<'_>) -> ClientFiles {
    let ca_file = path(&mut section, "ca_file");
    let wanted = section.has("certificate_file") || section.has("key_file");
    let identity = if wanted {
        needed_identity(&mut section)
    } else {
        // Asked for in vain, so that they are known.
        identity(&mut section)
    };
    section.finish();
    ClientFiles { ca_file, identity }
}

fn needed_identity(section: &mut Section<'_>) -> Option<Identity> {
    for (key, example) in
        [("certificate_file", "\"/etc/outport/tls.crt\""), ("key_file", "\"/etc/outport/tls.key\"")]
    {
        if !section.has(key) {
            section.note_missing(key, example);
        }
    }
    identity(section)
}

fn identity(section: &mut Section<'_>) -> Option<Identity> {
    let (certificate_file, key_file) =
        (path(section, "certificate_file"), path(section, "key_file"));
    Some(Identity { certificate_file: certificate_file?, key_file: key_file? })
}

fn path(section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    let text = section.text(key)?;
    if text.value.is_empty() {
        section.note(text.at, format!("{key} names no file"), "it takes the path of a file in PEM");
        return None;
    }
    Some(text.value.into())
}

#[cfg(test)]
mod tests {
    use super::super::{Mistake, parse};
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let line =
            |Mistake { line, column, wrong, right }| format!("{line}:{column} {wrong} | {right}");
        parse(text).expect_err("it is wrong").into_iter().map(line).collect()
    }

    #[test]
    fn all_three() {
        let text = "[edge.tls]\ncertificate_file = \"a\"\nkey_file = \"b\"\n\
                    [edge.origin_tls]\nca_file = \"c\"\ncertificate_file = \"d\"\nkey_file = \"e\"\n\
                    [origin.tls]\ncertificate_file = \"f\"\nkey_file = \"g\"\nclient_ca_file = \"h\"\n";
        let identity = |certificate: &str, key: &str| Identity {
            certificate_file: certificate.into(),
            key_file: key.into(),
        };
        let expected = Tls {
            edge: Some(ServerFiles { identity: identity("a", "b"), client_ca_file: None }),
            to_origin: ClientFiles {
                ca_file: Some("c".into()),
                identity: Some(identity("d", "e")),
            },
            origin: Some(ServerFiles {
                identity: identity("f", "g"),
                client_ca_file: Some("h".into()),
            }),
        };
        assert_eq!(parse(text).unwrap().tls, expected);
        let ca_alone = parse("[edge.origin_tls]\nca_file = \"c\"\n").unwrap().tls;
        assert_eq!(ca_alone.to_origin.identity, None);
    }

    #[test]
    fn every_mistake_has_its_place() {
        let found = mistakes(
            "[edge.tls]\ncertificate_file = \"a\"\nclient_ca_file = \"b\"\n\
             [edge.origin_tls]\nkey_file = \"c\"\n[origin]\nport = 1\n[origin.tls]\nkey_file = 5\n\
             certificate_file = \"\"\n",
        );
        assert_eq!(
            found,
            [
                "1:1 [edge.tls] has no key_file | add a line such as: key_file = \
                 \"/etc/outport/tls.key\"",
                "3:1 [edge.tls] has no key \"client_ca_file\" | known here: certificate_file, key_file",
                "4:1 [edge.origin_tls] has no certificate_file | add a line such as: \
                 certificate_file = \"/etc/outport/tls.crt\"",
                "7:1 [origin] has no key \"port\" | known here: tls, checks_tokens, takes_handovers",
                "9:12 key_file in [origin.tls] is the number 5 | it takes a text in double quotes",
                "10:20 certificate_file names no file | it takes the path of a file in PEM",
            ]
        );
    }
}
