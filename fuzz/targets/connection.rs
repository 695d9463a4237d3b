//! Whole connections through the real proxy: any bytes in, two upstreams behind it. No panic, no key to the upstream that
//! it is not bound to, none back to the client, and no more of them at the other than the audit has counted.
//!
//! Some bytes stand for what a fuzzer would be long in finding: see [`spelled`].

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use locum::app::{App, LaunchOptions, RunningProxy};
use locum::config::settings::{CliPaths, ConfigEnvironment as Variables, Settings};
use locum::memory::SealedEnvironment;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// No input holds it by chance.
const VALUE: &str = "tk-the-key-of-this-target-0123456789";
/// Who has not answered by then has nothing to say. What is checked does not depend on it.
const PATIENCE: Duration = Duration::from_millis(500);

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::set);

#[derive(Debug, Arbitrary)]
enum Door {
    /// To the proxy's own port.
    Port,
    /// In a tunnel, in the clear.
    Tunnel { bound: bool },
    /// In a tunnel, inside TLS.
    Http1 { bound: bool },
    Http2 { bound: bool },
}

#[derive(Debug, Arbitrary)]
struct Input {
    door: Door,
    pieces: Vec<Piece>,
}

#[derive(Debug, Arbitrary)]
struct Piece {
    /// For HTTP/2: the frame's kind, flags and stream, and whether its fields begin like a good request's.
    kind: u8,
    flags: u8,
    stream: u8,
    good: bool,
    bytes: Vec<u8>,
}

struct Stage {
    running: Mutex<RunningProxy>,
    proxy: SocketAddr,
    trusting: [Arc<ClientConfig>; 2],
    bound: Upstream,
    other: Upstream,
    _dir: tempfile::TempDir,
}

/// How often the key came to an upstream.
struct Upstream {
    address: SocketAddr,
    keys: Arc<AtomicU64>,
}

impl Stage {
    fn set() -> Self {
        // as in a Rust program, which the fuzzer's main is not: who hangs up is an error and no signal
        // SAFETY: it sets no handler.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        let dir = tempfile::tempdir().expect("a folder");
        let upstream_ca = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let (bound, other) = (Upstream::start(&upstream_ca), Upstream::start(&upstream_ca));
        std::fs::write(dir.path().join("upstream.pem"), upstream_ca.cert.pem()).expect("a file");
        std::fs::write(dir.path().join("key"), VALUE).expect("a file");
        let config = format!(
            "[proxy]\nlisten = \"127.0.0.1:0\"\nprivate_addresses = [\"{b}\", \"{o}\"]\nconnect_ports = [{bp}, {op}]\n\
             upstream_ca = [\"upstream.pem\"]\n[ca]\nsource = \"memory\"\n[audit]\nexchanges = false\n\
             [key.tool]\nsource = \"file:{key}\"\nhosts = [\"{b}\", \"http://{b}\"]\n\
             where = [\"header\", \"query\", \"path\", \"body:any\"]\nmax_uses = 100\n",
            b = bound.address,
            o = other.address,
            bp = bound.address.port(),
            op = other.address.port(),
            key = dir.path().join("key").display(),
        );
        let at = dir.path().join("locum.toml");
        std::fs::write(&at, config).expect("a file");
        let given = CliPaths { config: Some(at), state: Some(dir.path().join("state")) };
        let plan = LaunchOptions {
            settings: Settings::load(&given, &Variables::default()).expect("settings"),
            environment: Arc::new(SealedEnvironment::default()),
            listen: None,
            tokens: Vec::new(),
            descendants: false,
        };
        let app = App::build(plan).expect("a proxy");
        let root = app.ca().current.certificate();
        let trusting = [&b"http/1.1"[..], b"h2"].map(|alpn| Arc::new(trusting(root, alpn)));
        let running = app.spawn().expect("a proxy that serves");
        let proxy = running.app().address();
        Self { running: Mutex::new(running), proxy, trusting, bound, other, _dir: dir }
    }
}

fn trusting(root: &CertificateDer<'static>, alpn: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

impl Upstream {
    fn start(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_no_client_auth();
        let config = Arc::new(builder.with_single_cert(vec![certified.cert.der().clone()], key).expect("a config"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let keys = Arc::new(AtomicU64::new(0));
        let counted = keys.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, keys) = (config.clone(), counted.clone());
                std::thread::spawn(move || drop(welcome(stream, config, &keys)));
            }
        });
        Self { address, keys }
    }

    fn keys(&self) -> u64 {
        self.keys.load(Ordering::SeqCst)
    }
}

fn welcome(stream: TcpStream, config: Arc<ServerConfig>, keys: &AtomicU64) -> io::Result<()> {
    let mut first = [0];
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    if stream.peek(&mut first)? == 1 && first[0] == 0x16 {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        return echo(StreamOwned::new(session, stream), keys);
    }
    echo(stream, keys)
}

