//! Names by which a server takes another method or another path than the request line has: where a binding or an agent is
//! limited to some, a request that has one of them is refused.

use http::{HeaderMap, Method};
use percent_encoding::percent_decode;

/// Headers that give another method.
const METHOD_HEADERS: [&str; 5] = [
    // Google (cloud.google.com/apis/docs/system-parameters), Rack, Symfony and Laravel, ASP.NET MVC, WordPress, Express,
    // Jersey, Plack, Oracle's and Icinga's APIs
    "x-http-method-override",
    // OData (MS-ODATA, section 2.2.5.8) and SharePoint
    "x-http-method",
    // WebSphere Portal (HCL: "tunneling of HTTP methods"), Jetty's constants, many small frameworks
    "x-method-override",
    // gateways that ask an authority by subrequest: Traefik's ForwardAuth and Caddy's forward_auth …
    "x-forwarded-method",
    // … and nginx's auth_request, as its documents and ingress-nginx have it
    "x-original-method",
];

/// Headers that give another path.
const PATH_HEADERS: [&str; 10] = [
    // IIS URL Rewrite; read by Zend Framework 1, Symfony up to CVE-2018-14773, Drupal, WordPress
    "x-original-url",
    // ISAPI_Rewrite; read by the same
    "x-rewrite-url",
    // nginx's auth_request and ingress-nginx
    "x-original-uri",
    // Traefik's ForwardAuth, Caddy's forward_auth
    "x-forwarded-uri",
    // Kong
    "x-forwarded-path",
    // Spring's ForwardedHeaderFilter, YARP, Traefik's StripPrefix: what the path is below
    "x-forwarded-prefix",
    // the same for WSGI, as the snippets for Flask behind nginx have it
    "x-script-name",
    // Envoy, where a route has rewritten the path
    "x-envoy-original-path",
    // Azure App Service, read by iisnode
    "x-waws-unencoded-url",
    // Traefik's ReplacePath
    "x-replaced-path",
];

/// Fields of a query, or of a form, that give another method.
const METHOD_FIELDS: [&str; 8] = [
    // Rack, Symfony and Laravel, Spring's HiddenHttpMethodFilter, CakePHP, Yii, CodeIgniter, Plug, WordPress, Jersey
    "_method",
    // Haskell's wai-extra
    "_method_override",
    // Google's system parameters
    "$httpmethod",
    // ASP.NET MVC (GetHttpMethodOverride), Firebase
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    // Plack, Catalyst
    "x-tunneled-method",
    // Oracle ATG
    "atg-rest-http-method",
];

/// Fields that give another path: WordPress, in front of the path it was asked by.
const PATH_FIELDS: [&str; 1] = ["rest_route"];

/// A word of the everyday, which gives another method where its value is one: Facebook's Graph API, Restlet.
const METHOD_FIELD: &str = "method";
const METHODS: [&str; 8] = ["get", "head", "post", "put", "patch", "delete", "options", "merge"];

/// What in a request names another method than its own, as the agent wrote it. `allowed` are those it may have anyway.
pub fn of_method(headers: &HeaderMap, query: &str, allowed: &[Method]) -> Option<String> {
    header(headers, &METHOD_HEADERS).or_else(|| field(query, |name, value| gives_method(name, value, allowed)))
}

/// As [`of_method`], for the path.
pub fn of_path(headers: &HeaderMap, query: &str) -> Option<String> {
    header(headers, &PATH_HEADERS).or_else(|| field(query, |name, _| gives_path(name)))
}

