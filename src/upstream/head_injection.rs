//! A key comes into an HTTP/1.1 head only on its way into TLS: the HTTP library's write buffer, which lives as long as
//! its connection, is given a stand-in.
//!
//! HTTP/2 can't have this, since it codes its heads: there a connection that carried a key is closed when it idles.

use super::dial::AllowedPeer;
use crate::io::delegate::delegate_async_write;
use crate::memory::Plaintext;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri};
use memchr::memmem::Finder;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A request's mark for the pool: a key is in its head or may come in its body.
#[derive(Clone)]
pub struct CarriesKey {
    /// Whom alone it may be sent to.
    pub peer: AllowedPeer,
    /// The target is a secret as a whole; of headers, those that are marked sensitive are.
    pub in_target: bool,
    /// Asked whenever the request is about to be sent: a connection may have been long in coming.
    pub may_go: Arc<dyn Fn() -> bool + Send + Sync>,
    /// True from when the head is handed to a connection, unless that gives it back with nothing written.
    pub may_have_left: Arc<AtomicBool>,
}

impl CarriesKey {
    /// Notes whether some of a request, where it carries a key, may have left.
    pub(super) fn note<B>(request: &Request<B>, may_have_left: bool) {
        if let Some(carries) = request.extensions().get::<CarriesKey>() {
            carries.may_have_left.store(may_have_left, Ordering::Release);
        }
    }
}

/// Random characters of a stand-in, before the digits that number it.
const WORD: usize = 32;
const DIGITS: usize = 4;
/// More values than any head has: clients may mark theirs as secrets too.
const MOST: usize = 10_000;

/// The secrets that are due in the next head of one connection, and whether anything has come back since.
#[derive(Clone)]
pub struct PendingSecrets(Arc<NextHead>);

struct NextHead {
    table: Mutex<StandInTable>,
    /// Bytes have come since it was handed over.
    is_heard: AtomicBool,
}

/// The stand-ins of one head, and the values that they stand for.
struct StandInTable {
    /// Known to nobody outside of this process, since none of it is ever sent.
    word: String,
    /// The first stand-in: most heads need no other.
    first: HeaderValue,
    finder: Finder<'static>,
    kept: Vec<Option<HeldBackValue>>,
}

/// A value that a stand-in stands for.
enum HeldBackValue {
    Header(HeaderValue),
    /// Without its first slash, which stays where it is.
    Target(PathAndQuery),
}

impl HeldBackValue {
    fn text(&self) -> &[u8] {
        match self {
            HeldBackValue::Header(value) => value.as_bytes(),
            HeldBackValue::Target(target) => target.as_str().as_bytes().get(1..).unwrap_or_default(),
        }
    }
}

impl PendingSecrets {
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new() -> io::Result<Self> {
        let mut random = [0; WORD / 2];
        getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
        let word: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let first = HeaderValue::try_from(numbered(&word, 0)).map_err(io::Error::other)?;
        let finder = Finder::new(&word).into_owned();
        let table = Mutex::new(StandInTable { word, first, finder, kept: Vec::new() });
        Ok(Self(Arc::new(NextHead { table, is_heard: AtomicBool::new(false) })))
    }

    /// Takes the secrets out of a head, and leaves stand-ins.
    pub fn keep_back<B>(&self, request: &mut Request<B>) {
        let in_target = request.extensions().get::<CarriesKey>().is_some_and(|carries| carries.in_target);
        self.0.is_heard.store(false, Ordering::Relaxed);
        let mut standing = self.lock();
        standing.kept.clear();
        if in_target {
            standing.keep_target(request.uri_mut());
        }
        for value in request.headers_mut().values_mut().filter(|value| value.is_sensitive()) {
            standing.keep_header(value);
        }
    }

    /// Puts the secrets back into a head that was never written.
    pub fn give_back<B>(&self, request: &mut Request<B>) {
        let mut standing = self.lock();
        let stand_in = request.uri().path().strip_prefix('/').map(str::to_owned);
        if let Some(HeldBackValue::Target(target)) = stand_in.and_then(|text| standing.take(text.as_bytes())) {
            set_target(request.uri_mut(), target);
        }
        for value in request.headers_mut().values_mut() {
            if let Some(HeldBackValue::Header(secret)) = standing.take(value.as_bytes()) {
                *value = secret;
            }
        }
        standing.kept.clear();
    }

