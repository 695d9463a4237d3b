//! The variables of a child by which its clients use and trust the proxy, and by which its programs find placeholders.

use super::files::TrustFiles;
use super::names::{CA_FILE, EnvironmentChanges, PROXY};
use super::no_proxy;
use super::no_proxy::PastProxy;
use crate::memory::own_variables::OWN_SECRETS;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The way by which a child reaches the proxy: address, agent and token.
#[derive(Debug, Clone, Copy)]
pub struct ProxyAccess<'a> {
    /// The address that the proxy listens on.
    pub address: SocketAddr,
    /// The host that its certificate is of, where it speaks TLS there.
    pub tls_host: Option<&'a str>,
    /// The agent's name.
    pub agent: &'a str,
    /// The agent's proxy token, where one is needed.
    pub token: Option<&'a str>,
    /// What does not go through it.
    pub past: PastProxy,
}

/// What stays as it is in the user part of a URL.
const USERINFO: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl ProxyAccess<'_> {
    /// Where a client on this machine dials: a wildcard address is only one to listen on.
    fn dialled(&self) -> SocketAddr {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        SocketAddr::new(ip, self.address.port())
    }

    /// `http://agent:token@127.0.0.1:8787`, or `https://` and the host of the certificate.
    pub fn url(&self) -> String {
        let user = |s| utf8_percent_encode(s, USERINFO);
        let login = self.token.map(|token| format!("{}:{}@", user(self.agent), user(token))).unwrap_or_default();
        match self.tls_host {
            Some(host) if host.contains(':') => format!("https://{login}[{host}]:{}", self.address.port()),
            Some(host) => format!("https://{login}{host}:{}", self.address.port()),
            None => format!("http://{login}{}", self.dialled()),
        }
    }
}

/// The names of a key's variables, and what they hold in a child.
#[derive(Debug, Clone)]
pub struct PlaceholderVariables<'a> {
    /// The variables that its programs read, the usual one first.
    pub variables: &'a [String],
    /// What they hold in a child.
    pub placeholder: &'a str,
}

/// All that changes in the environment of a child; `outranking` are settings of git's, `now` is what a variable says before.
pub fn changes(
    access: &ProxyAccess<'_>,
    files: &TrustFiles,
    stands: &[PlaceholderVariables<'_>],
    outranking: &[String],
    now: &dyn Fn(&str) -> Option<String>,
) -> EnvironmentChanges {
    let mut out = EnvironmentChanges::new();
    let mut set = |name: &str, value: String| drop(out.insert(name.to_owned(), Some(value)));
    let url = access.url();
    for name in PROXY {
        set(name, url.clone());
    }
    let bundle = files.bundle.to_string_lossy();
    for name in CA_FILE {
        set(name, bundle.to_string());
    }
    // it has Mozilla's, and to read the system's too takes it longer than all else at its start
    set("NODE_EXTRA_CA_CERTS", files.additions.to_string_lossy().into());
    if access.tls_host.is_some() {
        set("GIT_PROXY_SSL_CAINFO", bundle.to_string());
    }
    let past = no_proxy::entries(access.past, now);
    for name in ["NO_PROXY", "no_proxy"] {
        set(name, past.join(","));
    }
    set("NODE_USE_ENV_PROXY", "1".into());
    set("NODE_OPTIONS", node_options(&files.node_preload.to_string_lossy(), now));
    set("WGETRC", files.wgetrc.to_string_lossy().into());
    set("PHP_INI_SCAN_DIR", php_scan_dir(&files.php_ini_dir.to_string_lossy(), now));
    set("JAVA_TOOL_OPTIONS", java_options(access, &files.trust_store.to_string_lossy(), &past, now));
    set("CURL_HOME", files.curl_home.to_string_lossy().into());
    set("APT_CONFIG", files.apt_conf.to_string_lossy().into());
    for (name, value) in git_config(&url, outranking, now) {
        set(&name, value);
    }
    for (name, placeholder) in stands.iter().flat_map(|s| stand_in(s, now)) {
        set(name, placeholder.to_owned());
    }
    for name in OWN_SECRETS.iter().filter(|name| now(name).is_some()) {
        out.insert((*name).to_owned(), None);
    }
    out
}

/// Every variable of the key that is set, so that no real value stays; else the first, so that programs find one. More
/// than that would mislead: some complain when two of theirs are set.
fn stand_in<'s>(stand: &PlaceholderVariables<'s>, now: &dyn Fn(&str) -> Option<String>) -> Vec<(&'s str, &'s str)> {
    let set: Vec<&String> = stand.variables.iter().filter(|v| now(v).is_some()).collect();
    let chosen = if set.is_empty() { stand.variables.iter().take(1).collect() } else { set };
    chosen.into_iter().map(|v| (v.as_str(), stand.placeholder)).collect()
}