/// Those headers that give another method or path: all that has to be kept of a head to judge it again.
pub fn named(headers: &HeaderMap) -> HeaderMap {
    let gives = |name: &str| METHOD_HEADERS.iter().chain(&PATH_HEADERS).any(|known| same(name, known));
    let named = headers.iter().filter(|(name, _)| gives(name.as_str()));
    named.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The limits that a request may not get around by another field: of methods, if there are any, and of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverrideLimits {
    methods: Option<Vec<Method>>,
    paths: bool,
}

impl OverrideLimits {
    /// Only these, where there are any, and only those that were allowed before.
    pub(super) fn methods(&mut self, allowed: &[Method]) {
        match &mut self.methods {
            _ if allowed.is_empty() => {}
            Some(methods) => methods.retain(|method| allowed.contains(method)),
            None => self.methods = Some(allowed.to_vec()),
        }
    }

    /// Whether a rule limits paths; once one does, they are limited.
    pub(super) fn paths(&mut self, limited: bool) {
        self.paths |= limited;
    }

    /// Whether there is anything to look for.
    pub(super) fn any(&self) -> bool {
        self.methods.is_some() || self.paths
    }

    /// Whether a field of this name, decoded, stands for what is limited.
    pub(super) fn forbid(&self, name: &str, value: &[u8]) -> bool {
        self.methods.as_ref().is_some_and(|allowed| gives_method(name, value, allowed))
            || self.paths && gives_path(name)
    }
}

fn gives_method(name: &str, value: &[u8], allowed: &[Method]) -> bool {
    METHOD_FIELDS.iter().any(|field| same(name, field)) || same(name, METHOD_FIELD) && is_other(value, allowed)
}

fn gives_path(name: &str) -> bool {
    PATH_FIELDS.iter().any(|field| same(name, field))
}

/// Whether a value is a method beyond those allowed.
fn is_other(value: &[u8], allowed: &[Method]) -> bool {
    let value = value.trim_ascii();
    let is = |method: &str| value.eq_ignore_ascii_case(method.as_bytes());
    METHODS.iter().any(|method| is(method)) && !allowed.iter().any(|method| is(method.as_str()))
}

fn header(headers: &HeaderMap, known: &[&str]) -> Option<String> {
    let mut names = headers.keys().map(http::HeaderName::as_str);
    names.find(|name| known.iter().any(|known| same(name, known))).map(|name| format!("the header {name}"))
}

fn field(query: &str, named: impl Fn(&str, &[u8]) -> bool) -> Option<String> {
    let mut fields = query.split(['&', ';']).map(|field| field.split_once('=').unwrap_or((field, "")));
    let found = fields.find(|(name, value)| named(&name_of(name.as_bytes()), &value_of(value.as_bytes())));
    found.map(|(name, _)| format!("the query's {name}"))
}

/// A field's name as PHP has it at last: without spaces before it, and over at a NUL.
pub(super) fn name_of(written: &[u8]) -> String {
    let decoded = value_of(written);
    let name = decoded.trim_ascii_start().split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// A field's value without its percent-encoding, a `+` being a space.
pub(super) fn value_of(written: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = written.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

/// Whether two names become one on the way to a program: CGI makes capitals of letters and `_` of `-`, older servers make
/// `_` of all that is neither letter nor digit, and PHP makes it of what can't be in a variable's name.
fn same(name: &str, known: &str) -> bool {
    let folded = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' };
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(|(a, b)| folded(a) == folded(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(name: &str) -> HeaderMap {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        [(name, HeaderValue::from_static("DELETE"))].into_iter().collect()
    }

    #[test]
    fn a_header_counts_in_every_spelling_that_folds_into_it() {
        for (name, method, path) in [
            ("X-HTTP-Method-Override", true, false),
            ("x_http_method_override", true, false),
            ("X-HTTP_METHOD-override", true, false),
            ("x.http.method.override", true, false),
            ("X-HTTP-Method", true, false),
            ("X-Method-Override", true, false),
            ("X-Original-URL", false, true),
            ("X_REWRITE_URL", false, true),
            ("X-Forwarded-Prefix", false, true),
            ("X-HTTP-Method-Overrides", false, false),
            ("XX-HTTP-Method", false, false),
            ("X-Forwarded-For", false, false),
            ("X-Method", false, false),
        ] {
            let found = (of_method(&headers(name), "", &[]).is_some(), of_path(&headers(name), "").is_some());
            assert_eq!(found, (method, path), "{name}");
        }
        let told = of_method(&headers("X_HTTP_Method_Override"), "", &[]);
        assert_eq!(told.as_deref(), Some("the header x_http_method_override"));
    }

    #[test]
    fn a_field_counts_in_every_spelling_that_decodes_to_it() {
        let none = HeaderMap::new();
        for (query, method, path) in [
            ("_method=DELETE", true, false),
            ("a=b&_METHOD=put", true, false),
            ("a=b;_method=put", true, false),
            ("%5fmethod=x", true, false),
            ("%5Fmeth%6Fd", true, false),
            ("+_method=x", true, false),
            (".method=x", true, false),
            ("_method%00x=x", true, false),
            ("%24httpMethod=DELETE", true, false),
            ("$httpMethod=DELETE", true, false),
            ("x-http-method-override=PATCH", true, false),
            ("x-tunneled-method=DELETE", true, false),
            ("method=DELETE", true, false),
            ("method=delete", true, false),
            ("method=%44elete", true, false),
            ("method=post&method=delete", true, false),
            ("method=flickr.photos.search", false, false),
            ("method=get", false, false),
            ("method=Post", false, false),
            ("rest_route=/wp/v2/users", false, true),
            ("_methods=x", false, false),
            ("q=_method=DELETE", false, false),
            ("", false, false),
        ] {
            let found = (of_method(&none, query, &[Method::GET, Method::POST]), of_path(&none, query));
            assert_eq!((found.0.is_some(), found.1.is_some()), (method, path), "{query}");
        }
    }

    #[test]
    fn tables_have_one_spelling() {
        for known in METHOD_HEADERS.iter().chain(&PATH_HEADERS).chain(&METHOD_FIELDS).chain(&PATH_FIELDS) {
            assert_eq!(*known, known.to_ascii_lowercase());
        }
    }
}
