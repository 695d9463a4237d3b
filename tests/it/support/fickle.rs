//! An origin over TLS that doesn't answer every request, made by hand: what a server's library would keep from happening.

use super::authority::{self, Certificate};
use super::wire::read_head;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the origin makes of a request that it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Answer,
    /// And closes.
    AnswerAndDie,
    /// Closes without an answer.
    Die,
    /// Of HTTP/1.1: begins to answer, and closes.
    BreakOff,
    /// Of HTTP/2: resets it as one that was not processed.
    Refuse,
    /// Of HTTP/2: closes, with this and all after it not processed.
    GoAway,
}

/// By the numbers of the connection and of the request on it, from 0.
type Script = fn(usize, usize) -> Turn;

/// A request that came. The path is empty where HTTP/2 has it coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
}

type Tls = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

pub struct Fickle {
    pub address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Fickle {
    pub fn http1(script: Script) -> Self {
        Self::start(&["http/1.1"], move |tls, connection, came| speak_http1(tls, connection, script, came))
    }

    pub fn http2(script: Script) -> Self {
        Self::speaking_http2(script, &frame(SETTINGS, 0, 0, &[]))
    }

    /// Before it has said how many streams it allows, they come one by one.
    pub fn http2_without_settings(script: Script) -> Self {
        Self::speaking_http2(script, &[])
    }

    fn speaking_http2(script: Script, preface: &[u8]) -> Self {
        let preface = preface.to_vec();
        Self::start(&["h2"], move |tls, connection, came| {
            tls.read_exact(&mut [0; 24])?;
            tls.write_all(&preface)?;
            speak_http2(tls, connection, script, came)
        })
    }

    fn start(
        alpn: &[&str],
        speak: impl Fn(&mut Tls, usize, &Mutex<Vec<Came>>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let config = Arc::new(authority::server(Certificate::Good, alpn));
        let came: Arc<Mutex<Vec<Came>>> = Arc::default();
        let (noted, speak) = (came.clone(), Arc::new(speak));
        // it waits for connections until the tests end
        std::thread::spawn(move || {
            let mut connections = 0;
            for stream in listener.incoming().map_while(Result::ok) {
                let session = rustls::ServerConnection::new(config.clone()).expect("a session");
                let mut tls = rustls::StreamOwned::new(session, stream);
                // one that speaks nothing of what we do isn't counted
                if tls.conn.complete_io(&mut tls.sock).is_err() {
                    continue;
                }
                let (speak, noted, connection) = (speak.clone(), noted.clone(), connections);
                connections += 1;
                std::thread::spawn(move || {
                    // how a connection ends is for the other side to judge
                    let _ = speak(&mut tls, connection, &noted);
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                    let _ = tls.sock.shutdown(Shutdown::Write);
                    let _ = io::copy(&mut tls.sock, &mut io::sink());
                });
            }
        });
        Self { address, came }
    }

    pub fn authority(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Every request that has come, answered or not.
    pub fn came(&self) -> Vec<Came> {
        self.came.lock().expect("the list").clone()
    }
}

fn speak_http1(tls: &mut Tls, connection: usize, script: Script, came: &Mutex<Vec<Came>>) -> io::Result<()> {
    for request in 0.. {
        let head = read_head(tls);
        let mut words = head.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
        let body = read_body(tls, &head)?;
        came.lock().expect("the list").push(Came { method, path, body });
        let turn = script(connection, request);
        match turn {
            Turn::Answer | Turn::AnswerAndDie => tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")?,
            Turn::BreakOff => tls.write_all(b"HTTP/1.1 200 O")?,
            Turn::Die => {}
            Turn::Refuse | Turn::GoAway => panic!("HTTP/1.1 has no {turn:?}"),
        }
        tls.flush()?;
        if turn != Turn::Answer {
            return Ok(());
        }
    }
    Ok(())
}

/// A body of known length, or one in chunks as it stands on the wire.
fn read_body(tls: &mut Tls, head: &str) -> io::Result<Vec<u8>> {
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    tls.read_exact(&mut body)?;
    while head.contains("transfer-encoding: chunked") && !body.ends_with(b"0\r\n\r\n") {
        let mut byte = [0];
        tls.read_exact(&mut byte)?;
        body.push(byte[0]);
    }
    Ok(body)
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
/// `:status: 200` of HPACK's static table (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn speak_http2(tls: &mut Tls, connection: usize, script: Script, came: &Mutex<Vec<Came>>) -> io::Result<()> {
    let (mut requests, mut gone, mut last) = (0, false, 0);
    let mut coming = std::collections::HashMap::new();
    loop {
        tls.flush()?;
        let mut head = [0; 9];
        tls.read_exact(&mut head)?;
        let (length, kind, flags) = (usize::from(head[1]) << 8 | usize::from(head[2]), head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        tls.read_exact(&mut payload)?;
        match kind {
            SETTINGS | PING if flags & ACK == 0 => {
                let echo = if kind == PING { payload } else { Vec::new() };
                tls.write_all(&frame(kind, ACK, 0, &echo))?;
                continue;
            }
            HEADERS => {
                // the second and third of the static table, which come first
                let method = if payload[0] == 0x82 { "GET" } else { "POST" };
                coming.insert(stream, Came { method: method.into(), path: String::new(), body: Vec::new() });
            }
            DATA => coming.get_mut(&stream).expect("a head").body.extend_from_slice(&payload),
            _ => continue,
        }
        if flags & END_STREAM == 0 {
            continue;
        }
        came.lock().expect("the list").extend(coming.remove(&stream));
        let turn = if gone { continue } else { script(connection, requests) };
        requests += 1;
        match turn {
            Turn::Answer | Turn::AnswerAndDie => {
                last = stream;
                tls.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &[STATUS_200]))?;
            }
            Turn::Refuse => tls.write_all(&frame(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes()))?,
            Turn::GoAway => {
                gone = true;
                let last = [last.to_be_bytes(), [0; 4]].concat();
                tls.write_all(&frame(GOAWAY, 0, 0, &last))?;
            }
            Turn::Die => {}
            Turn::BreakOff => panic!("HTTP/2 sends heads whole"),
        }
        if matches!(turn, Turn::AnswerAndDie | Turn::Die) {
            return tls.flush();
        }
    }
}
