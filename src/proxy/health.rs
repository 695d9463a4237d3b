//! The question whether the proxy serves, and its answer: no agent asks it and no upstream hears of it, so nothing is recorded.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The reserved address at which anybody may ask, in absolute form.
pub const URL: &str = "http://locum.invalid/healthz";

/// The question of `serve --healthcheck`.
pub const QUESTION: &[u8] =
    b"GET http://locum.invalid/healthz HTTP/1.1\r\nHost: locum.invalid\r\nConnection: close\r\n\r\n";

/// The whole answer, by which locum is told from whatever else could listen there.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: no-store\r\n\
    locum-health: serving\r\ncontent-length: 8\r\nconnection: close\r\n\r\nserving\n";

/// How long a healthy service may take to answer.
const HEALTHY: Duration = Duration::from_secs(3);

/// Whether what listens on this address answers as a locum that serves. Blocks, for a few seconds at most.
///
/// # Errors
/// When nothing answers.
pub fn ask(mut address: SocketAddr) -> io::Result<bool> {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let mut stream = TcpStream::connect_timeout(&address, HEALTHY)?;
    stream.set_read_timeout(Some(HEALTHY))?;
    stream.write_all(QUESTION)?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(answer == ANSWER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_and_answer_are_whole() {
        let question = String::from_utf8_lossy(QUESTION);
        assert!(question.starts_with(&format!("GET {URL} HTTP/1.1\r\n")) && question.ends_with("\r\n\r\n"));
        let answer = String::from_utf8_lossy(ANSWER);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    }
}
