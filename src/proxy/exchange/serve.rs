//! Serves the requests of one connection, over HTTP/1.1 or HTTP/2, until it ends or the proxy drains.

use super::conn::Conn;
use super::exchange;
use super::request_body::AgentBody;
use super::response_body::ResponseBody;
use crate::io::abortive_close::AbortiveClose;
use crate::io::read_gate::ReadGate;
use crate::proxy::limits::{CONCURRENT_STREAMS, CONNECTION_WINDOW, KEEP_ALIVE, LINGER, STREAM_WINDOW};
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::proxy::wire::framed_stream::FramedStream;
use crate::proxy::wire::hang_up::{cut_off, hang_up};
use crate::proxy::wire::http1_framing::FramingFault;
use crate::proxy::wire::http2::{Http2Stream, Outflow};
use crate::upstream::pool::BoxError;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

/// One exchange of a connection, until its answer has been sent or dropped.
struct UnderWay(Arc<Conn>);

impl UnderWay {
    fn one(conn: Arc<Conn>) -> Self {
        conn.under_way.fetch_add(1, Ordering::Relaxed);
        Self(conn)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body, which tells its connection when it is through.
struct TrackedBody {
    body: ResponseBody,
    _under_way: UnderWay,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves the requests of one connection until it ends or the proxy drains. One that ends badly has told its exchanges
/// so, and they the audit.
pub(crate) async fn serve<S>(conn: Conn, stream: S, http2: bool, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + AbortiveClose + Unpin + Send + 'static,
{
    let conn = Arc::new(conn);
    if http2 { serve_http2(conn, stream, stop).await } else { serve_http1(conn, stream, stop).await }
}

async fn serve_http1<S>(conn: Arc<Conn>, stream: S, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + AbortiveClose + Unpin + Send + 'static,
{
    let (strict, why) = FramedStream::new(
        ReadGate::new(stream),
        max_head(&conn),
        conn.switch.made.clone(),
        conn.under_way.clone(),
        conn.hints.clone(),
    );
    let mut serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .preserve_header_case(true)
        .serve_connection(
            TokioIo::new(strict),
            service_fn(|request| answer(conn.clone(), request.map(AgentBody::of_http1))),
        );
    // hyper takes a fault between two requests for a good end: only `why` tells
    let served = until_stopped(&mut serving, &mut stop).await;
    let draining = served.is_none();
    let served = match served {
        Some(served) => served,
        None => {
            Pin::new(&mut serving).graceful_shutdown();
            (&mut serving).await
        }
    };
    let parts = serving.into_parts();
    let (mut stream, unread) = parts.io.into_inner().into_parts();
    let early = [&parts.read_buf[..], &unread].concat();
    if let Some(switched) = conn.switch.take() {
        return Box::pin(switched.run(stream, early, stop)).await;
    }
    if let Some(fault) = why.take() {
        malformed(&conn, &mut stream, &refusal(fault)).await;
    }
    match served {
        Err(e) if e.is_user() || e.is_body_write_aborted() => cut_off(stream).await,
        _ => hang_up(stream, draining).await,
    }
}

fn max_head(conn: &Conn) -> usize {
    conn.shared().config.limits.head
}

fn refusal(fault: FramingFault) -> Refusal {
    match fault {
        FramingFault::Malformed(why) => Refusal::malformed(why),
        FramingFault::TooLarge(why) => Refusal::new(RefusalKind::HeadTooLarge, why),
        FramingFault::HeadOver(bytes) => {
            let why = format!("the head of the request is over {} KiB, which [limits] head allows", bytes / 1024);
            Refusal::new(RefusalKind::HeadTooLarge, why)
        }
    }
}

async fn serve_http2<S>(conn: Arc<Conn>, stream: S, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (told, of) = (conn.clone(), conn.clone());
    let stream =
        Http2Stream::new(stream, max_head(&conn), move |fault: &'static str| told.record_malformed(fault.into()));
    let (outflow, interims) = (stream.outflow(), stream.interims());
    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .max_header_list_size(u32::try_from(max_head(&conn)).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answer(of.clone(), AgentBody::of_http2(request, &interims))),
        );
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        () = stopped(&mut stop) => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = serving => {}
        () = answered(&conn.under_way, &outflow) => {}
    }
}

/// Resolves once a client has its answers and takes nothing more: one that never acknowledges the end is not waited for.
/// What was answered may still have to leave.
async fn answered(under_way: &AtomicUsize, outflow: &Outflow) {
    loop {
        let before = outflow.written();
        tokio::time::sleep(LINGER).await;
        if under_way.load(Ordering::Relaxed) == 0 && !outflow.is_stuck() && outflow.written() == before {
            return;
        }
    }
}

fn answer(
    conn: Arc<Conn>,
    request: Request<AgentBody>,
) -> impl Future<Output = Result<Response<TrackedBody>, Infallible>> {
    let under_way = UnderWay::one(conn);
    async move {
        let response = exchange(&under_way.0, request).await;
        under_way.0.hints.close();
        Ok(response.map(|body| TrackedBody { body, _under_way: under_way }))
    }
}

/// What `work` comes to, or `None` once the proxy stops. A connection is polled several times for each request, and to ask
/// for the stop each time would take a lock that all connections share: asked once, it wakes this same task.
async fn until_stopped<T>(mut work: impl Future<Output = T> + Unpin, stop: &mut watch::Receiver<bool>) -> Option<T> {
    let mut news = stop.clone();
    news.mark_unchanged();
    let (mut stopped, mut asked) = (pin!(stopped(stop)), false);
    poll_fn(|cx| {
        if let Poll::Ready(done) = Pin::new(&mut work).poll(cx) {
            return Poll::Ready(Some(done));
        }
        let heard = news.has_changed().unwrap_or(true);
        if std::mem::replace(&mut asked, true) && !heard {
            return Poll::Pending;
        }
        stopped.as_mut().poll(cx).map(|()| None)
    })
    .await
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // a proxy that is gone has stopped
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Records what could not be read as a request, and says so to the client where no answer is under way.
async fn malformed<S: AsyncWrite + Unpin>(conn: &Conn, stream: &mut S, refusal: &Refusal) {
    let info = conn.record(refusal);
    if conn.under_way.load(Ordering::Relaxed) > 0 {
        return;
    }
    let answer = refusal.raw(&info.exchange, conn.origin.as_ref().map(|o| &o.host), true);
    // the client may be gone: then nobody is left to tell
    let _ = tokio::time::timeout(LINGER, stream.write_all(&answer)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncReadExt as _;

    /// Time stands still but where all wait.
    #[tokio::test(start_paused = true)]
    async fn what_has_been_answered_leaves_before_a_client_is_left() {
        const PATIENCE: Duration = Duration::from_secs(20);
        let (client, mut far) = tokio::io::duplex(64);
        let mut stream = Http2Stream::new(client, 0, |_: &'static str| {});
        let outflow = stream.outflow();
        let idle = AtomicUsize::new(0);
        let is_left = || async { tokio::time::timeout(PATIENCE, answered(&idle, &outflow)).await.is_ok() };
        assert!(is_left().await, "one that was told nothing");

        let writing = tokio::spawn(async move {
            stream.write_all(&[0; 200]).await.expect("a client that reads");
            stream.flush().await.expect("a client that reads");
            stream
        });
        tokio::task::yield_now().await;
        assert!(!is_left().await, "the answer is not through");
        far.read_exact(&mut [0; 200]).await.expect("the answer");
        let _stream = writing.await.expect("the rest leaves");
        assert!(is_left().await);

        idle.store(1, Ordering::Relaxed);
        assert!(!is_left().await, "an answer is still to come");
    }
}
