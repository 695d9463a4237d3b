//! Which generation of a vault was seen last, so that an older copy put in its place is found. Each write makes a new one.
//!
//! The number is inside what is enciphered. The highest is kept beside the vault, where a code under a secret of the vault
//! guards it: who has neither the password nor an old copy of that file as well can't set it back. Who puts old copies of
//! both in place isn't found by it, but by a process that has read the newer one.

use super::error::{MAX_RECORD, VaultError};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// Beyond this no vault was ever written: a record that says so is forged.
const MOST: u64 = 1 << 53;

/// How often a vault was written, and what its records are known by.
#[derive(Clone, Default)]
pub(super) struct Generation {
    /// 0 in files of the first version, which have none.
    pub number: u64,
    /// Made at random with the first generation, and never changed, by a new password neither.
    secret: Option<RecordSecret>,
}

type RecordSecret = Zeroizing<[u8; Generation::SECRET]>;

/// What was kept of the generations that were seen.
pub(super) enum SeenGeneration {
    /// Nothing, as before the first write.
    Nothing,
    /// The number, and the code that guards it, which is not judged yet.
    UpTo(u64, [u8; 32]),
    /// Something that no locum writes.
    Unreadable,
}

impl Generation {
    const SECRET: usize = 32;
    /// Its bytes in a vault.
    pub const LEN: usize = 8 + Self::SECRET;

    pub fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let (number, secret) = bytes.split_at(8);
        let mut own = RecordSecret::default();
        own.copy_from_slice(secret);
        Self { number: number.iter().fold(0, |n, b| n << 8 | u64::from(*b)), secret: Some(own) }
    }

    /// `None` for the generation of a file that has none.
    pub fn encode(&self) -> Option<Zeroizing<[u8; Self::LEN]>> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..].copy_from_slice(&**self.secret.as_ref()?);
        Some(bytes)
    }

    /// The next one, after this and all that were `seen`.
    pub fn next(&self, seen: &SeenGeneration) -> Result<Self, VaultError> {
        let secret = match &self.secret {
            Some(secret) => secret.clone(),
            None => {
                let mut secret = RecordSecret::default();
                getrandom::fill(&mut *secret).map_err(|_| VaultError::Random)?;
                secret
            }
        };
        Ok(Self { number: self.number.max(seen.number()) + 1, secret: Some(secret) })
    }

    /// Whether a vault of this generation is as new as what was seen.
    ///
    /// # Errors
    /// It is older, or the record of it is gone or not its own.
    pub fn follows(&self, seen: &SeenGeneration) -> Result<(), VaultError> {
        match seen {
            // a writer may have been killed before it kept the first
            SeenGeneration::Nothing if self.number <= 1 => Ok(()),
            SeenGeneration::Nothing => Err(VaultError::Unrecorded { found: self.number }),
            SeenGeneration::UpTo(number, _) if self.number < *number => {
                Err(VaultError::RolledBack { found: self.number, seen: *number })
            }
            SeenGeneration::UpTo(number, code) if self.is_own(*number, code) => Ok(()),
            SeenGeneration::UpTo(..) | SeenGeneration::Unreadable => Err(VaultError::ForeignRecord),
        }
    }

    fn is_own(&self, number: u64, code: &[u8; 32]) -> bool {
        let key = self.key();
        key.is_some_and(|key| hmac::verify(&key, &message(number), code).is_ok())
    }

    fn key(&self) -> Option<hmac::Key> {
        self.secret.as_ref().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, &**secret))
    }

    /// The record that this generation was seen.
    pub fn record(&self) -> Option<String> {
        let code = hmac::sign(&self.key()?, &message(self.number));
        let code: String = code.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("{} {code}\n", self.number))
    }
}

fn message(number: u64) -> Vec<u8> {
    [&b"locum vault: generation "[..], &number.to_be_bytes()].concat()
}

impl SeenGeneration {
    /// Reads a record.
    pub fn parse(text: &[u8]) -> Self {
        let read = || {
            let (number, code) =
                std::str::from_utf8(text.get(..MAX_RECORD).unwrap_or(text)).ok()?.trim_end().split_once(' ')?;
            let number = number.parse().ok().filter(|number| *number < MOST)?;
            let mut bytes = [0; 32];
            if code.len() != 64 {
                return None;
            }
            for (byte, digits) in bytes.iter_mut().zip(code.as_bytes().chunks(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            }
            Some(Self::UpTo(number, bytes))
        };
        read().unwrap_or(Self::Unreadable)
    }

    fn number(&self) -> u64 {
        if let Self::UpTo(number, _) = self { *number } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(vault: &Generation, record: &str) -> Result<(), VaultError> {
        vault.follows(&SeenGeneration::parse(record.as_bytes()))
    }

    #[test]
    fn what_is_older_than_was_seen_is_told_from_what_is_not() {
        let first = Generation::default().next(&SeenGeneration::Nothing).unwrap();
        let second = first.next(&SeenGeneration::Nothing).unwrap();
        let [one, two] = [&first, &second].map(|g| g.record().unwrap());
        let other = Generation::default().next(&SeenGeneration::Nothing).unwrap().record().unwrap();
        let forged = two.replace("2 ", "1 ");
        for (vault, record, said) in [
            (&first, &one, Ok(())),
            (&second, &one, Ok(())),
            (&second, &two, Ok(())),
            (&first, &two, Err(VaultError::RolledBack { found: 1, seen: 2 })),
            (&first, &forged, Err(VaultError::ForeignRecord)),
            (&first, &other, Err(VaultError::ForeignRecord)),
            (&first, &String::new(), Err(VaultError::ForeignRecord)),
            (&Generation::default(), &one, Err(VaultError::RolledBack { found: 0, seen: 1 })),
        ] {
            assert_eq!(told(vault, record), said, "{} and {record:?}", vault.number);
        }
        assert_eq!(first.follows(&SeenGeneration::Nothing), Ok(()));
        assert_eq!(second.follows(&SeenGeneration::Nothing), Err(VaultError::Unrecorded { found: 2 }));
        assert_eq!(Generation::default().follows(&SeenGeneration::Nothing), Ok(()));
    }

    /// Computed by another program (Python's hmac).
    #[test]
    fn a_record_is_as_it_always_was() {
        let mut bytes = [0; Generation::LEN];
        bytes[7] = 7;
        bytes[8..].iter_mut().zip(0..).for_each(|(byte, n)| *byte = n);
        let vault = Generation::decode(&bytes);
        assert_eq!(*vault.encode().unwrap(), bytes);
        let record = "7 06dc720c424f05a1da8f13241aedd5bbdd719ba8bb37e4e158133ade427ca4be\n";
        assert_eq!(vault.record().unwrap(), record);
        assert_eq!(told(&vault, record), Ok(()));
    }

    #[test]
    fn a_record_never_counts_beyond_what_can_be_written() {
        let absurd = format!("{} {}", u64::MAX, "0".repeat(64));
        let first = Generation::default().next(&SeenGeneration::parse(absurd.as_bytes())).unwrap();
        assert_eq!(first.number, 1);
    }
}
