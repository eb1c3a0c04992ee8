//! From the settings to what the origin is told of hooks: their secrets are read here.

use std::fs;
use std::io;
use std::path::Path;

use outport_origin::hooks::{
    BeforeCreate, HookSecret, HooksConfig, Receiver, SECRETS_MAX, Webhook,
};

use crate::failure::Failure;
use crate::settings::{Asked, Hooks, Peer, Secrets, Told};

/// The largest file of secrets that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// What the origin is told of hooks.
pub(crate) fn hooks_config(hooks: &Hooks) -> Result<HooksConfig, Failure> {
    let before_create = hooks.asked.as_ref().map(before_create).transpose()?;
    Ok(HooksConfig {
        webhooks: hooks.told.iter().map(webhook).collect::<Result<_, _>>()?,
        before_create,
        ..HooksConfig::default()
    })
}

fn webhook(told: &Told) -> Result<Webhook, Failure> {
    Ok(Webhook {
        name: told.name.clone(),
        receiver: receiver(&told.peer)?,
        events: told.events.clone(),
        format: told.format,
    })
}

fn before_create(asked: &Asked) -> Result<BeforeCreate, Failure> {
    Ok(BeforeCreate { receiver: receiver(&asked.peer)?, on_failure: asked.on_failure })
}

fn receiver(peer: &Peer) -> Result<Receiver, Failure> {
    let secrets = match &peer.secrets {
        Secrets::Here(secrets) => secrets.clone(),
        Secrets::File(path) => {
            read(path).map_err(|source| Failure::io("take the secrets of", path, source))?
        }
    };
    Ok(Receiver {
        url: peer.url.clone(),
        secrets,
        tenants: peer.tenants.clone(),
        timeout: peer.timeout,
    })
}

/// One secret a line, the newest first. Empty lines and those that begin with `#` are passed over.
fn read(path: &Path) -> io::Result<Vec<HookSecret>> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let secrets = lines.map(|(place, line)| {
        line.parse().map_err(|error| io::Error::other(format!("line {}: {error}", place + 1)))
    });
    let secrets: Vec<_> = secrets.collect::<io::Result<_>>()?;
    if (1..=SECRETS_MAX).contains(&secrets.len()) {
        Ok(secrets)
    } else {
        Err(io::Error::other(format!("it has {} secrets, not 1 to {SECRETS_MAX}", secrets.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_AAKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn config(secrets: &str) -> Result<HooksConfig, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, secrets).unwrap();
        let text = format!("[hooks.a]\nurl = \"http://a\"\nsecret_file = {file:?}\n");
        hooks_config(&crate::settings::parse(&text).unwrap().hooks)
    }

    #[test]
    fn secrets_are_read_from_their_file() {
        let config = config(&format!("# rotated in May\n{NEW}\n\n  {OLD}\n")).unwrap();
        let expected: Vec<HookSecret> = [NEW, OLD].map(|text| text.parse().unwrap()).into();
        assert_eq!(config.webhooks[0].receiver.secrets, expected);
    }

    #[test]
    fn a_file_without_secrets_is_told_by_its_line_and_not_by_what_is_in_it() {
        let told = |secrets: &str| config(secrets).err().unwrap().to_string();
        assert!(told("\nwhsec_short\n").contains("line 2: a secret is whsec_"));
        assert!(!told("\nwhsec_short\n").contains("short"));
        assert!(told("# none\n").contains("it has 0 secrets, not 1 to 4"));
        assert!(told(&format!("{OLD}\n").repeat(5)).contains("it has 5 secrets"));
    }
}
