//! The messages of SOCKS version 5 as a server reads and writes them (RFC 1928, and RFC 1929 for a user and a password): each is
//! read whole or not at all, and whatever could be read in two ways is refused. Nothing is read or sent here.

use crate::name::{Host, NameError};
use crate::proxy::refusal::{Party, Refusal, RefusalKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zeroize::Zeroizing;

/// The first byte of all that a client of SOCKS5 says.
pub const VERSION: u8 = 5;
/// The version of the messages about a user and a password.
const LOGIN_VERSION: u8 = 1;

/// What was asked for can't be read, or isn't done here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SocksFault {
    /// It is no message of SOCKS5.
    #[error("not SOCKS5: {0}")]
    Malformed(&'static str),
    /// It asks for something else than CONNECT.
    #[error("SOCKS5 {}: only CONNECT is spoken here", match .0 { 2 => "BIND".into(), 3 => "UDP ASSOCIATE".into(), other => format!("command {other}") })]
    Command(u8),
    /// Its address is neither an IPv4 or IPv6 address nor a name.
    #[error("SOCKS5 with an address of type {0}, which nobody knows")]
    AddressType(u8),
    /// Its name is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A message and its length in bytes, or `None` as long as it is not whole.
type Read<T> = Result<Option<(T, usize)>, SocksFault>;

/// The ways to say who one is that a client offers, as far as they are known here (RFC 1928, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferedMethods {
    /// None at all.
    pub none: bool,
    /// By a user and a password.
    pub login: bool,
}

impl OfferedMethods {
    /// Reads the first message of a client.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &[u8]) -> Read<Self> {
        match bytes {
            [] => Ok(None),
            [VERSION, 0, ..] => Err(SocksFault::Malformed("no method of authentication is offered")),
            [VERSION, rest @ ..] => {
                let offered = |methods: &[u8]| Self { none: methods.contains(&0), login: methods.contains(&2) };
                Ok(counted(rest).map(|(methods, _)| (offered(methods), 2 + methods.len())))
            }
            _ => Err(SocksFault::Malformed("its version is another")),
        }
    }
}

/// A user and a password, either of which may be empty (RFC 1929, section 2): clients that were given one thing alone send it
/// so.
#[derive(PartialEq, Eq)]
pub struct SocksLogin {
    /// The user.
    pub user: Zeroizing<Vec<u8>>,
    /// The password.
    pub password: Zeroizing<Vec<u8>>,
}

impl SocksLogin {
    /// Reads what a client says once it was asked for both.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(bytes: &[u8]) -> Read<Self> {
        match bytes {
            [] => Ok(None),
            [LOGIN_VERSION, rest @ ..] => {
                let Some((user, rest)) = counted(rest) else { return Ok(None) };
                let Some((password, _)) = counted(rest) else { return Ok(None) };
                let owned = |text: &[u8]| Zeroizing::new(text.to_vec());
                let len = 3 + user.len() + password.len();
                Ok(Some((Self { user: owned(user), password: owned(password) }, len)))
            }
            _ => Err(SocksFault::Malformed("the login has another version")),
        }
    }
}

/// Where a client wants to go (RFC 1928, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocksTarget {
    /// The name as it is compared, or the address.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

impl SocksTarget {
    /// Reads what a client asks for.
    ///
    /// # Errors
    /// It is not read, not CONNECT, or for no host.
    pub fn read(bytes: &[u8]) -> Read<Self> {
        match bytes {
            [VERSION, 1, 0, kind, rest @ ..] => {
                let target = Self::of(*kind, rest)?;
                Ok(target.map(|(target, behind)| (target, bytes.len() - behind)))
            }
            [] | [VERSION] | [VERSION, 1] | [VERSION, 1, 0] => Ok(None),
            [VERSION, 1, ..] => Err(SocksFault::Malformed("the reserved byte is not 0")),
            [VERSION, command, ..] => Err(SocksFault::Command(*command)),
            _ => Err(SocksFault::Malformed("the request has another version")),
        }
    }

