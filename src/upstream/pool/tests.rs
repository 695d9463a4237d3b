//! Against servers on loopback, with the time in the test's hands.

use super::limits::{IDLE, SHARE_FROM};
use super::*;
use crate::policy::egress::AddressPolicy;
use crate::upstream::dial::Dialer;
use crate::upstream::tls::Tls;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// How long anything may take before a test says that it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// A server that answers everything, and how many connections to it are open.
struct Server {
    address: SocketAddr,
    open: tokio::sync::watch::Receiver<usize>,
    came: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
}

impl Server {
    /// In cleartext, so the pool's wish is what is spoken.
    async fn start(http2: bool) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let (count, open) = tokio::sync::watch::channel(0);
        let came: Arc<AtomicUsize> = Arc::default();
        let served: Arc<AtomicUsize> = Arc::default();
        let (coming, serving) = (came.clone(), served.clone());
        tokio::spawn(async move {
            let count = Arc::new(count);
            while let Ok((stream, _)) = listener.accept().await {
                coming.fetch_add(1, Ordering::SeqCst);
                count.send_modify(|n| *n += 1);
                let (count, serving) = (count.clone(), serving.clone());
                tokio::spawn(async move {
                    let answer = service_fn(|_| {
                        serving.fetch_add(1, Ordering::SeqCst);
                        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))) }
                    });
                    let stream = TokioIo::new(stream);
                    let _ = if http2 {
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(stream, answer)
                            .await
                    } else {
                        hyper::server::conn::http1::Builder::new().serve_connection(stream, answer).await
                    };
                    count.send_modify(|n| *n -= 1);
                });
            }
        });
        Self { address, open, came, served }
    }

    fn origin(&self) -> Origin {
        Origin::parse(Scheme::Http, &self.address.to_string()).unwrap()
    }

    /// Resolves once just so many connections are open.
    async fn has_open(&self, count: usize) {
        let mut open = self.open.clone();
        let reached = tokio::time::timeout(HANGS, open.wait_for(|n| *n == count)).await;
        assert!(reached.is_ok(), "{} are open, not {count}", *self.open.borrow());
    }
}

fn pool(dialer: Dialer) -> Arc<Pool<Full<Bytes>>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = Tls::new(rustls::RootCertStore::empty(), provider).unwrap();
    Pool::new(Outbound { dialer, tls }, 256)
}

fn dialer(network: &str) -> Dialer {
    let private_addresses = [network.parse().unwrap()].into();
    Dialer { addresses: AddressPolicy { private_addresses, ..AddressPolicy::default() }, ..Dialer::default() }
}

fn here() -> Arc<Pool<Full<Bytes>>> {
    pool(dialer("127.0.0.0/8"))
}

fn request() -> Request<Full<Bytes>> {
    Request::get("/").header(HOST, "tool.example").body(Full::default()).unwrap()
}

async fn exchange(pool: &Arc<Pool<Full<Bytes>>>, origin: &Origin, wish: ProtocolPreference) {
    let (response, mut lease) = pool.send(origin, request(), wish, None).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    lease.finish();
}

#[tokio::test]
async fn what_idles_is_closed_whatever_it_speaks() {
    for (http2, wish) in [(false, ProtocolPreference::Http1), (true, ProtocolPreference::Http2)] {
        let (server, pool) = (Server::start(http2).await, here());
        exchange(&pool, &server.origin(), wish).await;
        pool.sweep(Instant::now() + IDLE / 2);
        exchange(&pool, &server.origin(), wish).await;
        assert_eq!(server.came.load(Ordering::SeqCst), 1, "{wish:?}: it was kept");
        pool.sweep(Instant::now() + IDLE);
        server.has_open(0).await;
        assert!(pool.origins.lock().is_empty(), "{wish:?}: nothing is left of it");
    }
}

#[tokio::test]
async fn what_is_under_way_does_not_idle() {
    let (server, pool) = (Server::start(true).await, here());
    let (_response, lease) = pool.send(&server.origin(), request(), ProtocolPreference::Http2, None).await.unwrap();
    pool.sweep(Instant::now() + IDLE * 2);
    exchange(&pool, &server.origin(), ProtocolPreference::Http2).await;
    assert_eq!(server.came.load(Ordering::SeqCst), 1);
    drop(lease);
}

/// Which a connection may have been too long in coming for.
#[tokio::test]
async fn a_request_that_is_withdrawn_is_not_sent() {
    for (http2, wish) in [(false, ProtocolPreference::Http1), (true, ProtocolPreference::Http2)] {
        let (server, pool) = (Server::start(http2).await, here());
        for kept in [false, true] {
            let mut withdrawn = request();
            withdrawn.extensions_mut().insert(CarriesKey {
                peer: AllowedPeer::Any,
                in_target: false,
                may_go: Arc::new(|| false),
                may_have_left: Arc::default(),
            });
            let sent = pool.send(&server.origin(), withdrawn, wish, None).await;
            assert!(
                matches!(sent.map_err(|e| e.error), Err(UpstreamError::Withdrawn { .. })),
                "http2: {http2}, kept: {kept}"
            );
            exchange(&pool, &server.origin(), wish).await;
        }
        assert_eq!(server.served.load(Ordering::SeqCst), 2, "http2: {http2}");
    }
}

