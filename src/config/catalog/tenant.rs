//! What the hosts of a provider look like that has one for each of its customers, as in `NAME.openai.azure.com`. No key goes to
//! all of them: strangers have such hosts too.

use crate::name::{Host, split_port};
use crate::policy::rule::HostPattern;
use std::fmt;
use std::str::FromStr;

/// A host in which capital letters stand for what is the customer's own; `HOST` alone stands for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantHost {
    host: String,
    port: Option<u16>,
}

/// A label with a part of the customer's own, as what stands before and behind that.
fn around_own(label: &str) -> Option<(&str, &str)> {
    let is_own = |c: char| c.is_ascii_uppercase() || c == '_';
    let (before, rest) = label.split_at(label.find(is_own)?);
    Some((before, rest.trim_start_matches(is_own)))
}

impl TenantHost {
    /// Whether a host looks like it.
    pub fn covers(&self, host: &Host) -> bool {
        let Host::Dns(name) = host else { return self.is_any() };
        let (pattern, labels): (Vec<_>, Vec<_>) = (self.host.split('.').collect(), name.split('.').collect());
        let fits = |(pattern, label): (&&str, &&str)| match around_own(pattern) {
            Some((before, behind)) => {
                let own = label.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
                own.is_some_and(|own| !own.is_empty())
            }
            None => pattern == label,
        };
        self.is_any() || pattern.len() == labels.len() && pattern.iter().zip(&labels).all(fits)
    }

    /// Whether a star covers the hosts of other customers as well.
    pub fn is_shared_by(&self, host: &HostPattern) -> bool {
        let behind_first = self.host.split_once('.').filter(|(first, _)| around_own(first).is_some());
        host.parent().is_some_and(|parent| behind_first.is_some_and(|(_, behind)| behind == parent))
    }

    fn is_any(&self) -> bool {
        self.host == "HOST"
    }
}

impl FromStr for TenantHost {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{}' is no host with a customer's part, as in 'NAME.tool.example'", s.escape_debug());
        let (host, port) = split_port(s).map_err(|_| bad())?;
        // the name below which customers have theirs is the provider's
        let fixed = host.split('.').rev().take_while(|label| around_own(label).is_none()).count();
        let own = host.split('.').filter_map(around_own);
        let plain = own.flat_map(|(before, behind)| [before, behind]).all(|part| part == part.to_ascii_lowercase());
        let is_tenant = host == "HOST" || fixed >= 2 && fixed < host.split('.').count() && plain;
        match host.to_ascii_lowercase().parse::<Host>() {
            Ok(Host::Dns(_)) if is_tenant => Ok(Self { host: host.to_owned(), port }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for TenantHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capital_letters_are_the_customers_part() {
        for (tenant, host, covers) in [
            ("NAME.openai.azure.com", "acme.openai.azure.com", true),
            ("NAME.openai.azure.com", "a.b.openai.azure.com", false),
            ("NAME.openai.azure.com", "openai.azure.com", false),
            ("NAME.openai.azure.com", "acme.openai.azure.com.evil.example", false),
            ("NAME.openai.azure.com", "10.0.0.1", false),
            ("APP_ID-dsn.algolia.net", "b1g2gm9ng0-dsn.algolia.net", true),
            ("APP_ID-dsn.algolia.net", "-dsn.algolia.net", false),
            ("APP_ID-dsn.algolia.net", "b1g2gm9ng0.algolia.net", false),
            ("INDEX.svc.REGION.pinecone.io", "a-b.svc.us-east1.pinecone.io", true),
            ("ID.REGION.cloud.tool.example:6333", "a.eu.cloud.tool.example", true),
            ("HOST", "llm.corp.example", true),
            ("HOST", "10.0.0.1", true),
        ] {
            let tenant: TenantHost = tenant.parse().unwrap();
            assert_eq!(tenant.covers(&host.parse().unwrap()), covers, "{tenant} {host}");
        }
    }

    #[test]
    fn what_has_no_name_of_the_providers_is_none() {
        for wrong in
            ["", "api.tool.example", "NAME", "NAME.example", "a.NAME", "NAMEaNAME.tool.example", "NAME.tool.example:x"]
        {
            assert!(wrong.parse::<TenantHost>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_star_in_the_customers_place_is_everybodys() {
        let tenant: TenantHost = "NAME.openai.azure.com".parse().unwrap();
        assert!(tenant.is_shared_by(&"*.openai.azure.com".parse().unwrap()));
        assert!(!tenant.is_shared_by(&"*.acme.openai.azure.com".parse().unwrap()));
        assert!(!tenant.is_shared_by(&"acme.openai.azure.com".parse().unwrap()));
    }
}
