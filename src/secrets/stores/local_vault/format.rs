//! The bytes of a vault: written, read, and every change to them found. Files and passwords are not its business.
//!
//! ```text
//!  0  magic "LOCUMVLT"      8
//!  8  version               1   2; the first had entries alone enciphered
//!  9  KDF and parameters   13
//! 22  salt                 16
//! 38  nonce                12   fresh at every write
//! 50  check                16   tells a wrong password from altered entries
//! 66  length of the rest    4
//! 70  digest of the above   8   tells an altered header from a wrong password
//! 78  generation            8   and the entries as JSON, under AES-256-GCM with all
//!     secret of its records 32  that is before them as associated data
//! ```

use super::error::{MAX_FILE, VaultError};
use super::generation::Generation;
use super::kdf::{Kdf, MasterKey, Salt};
use crate::memory::{Plaintext, wipe_stack};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"LOCUMVLT";
const FIRST_VERSION: u8 = 1;
const VERSION: u8 = 2;
const DIGESTED: usize = 70;
const HEADER: usize = 78;
const TAG: usize = 16;

/// The entries of a vault by name, in the clear.
pub(crate) type VaultEntries = BTreeMap<String, Plaintext>;

/// A vault's bytes, their header read and found sound.
pub(crate) struct LockedVault<'a> {
    pub kdf: Kdf,
    pub salt: Salt,
    version: u8,
    header: &'a [u8; HEADER],
    nonce: [u8; 12],
    check: [u8; 16],
    text: &'a [u8],
    tag: [u8; TAG],
}

impl<'a> LockedVault<'a> {
    /// Reads the header of a vault's bytes.
    ///
    /// # Errors
    /// When it is none, cut short, altered, of a later version or weakened.
    pub fn parse(file: &'a [u8]) -> Result<Self, VaultError> {
        let magic = file.get(..MAGIC.len()).unwrap_or(file);
        if magic.is_empty() || !MAGIC.starts_with(magic) {
            return Err(VaultError::NoVault);
        }
        if file.get(8).is_some_and(|v| ![FIRST_VERSION, VERSION].contains(v)) {
            // Whether it is newer or its first bytes are damaged, this version can't tell.
            return Err(VaultError::Newer);
        }
        let (header, rest) = file.split_first_chunk::<HEADER>().ok_or(VaultError::Truncated)?;
        let mut fields = HeaderFields(header);
        fields.take::<8>();
        let [version] = fields.take();
        let (kdf, salt, nonce, check) = (fields.take(), fields.take(), fields.take(), fields.take());
        let (len, digest) = (fields.take(), fields.take());
        if digest_of(&header[..DIGESTED]) != digest {
            return Err(VaultError::Altered);
        }
        let kdf = Kdf::decode(&kdf)?;
        let len = usize::try_from(u32::from_be_bytes(len)).map_err(|_| VaultError::Altered)?;
        if rest.len() < len {
            return Err(VaultError::Truncated);
        }
        let (text, tag) = rest.split_last_chunk::<TAG>().ok_or(VaultError::Altered)?;
        if rest.len() > len {
            return Err(VaultError::Altered);
        }
        Ok(Self { kdf, salt, version, header, nonce, check, text, tag: *tag })
    }

    /// Deciphers the entries and their generation.
    ///
    /// # Errors
    /// When the key is another, or the entries were altered.
    pub fn unlock(&self, master: &MasterKey) -> Result<(VaultEntries, Generation), VaultError> {
        let keys = VaultKeys::expand(master);
        if constant_time::verify_slices_are_equal(&keys.check, &self.check).is_err() {
            return Err(VaultError::WrongKey);
        }
        let mut text = Zeroizing::new(vec![0; self.text.len()]);
        keys.decrypt(self, &mut text)?;
        wipe_stack();
        if self.version == FIRST_VERSION {
            return Ok((read_entries(&text)?, Generation::default()));
        }
        let (generation, json) = text.split_first_chunk().ok_or(VaultError::Altered)?;
        Ok((read_entries(json)?, Generation::decode(generation)))
    }
}

