//! Requests that a proxy is asked for whole, in absolute form, and what it says of them itself.

use crate::name::Origin;
use crate::upstream::proxy::UpstreamProxy;
use crate::upstream::through;
use http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::uri::{Parts, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri};

/// A target with all its parts: in HTTP/1.1 as a proxy takes it (RFC 9112, section 3.2.2), in HTTP/2 to be sent apart
/// (RFC 9113, section 8.3.1).
pub(super) fn absolute(origin: &Origin, path: &Uri) -> Uri {
    let mut parts = Parts::default();
    parts.scheme = Scheme::try_from(origin.scheme.as_str()).ok();
    parts.authority = origin.authority().parse().ok();
    parts.path_and_query = path.path_and_query().cloned();
    Uri::from_parts(parts).unwrap_or_default()
}

/// Writes for the proxy whom the request is for, and who asks.
pub(super) fn address<B>(request: &mut Request<B>, origin: &Origin, proxy: &UpstreamProxy) {
    *request.uri_mut() = absolute(origin, request.uri());
    request.headers_mut().extend(proxy.authorization.clone().map(|login| (PROXY_AUTHORIZATION, login)));
}

/// Takes that off a request again which was not sent.
pub(super) fn take_back<B>(request: &mut Request<B>) {
    request.headers_mut().remove(PROXY_AUTHORIZATION);
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = path.into();
}

/// Why the proxy itself takes no request, where the answer is its own.
pub(super) fn refused<B>(response: &Response<B>, proxy: &UpstreamProxy) -> Option<String> {
    let offers = response.headers().get_all(PROXY_AUTHENTICATE).iter().map(HeaderValue::as_bytes);
    (response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED).then(|| through::wants_login(proxy, offers))
}
