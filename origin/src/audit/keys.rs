//! The keys under which what is personal is sealed, one for each subject of a tenant.
//!
//! A subject has a random id, and the key is kept under that id. The way from the name to the id is
//! kept apart, under the SHA-256 of the name. Whoever is forgotten loses the key first: from then on
//! nothing can be opened, and a way that leads to no key is replaced when the subject comes back.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::Whose;
use super::entry::{Opened, SALT_BYTES, Sealed, base64, commitment, digest, hex};
use crate::environment::Environment;
use crate::meta::{Entry, Key, Meta, MetaError};

/// The bytes of a key.
const KEY_BYTES: usize = 32;
/// The bytes of a subject's id.
const ID_BYTES: usize = 16;
/// How often a subject's key is looked for or taken away while others do the same.
const ATTEMPTS_MAX: usize = 16;

/// The key of one subject.
#[derive(Clone)]
pub(super) struct SubjectKey {
    pub(super) id: String,
    bytes: [u8; KEY_BYTES],
}

/// Where a text stands: whoever moves it elsewhere can't have it opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) whose: &'a Whose,
    pub(super) seq: u64,
    pub(super) name: &'a str,
}

impl Place<'_> {
    fn aad(&self) -> Aad<Vec<u8>> {
        let Self { whose, seq, name } = self;
        let partition = whose.partition();
        let place = [partition.as_bytes(), &[0], &seq.to_be_bytes(), name.as_bytes()];
        Aad::from(place.concat())
    }
}

impl SubjectKey {
    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.bytes).ok().map(LessSafeKey::new)
    }

    /// Seals a text for one place. `None` if the cipher fails, which it does for no text that is here.
    pub(super) fn seal(
        &self,
        environment: &dyn Environment,
        place: Place<'_>,
        text: &str,
    ) -> Option<Sealed> {
        let salt = random::<SALT_BYTES>(environment);
        let nonce = random::<NONCE_LEN>(environment);
        let mut sealed = [&salt, text.as_bytes()].concat();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.cipher()?.seal_in_place_append_tag(unique, place.aad(), &mut sealed).ok()?;
        Some(Sealed {
            of: self.id.clone(),
            commitment: commitment(&salt, text),
            sealed: base64(&[&nonce, &sealed[..]].concat()),
        })
    }

    /// Opens what was sealed for this place.
    pub(super) fn open(&self, place: Place<'_>, sealed: &Sealed) -> Option<Opened> {
        let bytes = URL_SAFE_NO_PAD.decode(&sealed.sealed).ok()?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut rest = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher()?.open_in_place(nonce, place.aad(), &mut rest).ok()?;
        let (salt, text) = opened.split_first_chunk::<SALT_BYTES>()?;
        Some(Opened { salt: *salt, text: std::str::from_utf8(text).ok()?.to_owned() })
    }
}

/// All keys.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) meta: Arc<dyn Meta>,
    pub(super) environment: Arc<dyn Environment>,
}

impl Keys {
    /// The key of a subject, which is made if there is none.
    pub(super) async fn of(&self, whose: &Whose, subject: &str) -> Result<SubjectKey, MetaError> {
        let way = way_to(whose, subject);
        for _ in 0..ATTEMPTS_MAX {
            let found = self.meta.get(way.clone()).await?;
            if let Some(Entry { value, .. }) = &found
                && let Some(key) = self.get(whose, &id_of(value)).await?
            {
                return Ok(key);
            }
            let made = match self.make(whose).await {
                // Whether it is there or not, nobody will look for it.
                Err(MetaError::Uncertain(_)) => continue,
                made => made?,
            };
            let version = found.map(|entry| entry.version);
            match self.meta.put(way.clone(), made.id.clone().into(), version).await {
                Ok(_) => return Ok(made),
                // Where somebody else was first, the key that was made is nobody's.
                Err(MetaError::Conflict) => self.delete(&place_of(whose, &made.id)).await?,
                Err(MetaError::Uncertain(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(MetaError::Conflict)
    }

    /// The key of the subject with this id, unless it was forgotten.
    pub(super) async fn get(
        &self,
        whose: &Whose,
        id: &str,
    ) -> Result<Option<SubjectKey>, MetaError> {
        let found = self.meta.get(place_of(whose, id)).await?;
        let bytes = found.and_then(|entry| <[u8; KEY_BYTES]>::try_from(&entry.value[..]).ok());
        Ok(bytes.map(|bytes| SubjectKey { id: id.to_owned(), bytes }))
    }

    /// The id of a subject, if it has one.
    pub(super) async fn id(
        &self,
        whose: &Whose,
        subject: &str,
    ) -> Result<Option<String>, MetaError> {
        Ok(self.meta.get(way_to(whose, subject)).await?.map(|entry| id_of(&entry.value)))
    }

    /// Takes away the key of the subject with this id, and then the way to it.
    pub(super) async fn forget(
        &self,
        whose: &Whose,
        subject: &str,
        id: &str,
    ) -> Result<(), MetaError> {
        self.delete(&place_of(whose, id)).await?;
        let way = way_to(whose, subject);
        match self.meta.get(way.clone()).await? {
            // The subject has come back meanwhile, and has another key.
            Some(entry) if id_of(&entry.value) != id => Ok(()),
            Some(entry) => match self.meta.delete(way, entry.version).await {
                // Likewise.
                Err(MetaError::Conflict) => Ok(()),
                done => done,
            },
            None => Ok(()),
        }
    }

    async fn make(&self, whose: &Whose) -> Result<SubjectKey, MetaError> {
        let environment = &*self.environment;
        let id = hex(&random::<ID_BYTES>(environment));
        let key = SubjectKey { id, bytes: random(environment) };
        let bytes = Bytes::copy_from_slice(&key.bytes);
        self.meta.put(place_of(whose, &key.id), bytes, None).await?;
        Ok(key)
    }

    async fn delete(&self, key: &Key) -> Result<(), MetaError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(entry) = self.meta.get(key.clone()).await? else { return Ok(()) };
            match self.meta.delete(key.clone(), entry.version).await {
                Ok(()) => return Ok(()),
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(MetaError::Conflict)
    }
}

/// Where the id of a subject is kept.
fn way_to(whose: &Whose, subject: &str) -> Key {
    Key::new(whose.keys_partition(), [&b"name "[..], &digest(subject.as_bytes())].concat())
}

/// Where the key of the subject with this id is kept.
fn place_of(whose: &Whose, id: &str) -> Key {
    Key::new(whose.keys_partition(), format!("key {id}"))
}

fn id_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn random<const N: usize>(environment: &dyn Environment) -> [u8; N] {
    let mut bytes = [0; N];
    for chunk in bytes.chunks_mut(size_of::<u64>()) {
        let drawn = environment.random().to_be_bytes();
        chunk.iter_mut().zip(drawn).for_each(|(byte, drawn)| *byte = drawn);
    }
    bytes
}