/// The bytes of a vault that holds `entries`.
pub(crate) fn write(
    entries: &VaultEntries,
    generation: &Generation,
    kdf: Kdf,
    salt: &Salt,
    master: &MasterKey,
) -> Result<Vec<u8>, VaultError> {
    let keys = VaultKeys::expand(master);
    let generation = generation.encode();
    let version = if generation.is_some() { VERSION } else { FIRST_VERSION };
    let text = write_entries(generation.as_ref().map_or(&[], |bytes| &bytes[..]), entries);
    let len = u32::try_from(text.len() + TAG).map_err(|_| VaultError::Full)?;
    if HEADER + text.len() + TAG > MAX_FILE {
        return Err(VaultError::Full);
    }
    let mut nonce = [0; 12];
    getrandom::fill(&mut nonce).map_err(|_| VaultError::Random)?;
    let mut file = Vec::with_capacity(HEADER + text.len() + TAG);
    let parts: [&[u8]; 7] = [MAGIC, &[version], &kdf.encode(), salt, &nonce, &keys.check, &len.to_be_bytes()];
    parts.into_iter().for_each(|part| file.extend_from_slice(part));
    file.extend_from_slice(&digest_of(&file));
    file.resize(HEADER + text.len(), 0);
    let (header, coded) = file.split_at_mut(HEADER);
    let tag = keys.encrypt(header, &nonce, &text, coded)?;
    file.extend_from_slice(&tag);
    wipe_stack();
    Ok(file)
}

/// Fixed fields, one after the other.
struct HeaderFields<'a>(&'a [u8]);

impl HeaderFields<'_> {
    /// Zeros past the end, which the header's fixed length excludes.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

fn digest_of(header: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.iter_mut().zip(digest::digest(&digest::SHA256, header).as_ref()).for_each(|(to, from)| *to = *from);
    short
}

/// The two keys that a master key stands for, so that the check gives nothing away about the other.
struct VaultKeys {
    entries: Zeroizing<[u8; 32]>,
    check: [u8; 16],
}

impl VaultKeys {
    fn expand(master: &MasterKey) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &**master);
        let mut keys = Self { entries: Zeroizing::default(), check: [0; 16] };
        keys.entries.copy_from_slice(hmac::sign(&key, b"locum vault: entries").as_ref());
        keys.check.copy_from_slice(&hmac::sign(&key, b"locum vault: check").as_ref()[..16]);
        keys
    }

    #[inline(never)]
    fn encrypt(&self, header: &[u8], nonce: &[u8; 12], from: &[u8], to: &mut [u8]) -> Result<[u8; TAG], VaultError> {
        // the cipher takes no text over 64 GiB, and the caller made both of one length
        let buffer = InOutBuf::new(from, to).map_err(|_| VaultError::Full)?;
        let cipher = Aes256Gcm::new((&*self.entries).into());
        let tag = cipher.encrypt_inout_detached(nonce.into(), header, buffer);
        tag.map(Into::into).map_err(|_| VaultError::Full)
    }

    #[inline(never)]
    fn decrypt(&self, locked: &LockedVault, to: &mut [u8]) -> Result<(), VaultError> {
        let buffer = InOutBuf::new(locked.text, to).map_err(|_| VaultError::Altered)?;
        let cipher = Aes256Gcm::new((&*self.entries).into());
        let nonce = (&locked.nonce).into();
        cipher
            .decrypt_inout_detached(nonce, locked.header, buffer, (&locked.tag).into())
            .map_err(|_| VaultError::Altered)
    }
}

/// After what comes before them. Written by hand, into one buffer of the right size: a growing one would leave copies behind.
fn write_entries(before: &[u8], entries: &VaultEntries) -> Zeroizing<Vec<u8>> {
    let coded_len = |v: &Plaintext| v.expose().len().div_ceil(3) * 4;
    // A name's escapes take six bytes for one at most.
    let room: usize = entries.iter().map(|(name, value)| 6 * name.len() + coded_len(value) + 6).sum();
    let mut json = Zeroizing::new(Vec::with_capacity(before.len() + room + 2));
    json.extend_from_slice(before);
    json.push(b'{');
    for (i, (name, value)) in entries.iter().enumerate() {
        if i > 0 {
            json.push(b',');
        }
        json.extend_from_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
        json.extend_from_slice(b":\"");
        let at = json.len();
        json.resize(at + coded_len(value), 0);
        // The slice has exactly the coded length.
        let _ = BASE64.encode_slice(value.expose(), json.get_mut(at..).unwrap_or_default());
        json.push(b'"');
    }
    json.push(b'}');
    json
}

