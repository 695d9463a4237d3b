//! Signed heads: who rewrites a whole file, chain and all, still lacks the key. Where the key is kept is others' business.

use super::file_name::begun;
use super::stamp::Stamp;
use super::verifying_key::VerifyingKey;
use crate::chain::ChainHead;
use crate::record::PreviousFile;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// A head is signed after so many records: that many could be rewritten unseen, and a signature costs as much as ten.
pub const EVERY: u64 = 200;

/// Signs heads of the audit.
pub struct HeadSigner {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

/// A seed that is none of Ed25519's (RFC 8032, section 5.1.5).
#[derive(Debug, thiserror::Error)]
#[error("the audit's signing key is no Ed25519 seed (32 bytes)")]
pub struct InvalidSeed;

impl HeadSigner {
    /// The key pair of a seed: 32 random bytes, which are all that has to be kept.
    pub fn from_seed(seed: &[u8]) -> Result<Self, InvalidSeed> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| InvalidSeed)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| InvalidSeed)?;
        Ok(Self { pair, public })
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// A signature of a file's head, in base64.
    pub fn sign(&self, at: &PreviousFile) -> String {
        STANDARD.encode(self.pair.sign(&message(&at.file, &at.head)).as_ref())
    }
}

impl fmt::Debug for HeadSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

/// Checks signatures of heads.
#[derive(Debug, Clone)]
pub struct SignatureChecker {
    keys: Vec<UnparsedPublicKey<[u8; 32]>>,
    /// Files from before the first key can't be signed.
    since: Option<Stamp>,
}

impl SignatureChecker {
    /// Any of `keys` may have signed; `None` where there is none.
    pub fn new(keys: &[VerifyingKey]) -> Option<Self> {
        let since = keys.iter().map(|known| known.since).min()?;
        let keys = keys.iter().map(|known| UnparsedPublicKey::new(&ED25519, known.key)).collect();
        Some(Self { keys, since })
    }

    /// Whether `signature`, in base64, is one of the keys' for this head of the file.
    pub fn is_signed(&self, file: &str, head: &ChainHead, signature: &str) -> bool {
        let Ok(bytes) = STANDARD.decode(signature) else { return false };
        let message = message(file, head.as_str());
        self.keys.iter().any(|key| key.verify(&message, &bytes).is_ok())
    }

    /// Whether a key was named by hand, so that every file has to be signed by one of those.
    pub fn is_named(&self) -> bool {
        self.since.is_none()
    }

    /// Whether there was a key when the file of this name was begun.
    pub fn is_asked_of(&self, file: &str) -> bool {
        self.since.is_none_or(|since| begun(file).is_none_or(|begun| begun >= since))
    }
}

/// The file's name is signed too, so that a signed file can't stand for another.
fn message(file: &str, head: &str) -> Vec<u8> {
    format!("locum audit head v1\n{file}\n{head}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_file_and_head() {
        let signer = HeadSigner::from_seed(&[7; 32]).unwrap();
        let at = PreviousFile { file: "a.jsonl".into(), head: ChainHead::ZERO.to_string() };
        let signature = signer.sign(&at);
        let checker =
            |signer: &HeadSigner| SignatureChecker::new(&[VerifyingKey { key: signer.public(), since: None }]).unwrap();
        let other = checker(&HeadSigner::from_seed(&[8; 32]).unwrap());
        let checker = checker(&signer);
        assert!(checker.is_signed("a.jsonl", &ChainHead::ZERO, &signature));
        assert!(!checker.is_signed("b.jsonl", &ChainHead::ZERO, &signature));
        assert!(!checker.is_signed("a.jsonl", &"1".repeat(64).parse().unwrap(), &signature));
        assert!(!checker.is_signed("a.jsonl", &ChainHead::ZERO, "nonsense"));
        assert!(!other.is_signed("a.jsonl", &ChainHead::ZERO, &signature));
        assert!(HeadSigner::from_seed(&[7; 31]).is_err() && SignatureChecker::new(&[]).is_none());
    }
}
