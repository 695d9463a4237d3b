//! A proxy for locum's own way out: it leads names of the real world to upstreams of the tests, and nothing further.

use super::background::Background;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Where `host:port` leads.
type Ways = Arc<HashMap<String, SocketAddr>>;

pub struct Exit {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _running: Background,
}

impl Exit {
    pub fn to<const N: usize>(ways: [(&str, SocketAddr); N]) -> Self {
        let ways: Ways = Arc::new(ways.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = asked.clone();
        let running = Background::start(move || async move {
            listener.set_nonblocking(true).expect("a listener");
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(lead(stream, ways.clone(), noted.clone()));
            }
        });
        Self { address, asked, _running: running }
    }

    /// Everything that was asked for: `host:port`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("the list").clone()
    }
}

async fn lead(mut client: TcpStream, ways: Ways, noted: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (target, whole) = match head.strip_prefix("CONNECT ") {
        Some(rest) => (rest.split(' ').next().unwrap_or_default().to_owned(), None),
        None => absolute(&head).map(|(target, request)| (target, Some(request))).unwrap_or_default(),
    };
    noted.lock().expect("the list").push(target.clone());
    let Some(address) = ways.get(&target) else {
        return client.write_all(b"HTTP/1.1 404 No Such Way\r\ncontent-length: 0\r\n\r\n").await;
    };
    let mut upstream = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    match whole {
        Some(request) => upstream.write_all(request.as_bytes()).await?,
        None => client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?,
    }
    tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}

/// Where a request in absolute form leads (RFC 9112, section 3.2.2), as `host:port`, and its head as it goes on: alone on its
/// connection, since no other is read.
pub fn absolute(head: &str) -> Option<(String, String)> {
    let (first, fields) = head.split_once("\r\n")?;
    let (method, target) = first.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
    let url: http::Uri = target.parse().ok()?;
    let authority = format!("{}:{}", url.host()?, url.port_u16().unwrap_or(80));
    let fields = fields.split_inclusive("\r\n").filter(|field| !field.to_ascii_lowercase().starts_with("proxy-"));
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    Some((authority, format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{}", fields.collect::<String>())))
}
