//! A company's proxy, on locum's own way out: strict about what it is asked for, and odd where a test wants it.

use super::authority::{self, Certificate};
use super::background::Background;
use super::exit::absolute;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// How it is spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Http,
    /// With a certificate of its own authority's.
    Https,
    /// With a user and a password where there are some.
    Socks(Option<(&'static str, &'static str)>),
    /// HTTP, and answers whatever it is asked with these bytes.
    Saying(&'static str),
}

struct Rules {
    speaks: Speaks,
    /// Where `host:port` leads.
    ways: HashMap<String, SocketAddr>,
    asked: Mutex<Vec<String>>,
}

pub struct Company {
    pub address: SocketAddr,
    rules: Arc<Rules>,
    _running: Background,
}

impl Company {
    pub fn start<const N: usize>(speaks: Speaks, ways: [(&str, SocketAddr); N]) -> Self {
        let ways = ways.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect();
        let rules = Arc::new(Rules { speaks, ways, asked: Mutex::default() });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = rules.clone();
        let running = Background::start(move || async move {
            listener.set_nonblocking(true).expect("a listener");
            let listener = TcpListener::from_std(listener).expect("a listener");
            let tls = Arc::new(authority::server(Certificate::OfProxy, &["http/1.1"]));
            while let Ok((stream, _)) = listener.accept().await {
                let (rules, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    stream.set_nodelay(true)?;
                    match rules.speaks {
                        Speaks::Https => http(tokio_rustls::TlsAcceptor::from(tls).accept(stream).await?, &rules).await,
                        Speaks::Http | Speaks::Saying(_) => http(stream, &rules).await,
                        Speaks::Socks(login) => socks5(stream, login, &rules).await,
                    }
                });
            }
        });
        Self { address, rules, _running: running }
    }

    /// The heads of everything that was asked for, and of SOCKS `host:port`.
    pub fn asked(&self) -> Vec<String> {
        self.rules.asked.lock().expect("the list").clone()
    }
}

impl Rules {
    fn note(&self, asked: &str) {
        self.asked.lock().expect("the list").push(asked.to_owned());
    }

    async fn way(&self, authority: &str) -> io::Result<TcpStream> {
        let address = self.ways.get(authority).ok_or_else(|| io::Error::other("no such way"))?;
        let upstream = TcpStream::connect(address).await?;
        upstream.set_nodelay(true)?;
        Ok(upstream)
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(mut client: S, rules: &Rules) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    rules.note(&head);
    let connect = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let said = if let Speaks::Saying(said) = rules.speaks { said } else { "HTTP/1.1 200 Connected\r\n\r\n" };
    let (mut upstream, first) = match connect {
        Some(target) if target.ends_with(":80") => {
            return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        }
        Some(target) => {
            client.write_all(said.as_bytes()).await?;
            client.flush().await?;
            (rules.way(target).await?, String::new())
        }
        None if rules.speaks == Speaks::Saying(said) => return client.write_all(said.as_bytes()).await,
        None => {
            let (authority, request) = absolute(&head).ok_or_else(|| io::Error::other("no request"))?;
            (rules.way(&authority).await?, request)
        }
    };
    upstream.write_all(first.as_bytes()).await?;
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}

/// RFC 1928 and 1929.
async fn socks5(mut client: TcpStream, login: Option<(&str, &str)>, rules: &Rules) -> io::Result<()> {
    let [_, count] = exactly(&mut client).await?;
    let methods = some(&mut client, count).await?;
    let method = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return client.write_all(&[5, 255]).await;
    }
    client.write_all(&[5, method]).await?;
    if let Some((user, password)) = login {
        let [_, length] = exactly(&mut client).await?;
        let told = some(&mut client, length).await?;
        let [length] = exactly(&mut client).await?;
        let is_right = (told, some(&mut client, length).await?) == (user.into(), password.into());
        client.write_all(&[1, u8::from(!is_right)]).await?;
        if !is_right {
            return Ok(());
        }
    }
    let [_, _, _, kind] = exactly(&mut client).await?;
    let host = match kind {
        1 => std::net::Ipv4Addr::from(exactly(&mut client).await?).to_string(),
        _ => {
            let [length] = exactly(&mut client).await?;
            String::from_utf8_lossy(&some(&mut client, length).await?).into_owned()
        }
    };
    let authority = format!("{host}:{}", u16::from_be_bytes(exactly(&mut client).await?));
    rules.note(&authority);
    let upstream = rules.way(&authority).await;
    client.write_all(&[5, u8::from(upstream.is_err()), 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut client, &mut upstream?).await.map(drop)
}

async fn exactly<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await.map(|_| bytes)
}

async fn some(client: &mut TcpStream, length: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length.into()];
    client.read_exact(&mut bytes).await.map(|_| bytes)
}
