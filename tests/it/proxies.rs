//! Through the proxy that a company has on the way out: whatever that speaks, wants and says.

use crate::support::authority::{Certificate, PROXY_OWN};
use crate::support::client::BOTH;
use crate::support::company::{Company, Speaks};
use crate::support::locum::{TOOL_KEY, stdout, told};
use crate::support::upstream::Kind;
use crate::support::{Client, Home, Upstream};
use std::net::SocketAddr;

const TOOL: &str = "api.tool.example";
const LOGIN: Option<(&str, &str)> = Some(("me", "p@ss"));

fn ways(tls: SocketAddr, plain: SocketAddr) -> [(&'static str, SocketAddr); 2] {
    [("api.tool.example:443", tls), ("plain.example:80", plain)]
}

fn in_cleartext() -> Upstream {
    Upstream::of(Kind { tls: false, ..Kind::default() })
}

/// Lines of `[proxy]`: by this proxy, which is trusted where it speaks TLS.
fn by(url: &str) -> String {
    format!("upstream_proxy = \"{url}\"\nupstream_proxy_ca = [\"proxy.pem\"]\n")
}

/// In which a key may also go in the clear.
fn home(proxy: &str) -> Home {
    let key =
        format!("[key.tool]\nhosts = [\"{TOOL}\", \"http://plain.example\"]\nwhere = [\"header\", \"query:key\"]\n");
    let home = Home::with(&format!("{proxy}cleartext = true\n"), &key);
    std::fs::write(home.path().join("proxy.pem"), &PROXY_OWN.pem).expect("a file");
    home
}

#[test]
fn cleartext_goes_in_absolute_form_and_the_rest_through_connect() {
    for (speaks, scheme) in [(Speaks::Http, "http"), (Speaks::Https, "https")] {
        let (tls, plain) = (Upstream::start(), in_cleartext());
        let company = Company::start(speaks, ways(tls.address, plain.address));
        let serve = home(&by(&format!("{scheme}://me:p%40ss@localhost:{}", company.address.port()))).serve();
        for url in ["http://plain.example/echo?key=<<tool_key>>&x=1", "https://api.tool.example/echo"] {
            let answer = serve.curl(&["-f", "-g", "-H", "x-api-key: <<tool_key>>", url]);
            assert!(answer.status.success(), "{scheme} {url}: {}", told(&answer));
        }
        let seen = plain.only();
        assert_eq!(seen.target, format!("/echo?key={TOOL_KEY}&x=1"));
        for seen in [seen, tls.only()] {
            assert_eq!(seen.header("x-api-key").as_deref(), Some(TOOL_KEY));
            assert_eq!(seen.header("proxy-authorization"), None);
        }
        let asked = company.asked();
        let first = |n: usize| asked[n].lines().next().unwrap_or_default().to_owned();
        assert_eq!(first(0), format!("GET http://plain.example/echo?key={TOOL_KEY}&x=1 HTTP/1.1"), "{scheme}");
        assert_eq!(first(1), "CONNECT api.tool.example:443 HTTP/1.1", "{scheme}");
        let login =
            |head: &String| head.to_ascii_lowercase().contains("\r\nproxy-authorization: basic bwu6cebzcw==\r\n");
        assert!(asked.len() == 2 && asked.iter().all(login), "{asked:#?}");
    }
}

/// Its own authority is for it alone: who signs for the proxy can't pose as a host.
#[tokio::test]
async fn a_proxy_that_speaks_tls_is_verified_by_its_own_roots() {
    let good = Upstream::start();
    let posing = Upstream::of(Kind { certificate: Certificate::OfProxy, ..Kind::default() });
    for (upstream, roots, status, why) in [
        (&good, "upstream_proxy_ca = [\"proxy.pem\"]\n", 200, ""),
        (&good, "", 502, "signed by nobody we trust"),
        (&posing, "upstream_proxy_ca = [\"proxy.pem\"]\n", 502, "signed by nobody we trust"),
    ] {
        let company = Company::start(Speaks::Https, ways(upstream.address, upstream.address));
        let proxy = format!("upstream_proxy = \"https://localhost:{}\"\n{roots}", company.address.port());
        let serve = home(&proxy).serve();
        for http in BOTH {
            let answer = Client::open(serve.address, &serve.ca, "api.tool.example:443", http).await.get("/").await;
            assert_eq!(answer.status, status, "{http:?} {roots}");
            assert!(answer.text().contains(why), "{}", answer.text());
        }
    }
}

#[test]
fn socks_is_given_names_and_no_address_that_may_not_be_dialled() {
    for (login, user) in [(None, ""), (LOGIN, "me:p%40ss@")] {
        let (tls, plain) = (Upstream::start(), in_cleartext());
        let company = Company::start(Speaks::Socks(login), ways(tls.address, plain.address));
        let serve = home(&by(&format!("socks5h://{user}{}", company.address))).serve();
        for url in ["https://api.tool.example/echo", "http://plain.example/echo"] {
            let answer = serve.curl(&["-f", "-H", "x-api-key: <<tool_key>>", url]);
            assert!(answer.status.success(), "{login:?} {url}: {}", told(&answer));
        }
        assert_eq!(tls.only().header("x-api-key").as_deref(), Some(TOOL_KEY));
        assert_eq!(plain.only().target, "/echo");
        let refused = serve.curl(&["-w", "%{http_code}", "http://10.1.2.3/"]);
        assert!(stdout(&refused).ends_with("403"), "{}", told(&refused));
        let unknown = serve.curl(&["-w", "%{http_code}", "http://nobody.example/"]);
        assert!(stdout(&unknown).ends_with("502"), "{}", told(&unknown));
        assert_eq!(company.asked(), ["api.tool.example:443", "plain.example:80", "nobody.example:80"]);
    }
}

#[test]
fn a_command_goes_out_by_the_users_own_proxy_but_to_the_hosts_in_no_proxy() {
    let (far, near) = (Upstream::start(), Upstream::start());
    let ports = format!("connect_ports = [{}]\n", near.port());
    for speaks in [Speaks::Http, Speaks::Https, Speaks::Socks(None)] {
        let company = Company::start(speaks, ways(far.address, far.address));
        let (scheme, host) = match speaks {
            Speaks::Https => ("https", "localhost"),
            Speaks::Socks(_) => ("socks5h", "127.0.0.1"),
            _ => ("http", "127.0.0.1"),
        };
        let proxy = format!("{scheme}://{host}:{}", company.address.port());
        let home = home(&format!("{ports}upstream_proxy_ca = [\"proxy.pem\"]\n"));
        let home = home.set("HTTPS_PROXY", &proxy).set("NO_PROXY", "corp.example, localhost");
        for url in ["https://api.tool.example/echo", &near.url("/echo")] {
            // it would go past locum itself as well
            let output = home.run(&["curl", "-q", "-sS", "-f", "--noproxy", "", "-o", "/dev/null", url]);
            assert!(output.status.success(), "{proxy} {url}: {}", told(&output));
        }
        assert_eq!(company.asked().len(), 1, "{proxy}: {:#?}", company.asked());
    }
    assert_eq!((far.seen().len(), near.seen().len()), (3, 3));
}

#[tokio::test]
async fn hosts_go_without_the_proxy_where_the_config_says_so() {
    let (far, near) = (Upstream::start(), Upstream::start());
    for (bypass, through) in
        [("[\"localhost\"]", 0), ("[\"localhost:1\", \"127.0.0.0/8\", \".localhost\"]", 1), ("[\"*\"]", 0), ("[]", 1)]
    {
        let authority = near.authority();
        let company = Company::start(Speaks::Http, [("api.tool.example:443", far.address), (&authority, near.address)]);
        let ports = format!("connect_ports = [443, {}]\nupstream_proxy_bypass = {bypass}\n", near.port());
        let serve = home(&format!("{ports}upstream_proxy = \"http://{}\"\n", company.address)).serve();
        for http in BOTH {
            assert_eq!(serve.client(&near, http).await.get("/").await.status, 200, "{bypass} {http:?}");
        }
        assert_eq!(company.asked().len().min(1), through, "{bypass}");
    }
}

#[tokio::test]
async fn what_proxies_say_of_themselves_is_read() {
    const NTLM: &str = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\n\
                        Proxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n";
    const BASIC: &str = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"corp\"\r\nContent-Length: 0\r\n\r\n";
    let (tls, plain) = (Upstream::start(), in_cleartext());
    for (said, status, why) in [
        ("HTTP/1.1 200 OK\n\n", 200, ""),
        ("HTTP/1.0 200 Connection established\nVia: it\n\n", 200, ""),
        ("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200, ""),
        (NTLM, 502, "takes a login by Negotiate or NTLM only, and locum speaks Basic"),
        (BASIC, 502, "wants user and password"),
        ("HTTP/1.1 503 Busy\r\n\r\n", 502, "it answered 503"),
    ] {
        let company = Company::start(Speaks::Saying(said), ways(tls.address, plain.address));
        let serve = home(&by(&format!("http://{}", company.address))).serve();
        let answer = Client::open(serve.address, &serve.ca, "api.tool.example:443", BOTH[0]).await.get("/").await;
        assert_eq!(answer.status, status, "{said}");
        assert!(answer.text().contains(why), "{said}: {}", answer.text());
        if said.contains(" 407 ") {
            let answer = serve.curl(&["http://plain.example/"]);
            assert!(stdout(&answer).contains(why), "{said}: {}", told(&answer));
        }
    }
}
