//! What hiding keys costs: opening one, keeping one back from a head, wiping what is freed. Each beside the same without it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a bench that can't run ends by a panic")]

use divan::{Bencher, black_box};
use http::{HeaderValue, Request};
use locum::memory::{Plaintext, Sealed, WipingAllocator, wipe_stack};
use locum::upstream::head_injection::{HeadInjector, PendingSecrets};
use std::alloc::{GlobalAlloc, Layout, System};
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

fn main() {
    divan::main();
}

const KEY: &[u8] = b"sk-ant-api03-q8Zt2LwXv7RkYb5NcM1dJhGfPs9UaEi3oTzQxWnBrVyKlC4mD6";

/// A key as most are, which lies in secret memory where the system has it.
#[divan::bench]
fn open_and_wipe_a_short_key(bencher: Bencher) {
    let sealed = Sealed::seal(Plaintext::new(KEY.to_vec()));
    bencher.bench(|| sealed.open().unwrap());
}

/// One that is encrypted.
#[divan::bench]
fn open_and_wipe_a_long_key(bencher: Bencher) {
    let sealed = Sealed::seal(Plaintext::new(KEY.repeat(50)));
    bencher.bench(|| sealed.open().unwrap());
}

#[divan::bench]
fn off_copy_a_short_key(bencher: Bencher) {
    bencher.bench(|| black_box(KEY).to_vec());
}

#[divan::bench]
fn wipe_the_stack() {
    wipe_stack();
}

/// Every buffer that a request needs costs this once.
#[divan::bench(args = [64, 1024, 8192, 65_536])]
fn allocate_fill_and_free_wiped(size: usize) {
    allocate(&WipingAllocator, size);
}

#[divan::bench(args = [64, 1024, 8192, 65_536])]
fn off_allocate_fill_and_free(size: usize) {
    allocate(&System, size);
}

#[allow(unsafe_code, reason = "allocators are unsafe by their trait")]
fn allocate(allocator: &impl GlobalAlloc, size: usize) {
    let layout = Layout::from_size_align(size, 8).unwrap();
    // SAFETY: a block of this layout, written within its size and given back with the same layout.
    unsafe {
        let block = allocator.alloc(layout);
        block.write_bytes(black_box(7), size);
        allocator.dealloc(black_box(block), layout);
    }
}

/// Where all that is written goes.
struct Nowhere;

impl AsyncWrite for Nowhere {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(black_box(buf).len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(black_box(bufs).iter().map(|buf| buf.len()).sum()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A head of half a kilobyte, with a key kept back and put in again, and without.
#[divan::bench(args = [true, false])]
fn write_a_head(bencher: Bencher, with_key: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let due = PendingSecrets::new().unwrap();
    let mut late = HeadInjector::new(Nowhere, due.clone());
    let mut head = vec![b'x'; 512];
    bencher.bench_local(|| {
        let mut value = HeaderValue::from_bytes(KEY).unwrap();
        value.set_sensitive(with_key);
        let mut request = Request::get("/v1/messages").header("x-api-key", value).body(()).unwrap();
        due.keep_back(&mut request);
        let shown = request.headers()["x-api-key"].as_bytes();
        head[100..100 + shown.len()].copy_from_slice(shown);
        let bufs = [IoSlice::new(&head)];
        runtime.block_on(poll_fn(|cx| Pin::new(&mut late).poll_write_vectored(cx, &bufs))).unwrap()
    });
}
