//! File ids: where a file lives and when it was begun, in 26 characters.
//!
//! 128 bits in Crockford base32, most significant first: home region (8 bits), shard (17 bits,
//! from tenant and owner), milliseconds since 2024-01-01 (41 bits, to the year 2093), whether an
//! edge made it (1 bit), randomness (61 bits). Any edge can send a request home without a lookup,
//! and sees without one whether an edge may still hold the file. Nothing else parses an id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Characters of an id.
pub const ID_CHARS: usize = 26;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const EPOCH_UNIX_MS: u64 = 1_704_067_200_000;
const SHARD_BITS: u32 = 17;
const MS_BITS: u32 = 41;
const EDGE_BITS: u32 = 1;
const RANDOM_BITS: u32 = 61;
/// What follows the milliseconds.
const TAIL_BITS: u32 = EDGE_BITS + RANDOM_BITS;

/// The id of a file and of the upload that makes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileId(u128);

/// The text is no id: not 26 characters of Crockford base32, or above 128 bits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an id has 26 characters of Crockford base32")]
pub struct NotAnId;

/// Where a file's metadata is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The region that stores the file.
    pub region: u8,
    /// The shard within the region, below 2^17.
    pub shard: u32,
}

impl Home {
    /// The home of what `owner` of `tenant` stores in `region`.
    pub fn of(region: u8, tenant: &str, owner: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((tenant.len() as u64).to_be_bytes());
        hash.update(tenant);
        hash.update(owner);
        let [a, b, c, ..] = <[u8; 32]>::from(hash.finalize());
        let shard = u32::from_be_bytes([0, a, b, c]) >> (24 - SHARD_BITS);
        Self { region, shard }
    }
}

impl FileId {
    /// A new id of the origin's. `random` must come from a cryptographic source; its lower 61
    /// bits are used.
    pub fn new(home: Home, unix_ms: u64, random: u64) -> Self {
        Self::of(home, unix_ms, false, random)
    }

    /// A new id of an edge's, for a file that it accepts by itself.
    pub fn new_at_edge(home: Home, unix_ms: u64, random: u64) -> Self {
        Self::of(home, unix_ms, true, random)
    }

    fn of(home: Home, unix_ms: u64, at_edge: bool, random: u64) -> Self {
        let ms = unix_ms.saturating_sub(EPOCH_UNIX_MS) & low_bits(MS_BITS);
        let shard = u64::from(home.shard) & low_bits(SHARD_BITS);
        let mut bits = u128::from(home.region);
        bits = bits << SHARD_BITS | u128::from(shard);
        bits = bits << MS_BITS | u128::from(ms);
        bits = bits << EDGE_BITS | u128::from(at_edge);
        bits = bits << RANDOM_BITS | u128::from(random & low_bits(RANDOM_BITS));
        Self(bits)
    }

    /// Whether an edge made the id. Of ids from before edges made any, half say so too.
    pub fn is_from_edge(self) -> bool {
        self.0 >> RANDOM_BITS & 1 == 1
    }

    /// Where the file lives.
    pub fn home(self) -> Home {
        let region = (self.0 >> (SHARD_BITS + MS_BITS + TAIL_BITS)) as u8;
        let shard = (self.0 >> (MS_BITS + TAIL_BITS)) as u64 & low_bits(SHARD_BITS);
        Home { region, shard: shard as u32 }
    }

    /// When the upload was begun, in milliseconds since 1970.
    pub fn unix_ms(self) -> u64 {
        ((self.0 >> TAIL_BITS) as u64 & low_bits(MS_BITS)) + EPOCH_UNIX_MS
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; ID_CHARS];
        for (place, byte) in text.iter_mut().rev().enumerate() {
            let digit = (self.0 >> (5 * place)) as usize & 31;
            *byte = ALPHABET.get(digit).copied().unwrap_or(b'0');
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FileId {
    type Err = NotAnId;

    /// Reads an id in either case. What is printed is upper case.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != ID_CHARS {
            return Err(NotAnId);
        }
        let mut bits = 0u128;
        for byte in text.bytes() {
            if bits >> 123 != 0 {
                return Err(NotAnId);
            }
            bits = bits << 5 | u128::from(digit(byte).ok_or(NotAnId)?);
        }
        Ok(Self(bits))
    }
}

