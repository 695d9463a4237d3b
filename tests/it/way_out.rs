//! The way out to upstreams: which addresses, roots and proxy count, also once a reload has changed them.

use crate::support::authority::PROXY_OWN;
use crate::support::client::BOTH;
use crate::support::company::{Company, Speaks};
use crate::support::exit::Exit;
use crate::support::{Home, Serve, Upstream};
use rustix::process::Signal;

const LOOPBACK: &str = "private_addresses = [\"127.0.0.0/8\", \"::1\"]\n";
const ROOTS: &str = "upstream_ca = [\"upstreams.pem\"]\n";

/// Puts one text of the config in place of another, and returns once a line says what came of it.
fn reload(serve: &Serve, from: &str, to: &str, said: &str) {
    let config = std::fs::read_to_string(serve.home.config()).expect("the config");
    assert!(config.contains(from), "{config}");
    serve.home.write_config(&config.replace(from, to));
    serve.signal(Signal::HUP);
    serve.await_said(|line| line.starts_with(said));
}

/// Over the agent's connection of before and over the pool's, both of which are kept.
#[tokio::test]
async fn a_reload_changes_whom_requests_may_reach_and_by_what_they_are_verified() {
    let good = (200, None);
    let not_dialled = (403, Some("address-refused"));
    let not_trusted = (502, Some("upstream-failed"));
    for http in BOTH {
        for (before, after, first, then) in [
            (LOOPBACK, "", good, not_dialled),
            (LOOPBACK, "private_addresses = [\"127.0.0.1:1\"]\n", good, not_dialled),
            ("private_addresses = []\n", LOOPBACK, not_dialled, good),
            (ROOTS, "", good, not_trusted),
            ("upstream_ca = []\n", ROOTS, not_trusted, good),
        ] {
            let upstream = Upstream::start();
            let home = Home::bound(&[&upstream]);
            let default = if [LOOPBACK, ROOTS].contains(&before) { before } else { after };
            let config = std::fs::read_to_string(home.config()).expect("the config");
            home.write_config(&config.replace(default, before));
            let serve = home.serve();
            let mut client = serve.client(&upstream, http).await;
            let answer = client.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), first, "{http:?} {before}");
            reload(&serve, before, after, "locum: reloaded");
            let answer = client.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), then, "{http:?} {before}{after}");
        }
    }
}

#[tokio::test]
async fn a_reload_changes_the_proxy_that_requests_go_out_by() {
    let upstream = Upstream::start();
    let authority = upstream.authority();
    for http in BOTH {
        let exit = || Exit::to([(&*authority, upstream.address)]);
        let (one, another) = (exit(), exit());
        let ports = format!("connect_ports = [{}]\n", upstream.port());
        let by = |exit: &Exit| format!("{ports}upstream_proxy = \"http://{}\"\n", exit.address);
        for (before, after, exits) in [(ports.clone(), by(&one), [1, 0]), (by(&one), by(&another), [2, 1])] {
            let serve = Home::with(&before, "").serve();
            let mut client = serve.client(&upstream, http).await;
            assert_eq!(client.get("/").await.status, 200);
            reload(&serve, &before, &after, "locum: reloaded");
            assert_eq!(client.get("/").await.status, 200);
            assert_eq!([&one, &another].map(|exit| exit.asked().len()), exits, "{http:?} {after}");
        }
    }
}

#[tokio::test]
async fn a_reload_changes_who_goes_without_the_proxy_and_what_it_is_verified_by() {
    const ROOTS: &str = "upstream_proxy_ca = [\"proxy.pem\"]\n";
    const BYPASS: &str = "upstream_proxy_bypass = [\"localhost\"]\n";
    let upstream = Upstream::start();
    for http in BOTH {
        for (before, after, statuses, asked) in [
            ("", ROOTS, [502, 200], 1),
            ("", BYPASS, [502, 200], 0),
            (ROOTS, "", [200, 502], 1),
            (BYPASS, ROOTS, [200, 200], 1),
        ] {
            let company = Company::start(Speaks::Https, [(&*upstream.authority(), upstream.address)]);
            let proxy = format!("upstream_proxy = \"https://localhost:{}\"\n", company.address.port());
            let home = Home::with(&format!("connect_ports = [{}]\n{proxy}{before}", upstream.port()), "");
            std::fs::write(home.path().join("proxy.pem"), &PROXY_OWN.pem).expect("a file");
            let serve = home.serve();
            let mut client = serve.client(&upstream, http).await;
            assert_eq!(client.get("/").await.status, statuses[0], "{http:?} {before}");
            reload(&serve, &format!("{proxy}{before}"), &format!("{proxy}{after}"), "locum: reloaded");
            assert_eq!(client.get("/").await.status, statuses[1], "{http:?} {before}{after}");
            assert_eq!(company.asked().len(), asked, "{http:?} {before}{after}");
        }
    }
}

#[tokio::test]
async fn a_reload_with_roots_that_can_not_be_read_changes_nothing() {
    let upstream = Upstream::start();
    for (file, text) in
        [("none.pem", None), ("empty.pem", Some("")), ("odd.pem", Some("-----BEGIN CERTIFICATE-----\nAA"))]
    {
        let serve = Home::bound(&[&upstream]).serve();
        if let Some(text) = text {
            std::fs::write(serve.home.path().join(file), text).expect("a file");
        }
        let roots = format!("upstream_ca = [\"upstreams.pem\", \"{file}\"]\ndeny = [\"localhost\"]\n");
        reload(&serve, ROOTS, &roots, "locum: not reloaded, all is as it was: ");
        assert!(serve.said().contains(file), "{}", serve.said());
        for http in BOTH {
            assert_eq!(serve.client(&upstream, http).await.get("/").await.status, 200, "{file}");
        }
    }
}