fn read_entries(json: &[u8]) -> Result<VaultEntries, VaultError> {
    // Base64 needs no unescaping, so the values are borrowed from `json` and never copied in the clear.
    let coded: BTreeMap<String, &str> = serde_json::from_slice(json).map_err(|_| VaultError::Altered)?;
    let decode = |(name, value): (String, &str)| {
        let mut bytes = Plaintext::new(vec![0; value.len() / 4 * 3 + 3]);
        let len = BASE64.decode_slice(value, bytes.bytes_mut()).map_err(|_| VaultError::Altered)?;
        bytes.truncate(len);
        Ok((name, bytes))
    };
    coded.into_iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::stores::local_vault::generation::SeenGeneration;
    use proptest::prelude::*;

    const SALT: Salt = [3; 16];

    fn master(byte: u8) -> MasterKey {
        Zeroizing::new([byte; 32])
    }

    fn entries(pairs: &[(&str, &[u8])]) -> VaultEntries {
        pairs.iter().map(|(n, v)| (n.to_string(), Plaintext::new(v.to_vec()))).collect()
    }

    fn plain(entries: &VaultEntries) -> Vec<(String, Vec<u8>)> {
        entries.iter().map(|(n, v)| (n.clone(), v.expose().to_vec())).collect()
    }

    fn sample() -> Vec<u8> {
        let e = entries(&[("key/openai", b"sk-0123456789"), ("ca", &[0, 255, 10])]);
        write(&e, &generation(), Kdf::Machine, &SALT, &master(1)).unwrap()
    }

    fn generation() -> Generation {
        Generation::default().next(&SeenGeneration::Nothing).unwrap()
    }

    fn read(file: &[u8], key: u8) -> Result<VaultEntries, VaultError> {
        LockedVault::parse(file)?.unlock(&master(key)).map(|(entries, _)| entries)
    }

    /// Written by another program (Python's cryptography and argon2-cffi) after the description above: they open for
    /// ever, and hold known answers for the whole of it.
    #[test]
    fn vaults_of_each_version_open() {
        let argon2id: &[u8] = include_bytes!("../../../../tests/data/vault-v1-argon2id");
        let pbkdf2: &[u8] = include_bytes!("../../../../tests/data/vault-v1-pbkdf2");
        let second: &[u8] = include_bytes!("../../../../tests/data/vault-v2-argon2id");
        let owasp = Kdf::Argon2id { memory_kib: 19_456, passes: 2, lanes: 1 };
        for (file, kdf, number) in [(argon2id, owasp, 0), (pbkdf2, Kdf::PBKDF2, 0), (second, Kdf::ARGON2ID, 7)] {
            let locked = LockedVault::parse(file).unwrap();
            assert_eq!(locked.kdf, kdf);
            let master = kdf.derive("correct horse battery staple ü".as_bytes(), &locked.salt).unwrap();
            let expected = [
                ("ca".to_owned(), (0..=255).collect()),
                ("key/openai".to_owned(), b"sk-fixture-0123456789".to_vec()),
                ("key/umlaut".to_owned(), "schlüssel".into()),
            ];
            let (entries, generation) = locked.unlock(&master).unwrap();
            assert_eq!((plain(&entries), generation.number), (expected.into(), number));
        }
    }

    /// The GCM specification's test cases 13 to 16, for the cipher as this crate builds it.
    #[test]
    fn gcm_gives_the_known_answers() {
        let bytes = |hex: &str| -> Vec<u8> {
            let digit = |c: &u8| char::from(*c).to_digit(16).unwrap() as u8;
            hex.as_bytes().chunks(2).map(|p| digit(&p[0]) << 4 | digit(&p[1])).collect()
        };
        const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
        const TEXT: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                            1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
        const CODED: &str = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
        let zeros = "0".repeat(64);
        for (key, nonce, with, text, coded, tag) in [
            (zeros.as_str(), &zeros[..24], "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
            (
                &zeros,
                &zeros[..24],
                "",
                &zeros[..32],
                "cea7403d4d606b6e074ec5d3baf39d18",
                "d0d1c8a799996bf0265b98b5d48ab919",
            ),
            (KEY, "cafebabefacedbaddecaf888", "", TEXT, CODED, "b094dac5d93471bdec1a502270e3cc6c"),
            (
                KEY,
                "cafebabefacedbaddecaf888",
                "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                &TEXT[..120],
                &CODED[..120],
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ] {
            let cipher = Aes256Gcm::new(bytes(key).as_slice().try_into().unwrap());
            let nonce: [u8; 12] = bytes(nonce).try_into().unwrap();
            let mut buffer = bytes(text);
            let got =
                cipher.encrypt_inout_detached((&nonce).into(), &bytes(with), buffer.as_mut_slice().into()).unwrap();
            assert_eq!((buffer.clone(), got.to_vec()), (bytes(coded), bytes(tag)));
            let with = bytes(with);
            assert!(cipher.decrypt_inout_detached((&nonce).into(), &with, buffer.as_mut_slice().into(), &got).is_ok());
            assert_eq!(buffer, bytes(text));
            let mut wrong = got;
            wrong[0] ^= 1;
            assert!(
                cipher.decrypt_inout_detached((&nonce).into(), &with, buffer.as_mut_slice().into(), &wrong).is_err()
            );
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let file = sample();
        assert!(read(&file, 1).is_ok());
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                let e = read(&changed, 1).err();
                let expected = match at {
                    0..8 => VaultError::NoVault,
                    8 => VaultError::Newer,
                    _ => VaultError::Altered,
                };
                assert_eq!(e, Some(expected), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn every_cut_and_every_byte_too_many_is_found() {
        let file = sample();
        for len in 0..file.len() {
            let e = read(&file[..len], 1).err();
            assert_eq!(e, Some(if len == 0 { VaultError::NoVault } else { VaultError::Truncated }), "{len}");
        }
        assert_eq!(read(&[&file[..], b"\n"].concat(), 1).err(), Some(VaultError::Altered));
    }

    #[test]
    fn somebody_who_repairs_the_digest_changes_nothing_unseen() {
        let file = sample();
        for at in 9..DIGESTED {
            let mut changed = file.clone();
            changed[at] ^= 1;
            let digest = digest_of(&changed[..DIGESTED]);
            changed[DIGESTED..HEADER].copy_from_slice(&digest);
            assert!(read(&changed, 1).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_wrong_key_is_told_from_damage() {
        assert_eq!(read(&sample(), 2).err(), Some(VaultError::WrongKey));
    }

    #[test]
    fn no_two_writes_share_a_nonce_and_none_shows_a_value() {
        let (a, b) = (sample(), sample());
        assert_ne!(a[38..50], b[38..50]);
        assert!(!String::from_utf8_lossy(&a).contains("openai"));
        assert!(!String::from_utf8_lossy(&a).contains("sk-"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            pairs in proptest::collection::btree_map("\\PC{0,12}", proptest::collection::vec(any::<u8>(), 0..200), 0..8)
        ) {
            let pairs: Vec<(&str, &[u8])> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            let before = entries(&pairs);
            let file = write(&before, &generation(), Kdf::Machine, &SALT, &master(1)).unwrap();
            prop_assert_eq!(plain(&read(&file, 1).unwrap()), plain(&before));
        }

        #[test]
        fn no_bytes_break_the_reader(tail: Vec<u8>, keep in 0_usize..90) {
            let mut file = sample();
            file.truncate(keep);
            file.extend(tail);
            prop_assert!(read(&file, 1).is_err());
        }
    }
}
