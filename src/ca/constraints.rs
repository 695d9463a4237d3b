//! Name constraints (RFC 5280, section 4.2.1.10): the hosts that a CA may sign for, written into its certificates and read
//! back out of them.

use crate::name::Host;
use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// What all subtrees together may take in a certificate, in bytes: the intermediate is in every handshake, and Java reads
/// none whose messages are over 32 KiB.
const MAX_BYTES: usize = 16 * 1024;
/// Permitted where no name is: were there no permitted name at all, every name would be.
const NOBODY: &str = "locum.invalid";

/// A name with all that is below it, or one address. There is no constraint for a name alone: who may sign for
/// `api.example.com` may sign for `x.api.example.com` too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subtree {
    /// A DNS name and all below it.
    Dns(String),
    /// One address.
    Ip(IpAddr),
}

impl Subtree {
    fn holds(&self, other: &Self) -> bool {
        match (self, other) {
            (Subtree::Dns(base), Subtree::Dns(name)) => is_within(name, base),
            (own, other) => own == other,
        }
    }

    fn len(&self) -> usize {
        // with its tags and lengths
        match self {
            Subtree::Dns(name) => name.len() + 6,
            Subtree::Ip(_) => 38,
        }
    }
}

impl From<&Host> for Subtree {
    fn from(host: &Host) -> Self {
        match host {
            Host::Dns(name) => Subtree::Dns(name.to_string()),
            Host::Ip(ip) => Subtree::Ip(*ip),
        }
    }
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subtree::Dns(name) => f.write_str(name),
            Subtree::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

/// The hosts that a CA is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every host.
    Any,
    /// In order, and none of them within another.
    Only(Vec<Subtree>),
}

impl Scope {
    /// Those within one of `subtrees`.
    pub fn only(subtrees: impl IntoIterator<Item = Subtree>) -> Self {
        let mut all: Vec<Subtree> = subtrees.into_iter().collect();
        all.sort();
        all.dedup();
        let outermost = all.iter().filter(|s| !all.iter().any(|other| other != *s && other.holds(s)));
        Scope::Only(outermost.cloned().collect())
    }

    /// Whether they are too many for a certificate that all clients read.
    pub fn is_too_long(&self) -> bool {
        matches!(self, Scope::Only(all) if all.iter().map(Subtree::len).sum::<usize>() > MAX_BYTES)
    }

    /// As a certificate has it. A kind of name that no permitted subtree is of would be free for all, so where no name
    /// is listed one is that nobody has, and where no address is, all are excluded. Where one is, those of the other
    /// version aren't excluded besides: it keeps them out as it is, and Java 17 compares addresses of unlike lengths, so
    /// that it refuses or breaks off at those that are permitted.
    pub(super) fn constraints(&self) -> Option<NameConstraints> {
        let Scope::Only(listed) = self else { return None };
        let mut permitted: Vec<GeneralSubtree> = listed.iter().map(written).collect();
        if !listed.iter().any(|s| matches!(s, Subtree::Dns(_))) {
            permitted.push(GeneralSubtree::DnsName(NOBODY.into()));
        }
        let all = |any: IpAddr| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(any, 0));
        let excluded = match listed.iter().any(|s| matches!(s, Subtree::Ip(_))) {
            true => Vec::new(),
            false => vec![all(Ipv4Addr::UNSPECIFIED.into()), all(Ipv6Addr::UNSPECIFIED.into())],
        };
        Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded })
    }
}

fn written(subtree: &Subtree) -> GeneralSubtree {
    match subtree {
        Subtree::Dns(name) => GeneralSubtree::DnsName(name.clone()),
        Subtree::Ip(ip) => {
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*ip, if ip.is_ipv4() { 32 } else { 128 }))
        }
    }
}

/// The name constraints of a certificate, whoever made it.
#[derive(Debug, Default)]
pub(super) struct NameLimits {
    permitted: Vec<Base>,
    excluded: Vec<Base>,
}

#[derive(Debug)]
enum Base {
    Dns(String),
    Ip { address: Vec<u8>, mask: Vec<u8> },
}

impl NameLimits {
    /// `None` where it has no constraints.
    pub fn of(certificate: &X509Certificate<'_>) -> Result<Option<Self>, String> {
        let found = certificate.name_constraints().map_err(|e| format!("its name constraints can't be read: {e}"))?;
        let Some(found) = found else { return Ok(None) };
        let bases = |subtrees: &Option<Vec<x509_parser::extensions::GeneralSubtree<'_>>>| {
            subtrees.iter().flatten().filter_map(|s| Base::read(&s.base)).collect()
        };
        let (permitted, excluded) = (bases(&found.value.permitted_subtrees), bases(&found.value.excluded_subtrees));
        Ok(Some(Self { permitted, excluded }))
    }

    /// Whether a leaf for a host of this subtree would be good.
    pub fn allow(&self, subtree: &Subtree) -> bool {
        if self.excluded.iter().any(|base| base.holds(subtree)) {
            return false;
        }
        let mut of_its_kind = self.permitted.iter().filter(|base| base.is_of_the_kind_of(subtree)).peekable();
        of_its_kind.peek().is_none() || of_its_kind.any(|base| base.holds(subtree))
    }

    /// The hosts that are permitted, for a person.
    pub fn permitted(&self) -> Vec<String> {
        self.permitted.iter().map(Base::to_string).filter(|name| name != NOBODY).collect()
    }
}

