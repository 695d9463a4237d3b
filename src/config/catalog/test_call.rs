//! The cheapest request that shows whether a key is good, as the catalog writes it; sending it is not its business.

use crate::name::{Host, KeyName};
use crate::place::Place;
use http::{HeaderName, HeaderValue, Method};
use url::Url;

/// A request with the key's placeholder where the key goes. Answered with 2xx the key is good, with 400 or 401 it isn't; 403
/// says that, or that it has no right to this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCall {
    /// Its method: one without a body.
    pub method: Method,
    /// The host as it is written: of a tenant's it is the pattern that stands for it.
    pub host: String,
    /// Path and query, where the placeholder stands as it is.
    pub target: String,
    /// In `Authorization: Basic` user and password stand as they are, not encoded yet.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl TestCall {
    /// Of a line `GET https://host/path`, and lines `Name: value`, in which the key's placeholder stands once.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(key: &KeyName, lines: &[String]) -> Result<Self, String> {
        let (first, headers) =
            lines.split_first().ok_or("a test has a line such as 'GET https://api.tool.example/me'")?;
        let placeholder = key.placeholder();
        if lines.iter().map(|line| line.matches(&placeholder).count()).sum::<usize>() != 1 {
            return Err(format!("the test holds '{placeholder}' once"));
        }
        let bad = || format!("'{}' is no line such as 'GET https://api.tool.example/me'", first.escape_debug());
        let (method, url) = first.split_once(' ').ok_or_else(bad)?;
        let method = [Method::GET, Method::HEAD].into_iter().find(|m| m.as_str() == method).ok_or_else(bad)?;
        let rest = url.strip_prefix("https://").ok_or_else(bad)?;
        let (host, target) = rest.split_at(rest.find('/').ok_or_else(bad)?);
        Url::parse(url).map_err(|_| bad())?;
        let headers = headers.iter().map(|line| header(line)).collect::<Result<_, _>>()?;
        Ok(Self { method, host: host.to_owned(), target: target.to_owned(), headers })
    }

    /// The place that the key goes to.
    ///
    /// # Errors
    /// When the placeholder stands where no key goes.
    pub fn place(&self, key: &KeyName) -> Result<Place, String> {
        let placeholder = key.placeholder();
        let holds = |text: &str| text.contains(&placeholder);
        if let Some((name, value)) = self.headers.iter().find(|(_, v)| v.to_str().is_ok_and(holds)) {
            return match value.to_str().is_ok_and(|text| text.starts_with("Basic ")) {
                true => Ok(Place::Basic),
                false => Ok(Place::HeaderNamed(name.clone())),
            };
        }
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        if holds(path) {
            return Ok(Place::Path);
        }
        let parameter = query.split('&').filter_map(|p| p.split_once('=')).find(|(_, value)| holds(value));
        parameter.map(|(name, _)| Place::QueryNamed(name.to_owned())).ok_or_else(|| "the key goes nowhere".to_owned())
    }

    /// The request as the catalog writes it, names of headers in lower case: `GET https://host/path`, and `name: value`.
    pub fn lines(&self) -> Vec<String> {
        let first = format!("{} https://{}{}", self.method, self.host, self.target);
        let header = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        std::iter::once(first).chain(self.headers.iter().map(header)).collect()
    }

    /// The request's address at this host.
    pub fn url(&self, host: &Host) -> String {
        format!("https://{host}{}", self.target)
    }
}

fn header(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let bad = || format!("'{}' is no header line", line.escape_debug());
    let (name, value) = line.split_once(": ").ok_or_else(bad)?;
    Ok((name.parse().map_err(|_| bad())?, value.parse().map_err(|_| bad())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<TestCall, String> {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        TestCall::read(&"tool".parse().unwrap(), &lines)
    }

    #[test]
    fn a_call_is_a_request_line_and_headers() {
        let call = read(&["GET https://NAME.tool.example/v1/me?all", "Authorization: Bearer <<tool_key>>"]).unwrap();
        assert_eq!((call.method.as_str(), call.host.as_str()), ("GET", "NAME.tool.example"));
        assert_eq!(call.url(&"acme.tool.example".parse().unwrap()), "https://acme.tool.example/v1/me?all");
        assert_eq!(
            (call.headers[0].0.as_str(), call.headers[0].1.as_bytes()),
            ("authorization", &b"Bearer <<tool_key>>"[..])
        );
        assert_eq!(
            call.lines(),
            ["GET https://NAME.tool.example/v1/me?all", "authorization: Bearer <<tool_key>>"],
            "as it was written"
        );
        for (lines, place) in [
            (&["GET https://a.example/bot<<tool_key>>/me"][..], "path"),
            (&["GET https://a.example/me?b=c&key=<<tool_key>>"], "query:key"),
            (&["GET https://a.example/me", "X-Key: <<tool_key>>"], "header:x-key"),
            (&["GET https://a.example/me", "Authorization: Basic me:<<tool_key>>"], "basic"),
        ] {
            assert_eq!(read(lines).unwrap().place(&"tool".parse().unwrap()).unwrap().to_string(), place);
        }
    }

    #[test]
    fn what_is_no_call_with_one_key_says_so() {
        for lines in [
            &[][..],
            &["GET https://tool.example/me"],
            &["GET https://tool.example/me?a=<<tool_key>>&b=<<tool_key>>"],
            &["POST https://tool.example/<<tool_key>>"],
            &["GET http://tool.example/<<tool_key>>"],
            &["GET https://tool.example?<<tool_key>>"],
            &["GET https://tool.example/me", "<<tool_key>>"],
        ] {
            assert!(read(lines).is_err(), "{lines:?}");
        }
    }
}
