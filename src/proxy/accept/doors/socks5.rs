//! SOCKS5 on the proxy's port (RFC 1928): who asks, and for which host; names are kept as names. What comes of it is what CONNECT
//! comes to, and the agent's token counts as user or as password, as it does in HTTP.

use crate::proxy::accept::admit::{Credentials, admit, descendant, local_user};
use crate::proxy::accept::client::Client;
use crate::proxy::accept::connect::connected;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::limits::FIRST_HEAD_TIMEOUT;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::proxy::wire::socks5::{
    LOGIN_BAD, LOGIN_GOOD, NO_LOGIN, NO_METHOD, OfferedMethods, ReplyCode, SocksFault, SocksLogin, SocksTarget,
    WANT_LOGIN,
};
use bytes::Buf as _;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

/// Serves one client's connection to its end.
pub(super) async fn connection(worker: Arc<Worker>, mut client: Client, stop: watch::Receiver<bool>) {
    let mut stopping = stop.clone();
    let asked = tokio::select! {
        asked = tokio::time::timeout(FIRST_HEAD_TIMEOUT, asked(&worker, &mut client)) => asked,
        _ = stopping.wait_for(|stopped| *stopped) => return,
    };
    let Ok(asked) = asked else { return };
    let recorder = &worker.shared.recorder;
    let (login, SocksTarget { host, port }) = match asked {
        Ok(asked) => asked,
        Err(Unasked::Gone) => return,
        Err(Unasked::Refused(refusal, answer)) => {
            return client.refuse_by(recorder, &refusal, &answer).await;
        }
    };
    let credentials = match &login {
        Some(SocksLogin { user, password }) => Credentials::Login { user, password },
        None => Credentials::Header(None),
    };
    match admit(&worker.shared, &client, &host, port, credentials).await {
        Ok(admitted) => {
            client.slot.prove();
            connected(worker, client, admitted, host, port, stop).await;
        }
        Err((agent, refusal)) => client.refuse(recorder, &refusal, agent, Some((&host, port)), true).await,
    }
}

/// Why nothing was asked for.
enum Unasked {
    /// The client left.
    Gone,
    /// It is told so by this answer.
    Refused(Refusal, Vec<u8>),
}

impl From<io::Error> for Unasked {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Where the client wants to go, and how it has said who it is. Each answer is sent before what comes next is read.
async fn asked(worker: &Worker, client: &mut Client) -> Result<(Option<SocksLogin>, SocksTarget), Unasked> {
    let malformed = |answer: &'static [u8]| {
        move |fault: SocksFault| Unasked::Refused(Refusal::malformed(fault.to_string()), answer.to_vec())
    };
    let offered = read(client, OfferedMethods::read, malformed(NO_METHOD)).await?;
    let login = match method(worker, client, offered).await {
        Ok(Method::None) => {
            client.say(NO_LOGIN).await?;
            None
        }
        Ok(Method::Login) => {
            client.say(WANT_LOGIN).await?;
            let login = read(client, SocksLogin::read, malformed(LOGIN_BAD)).await?;
            let agents = &worker.shared.ruleset.load().agents;
            if let Err(e) = agents.authenticate_login(&login.user, &login.password, SystemTime::now()) {
                return Err(Unasked::Refused(e.into(), LOGIN_BAD.to_vec()));
            }
            client.say(LOGIN_GOOD).await?;
            Some(login)
        }
        Err(refusal) => return Err(Unasked::Refused(refusal, NO_METHOD.to_vec())),
    };
    let target = read(client, SocksTarget::read, |fault| {
        let kind = match fault {
            SocksFault::Command(_) | SocksFault::AddressType(_) => RefusalKind::NotForwarded,
            SocksFault::Malformed(_) | SocksFault::Name(_) => RefusalKind::Malformed,
        };
        Unasked::Refused(Refusal::new(kind, fault.to_string()), ReplyCode::of_fault(&fault).reply())
    });
    Ok((login, target.await?))
}

/// The way in which a client is to say who it is.
enum Method {
    None,
    Login,
}

const WANTED: &str =
    "SOCKS5 without a login; the agent's token is its user or its password: socks5h://AGENT:TOKEN@PROXY";

/// A client is let in without a word where one of HTTP would be: Java's offers a login that it doesn't have.
async fn method(worker: &Worker, client: &Client, offered: OfferedMethods) -> Result<Method, Refusal> {
    let ruleset = worker.shared.ruleset.load_full();
    local_user(&ruleset, client.user)?;
    let is_open = !ruleset.agents.need_token();
    match offered {
        OfferedMethods { none: true, .. } if is_open || descendant(&worker.shared, client).await.is_some() => {
            Ok(Method::None)
        }
        OfferedMethods { login: true, .. } => Ok(Method::Login),
        OfferedMethods { none: true, .. } => Err(Refusal::new(RefusalKind::Unauthenticated, WANTED)),
        OfferedMethods { none: false, login: false } => {
            Err(Refusal::malformed("SOCKS5 with another way to say who asks than a user and a password"))
        }
    }
}

/// Reads a message and takes it.
async fn read<T>(
    client: &mut Client,
    message: impl Fn(&[u8]) -> Result<Option<(T, usize)>, SocksFault>,
    refused: impl Fn(SocksFault) -> Unasked,
) -> Result<T, Unasked> {
    loop {
        if let Some((message, len)) = message(&client.read).map_err(&refused)? {
            client.read.advance(len);
            return Ok(message);
        }
        if client.stream.read_buf(&mut client.read).await? == 0 {
            return Err(Unasked::Gone);
        }
    }
}
