//! From a master password to a key: which functions a vault may use, and how weak is too weak.

use super::error::VaultError;
use crate::memory::wipe_stack;
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::pbkdf2;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// The salt of one vault, random and public.
pub(crate) type Salt = [u8; 16];
/// The key that a vault's other keys are derived from.
pub(crate) type MasterKey = Zeroizing<[u8; 32]>;

/// The key derivation function from what opens the vault to its master key, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kdf {
    /// No stretching: what opens it is 32 random bytes already.
    Machine,
    /// PBKDF2-HMAC-SHA256 (RFC 8018, section 5.2).
    Pbkdf2 {
        /// How often the hash is taken.
        iterations: u32,
    },
    /// Argon2id, version 1.3 (RFC 9106).
    Argon2id {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over that memory.
        passes: u32,
        /// Lanes that could be computed at once.
        lanes: u32,
    },
}

/// OWASP's equally strong settings of Argon2id; one must not be below all of them.
const ARGON2ID_FLOORS: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];
const PBKDF2_FLOOR: u32 = 600_000;
// Beyond these a file is no vault of ours: opening it would take gigabytes or hours.
const MOST_MEMORY_KIB: u32 = 2 * 1024 * 1024;
const MOST_PASSES: u32 = 1000;
const MOST_LANES: u32 = 64;
const MOST_ITERATIONS: u32 = 1_000_000_000;

impl Kdf {
    /// The second choice of RFC 9106, section 4: who steals the file may guess for as long as they like, which a server's login
    /// doesn't allow.
    pub const ARGON2ID: Kdf = Kdf::Argon2id { memory_kib: 65_536, passes: 3, lanes: 4 };
    /// OWASP's setting of PBKDF2, where only FIPS functions may be used.
    pub const PBKDF2: Kdf = Kdf::Pbkdf2 { iterations: PBKDF2_FLOOR };

    /// The function that takes its place at the next write: vaults that were made before it may be guessed at more cheaply.
    #[must_use]
    pub(crate) fn renewed(self) -> Self {
        let work = |memory_kib: u32, passes: u32| u64::from(memory_kib) * u64::from(passes);
        match (self, Self::ARGON2ID) {
            (Self::Argon2id { memory_kib: m, passes: p, .. }, Self::Argon2id { memory_kib, passes, .. })
                if m < memory_kib || work(m, p) < work(memory_kib, passes) =>
            {
                Self::ARGON2ID
            }
            _ => self,
        }
    }

