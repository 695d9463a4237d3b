//! The names of the variables by which clients find a proxy and its CA.

use std::collections::BTreeMap;

/// Every variable for a proxy's URL; clients differ in which they read and in which case.
pub(super) const PROXY: [&str; 18] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "WS_PROXY", // aiohttp's WebSocket asks for these two and goes direct without
    "ws_proxy",
    "WSS_PROXY",
    "wss_proxy",
    "GRPC_PROXY",
    "grpc_proxy",
    "NPM_CONFIG_PROXY", // an npmrc outranks HTTPS_PROXY
    "NPM_CONFIG_HTTPS_PROXY",
    "PIP_PROXY",        // a pip.conf does
    "CARGO_HTTP_PROXY", // as does cargo's config
    "YARN_HTTP_PROXY",  // yarn berry reads no other
    "YARN_HTTPS_PROXY",
];

/// Every variable for a file of CA certificates. YARN_CAFILE is left out: it breaks yarn berry.
pub(super) const CA_FILE: [&str; 19] = [
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
    "NPM_CONFIG_CAFILE",
    "npm_config_cafile",
    "CARGO_HTTP_CAINFO",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "PERL_LWP_SSL_CA_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "BUNDLE_SSL_CA_CERT",
    "COMPOSER_CAFILE",
    "JULIA_SSL_CA_ROOTS_PATH",
];

/// Changes of an environment: what is to be set, or with `None` taken away, in the order of names.
pub type EnvironmentChanges = BTreeMap<String, Option<String>>;