#[tokio::test]
async fn in_cleartext_many_at_once_find_their_connections_again() {
    let (server, pool) = (Server::start(false).await, here());
    let mut under_way = Vec::new();
    for _ in 0..SHARE_FROM * 2 {
        under_way.push(pool.send(&server.origin(), request(), ProtocolPreference::Either, None).await.unwrap());
    }
    for _ in 0..5 {
        exchange(&pool, &server.origin(), ProtocolPreference::Either).await;
    }
    assert_eq!(server.came.load(Ordering::SeqCst), SHARE_FROM * 2 + 1);
}

/// However many origins there are: each of these is one of its own.
#[tokio::test]
async fn the_oldest_of_too_many_that_idle_are_closed() {
    const MOST: usize = 256;
    let (server, pool) = (Server::start(false).await, here());
    let origin = |n: usize| {
        let address = format!("127.0.{}.{}:{}", n / 200, n % 200 + 1, server.address.port());
        Origin::parse(Scheme::Http, &address).unwrap()
    };
    for n in 0..MOST + 10 {
        exchange(&pool, &origin(n), ProtocolPreference::Http1).await;
    }
    server.has_open(MOST).await;
    pool.sweep(Instant::now());
    let kept = |n| pool.origins.lock().contains_key(&origin(n));
    assert!((0..10).all(|n| !kept(n)) && (10..MOST + 10).all(kept), "the others stay");
}

#[tokio::test]
async fn a_connection_that_was_in_use_when_all_was_closed_serves_no_more() {
    for (http2, wish) in [(false, ProtocolPreference::Http1), (true, ProtocolPreference::Http2)] {
        let (server, pool) = (Server::start(http2).await, here());
        exchange(&pool, &server.origin(), wish).await;
        let (response, mut lease) = pool.send(&server.origin(), request(), wish, None).await.unwrap();
        pool.close(|_| true);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello", "it ends as it began");
        lease.finish();
        drop(lease);
        server.has_open(0).await;
        exchange(&pool, &server.origin(), wish).await;
        assert_eq!(server.came.load(Ordering::SeqCst), 2, "{wish:?}");
        // what is made afterwards is kept as ever
        exchange(&pool, &server.origin(), wish).await;
        assert_eq!(server.came.load(Ordering::SeqCst), 2, "{wish:?}");
    }
}

/// Time stands still but where all wait, so the limits are reached at once.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_connection_that_fails_does_not_try_it_again() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let pool = pool(Dialer { proxy: Some(Arc::new(proxy)), ..Dialer::default() });
    let origin = Origin::parse(Scheme::Https, "api.tool.example").unwrap();
    let start = tokio::time::Instant::now();
    for round in 1..=2 {
        let calls = (0..5).map(|_| {
            let (pool, origin) = (pool.clone(), origin.clone());
            tokio::spawn(async move {
                pool.send(&origin, request(), ProtocolPreference::Http2, None).await.err().map(|e| e.error.to_string())
            })
        });
        for call in calls.collect::<Vec<_>>() {
            let error = call.await.unwrap().unwrap();
            assert_eq!(error, "https://api.tool.example did not answer the connection within 10 s");
        }
        // who comes later does try
        let passed = (start.elapsed().as_secs_f64() / 10.0).round();
        assert_eq!(passed, f64::from(round), "one attempt for all, not one after another");
    }
}

/// An address of this machine that is not loopback.
fn own_address() -> Option<IpAddr> {
    // nothing is sent: the system only says where from it would be
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|own| own.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[tokio::test]
async fn a_key_in_the_clear_takes_no_kept_connection_that_leads_beyond_this_machine() {
    let Some(own) = own_address() else {
        eprintln!("this machine has loopback only: left to behind_an_upstream_proxy_nothing_is_on_loopback");
        return;
    };
    let keyed = || {
        let mut request = request();
        request.extensions_mut().insert(CarriesKey {
            peer: AllowedPeer::Loopback,
            in_target: false,
            may_go: Arc::new(|| true),
            may_have_left: Arc::default(),
        });
        request
    };
    for (http2, wish) in
        [(false, ProtocolPreference::Http1), (true, ProtocolPreference::Http2), (false, ProtocolPreference::Dedicated)]
    {
        let server = Server::start(http2).await;
        let pool = pool(dialer("0.0.0.0/0"));
        let origin = |ip: IpAddr| {
            let address = SocketAddr::new(ip, server.address.port());
            Origin::parse(Scheme::Http, &address.to_string()).unwrap()
        };
        let (here, beyond) = (origin(server.address.ip()), origin(own));
        exchange(&pool, &beyond, wish).await;
        let error = pool.send(&beyond, keyed(), wish, None).await.err().unwrap().error;
        assert!(error.is_of_cleartext(), "{wish:?}: {error}");
        assert_eq!(server.came.load(Ordering::SeqCst), 1, "{wish:?}: no connection was made for it");
        exchange(&pool, &beyond, wish).await;
        let again = if wish == ProtocolPreference::Dedicated { 2 } else { 1 };
        assert_eq!(server.came.load(Ordering::SeqCst), again, "{wish:?}: the kept one is there for others");
        for _ in 0..2 {
            let (response, mut lease) = pool.send(&here, keyed(), wish, None).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
            lease.finish();
        }
    }
}
