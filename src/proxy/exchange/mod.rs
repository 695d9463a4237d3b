//! One request and its response. [`exchange`] is the recipe: find, decide, open, replace, record, send, scrub.

pub mod authorization;
mod client_signature;
pub mod conn;
mod current_scrubber;
pub mod decode_budget;
mod outcome;
pub mod request_body;
mod response_body;
mod scrub_cache;
pub mod serve;
mod stages;
mod websocket;
pub mod worker;

use crate::proxy::refusal::{Refusal, RefusalKind};
use conn::Conn;
use http::{Request, Response};
use request_body::AgentBody;
use response_body::ResponseBody;
use stages::asked::Asked;

/// Answers a request: with the upstream's response, or with locum's own.
pub(super) async fn exchange(conn: &Conn, request: Request<AgentBody>) -> Response<ResponseBody> {
    let asked = match Asked::by(conn, request).and_then(Asked::unless_of_locum) {
        Ok(asked) => asked,
        Err(answered) => return *answered,
    };
    let (outcome, refuser) = asked.at_the_end();
    match answer(asked).await {
        Ok(response) => response,
        // nobody was refused, and nobody is left to be told
        Err(refusal) if refusal.kind() == RefusalKind::BrokenOff => {
            outcome.broken(refusal.to_string());
            refuser.answer(&refusal)
        }
        Err(refusal) => {
            outcome.refused();
            refuser.refuse(&refusal)
        }
    }
}

async fn answer(asked: Asked<'_>) -> Result<Response<ResponseBody>, Refusal> {
    let judged = asked.judge()?;
    let opened = judged.open().await?;
    let rewritten = opened.rewrite().await?;
    let recorded = rewritten.record().await?;
    let sent = recorded.send().await?;
    sent.answer().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<'c, R>(_: fn(&'c Conn, Request<AgentBody>) -> R) -> usize {
        size_of::<R>()
    }

    /// Each HTTP/2 stream has one in memory of its own, which is wiped when it is freed.
    #[test]
    fn an_exchange_takes_little_memory() {
        assert!(size(exchange) <= 7 * 1024 + 256, "{} bytes", size(exchange));
    }
}