/// PHP reads the folders of this list in turn; an empty first one stands for the folder it was built with.
fn php_scan_dir(ours: &str, now: &dyn Fn(&str) -> Option<String>) -> String {
    let separator = if cfg!(windows) { ';' } else { ':' };
    format!("{}{separator}{ours}", now("PHP_INI_SCAN_DIR").unwrap_or_default())
}

/// What the user set, then ours, each once: in a shell that `locum env` has set up ours is there already. Node splits the variable
/// at spaces and keeps what stands in quotes, in which a backslash hides the next letter.
fn node_options(preload: &str, now: &dyn Fn(&str) -> Option<String>) -> String {
    let ours = format!("--require \"{}\"", preload.replace('\\', r"\\").replace('"', "\\\""));
    match now("NODE_OPTIONS").filter(|said| !said.trim().is_empty()) {
        Some(said) if said.contains(&ours) => said,
        Some(said) => format!("{said} {ours}"),
        None => ours,
    }
}

/// More settings of git's (since 2.31), behind those that are there: a gitconfig's `http.proxy` outranks HTTPS_PROXY, and those
/// of one host or remote outrank that. Of two of one name the later counts.
fn git_config(url: &str, outranking: &[String], now: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let count = now("GIT_CONFIG_COUNT").filter(|c| !c.is_empty()).unwrap_or_else(|| "0".into());
    // git itself refuses to run with any other count.
    let Ok(first) = count.parse::<u16>() else { return Vec::new() };
    let mut out = Vec::new();
    let mut n = u32::from(first);
    for name in ["http.proxy"].into_iter().chain(outranking.iter().map(String::as_str)) {
        out.push((format!("GIT_CONFIG_KEY_{n}"), name.to_owned()));
        out.push((format!("GIT_CONFIG_VALUE_{n}"), url.to_owned()));
        n += 1;
    }
    out.push(("GIT_CONFIG_COUNT".into(), n.to_string()));
    out
}

/// What the user set, then ours: of two the JVM takes the later. The JVM shows all of it on standard error, so no token is in
/// it: it would answer no proxy with one anyway, and what `run` starts needs none.
fn java_options(
    access: &ProxyAccess<'_>,
    store: &str,
    past: &[String],
    now: &dyn Fn(&str) -> Option<String>,
) -> String {
    let (ip, port) = (access.dialled().ip(), access.dialled().port());
    let mut options: Vec<String> = now("JAVA_TOOL_OPTIONS").filter(|o| !o.trim().is_empty()).into_iter().collect();
    for scheme in ["http", "https"] {
        options.push(format!("-D{scheme}.proxyHost={ip}"));
        options.push(format!("-D{scheme}.proxyPort={port}"));
    }
    // Since 8u111 the JVM answers no Basic challenge of a tunnel unless this list is emptied.
    options.push("-Djdk.http.auth.tunneling.disabledSchemes=".into());
    options.push(format!(
        "-Dhttp.nonProxyHosts={}",
        past.iter().flat_map(|e| java_hosts(e)).collect::<Vec<_>>().join("|")
    ));
    options.push(java_quoted(&format!("-Djavax.net.ssl.trustStore={store}")));
    options.push("-Djavax.net.ssl.trustStoreType=PKCS12".into());
    options.join(" ")
}