    /// Whether anything of the answer has come.
    pub fn is_heard(&self) -> bool {
        self.0.is_heard.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, StandInTable> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StandInTable {
    fn stand_in(&self) -> Option<String> {
        (self.kept.len() < MOST).then(|| numbered(&self.word, self.kept.len()))
    }

    fn keep_header(&mut self, value: &mut HeaderValue) {
        let stand_in = match self.kept.is_empty() {
            true => Some(self.first.clone()),
            false => self.stand_in().and_then(|text| HeaderValue::try_from(text).ok()),
        };
        if let Some(stand_in) = stand_in {
            self.kept.push(Some(HeldBackValue::Header(mem::replace(value, stand_in))));
        }
    }

    fn keep_target(&mut self, uri: &mut Uri) {
        let target = uri.path_and_query().filter(|target| target.as_str().starts_with('/')).cloned();
        let stand_in = self.stand_in().and_then(|text| PathAndQuery::try_from(format!("/{text}")).ok());
        if let (Some(target), Some(stand_in)) = (target, stand_in) {
            set_target(uri, stand_in);
            self.kept.push(Some(HeldBackValue::Target(target)));
        }
    }

    /// What a stand-in stands for, once.
    fn take(&mut self, stand_in: &[u8]) -> Option<HeldBackValue> {
        let number = stand_in.strip_prefix(self.word.as_bytes())?;
        let number: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
        self.kept.get_mut(number)?.take()
    }

    /// The head with the secrets in it: with each of them once, or it is not sent at all.
    fn fill(&mut self, head: &[u8]) -> Option<Plaintext> {
        let secrets = self.kept.iter().flatten().map(|secret| secret.text().len());
        // sized before it is filled: a vector that grows would leave copies behind
        let mut whole = Vec::with_capacity(head.len() + secrets.sum::<usize>());
        let mut done = 0;
        while let Some(ahead) = self.finder.find(head.get(done..)?) {
            let at = done + ahead;
            whole.extend_from_slice(head.get(done..at)?);
            done = at + WORD + DIGITS;
            whole.extend_from_slice(self.take(head.get(at..done)?)?.text());
        }
        whole.extend_from_slice(head.get(done..)?);
        self.kept.iter().all(Option::is_none).then(|| Plaintext::new(whole))
    }
}

fn numbered(word: &str, number: usize) -> String {
    format!("{word}{number:0DIGITS$}")
}

fn set_target(uri: &mut Uri, target: PathAndQuery) {
    let mut parts = mem::take(uri).into_parts();
    parts.path_and_query = Some(target);
    // what had a target has parts that go with one
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// Writes to `S` what is due where its stand-ins are.
pub struct HeadInjector<S> {
    inner: S,
    due: PendingSecrets,
    /// A head with its secrets of which this much is not written yet.
    left: Option<(Plaintext, usize)>,
}

impl<S> HeadInjector<S> {
    /// Writes to `inner`; `due` is shared with whoever hands heads to the HTTP library.
    pub fn new(inner: S, due: PendingSecrets) -> Self {
        Self { inner, due, left: None }
    }
}

impl<S: AsyncWrite + Unpin> HeadInjector<S> {
    /// Writes what is left of a head.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((head, written)) = &mut self.left {
            let rest = head.expose().get(*written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => *written += n,
            }
        }
        self.left = None;
        Poll::Ready(Ok(()))
    }

    /// The head with what is due in it, if anything is. It comes whole and first, since nothing else is written before.
    fn filled(&self, head: &[u8]) -> io::Result<Option<Plaintext>> {
        let mut standing = self.due.lock();
        if standing.kept.is_empty() {
            return Ok(None);
        }
        let filled = standing.fill(head);
        standing.kept.clear();
        filled.map(Some).ok_or_else(|| io::Error::other("a request's head was not written whole"))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadInjector<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_left(cx))?;
        let first = bufs.iter().position(|buf| !buf.is_empty()).unwrap_or(bufs.len());
        let Some((head, after)) = bufs.get(first..).and_then(<[_]>::split_first) else { return Poll::Ready(Ok(0)) };
        let Some(whole) = self.filled(head)? else {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        };
        let written = if after.iter().all(|buf| buf.is_empty()) {
            Pin::new(&mut self.inner).poll_write(cx, whole.expose())
        } else {
            let whole = std::iter::once(IoSlice::new(whole.expose()));
            let all: Vec<IoSlice> = whole.chain(after.iter().copied()).collect();
            Pin::new(&mut self.inner).poll_write_vectored(cx, &all)
        };
        let written = match written {
            Poll::Ready(written) => written?,
            // the head is ours now, and the next call goes on with it
            Poll::Pending => 0,
        };
        match written.checked_sub(whole.expose().len()) {
            Some(beyond) => Poll::Ready(Ok(head.len() + beyond)),
            None => {
                self.left = Some((whole, written));
                Poll::Ready(Ok(head.len()))
            }
        }
    }