/// Says back whatever comes, as the body of one answer for each read.
fn echo(mut stream: impl Read + Write, keys: &AtomicU64) -> io::Result<()> {
    let (mut seen, mut counted, mut buf) = (Vec::new(), 0, vec![0; 16 * 1024]);
    loop {
        let n = stream.read(&mut buf)?;
        if n == 0 {
            return Ok(());
        }
        seen.extend_from_slice(&buf[..n]);
        let all = count(&seen);
        keys.fetch_add(all - counted, Ordering::SeqCst);
        counted = all;
        if seen.windows(4).any(|w| w == b"\r\n\r\n") {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", seen.len())?;
            stream.write_all(&seen)?;
            (seen, counted) = (Vec::new(), 0);
        }
    }
}

fn count(text: &[u8]) -> u64 {
    text.windows(VALUE.len()).filter(|w| *w == VALUE.as_bytes()).count() as u64
}

/// The bytes of a piece, in which the first control characters stand for words.
fn spelled(bytes: &[u8], stage: &Stage) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match byte {
            1 => out.extend_from_slice(stage.bound.address.to_string().as_bytes()),
            2 => out.extend_from_slice(stage.other.address.to_string().as_bytes()),
            3 => out.extend_from_slice(b"<<tool_key>>"),
            4 => out.extend_from_slice(b"\r\n"),
            5 => out.extend_from_slice(b"POST / HTTP/1.1\r\nHost: "),
            6 => out.extend_from_slice(b"\r\nX-Api-Key: <<tool_key>>\r\n"),
            7 => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            8 => out.extend_from_slice(b"Content-Length: "),
            11 => out.extend_from_slice(b"GET http://"),
            12 => out.extend_from_slice(b" HTTP/1.1\r\nHost: "),
            14 => out.extend_from_slice(b"CONNECT "),
            15 => out.extend_from_slice(b"0\r\n\r\n"),
            _ => out.push(*byte),
        }
    }
    out
}

fn frame(piece: &Piece, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let stream = u32::from(piece.stream % 8).to_be_bytes();
    [&length[1..], &[piece.kind % 11, piece.flags], &stream, payload].concat()
}

/// A request's fields as literals of HPACK (RFC 7541, section 6.2.2), for the upstream that the key is bound to or not.
fn fields(authority: &SocketAddr) -> Vec<u8> {
    let authority = authority.to_string();
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", &authority),
        ("x-api-key", "<<tool_key>>"),
    ];
    let text = |t: &str| [&[u8::try_from(t.len()).unwrap_or(0)], t.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn talk(stage: &Stage, input: &Input) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(stage.proxy)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (to, http2, tls) = match input.door {
        Door::Port => return say(&mut stream, hang_up, input.pieces.iter().map(|p| spelled(&p.bytes, stage))),
        Door::Tunnel { bound } => (bound, false, false),
        Door::Http1 { bound } => (bound, false, true),
        Door::Http2 { bound } => (bound, true, true),
    };
    let to = if to { stage.bound.address } else { stage.other.address };
    write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if !tls {
        return say(&mut stream, hang_up, input.pieces.iter().map(|p| spelled(&p.bytes, stage)));
    }
    let name = ServerName::from(to.ip());
    let session = ClientConnection::new(stage.trusting[usize::from(http2)].clone(), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, stream);
    if !http2 {
        return say(&mut stream, close, input.pieces.iter().map(|p| spelled(&p.bytes, stage)));
    }
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    let frames = input.pieces.iter().map(|piece| {
        let bytes = spelled(&piece.bytes, stage);
        let payload = if piece.good { [fields(&to), bytes].concat() } else { bytes };
        frame(piece, &payload)
    });
    say(&mut stream, close, frames)
}

/// The client has said all, and still listens.
fn hang_up(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)
}

fn close(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> io::Result<()> {
    stream.conn.send_close_notify();
    stream.flush()?;
    hang_up(&mut stream.sock)
}

/// Sends each piece by itself, and reads what comes of it.
fn say<S: Read + Write>(
    stream: &mut S,
    end: impl FnOnce(&mut S) -> io::Result<()>,
    pieces: impl Iterator<Item = Vec<u8>>,
) -> io::Result<Vec<u8>> {
    for piece in pieces {
        // who has heard enough hangs up, and may have said why
        if stream.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = stream.flush().and_then(|()| end(stream));
    let mut said = Vec::new();
    // ends by a close, or by patience
    let _ = stream.read_to_end(&mut said);
    Ok(said)
}

fuzz_target!(|input: Input| {
    let stage = &*STAGE;
    let said = talk(stage, &input).unwrap_or_default();
    assert_eq!(count(&said), 0, "the key came back: {}", said.escape_ascii());
    assert_eq!(stage.other.keys(), 0, "the key went to a host that it is not bound to");
    // read in this order, so that what is under way is no fault
    let seen = stage.bound.keys();
    let recorded = stage.running.lock().expect("the proxy").app().counts().substitutions;
    assert!(seen <= recorded, "{seen} keys were seen, {recorded} recorded");
    assert!(TcpStream::connect(stage.proxy).and_then(|s| s.shutdown(Shutdown::Both)).is_ok(), "the proxy is gone");
});
