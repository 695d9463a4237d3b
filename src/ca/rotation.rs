//! The authority that signs, and the one that is to follow it: what is kept, and what clients are to trust meanwhile.

use super::authority::Authority;
use super::error::CaError;
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// The line between the two, in what is kept. Readers of PEM pass over it.
const FOLLOWED: &str = "next, signs from ";

/// The authority that signs, and the one that waits to.
#[derive(Clone)]
pub struct Authorities {
    /// The one that signs.
    pub current: Arc<Authority>,
    /// The one that is to follow, while a rotation is under way.
    pub next: Option<NextAuthority>,
}

/// An authority that clients may already have, and does not sign yet.
#[derive(Clone)]
pub struct NextAuthority {
    /// Its certificates and key.
    pub authority: Arc<Authority>,
    /// When it takes over.
    pub signs_from: SystemTime,
}

impl NextAuthority {
    /// When it begins to sign: to the second, UTC.
    pub fn signs_from(&self) -> String {
        time(self.signs_from).to_string()
    }
}

impl From<Authority> for Authorities {
    fn from(authority: Authority) -> Self {
        Self { current: Arc::new(authority), next: None }
    }
}

impl Authorities {
    /// # Errors
    /// When the text holds anything but one or two authorities and when the second is to sign.
    pub fn from_pem(pem: &[u8], place: &str) -> Result<Self, CaError> {
        let Some(at) = memchr::memmem::find(pem, FOLLOWED.as_bytes()) else {
            return Ok(Authority::from_pem(pem, place)?.into());
        };
        let (current, followed) = pem.split_at(at);
        let end = memchr::memchr(b'\n', followed).unwrap_or(followed.len());
        let (line, next) = followed.split_at(end);
        let time =
            std::str::from_utf8(&line[FOLLOWED.len()..]).ok().and_then(|text| text.trim().parse::<Timestamp>().ok());
        let signs_from =
            time.ok_or_else(|| CaError::Unfit(format!("{place} doesn't tell when its next one is to sign")))?;
        let next =
            NextAuthority { authority: Arc::new(Authority::from_pem(next, place)?), signs_from: signs_from.into() };
        Ok(Self { current: Arc::new(Authority::from_pem(current, place)?), next: Some(next) })
    }

    /// Keys and all, for the place where they are kept.
    pub fn to_pem_with_keys(&self) -> Zeroizing<String> {
        let current = self.current.to_pem_with_key();
        let Some(next) = &self.next else { return current };
        let line = format!("{FOLLOWED}{}\n", next.signs_from());
        let next = next.authority.to_pem_with_key();
        let mut out = Zeroizing::new(String::with_capacity(current.len() + line.len() + next.len()));
        [current.as_str(), &line, next.as_str()].into_iter().for_each(|part| out.push_str(part));
        out
    }

    /// Whether the next one's time has come.
    pub fn is_due(&self, now: SystemTime) -> bool {
        self.next.as_ref().is_some_and(|next| next.signs_from <= now)
    }

    /// With the next one in the other's place, where its time has come.
    pub fn at(self, now: SystemTime) -> Self {
        match self.next {
            Some(next) if next.signs_from <= now => Self { current: next.authority, next: None },
            next => Self { next, ..self },
        }
    }

    /// The one that signs, then the next.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Authority>> {
        [Some(&self.current), self.next.as_ref().map(|next| &next.authority)].into_iter().flatten()
    }

    /// The certificates that clients are to trust, PEM: the one that signs first.
    pub fn bundle(&self) -> String {
        self.all().map(|authority| authority.certificate_pem()).collect()
    }
}

/// For the audit: fingerprints and times, no keys.
impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signs", self.current.fingerprint())?;
        let Some(next) = &self.next else { return Ok(()) };
        write!(f, ", {} from {} on", next.authority.fingerprint(), next.signs_from())
    }
}

/// To the second, UTC.
fn time(at: SystemTime) -> Timestamp {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Scope;
    use std::time::Duration;

    #[test]
    fn two_read_back_and_the_next_takes_over_when_its_time_has_come() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let new = || Authority::generate(at, "box", &Scope::Any).unwrap();
        let (old, next) = (new(), Arc::new(new()));
        let (first, second) = (old.fingerprint(), next.fingerprint());
        assert_ne!(first, second);
        let both = Authorities { next: Some(NextAuthority { authority: next, signs_from: at }), ..old.into() };
        let read = Authorities::from_pem(both.to_pem_with_keys().as_bytes(), "test").unwrap();
        assert_eq!(read.bundle(), both.bundle());
        assert_eq!(read.bundle().matches("BEGIN CERTIFICATE").count(), 2);
        let before = read.at(at - Duration::from_secs(1));
        assert_eq!((before.current.fingerprint(), before.next.is_some()), (first, true));
        assert!(before.is_due(at));
        let after = before.at(at);
        assert_eq!((after.current.fingerprint(), after.next.is_some()), (second, false));
        let alone = Authorities::from_pem(after.to_pem_with_keys().as_bytes(), "test").unwrap();
        assert_eq!(alone.bundle(), after.bundle());
    }

    #[test]
    fn a_time_that_can_not_be_read_is_told() {
        let one = Authority::generate(SystemTime::now(), "box", &Scope::Any).unwrap().to_pem_with_key();
        let text = format!("{}{FOLLOWED}soon\n{}", *one, *one);
        let error = Authorities::from_pem(text.as_bytes(), "test").err().unwrap().to_string();
        assert!(error.contains("when its next one is to sign"), "{error}");
    }
}