impl TryFrom<String> for FileId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<FileId> for String {
    fn from(id: FileId) -> Self {
        id.to_string()
    }
}

const fn low_bits(count: u32) -> u64 {
    (1 << count) - 1
}

fn digit(byte: u8) -> Option<u8> {
    let upper = byte.to_ascii_uppercase();
    ALPHABET.iter().position(|symbol| *symbol == upper).map(|place| place as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_field_comes_back() {
        let home = Home { region: 7, shard: 0x1_2345 };
        let id = FileId::new(home, 1_790_000_000_123, u64::MAX);
        assert_eq!(id.home(), home);
        assert_eq!(id.unix_ms(), 1_790_000_000_123);
        let text = id.to_string();
        assert_eq!(text.len(), ID_CHARS);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_lowercase().parse(), Ok(id));
    }

    #[test]
    fn who_made_it() {
        let home = Home { region: 7, shard: 0x1_2345 };
        for random in [0, u64::MAX] {
            let (ours, an_edges) =
                (FileId::new(home, 9, random), FileId::new_at_edge(home, 9, random));
            assert!(!ours.is_from_edge() && an_edges.is_from_edge());
            assert_eq!((an_edges.home(), an_edges.unix_ms()), (home, ours.unix_ms()));
        }
    }

    #[test]
    fn the_form_is_stable() {
        let id = FileId::new(Home { region: 1, shard: 2 }, EPOCH_UNIX_MS + 3, 4);
        assert_eq!(id.to_string(), "01000G0000000C000000000004");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "0", "0G000G000000600000000000041", "U1000G0000000C000000000004"] {
            assert_eq!(text.parse::<FileId>(), Err(NotAnId), "{text}");
        }
        // 2^128 does not fit.
        assert_eq!("80000000000000000000000000".parse::<FileId>(), Err(NotAnId));
        assert!("7ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<FileId>().is_ok());
    }

    #[test]
    fn tenant_and_owner_do_not_run_together() {
        assert_ne!(Home::of(0, "ab", "c"), Home::of(0, "a", "bc"));
    }

    /// Texts of the right length and of the right characters, most of them.
    fn text_of_an_id() -> impl Strategy<Value = String> {
        let digit = prop_oneof![9 => 0..32_usize, 1 => 0..33_usize];
        let digit = digit.prop_map(|place| char::from(*ALPHABET.get(place).unwrap_or(&b'U')));
        (0..8_usize, prop::collection::vec(digit, ID_CHARS - 1)).prop_map(|(first, rest)| {
            std::iter::once(char::from(ALPHABET[first])).chain(rest).collect()
        })
    }

    proptest! {
        #[test]
        fn any_id_comes_back(region: u8, shard in 0..1_u32 << SHARD_BITS, ms in 0..1_u64 << MS_BITS,
                             random: u64, at_edge: bool) {
            let (home, unix_ms) = (Home { region, shard }, EPOCH_UNIX_MS + ms);
            let make = if at_edge { FileId::new_at_edge } else { FileId::new };
            let id = make(home, unix_ms, random);
            prop_assert_eq!((id.home(), id.unix_ms(), id.is_from_edge()), (home, unix_ms, at_edge));
            let text = id.to_string();
            prop_assert_eq!(text.len(), ID_CHARS);
            prop_assert_eq!(text.parse(), Ok(id));
            prop_assert_eq!(text.to_lowercase().parse(), Ok(id));
        }

        /// Ids of one home sort by time, as numbers and as text: lists go by that.
        #[test]
        fn ids_sort_by_time(ms in any::<[u32; 2]>(), random in any::<[u64; 2]>()) {
            let home = Home { region: 1, shard: 2 };
            let at = |place: usize| {
                FileId::new(home, EPOCH_UNIX_MS + u64::from(ms[place]), random[place])
            };
            let (a, b) = (at(0), at(1));
            if ms[0] != ms[1] {
                prop_assert_eq!(a < b, ms[0] < ms[1]);
            }
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn what_is_read_is_written_the_same(text in text_of_an_id()) {
            if let Ok(id) = text.parse::<FileId>() {
                prop_assert!(id.to_string().eq_ignore_ascii_case(&text));
            }
        }
    }
}
