//! Both ends of a WebSocket, frame by frame: a server that does what the test says, and a client that can misbehave.

use super::authority::{self, Certificate};
use super::tunnel::{Told, Tunnel, answers};
use super::wire::read_head;
use super::{HANGS, Serve};
use base64::Engine as _;
use bytes::BytesMut;
use locum::proxy::wire::ws_frames::{self, FramePiece, FrameReader, FrameWriter, Opcode};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

/// One side of an open WebSocket.
pub struct Peer<S> {
    pub stream: S,
    reader: FrameReader,
    read: BytesMut,
    /// The message that has begun.
    open: Vec<u8>,
    key: Option<[u8; 4]>,
}

impl<S: Read + Write> Peer<S> {
    fn client(stream: S) -> Self {
        Self {
            stream,
            reader: FrameReader::new(FrameWriter::Server),
            read: BytesMut::new(),
            open: Vec::new(),
            key: Some(*b"mask"),
        }
    }

    fn server(stream: S) -> Self {
        Self {
            stream,
            reader: FrameReader::new(FrameWriter::Client),
            read: BytesMut::new(),
            open: Vec::new(),
            key: None,
        }
    }

    pub fn send(&mut self, opcode: Opcode, last: bool, payload: impl AsRef<[u8]>) {
        let mut out = Vec::new();
        ws_frames::write(&mut out, opcode, last, [payload.as_ref()].into_iter(), self.key);
        self.send_raw(&out);
    }

    pub fn text(&mut self, text: &str) {
        self.send(Opcode::Text, true, text);
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        // the other side may have heard enough
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// The next piece; `None` where the connection has ended.
    pub fn next(&mut self) -> Option<FramePiece> {
        loop {
            if let Some(piece) = self.reader.next(&mut self.read).expect("frames as they should be") {
                return Some(piece);
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(n @ 1..) => self.read.extend_from_slice(&buffer[..n]),
                _ => return None,
            }
        }
    }

    /// The next whole message or control frame.
    pub fn message(&mut self) -> Option<(Opcode, Vec<u8>)> {
        loop {
            let FramePiece { opcode, payload, last } = self.next()?;
            if matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong) {
                return Some((opcode, payload.to_vec()));
            }
            self.open.extend_from_slice(&payload);
            if last {
                return Some((opcode, std::mem::take(&mut self.open)));
            }
        }
    }

    /// The next one, which is text.
    pub fn said(&mut self) -> String {
        match self.message() {
            Some((Opcode::Text, text)) => String::from_utf8(text).expect("text"),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The code and reason that it is closed with; `None` where it was cut.
    pub fn closed(&mut self) -> Option<(u16, String)> {
        let (opcode, payload) = self.message()?;
        assert_eq!(opcode, Opcode::Close, "{}", String::from_utf8_lossy(&payload));
        let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
        Some((code, String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned()))
    }
}

/// What a client's session runs on.
pub type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;
/// What a server's session runs on.
pub type Served = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A handshake's request, with these lines besides what it must have.
pub fn request(authority: &str, path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

/// Asks for a WebSocket through the proxy: the answer's head, and the open end where it was granted.
pub fn open(serve: &Serve, authority: &str, lines: &str) -> Result<(String, Peer<Tls>), Told> {
    over(Tunnel::open(serve, authority, "localhost", b"http/1.1").expect("a tunnel"), authority, lines)
}

/// As [`open`], inside a tunnel that is there.
pub fn over(mut tunnel: Tunnel, authority: &str, lines: &str) -> Result<(String, Peer<Tls>), Told> {
    tunnel.stream.write_all(request(authority, "/ws", lines).as_bytes()).expect("a request");
    let head = read_head(&mut tunnel.stream);
    if head.starts_with("HTTP/1.1 101 ") {
        return Ok((head, Peer::client(tunnel.stream)));
    }
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    tunnel.stream.read_exact(&mut body).expect("a body");
    Err(answers(&[head.as_bytes(), &body].concat()).remove(0))
}

/// An upstream for one WebSocket, which `talk` holds the other end of after the handshake's `answer`.
pub struct Socket {
    pub address: SocketAddr,
    thread: JoinHandle<String>,
}

/// What a good server answers to a handshake.
pub fn grant(head: &str, lines: &str) -> String {
    let key = head.lines().find_map(|l| l.to_ascii_lowercase().starts_with("sec-websocket-key: ").then(|| &l[19..]));
    let guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let hash = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{}{guid}", key.unwrap_or_default()).as_bytes(),
    );
    let accept = base64::engine::general_purpose::STANDARD.encode(hash);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    )
}

impl Socket {
    /// One that grants what it is asked, and goes on as `talk` says.
    pub fn open(talk: impl FnOnce(Peer<Served>) + Send + 'static) -> Self {
        Self::answering(|head| grant(head, ""), talk)
    }

    pub fn answering(
        answer: impl FnOnce(&str) -> String + Send + 'static,
        talk: impl FnOnce(Peer<Served>) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let config = Arc::new(authority::server(Certificate::Good, &["http/1.1"]));
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(HANGS)).expect("a timeout");
            stream.set_nodelay(true).expect("an option");
            let tls = rustls::ServerConnection::new(config).expect("a session");
            let mut stream = rustls::StreamOwned::new(tls, stream);
            let head = read_head(&mut stream);
            stream.write_all(answer(&head).as_bytes()).and_then(|()| stream.flush()).expect("an answer");
            talk(Peer::server(stream));
            head
        });
        Self { address, thread }
    }

    pub fn authority(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// The request that it saw, once it is through; what failed in it fails the test.
    pub fn finish(self) -> String {
        match self.thread.join() {
            Ok(head) => head,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Peer<Served> {
    /// Says every message back until the other side closes, which it answers.
    pub fn echo(&mut self) -> Vec<(Opcode, Vec<u8>)> {
        let mut seen = Vec::new();
        while let Some((opcode, payload)) = self.message() {
            match opcode {
                Opcode::Ping => self.send(Opcode::Pong, true, &payload),
                Opcode::Pong => {}
                _ => self.send(opcode, true, &payload),
            }
            seen.push((opcode, payload));
            if opcode == Opcode::Close {
                break;
            }
        }
        seen
    }

    /// Ends the session as TLS does, and the connection.
    pub fn end(mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.flush();
        let _ = self.stream.sock.shutdown(Shutdown::Write);
    }

    /// Leaves without a word.
    pub fn cut(self) {
        let _ = self.stream.sock.shutdown(Shutdown::Both);
    }
}
