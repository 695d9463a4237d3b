//! Bytes inside a tunnel, over TLS that no client would misuse so: for what hyper would never send.

use super::wire::{connect, read_head};
use super::{Serve, client};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

pub struct Tunnel {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

/// An answer as it stands on the wire, with its body.
#[derive(Debug, Clone)]
pub struct Told {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Told {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// `200`, or the status and the word of a refusal: `403 host-refused`.
    pub fn verdict(&self) -> String {
        self.header("locum-refused").map_or_else(|| self.status.to_string(), |word| format!("{} {word}", self.status))
    }

    /// The id that the operator finds a refusal by.
    pub fn exchange(&self) -> Option<String> {
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        problem["exchange"].as_str().map(str::to_owned)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Tunnel {
    /// A tunnel to `authority`, in which TLS asks for `sni` and offers `alpn`.
    pub fn open(serve: &Serve, authority: &str, sni: &str, alpn: &[u8]) -> io::Result<Self> {
        Self::after(serve, &format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"), sni, alpn)
    }

    /// As [`Self::open`], by the agent that has this token.
    pub fn of_agent(serve: &Serve, authority: &str, token: &str) -> io::Result<Self> {
        let head = format!("CONNECT {authority} HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
        Self::after(serve, &head, "localhost", b"http/1.1")
    }

    /// As [`Self::open`], with a CONNECT as the test writes it.
    pub fn after(serve: &Serve, connect_head: &str, sni: &str, alpn: &[u8]) -> io::Result<Self> {
        let mut stream = connect(serve.address);
        stream.write_all(connect_head.as_bytes())?;
        let head = read_head(&mut stream);
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(head));
        }
        Self::on(serve, stream, sni, alpn)
    }

    /// As [`Self::open`], over a connection to that host which is there.
    pub fn on(serve: &Serve, stream: TcpStream, sni: &str, alpn: &[u8]) -> io::Result<Self> {
        let name = ServerName::try_from(sni.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::new(client::trusting(&serve.ca, alpn)), name);
        Ok(Self { stream: StreamOwned::new(session.map_err(io::Error::other)?, stream) })
    }

    /// Sends, and reads every answer until the proxy closes.
    pub fn talk(mut self, bytes: &[u8]) -> Vec<Told> {
        // who has heard enough may hang up before all is sent
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        let mut said = Vec::new();
        let _ = self.stream.read_to_end(&mut said);
        answers(&said)
    }
}

/// Every answer in a stream that has ended. One that is cut off is left out.
pub fn answers(mut said: &[u8]) -> Vec<Told> {
    let mut found = Vec::new();
    while let Some(end) = said.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&said[..end + 4]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let mut told = Told { status, head, body: Vec::new() };
        let length = told.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        let Some(body) = said.get(end + 4..end + 4 + length) else { break };
        told.body = body.to_vec();
        said = &said[end + 4 + length..];
        found.push(told);
    }
    found
}
