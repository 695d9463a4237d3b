//! What the proxy adds to requests that bring no credential of their own (`inject`).

use super::decide::{Question, Rules};
use super::rule::{Inject, KeyRule};
use http::header::AUTHORIZATION;

/// Parameters of a query that is signed, by which its host knows who asks: AWS, Google Cloud, CloudFront, Azure.
const SIGNATURES: [&str; 4] = ["x-amz-signature", "x-goog-signature", "signature", "sig"];

impl Rules {
    /// The headers that are added to this request: of each name one, by the first key whose binding is about such
    /// requests. None where the request has a credential already, which a second one would spoil.
    pub fn injected(&self, question: Question<'_>) -> Vec<&Inject> {
        let mut added: Vec<&Inject> = Vec::new();
        if !self.injects || has_credential(question) {
            return added;
        }
        for rule in self.bound(question.origin) {
            if let Some(inject) = &rule.inject
                && !question.headers.contains_key(&inject.name)
                && !added.iter().any(|other| other.name == inject.name)
                && self.applies(question, rule)
            {
                added.push(inject);
            }
        }
        added
    }
}

fn has_credential(question: Question<'_>) -> bool {
    let names = question.query.split('&').map(|field| field.split('=').next().unwrap_or_default());
    question.headers.contains_key(AUTHORIZATION)
        || names.into_iter().any(|name| SIGNATURES.iter().any(|known| name.eq_ignore_ascii_case(known)))
}

/// Whether both rules would add a header of one name to some request, as far as hosts, methods and paths tell: then it is
/// chance which of them does.
pub fn compete(one: &KeyRule, other: &KeyRule) -> bool {
    let same_header = one.inject.as_ref().zip(other.inject.as_ref()).is_some_and(|(a, b)| a.name == b.name);
    let hosts = one.hosts.iter().any(|a| other.hosts.iter().any(|b| a.shares_an_origin(b)));
    let methods = one.methods.is_empty()
        || other.methods.is_empty()
        || one.methods.iter().any(|method| other.methods.contains(method));
    let paths = one.paths.is_empty()
        || other.paths.is_empty()
        || one.paths.iter().any(|a| other.paths.iter().any(|b| a.meets(b)));
    same_header && hosts && methods && paths
}
