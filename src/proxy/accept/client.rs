//! A client's connection as long as no HTTP library serves it.

use super::admitted::Admitted;
use super::doors::first_head::not_a_head;
use super::slots::ConnectionSlot;
use crate::io::read_ahead::ReadAhead;
use crate::name::{AgentName, Host, Origin, Scheme};
use crate::proxy::Recorder;
use crate::proxy::health;
use crate::proxy::limits::FIRST_HEAD;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::proxy::wire::hang_up::hang_up;
use crate::proxy::wire::socks5::{self, ReplyCode};
use crate::record::ExchangeInfo;
use bytes::BytesMut;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// The way in which a client came, which is the way that it is answered before anything of its own is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// It spoke HTTP to a proxy.
    Http,
    /// It spoke SOCKS5 to it.
    Socks5,
    /// It speaks to somebody else, as far as it knows: any answer would be taken for that one's.
    Redirected,
}

impl Door {
    /// The word that all from now on is between the client and its host.
    pub fn established(self) -> &'static [u8] {
        match self {
            Self::Http => b"HTTP/1.1 200 Connection Established\r\n\r\n",
            Self::Socks5 => socks5::CONNECTED,
            Self::Redirected => b"",
        }
    }

    /// The answer to who goes no further.
    fn refusal(self, refusal: &Refusal, exchange: &str, host: Option<&Host>, close: bool) -> Vec<u8> {
        match self {
            Self::Http => refusal.raw(exchange, host, close),
            Self::Socks5 => ReplyCode::of(refusal).reply(),
            Self::Redirected => Vec::new(),
        }
    }
}

/// What a client's bytes come by: TCP, or the TLS that the proxy itself speaks on its port.
pub(crate) type ClientStream = Either<TcpStream, Box<TlsStream<ReadAhead<TcpStream>>>>;

/// A client's connection, with what came after the head.
pub(crate) struct Client {
    pub stream: ClientStream,
    pub read: BytesMut,
    pub door: Door,
    pub peer: SocketAddr,
    /// Our end of it.
    pub own: SocketAddr,
    /// The local user at its other end, as the system said when it was accepted.
    pub user: Option<u32>,
    /// Who it is, where that is known without its saying so.
    pub known: Option<Admitted>,
    pub slot: Arc<ConnectionSlot>,
}

impl Client {
    /// The stream with what was read of it already put back.
    pub fn into_stream(self) -> ReadAhead<ClientStream> {
        ReadAhead::with(self.read, self.stream)
    }

    /// Says this before anything of its own is served; TLS holds nothing of it back.
    pub async fn say(&mut self, words: &[u8]) -> io::Result<()> {
        self.stream.write_all(words).await?;
        self.stream.flush().await
    }

    /// Reads until a head is whole: its length in bytes, or `None` when the client left.
    ///
    /// # Errors
    /// What comes can't become a head, or becomes too large a one.
    pub async fn read_head(&mut self) -> Result<Option<usize>, Refusal> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memmem::find(&self.read[searched..], b"\r\n\r\n") {
                return Ok(Some(searched + end + 4));
            }
            if let Some(odd) = not_a_head(&self.read) {
                return Err(Refusal::malformed(odd));
            }
            if self.read.len() >= FIRST_HEAD {
                return Err(Refusal::new(RefusalKind::HeadTooLarge, "the head of the request is over 16 KiB"));
            }
            searched = self.read.len().saturating_sub(3);
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    /// Says that the proxy serves.
    pub async fn tell_health(mut self) {
        if self.say(health::ANSWER).await.is_ok() {
            hang_up(&mut self.stream, false).await;
        }
    }

    /// Records a refusal and answers with it.
    pub async fn refuse(
        &mut self,
        recorder: &Recorder,
        refusal: &Refusal,
        agent: AgentName,
        target: Option<(&Host, u16)>,
        close: bool,
    ) {
        let info = record(recorder, refusal, agent, target);
        let answer = self.door.refusal(refusal, &info.exchange, target.map(|(h, _)| h), close);
        self.answer(&answer, close).await;
    }

    /// Records a refusal of who has not asked for anything yet, and hangs up with this answer.
    pub async fn refuse_by(&mut self, recorder: &Recorder, refusal: &Refusal, answer: &[u8]) {
        record(recorder, refusal, AgentName::nobody(), None);
        self.answer(answer, true).await;
    }

    async fn answer(&mut self, answer: &[u8], close: bool) {
        if self.say(answer).await.is_ok() && close {
            hang_up(&mut self.stream, false).await;
        }
    }
}

/// Records a refusal of who asked for `target`, as far as that is known.
pub(super) fn record(
    recorder: &Recorder,
    refusal: &Refusal,
    agent: AgentName,
    target: Option<(&Host, u16)>,
) -> Arc<ExchangeInfo> {
    let origin = target.map(|(host, port)| Origin { scheme: Scheme::Https, host: host.clone(), port });
    let method = if origin.is_some() { "CONNECT" } else { "" };
    let info = Arc::new(recorder.exchange(agent, method, origin.as_ref()));
    recorder.refusal(info.clone(), refusal);
    info
}
