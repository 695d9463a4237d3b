//! Bytes over a bare socket: for what no client would send, and no server answer.

use super::HANGS;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Sends `bytes` and leaves.
pub fn abandon(to: SocketAddr, bytes: &[u8]) {
    let _ = connect(to).write_all(bytes);
}

/// Sends `bytes` and reads until the other side closes.
pub fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(to);
    // who has heard enough may hang up before all is sent
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// As [`exchange`], with the end of what is sent said at once: for where the other side would wait for more.
pub fn exchange_and_end(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(to);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(HANGS)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// A head, up to and with its empty line.
pub fn read_head(stream: &mut impl std::io::Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A port on which nobody listens.
pub fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// An upstream over TLS that says, byte for byte, what the test wants: one answer per connection.
pub struct Raw {
    pub address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Raw {
    /// Serves `connections` connections: reads a head, writes `answer`, and closes.
    pub fn saying(answer: &'static [u8], connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let config = super::authority::server(super::authority::Certificate::Good, &["http/1.1"]);
        let config = Arc::new(config);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take(connections) {
                let Ok(stream) = stream else { return };
                let tls = rustls::ServerConnection::new(config.clone()).expect("a session");
                let mut tls = rustls::StreamOwned::new(tls, stream);
                if read_head(&mut tls).is_empty() {
                    continue;
                }
                let _ = tls.write_all(answer);
                let _ = tls.flush();
                tls.conn.send_close_notify();
                let _ = tls.flush();
                let _ = tls.sock.shutdown(Shutdown::Write);
                let _ = std::io::copy(&mut tls.sock, &mut std::io::sink());
            }
        });
        Self { address, thread: Some(thread) }
    }

    /// Waits until all connections were served.
    pub fn finish(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the upstream");
        }
    }
}