    /// The target, and how much is behind it.
    fn of(kind: u8, rest: &[u8]) -> Read<Self> {
        let (host, rest) = match kind {
            1 => match rest.split_first_chunk::<4>() {
                Some((address, rest)) => (Host::Ip(Ipv4Addr::from(*address).into()), rest),
                None => return Ok(None),
            },
            4 => match rest.split_first_chunk::<16>() {
                Some((address, rest)) => (Host::Ip(IpAddr::from(Ipv6Addr::from(*address)).to_canonical()), rest),
                None => return Ok(None),
            },
            3 => match counted(rest) {
                Some((name, rest)) => (named(name)?, rest),
                None => return Ok(None),
            },
            other => return Err(SocksFault::AddressType(other)),
        };
        match rest {
            [0, 0, ..] => Err(SocksFault::Malformed("the port is 0")),
            [high, low, left @ ..] => {
                let port = u16::from_be_bytes([*high, *low]);
                Ok(Some((Self { host, port }, left.len())))
            }
            _ => Ok(None),
        }
    }
}

fn named(name: &[u8]) -> Result<Host, SocksFault> {
    let text = std::str::from_utf8(name).map_err(|_| SocksFault::Malformed("the host is not UTF-8"))?;
    Ok(text.parse()?)
}

/// A text with its length before it, and what is behind, as soon as all of it is there.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

/// Nobody has to say who it is.
pub const NO_LOGIN: &[u8] = &[VERSION, 0];
/// A user and a password are wanted.
pub const WANT_LOGIN: &[u8] = &[VERSION, 2];
/// None of the ways offered will do.
pub const NO_METHOD: &[u8] = &[VERSION, 0xff];
/// The login is known.
pub const LOGIN_GOOD: &[u8] = &[LOGIN_VERSION, 0];
/// The login is not known.
pub const LOGIN_BAD: &[u8] = &[LOGIN_VERSION, 1];
/// All from now on is between the client and its host. From which address that is reached is nobody's business, and 0.0.0.0:0
/// says so.
pub const CONNECTED: &[u8] = &[VERSION, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// Why a request is refused (RFC 1928, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyCode {
    /// Something went wrong here, or nothing could be read.
    GeneralFailure = 1,
    /// The rules forbid it.
    NotAllowed = 2,
    /// The host does not answer.
    HostUnreachable = 4,
    /// It is not CONNECT.
    CommandNotSupported = 7,
    /// It is for no kind of host.
    AddressTypeNotSupported = 8,
}

impl ReplyCode {
    /// The reply as it is sent.
    pub fn reply(self) -> Vec<u8> {
        vec![VERSION, self as u8, 0, 1, 0, 0, 0, 0, 0, 0]
    }

    /// The code that says most of a refusal.
    pub fn of(refusal: &Refusal) -> Self {
        match (refusal.kind(), refusal.fault()) {
            (RefusalKind::Malformed, _) => Self::GeneralFailure,
            (_, Party::Agent) => Self::NotAllowed,
            (_, Party::Upstream) => Self::HostUnreachable,
            (_, Party::Locum) => Self::GeneralFailure,
        }
    }