    delegate_async_write!(inner: is_write_vectored);

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_left(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_left(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadInjector<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.due.0.is_heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A stream that takes a few bytes at a time, and sometimes none.
    #[derive(Default)]
    struct Slow {
        takes: Vec<usize>,
        calls: usize,
        got: Vec<u8>,
    }

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let most = self.takes.get(self.calls).copied().unwrap_or(usize::MAX);
            self.calls += 1;
            if most == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(most).collect();
            self.got.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    const TARGET: &str = "/v1?key=q-secret";

    fn request() -> Request<()> {
        let secret = |text: &'static str| {
            let mut value = HeaderValue::from_static(text);
            value.set_sensitive(true);
            value
        };
        let request =
            Request::get(TARGET).header("authorization", secret("Bearer sk-secret")).header("x-plain", "seen");
        let request = request.header("x-two", secret("one-secret")).header("x-two", secret("two-secret"));
        let carries = CarriesKey {
            peer: AllowedPeer::Any,
            in_target: true,
            may_go: Arc::new(|| true),
            may_have_left: Arc::default(),
        };
        request.extension(carries).body(()).unwrap()
    }

    fn head(request: &Request<()>) -> Vec<u8> {
        let mut out = format!("GET {} HTTP/1.1\r\n", request.uri()).into_bytes();
        for (name, value) in request.headers() {
            out.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        [out, b"\r\n".to_vec()].concat()
    }

    /// As hyper writes: head and body together, again from where it was taken, then a flush.
    fn written(takes: Vec<usize>, due: PendingSecrets, head: &[u8], body: &[u8]) -> io::Result<Vec<u8>> {
        use std::future::poll_fn;
        let mut late = HeadInjector::new(Slow { takes, ..Slow::default() }, due);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(async {
            let (mut head, mut body) = (head, body);
            while !head.is_empty() || !body.is_empty() {
                let bufs = [IoSlice::new(head), IoSlice::new(body)];
                let bufs = if head.is_empty() { &bufs[1..] } else { &bufs[..] };
                let n = poll_fn(|cx| Pin::new(&mut late).poll_write_vectored(cx, bufs)).await?;
                let of_head = n.min(head.len());
                (head, body) = (&head[of_head..], &body[n - of_head..]);
            }
            poll_fn(|cx| Pin::new(&mut late).poll_flush(cx)).await?;
            Ok(late.inner.got)
        })
    }

    #[test]
    fn a_head_that_is_not_sent_has_its_secrets_again() {
        let due = PendingSecrets::new().unwrap();
        let (before, mut request) = (head(&request()), request());
        due.keep_back(&mut request);
        let kept_back = head(&request);
        assert!(memchr::memmem::find(&kept_back, b"secret").is_none(), "{}", String::from_utf8_lossy(&kept_back));
        assert!(memchr::memmem::find(&kept_back, b"seen").is_some());
        due.give_back(&mut request);
        assert_eq!(head(&request), before);
        assert!(request.headers()["x-two"].is_sensitive());
    }

    #[test]
    fn a_head_that_came_in_two_parts_is_not_sent() {
        let due = PendingSecrets::new().unwrap();
        let mut request = request();
        due.keep_back(&mut request);
        let head = head(&request);
        assert!(written(vec![], due, &head[..head.len() / 2], b"").is_err());
    }

    #[test]
    fn without_a_secret_all_passes_as_it_is() {
        let due = PendingSecrets::new().unwrap();
        let mut plain = Request::get("/").header("authorization", "Bearer mine").body(()).unwrap();
        due.keep_back(&mut plain);
        assert_eq!(plain.headers()["authorization"], "Bearer mine");
        assert_eq!(
            written(vec![3, 0, 2], due, &head(&plain), b"body").unwrap(),
            [head(&plain), b"body".to_vec()].concat()
        );
    }

    proptest! {
        /// However little is taken at a time, what arrives is the head with its secrets, then the body.
        #[test]
        fn what_arrives_is_what_was_kept_back(takes in proptest::collection::vec(0_usize..40, 0..30), body in "[a-z]{0,40}") {
            let due = PendingSecrets::new().unwrap();
            let (whole, mut request) = (head(&request()), request());
            due.keep_back(&mut request);
            let got = written(takes, due, &head(&request), body.as_bytes()).unwrap();
            prop_assert_eq!(got, [&whole[..], body.as_bytes()].concat());
        }
    }
}