    /// The function and its parameters, as a header has them.
    pub(crate) fn encode(self) -> [u8; 13] {
        let (id, numbers) = match self {
            Kdf::Machine => (0, [0; 3]),
            Kdf::Pbkdf2 { iterations } => (1, [iterations, 0, 0]),
            Kdf::Argon2id { memory_kib, passes, lanes } => (2, [memory_kib, passes, lanes]),
        };
        let mut code = [id; 13];
        for (place, n) in code[1..].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&n.to_be_bytes());
        }
        code
    }

    /// Refuses what this version doesn't know, and parameters that make guessing cheap.
    pub(crate) fn decode(code: &[u8; 13]) -> Result<Self, VaultError> {
        let [id, numbers @ ..] = code;
        let number = |i: usize| numbers.iter().skip(4 * i).take(4).fold(0, |n, b| n << 8 | u32::from(*b));
        let kdf = match id {
            0 => Kdf::Machine,
            1 => Kdf::Pbkdf2 { iterations: number(0) },
            2 => Kdf::Argon2id { memory_kib: number(0), passes: number(1), lanes: number(2) },
            _ => return Err(VaultError::Newer),
        };
        if kdf.encode() != *code {
            return Err(VaultError::Altered);
        }
        kdf.refuse_weak()?;
        Ok(kdf)
    }

    fn refuse_weak(self) -> Result<(), VaultError> {
        let (strong, payable) = match self {
            Kdf::Machine => (true, true),
            Kdf::Pbkdf2 { iterations } => (iterations >= PBKDF2_FLOOR, iterations <= MOST_ITERATIONS),
            Kdf::Argon2id { memory_kib, passes, lanes } => (
                lanes >= 1 && ARGON2ID_FLOORS.iter().any(|(m, t)| memory_kib >= *m && passes >= *t),
                memory_kib <= MOST_MEMORY_KIB && passes <= MOST_PASSES && lanes <= MOST_LANES,
            ),
        };
        match (strong, payable) {
            (true, true) => Ok(()),
            (false, _) => Err(VaultError::Weakened),
            (_, false) => Err(VaultError::Overdone),
        }
    }

    /// Takes a good part of a second for passwords: that is its purpose.
    pub(crate) fn derive(self, secret: &[u8], salt: &Salt) -> Result<MasterKey, VaultError> {
        let mut master = MasterKey::default();
        match self {
            Kdf::Machine => {
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
                master.copy_from_slice(aws_lc_rs::hmac::sign(&key, salt).as_ref());
            }
            Kdf::Pbkdf2 { iterations } => {
                let iterations = NonZeroU32::new(iterations).ok_or(VaultError::Weakened)?;
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, secret, &mut *master);
            }
            Kdf::Argon2id { memory_kib, passes, lanes } => {
                let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| VaultError::Overdone)?;
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                argon2.hash_password_into(secret, salt, &mut *master).map_err(|_| VaultError::Overdone)?;
            }
        }
        wipe_stack();
        Ok(master)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    const PBKDF2_ANSWERS: &[(&str, &Salt, u32, &str)] = &[
        (
            "password",
            b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
            1,
            "e1b08f92be8174d9f442d95d89aa4ccdc311231a4d70d0b854d1548de8fabdfd",
        ),
        (
            "password",
            b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
            2,
            "a0ffd34292e4e7d519ee0f25124e0c5b9481d88be40f4662eb6cb4b9e43f9f41",
        ),
        ("", b"saltsaltsaltsalt", 4096, "2cad4a0d996d61e0387f8e30169b9cbfb207efd6e2942fc975acd9f6b9a6cecb"),
        (
            "schlüssel mit leerzeichen",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            600000,
            "7849fe612f258cab28fe5c19712a17d480df0d9ae75df7a3a4e6b795b282e4a8",
        ),
        (
            "passwordPASSWORDpasswordpasswordPASSWORDpasswordpasswordPASSWORDpasswordpasswordPASSWORDpassword",
            b"0123456789abcdef",
            1000,
            "39a77e184a739e4fe26dc6a48449773f4f6ee28095bf6c52f31bc60dc58b63fd",
        ),
    ];

    /// Computed with another implementation (Python's hashlib, over OpenSSL).
    #[test]
    fn pbkdf2_gives_the_known_answers() {
        for (password, salt, iterations, answer) in PBKDF2_ANSWERS {
            let master = Kdf::Pbkdf2 { iterations: *iterations }.derive(password.as_bytes(), salt).unwrap();
            assert_eq!(hex(&*master), *answer, "{password:?}");
        }
    }

    /// Computed with the reference implementation's command `argon2`.
    #[test]
    fn argon2id_gives_the_known_answers() {
        for (password, salt, (memory_kib, passes, lanes), answer) in [
            (
                "password",
                b"0123456789abcdef",
                (19_456, 2, 1),
                "d2ab07b39ef7f8b806227cd86fbb11aa5393066a98e17eacacd126eb26e9276d",
            ),
            (
                "password",
                b"0123456789abcdef",
                (65_536, 3, 4),
                "b8a64b68dea6b88ca8c8862be706aac37cbecda0db7bd68b48f8fa2e7feb6f3e",
            ),
            (
                "x",
                b"saltsaltsaltsalt",
                (12_288, 3, 4),
                "9850c79f8a0dcbcecdba6b6229b3bc7e03a67433fd936275b3cd6c4d202e07a6",
            ),
        ] {
            let master = Kdf::Argon2id { memory_kib, passes, lanes }.derive(password.as_bytes(), salt).unwrap();
            assert_eq!(hex(&*master), answer, "{password:?}");
        }
    }

    #[test]
    fn what_is_cheaper_to_guess_at_than_it_need_be_is_renewed() {
        let a = |memory_kib, passes| Kdf::Argon2id { memory_kib, passes, lanes: 4 };
        for cheap in [a(19_456, 2), a(65_536, 2), a(47_104, 9)] {
            assert_eq!(cheap.renewed(), Kdf::ARGON2ID, "{cheap:?}");
        }
        for dear in [Kdf::ARGON2ID, Kdf::PBKDF2, Kdf::Machine, a(2 * 1024 * 1024, 1), a(65_536, 4)] {
            assert_eq!(dear.renewed(), dear);
        }
    }

    #[test]
    fn weakened_and_absurd_parameters_are_refused() {
        let a = |memory_kib, passes, lanes| Kdf::Argon2id { memory_kib, passes, lanes };
        let p = |iterations| Kdf::Pbkdf2 { iterations };
        for (kdf, answer) in [
            (Kdf::ARGON2ID, Ok(Kdf::ARGON2ID)),
            (Kdf::PBKDF2, Ok(Kdf::PBKDF2)),
            (Kdf::Machine, Ok(Kdf::Machine)),
            (a(47_104, 1, 1), Ok(a(47_104, 1, 1))),
            (a(65_536, 3, 4), Ok(a(65_536, 3, 4))),
            (a(19_455, 2, 1), Err(VaultError::Weakened)),
            (a(19_456, 1, 1), Err(VaultError::Weakened)),
            (a(8, 1, 1), Err(VaultError::Weakened)),
            (a(19_456, 2, 0), Err(VaultError::Weakened)),
            (a(u32::MAX, 2, 1), Err(VaultError::Overdone)),
            (a(19_456, u32::MAX, 1), Err(VaultError::Overdone)),
            (p(599_999), Err(VaultError::Weakened)),
            (p(0), Err(VaultError::Weakened)),
            (p(u32::MAX), Err(VaultError::Overdone)),
        ] {
            assert_eq!(Kdf::decode(&kdf.encode()), answer, "{kdf:?}");
        }
        assert_eq!(Kdf::decode(&[9; 13]), Err(VaultError::Newer));
        let mut stray = Kdf::PBKDF2.encode();
        stray[12] = 1;
        assert_eq!(Kdf::decode(&stray), Err(VaultError::Altered));
    }

    proptest! {
        #[test]
        fn what_is_decoded_encodes_to_the_same(code: [u8; 13]) {
            if let Ok(kdf) = Kdf::decode(&code) {
                prop_assert_eq!(kdf.encode(), code);
            }
        }
    }
}