impl Base {
    /// What is no host's name limits no leaf of ours.
    fn read(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Base::Dns(name.to_ascii_lowercase())),
            GeneralName::IPAddress(bytes) => {
                let (address, mask) = bytes.split_at(bytes.len() / 2);
                Some(Base::Ip { address: address.into(), mask: mask.into() })
            }
            _ => None,
        }
    }

    fn is_of_the_kind_of(&self, subtree: &Subtree) -> bool {
        matches!((self, subtree), (Base::Dns(_), Subtree::Dns(_)) | (Base::Ip { .. }, Subtree::Ip(_)))
    }

    fn holds(&self, subtree: &Subtree) -> bool {
        match (self, subtree) {
            (Base::Dns(base), Subtree::Dns(name)) => is_within(name, base),
            (Base::Ip { address, mask }, Subtree::Ip(IpAddr::V4(ip))) => is_in_net(&ip.octets(), address, mask),
            (Base::Ip { address, mask }, Subtree::Ip(IpAddr::V6(ip))) => is_in_net(&ip.octets(), address, mask),
            _ => false,
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, mask) = match self {
            Base::Dns(name) => return f.write_str(name),
            Base::Ip { address, mask } => (address, mask),
        };
        let v4 = <[u8; 4]>::try_from(&address[..]).map(IpAddr::from);
        match v4.or_else(|_| <[u8; 16]>::try_from(&address[..]).map(IpAddr::from)) {
            Ok(ip) if mask.iter().all(|byte| *byte == 0xff) => write!(f, "{ip}"),
            Ok(ip) => write!(f, "{ip}/{}", mask.iter().map(|byte| byte.count_ones()).sum::<u32>()),
            Err(_) => f.write_str("?"),
        }
    }
}

/// Whether `name` is `base` or below it. Nothing is the base of all; with a dot before it a base is not within itself, as
/// OpenSSL and others read it.
fn is_within(name: &str, base: &str) -> bool {
    let Some(rest) = name.strip_suffix(base) else { return false };
    rest.is_empty() || base.is_empty() || base.starts_with('.') || rest.ends_with('.')
}

fn is_in_net(ip: &[u8], address: &[u8], mask: &[u8]) -> bool {
    ip.len() == address.len()
        && ip.len() == mask.len()
        && ip.iter().zip(address).zip(mask).all(|((ip, address), mask)| ip & mask == address & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> Subtree {
        Subtree::Dns(name.into())
    }

    fn limits(permitted: &[&str], excluded: &[&str]) -> NameLimits {
        let bases = |names: &[&str]| names.iter().map(|n| Base::read(&GeneralName::DNSName(n)).unwrap()).collect();
        NameLimits { permitted: bases(permitted), excluded: bases(excluded) }
    }

    #[test]
    fn a_name_permits_itself_and_what_is_below() {
        for (permitted, excluded, name, allowed) in [
            (&["a.example"][..], &[][..], "a.example", true),
            (&["a.example"], &[], "x.a.example", true),
            (&["a.example"], &[], "xa.example", false),
            (&["a.example"], &[], "example", false),
            (&["A.Example"], &[], "a.example", true),
            (&[".a.example"], &[], "x.a.example", true),
            (&[""], &[], "x.example", true),
            (&[], &[], "x.example", true),
            (&["a.example", "b.example"], &[], "b.example", true),
            (&["example"], &["a.example"], "x.a.example", false),
            (&["example"], &["a.example"], "b.example", true),
            (&[], &[""], "b.example", false),
        ] {
            assert_eq!(limits(permitted, excluded).allow(&dns(name)), allowed, "{permitted:?} {excluded:?} {name}");
        }
        let addresses_alone = NameLimits {
            permitted: vec![Base::read(&GeneralName::IPAddress(&[10, 0, 0, 0, 255, 0, 0, 0])).unwrap()],
            excluded: Vec::new(),
        };
        for (ip, allowed) in [("10.1.2.3", true), ("11.1.2.3", false), ("::1", false)] {
            assert_eq!(addresses_alone.allow(&Subtree::Ip(ip.parse().unwrap())), allowed, "{ip}");
        }
        assert!(addresses_alone.allow(&dns("a.example")), "names are another kind");
    }

    #[test]
    fn what_is_within_another_is_left_out() {
        let all = ["b.a.example", "a.example", "a.example", "ba.example"].map(dns);
        assert_eq!(Scope::only(all), Scope::Only(vec![dns("a.example"), dns("ba.example")]));
        let many = (0..2000).map(|i| dns(&format!("host-{i}.example")));
        assert!(Scope::only(many).is_too_long());
        assert!(!Scope::only((0..500).map(|i| dns(&format!("host-{i}.example")))).is_too_long());
    }
}