/// An entry of NO_PROXY as the JVM writes it: a star at either end is all it knows, so a network is left out.
fn java_hosts(entry: &str) -> Vec<String> {
    match entry {
        "127.0.0.1" => vec!["127.*".into(), "[::1]".into()],
        "*" => vec!["*".into()],
        _ if entry.contains('/') || entry.contains(['|', '"', '\'']) => Vec::new(),
        _ if entry.parse::<Ipv6Addr>().is_ok() => vec![format!("[{entry}]")],
        _ if entry.parse::<Ipv4Addr>().is_ok() || entry == "localhost" => vec![entry.into()],
        _ => {
            let name = entry.trim_start_matches('*').trim_start_matches('.');
            vec![name.into(), format!("*.{name}")]
        }
    }
}

/// The JVM splits the variable at spaces, and keeps what stands in quotes.
fn java_quoted(option: &str) -> String {
    if option.contains(char::is_whitespace) { format!("\"{option}\"") } else { option.into() }
}

/// The proxy that the user had for https: ours goes out through it.
pub fn own_proxy(now: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let url = names.iter().filter_map(|n| now(n)).map(|v| v.trim().to_owned()).find(|v| !v.is_empty())?;
    Some(if url.contains("://") { url } else { format!("http://{url}") })
}

/// What the user's NO_PROXY says, in either case of its name: hosts that go without that proxy.
pub fn own_no_proxy(now: &dyn Fn(&str) -> Option<String>) -> String {
    ["no_proxy", "NO_PROXY"].map(|name| now(name).unwrap_or_default()).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    const ACCESS: ProxyAccess<'_> = ProxyAccess {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787),
        tls_host: None,
        agent: "local",
        token: None,
        past: PastProxy::UsersAndLoopback,
    };

    fn env<'e>(pairs: &'e [(&'e str, &'e str)]) -> impl Fn(&str) -> Option<String> + 'e {
        |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    fn of(access: ProxyAccess<'_>, pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let files = TrustFiles::below(Path::new("/t"));
        let changes = changes(&access, &files, &[], &[], &env(pairs));
        changes.into_iter().filter_map(|(n, v)| Some((n, v?))).collect()
    }

    #[test]
    fn each_client_has_what_it_reads() {
        let set = of(ACCESS, &[]);
        let (url, pem) = ("http://127.0.0.1:8787", "/t/ca-bundle.pem");
        for (client, ca, proxy) in [
            ("curl", "CURL_CA_BUNDLE", "http_proxy"),
            ("requests", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY"),
            ("pip", "PIP_CERT", "PIP_PROXY"),
            ("httpx, Go, gh, ureq, uv, codex, Ruby", "SSL_CERT_FILE", "HTTPS_PROXY"),
            ("aiohttp's WebSocket", "SSL_CERT_FILE", "WSS_PROXY"),
            ("deno", "DENO_CERT", "HTTPS_PROXY"),
            ("cargo", "CARGO_HTTP_CAINFO", "https_proxy"),
            ("git", "GIT_SSL_CAINFO", "https_proxy"),
            ("aws", "AWS_CA_BUNDLE", "HTTPS_PROXY"),
            ("npm", "NPM_CONFIG_CAFILE", "NPM_CONFIG_HTTPS_PROXY"),
            ("yarn 1", "npm_config_cafile", "HTTPS_PROXY"),
            ("LWP", "PERL_LWP_SSL_CA_FILE", "https_proxy"),
            ("gRPC", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "grpc_proxy"),
        ] {
            assert_eq!((set[ca].as_str(), set[proxy].as_str()), (pem, url), "{client}");
        }
        assert_eq!(set["NODE_EXTRA_CA_CERTS"], "/t/additional-cas.pem");
        assert_eq!((set["NODE_USE_ENV_PROXY"].as_str(), set["WGETRC"].as_str()), ("1", "/t/wgetrc"));
        assert!(!set.contains_key("YARN_CAFILE"));
        for name in PROXY.iter().filter(|n| !["CONFIG", "YARN", "CARGO", "PIP"].iter().any(|tool| n.contains(tool))) {
            assert!(set.contains_key(&name.to_lowercase()) && set.contains_key(&name.to_uppercase()), "{name}");
        }
    }

    #[test]
    fn what_the_user_said_is_kept() {
        for (past, said, result) in [
            (PastProxy::UsersAndLoopback, vec![], "localhost,127.0.0.1"),
            (
                PastProxy::UsersAndLoopback,
                vec![("NO_PROXY", "a.example, .b.example")],
                "a.example,.b.example,localhost,127.0.0.1",
            ),
            (
                PastProxy::UsersAndLoopback,
                vec![("no_proxy", "a"), ("NO_PROXY", "b,a,localhost")],
                "a,b,localhost,127.0.0.1",
            ),
            (PastProxy::Loopback, vec![("NO_PROXY", "a.example")], "localhost,127.0.0.1"),
            (PastProxy::Nothing, vec![("NO_PROXY", "a.example")], ""),
        ] {
            let set = of(ProxyAccess { past, ..ACCESS }, &said);
            assert_eq!((set["NO_PROXY"].as_str(), set["no_proxy"].as_str()), (result, result), "{said:?}");
        }
        let ours = "--require \"/t/node_preload.cjs\"";
        let with_ours = format!("--no-warnings {ours}");
        for (said, result) in [("", ours), ("--no-warnings", &with_ours), (&with_ours, &with_ours)] {
            assert_eq!(of(ACCESS, &[("NODE_OPTIONS", said)])["NODE_OPTIONS"], result);
        }
        assert_eq!(node_options(r#"/my "t"/\x"#, &env(&[])), r#"--require "/my \"t\"/\\x""#);
        let set = of(ACCESS, &[("PHP_INI_SCAN_DIR", "/etc/php.d"), ("JAVA_TOOL_OPTIONS", "-Xmx1g")]);
        assert!(set["PHP_INI_SCAN_DIR"].starts_with("/etc/php.d") && set["PHP_INI_SCAN_DIR"].ends_with("/t/php"));
        assert!(set["JAVA_TOOL_OPTIONS"].starts_with("-Xmx1g -D"));
    }

    #[test]
    fn gits_own_settings_are_counted_on() {
        for (count, last) in [("", Some(0)), ("2", Some(2)), ("x", None)] {
            let set = of(ACCESS, &[("GIT_CONFIG_COUNT", count)]);
            let key = last.and_then(|n| set.get(&format!("GIT_CONFIG_KEY_{n}")));
            assert_eq!(key.map(String::as_str), last.map(|_| "http.proxy"), "{count}");
            assert_eq!(set.get("GIT_CONFIG_COUNT").map(String::as_str), last.map(|n| ["1", "", "3"][n]), "{count}");
        }
        let set = git_config("http://p", &["remote.origin.proxy".into()], &env(&[]));
        let expected = [
            ("KEY_0", "http.proxy"),
            ("VALUE_0", "http://p"),
            ("KEY_1", "remote.origin.proxy"),
            ("VALUE_1", "http://p"),
            ("COUNT", "2"),
        ];
        assert_eq!(set, expected.map(|(name, value)| (format!("GIT_CONFIG_{name}"), value.to_owned())));
    }

    #[test]
    fn the_jvm_has_its_own_words() {
        let set = of(
            ProxyAccess { token: Some("t0k"), ..ACCESS },
            &[("NO_PROXY", ".a.example,b.example,10.0.0.0/8,192.168.1.1")],
        );
        let options: Vec<&str> = set["JAVA_TOOL_OPTIONS"].split(' ').collect();
        for option in [
            "-Dhttps.proxyHost=127.0.0.1",
            "-Dhttps.proxyPort=8787",
            "-Dhttp.nonProxyHosts=a.example|*.a.example|b.example|*.b.example|192.168.1.1|localhost|127.*|[::1]",
            "-Djavax.net.ssl.trustStore=/t/truststore.p12",
            "-Djavax.net.ssl.trustStoreType=PKCS12",
        ] {
            assert!(options.contains(&option), "{option}: {options:#?}");
        }
        assert!(!set["JAVA_TOOL_OPTIONS"].contains("t0k"), "the JVM shows it all");
        assert_eq!(java_quoted("-Da=/my files/x"), "\"-Da=/my files/x\"");
    }

    #[test]
    fn the_url_fits_every_client() {
        for (address, token, url) in [
            ("127.0.0.1:1", None, "http://127.0.0.1:1"),
            ("[::1]:1", None, "http://[::1]:1"),
            ("0.0.0.0:1", Some("a"), "http://local:a@127.0.0.1:1"),
            ("[::]:1", Some("a/b@c"), "http://local:a%2Fb%40c@[::1]:1"),
        ] {
            assert_eq!(ProxyAccess { address: address.parse().unwrap(), token, ..ACCESS }.url(), url);
        }
        for (tls_host, url) in
            [("proxy.example", "https://local:a@proxy.example:1"), ("::1", "https://local:a@[::1]:1")]
        {
            let access = ProxyAccess { address: "[::]:1".parse().unwrap(), token: Some("a"), ..ACCESS };
            assert_eq!(ProxyAccess { tls_host: Some(tls_host), ..access }.url(), url);
        }
    }

    #[test]
    fn variables_of_keys_hold_placeholders_and_our_own_secrets_go() {
        let gemini = ["GEMINI_API_KEY".to_owned(), "GOOGLE_API_KEY".to_owned()];
        let stands = [PlaceholderVariables { variables: &gemini, placeholder: "<<gemini_key>>" }];
        let files = TrustFiles::below(Path::new("/t"));
        for (set, expected) in [
            (vec![], vec!["GEMINI_API_KEY"]),
            (vec![("GOOGLE_API_KEY", "AIza")], vec!["GOOGLE_API_KEY"]),
            (vec![("GOOGLE_API_KEY", "AIza"), ("GEMINI_API_KEY", "")], vec!["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
        ] {
            let changes = changes(&ACCESS, &files, &stands, &[], &env(&set));
            let held: Vec<&String> =
                changes.iter().filter(|(_, v)| v.as_deref() == Some("<<gemini_key>>")).map(|(n, _)| n).collect();
            assert_eq!(held, expected);
        }
        let changes = changes(&ACCESS, &files, &[], &[], &env(&[("LOCUM_MASTER_PASSWORD", "x")]));
        assert_eq!(changes.get("LOCUM_MASTER_PASSWORD"), Some(&None));
        assert!(!changes.contains_key("LOCUM_SECRET_KEY"));
    }

    #[test]
    fn a_proxy_of_the_users_is_found() {
        for (set, found) in [
            (vec![], None),
            (vec![("HTTPS_PROXY", "http://p:1")], Some("http://p:1")),
            (vec![("https_proxy", "p:1"), ("HTTPS_PROXY", "q:1")], Some("http://p:1")),
            (vec![("https_proxy", " "), ("ALL_PROXY", "socks5://p")], Some("socks5://p")),
            (vec![("HTTP_PROXY", "http://p:1")], None),
        ] {
            assert_eq!(own_proxy(&env(&set)).as_deref(), found);
        }
        assert_eq!(own_no_proxy(&env(&[("NO_PROXY", "a, b"), ("no_proxy", ".c")])), ".c,a, b");
    }
}