    /// The code of a request that is not served.
    pub fn of_fault(fault: &SocksFault) -> Self {
        match fault {
            SocksFault::Malformed(_) | SocksFault::Name(_) => Self::GeneralFailure,
            SocksFault::Command(_) => Self::CommandNotSupported,
            SocksFault::AddressType(_) => Self::AddressTypeNotSupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(bytes: &[u8]) -> String {
        match SocksTarget::read(bytes) {
            Ok(Some((SocksTarget { host, port }, len))) => format!("{host}:{port}, {len} bytes"),
            Ok(None) => "more".into(),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn targets_are_read_strictly() {
        for (bytes, read) in [
            (&b"\x05\x01\0\x01\x7f\0\0\x01\x01\xbb"[..], "127.0.0.1:443, 10 bytes"),
            (b"\x05\x01\0\x03\x09a.EXAMPLE\0\x50early", "a.example:80, 16 bytes"),
            (b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb", "[::1]:443, 22 bytes"),
            (b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01\x01\xbb", "127.0.0.1:443, 22 bytes"),
            (b"\x05\x01\0\x03\x09127.0.0.1\x01\xbb", "127.0.0.1:443, 16 bytes"),
            (b"\x05\x01\0\x03\x00\x01\xbb", "'' is no host: it is empty"),
            (b"\x05\x01\0\x03\x02a \x01\xbb", "'a ' is no host: it holds a character that hosts don't have"),
            (b"\x05\x01\0\x03\x01\xff\x01\xbb", "not SOCKS5: the host is not UTF-8"),
            (b"\x05\x01\0\x03\x01a\0\0", "not SOCKS5: the port is 0"),
            (b"\x05\x01\x01\x01", "not SOCKS5: the reserved byte is not 0"),
            (b"\x04\x01\0\x01", "not SOCKS5: the request has another version"),
            (b"\x05\x02\0\x01", "SOCKS5 BIND: only CONNECT is spoken here"),
            (b"\x05\x03\0\x01", "SOCKS5 UDP ASSOCIATE: only CONNECT is spoken here"),
            (b"\x05\x09\0\x01", "SOCKS5 command 9: only CONNECT is spoken here"),
            (b"\x05\x01\0\x02", "SOCKS5 with an address of type 2, which nobody knows"),
        ] {
            assert_eq!(target(bytes), read, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn methods_and_logins_are_read_strictly() {
        let methods = |bytes| OfferedMethods::read(bytes).map(|read| read.map(|(m, len)| (m.none, m.login, len)));
        assert_eq!(methods(b"\x05\x01\0"), Ok(Some((true, false, 3))));
        assert_eq!(methods(b"\x05\x03\0\x01\x02\x05"), Ok(Some((true, true, 5))));
        assert_eq!(methods(b"\x05\x01\x01"), Ok(Some((false, false, 3))));
        assert!(methods(b"\x05\0").is_err() && methods(b"\x04\x01\0").is_err());
        let login = |bytes| {
            let read = SocksLogin::read(bytes);
            read.map(|read| read.map(|(login, len)| (login.user.to_vec(), login.password.to_vec(), len)))
        };
        assert_eq!(login(b"\x01\x03bot\x05t0ken"), Ok(Some((b"bot".to_vec(), b"t0ken".to_vec(), 11))));
        assert_eq!(login(b"\x01\x05t0ken\0\x05"), Ok(Some((b"t0ken".to_vec(), Vec::new(), 8))));
        assert!(login(b"\x05\x03bot\x05t0ken").is_err());
    }

    /// Whether it is told of each beginning of `bytes` what is told of all of it, or that more has to come.
    fn is_read_at_once<T: PartialEq>(bytes: &[u8], read: impl Fn(&[u8]) -> Read<T>) -> bool {
        let whole = read(bytes);
        let len = match &whole {
            Ok(Some((_, len))) => *len,
            _ => bytes.len(),
        };
        (0..=bytes.len()).all(|cut| match read(&bytes[..cut]) {
            Ok(None) => cut < len || whole == Ok(None),
            told => told == whole,
        })
    }

    proptest! {
        /// Cut at every byte, and with whatever behind it.
        #[test]
        fn a_message_is_read_once_it_is_whole_and_never_otherwise(
            begin in prop::sample::select(vec![
                &b""[..], b"\x05", b"\x05\x02", b"\x01\x02", b"\x05\x01\0\x01", b"\x05\x01\0\x03\x02ab", b"\x05\x01\0\x04",
            ]),
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let bytes = [begin, &rest].concat();
            prop_assert!(is_read_at_once(&bytes, OfferedMethods::read));
            prop_assert!(is_read_at_once(&bytes, SocksLogin::read));
            prop_assert!(is_read_at_once(&bytes, SocksTarget::read));
        }
    }
}
