//! The order in which addresses are dialled, and who is called slow.

use super::*;

#[test]
fn a_name_that_says_loopback_may_be_elsewhere() {
    let origin = Origin::parse(crate::name::Scheme::Http, "app.localhost:8080").unwrap();
    for (addresses, refused) in [
        (&["127.0.0.1:8080"][..], None),
        (&["127.0.0.1:8080", "[::1]:8080", "127.9.9.9:8080", "[::ffff:127.0.0.1]:8080"], None),
        (&["93.184.215.14:8080"], Some("93.184.215.14")),
        (&["127.0.0.1:8080", "93.184.215.14:8080"], Some("93.184.215.14")),
        (&["[::1]:8080", "[2606:4700::1]:8080"], Some("2606:4700::1")),
        (&["10.0.0.1:8080"], Some("10.0.0.1")),
        (&["0.0.0.0:8080"], Some("0.0.0.0")),
        (&["[::]:8080"], Some("::")),
        (&["[::ffff:10.0.0.1]:8080"], Some("::ffff:10.0.0.1")),
        (&["169.254.0.1:8080"], Some("169.254.0.1")),
    ] {
        let list: Vec<SocketAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let told = on_loopback(&origin, &list).err().map(|e| e.to_string());
        let want = refused.map(|at| {
            format!(
                "http://app.localhost:8080 is at {at}, not on loopback: nothing secret goes there unencrypted ([proxy] \
                 cleartext)"
            )
        });
        assert_eq!(told, want, "{addresses:?}");
    }
}

/// The address that such a connection has is the proxy's own.
#[tokio::test]
async fn behind_an_upstream_proxy_nothing_is_on_loopback() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let loopback =
        AddressPolicy { private_addresses: ["127.0.0.1".parse().unwrap()].into(), ..AddressPolicy::default() };
    let here = Dialer { addresses: loopback, ..Dialer::default() };
    let beyond = Dialer { proxy: Some(Arc::new(proxy)), ..here.clone() };
    let address = listener.local_addr().unwrap();
    let origin = Origin::parse(crate::name::Scheme::Http, &address.to_string()).unwrap();
    assert!(
        here.leads_to(&origin, AllowedPeer::Loopback, address.ip())
            && here.dial(&origin, AllowedPeer::Loopback, None).await.is_ok()
    );
    let leads = |peer| beyond.leads_to(&origin, peer, address.ip());
    assert!(!leads(AllowedPeer::Loopback) && leads(AllowedPeer::Any));
    let error = beyond.dial(&origin, AllowedPeer::Loopback, None).await.map(drop).unwrap_err();
    assert!(matches!(error, DialError::CleartextBeyond { .. }) && error.is_of_address(), "{error}");
}

#[test]
fn families_alternate() {
    let list = |s: &[&str]| s.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
    assert_eq!(interleave(list(&["[::1]:1", "[::2]:1", "1.1.1.1:1"])), list(&["[::1]:1", "1.1.1.1:1", "[::2]:1"]));
}

/// Time stands still but where all wait, so the limits are reached at once.
#[tokio::test(start_paused = true)]
async fn whoever_is_slow_is_named() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let dialer = Dialer { proxy: Some(Arc::new(proxy)), ..Dialer::default() };
    let origin = Origin::parse(crate::name::Scheme::Https, "api.tool.example").unwrap();
    let error = dialer.dial(&origin, AllowedPeer::Any, None).await.map(drop).unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
    assert_eq!(error.to_string(), "https://api.tool.example did not answer the connection within 10 s");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_watches_every_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = connect_first(&[listener.local_addr().unwrap()]).await.unwrap();
    assert!(sockopt::socket_keepalive(&stream).unwrap());
    assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), PROBE);
    assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), PROBE);
    assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), GONE_MS);
}

#[tokio::test]
async fn every_address_is_tried() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap();
    let closed = |ip: &str| SocketAddr::new(ip.parse().unwrap(), open.port());
    // nobody listens on the others
    let addresses = [closed("127.0.0.2"), closed("::1"), closed("127.0.0.3"), open];
    assert_eq!(connect_first(&addresses).await.unwrap().peer_addr().unwrap(), open);
    let error = connect_first(&addresses[..3]).await.unwrap_err();
    assert_ne!(error.to_string(), "no address", "the last reason is told");
}
