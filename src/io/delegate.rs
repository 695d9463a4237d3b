//! The part of a stream wrapper's write half that only passes on to the stream inside.

/// Methods of [`AsyncWrite`](tokio::io::AsyncWrite) that pass on to a field: named inside the `impl`, as in
/// `delegate_async_write!(inner: poll_write, poll_flush);`. A wrapper writes out those where it adds something.
macro_rules! delegate_async_write {
    ($field:ident: $($method:ident),+) => {
        $($crate::io::delegate::delegate_async_write!(@$method $field);)+
    };
    (@poll_write $field:ident) => {
        fn poll_write(
            mut self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
            buf: &[u8],
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            ::std::pin::Pin::new(&mut self.$field).poll_write(cx, buf)
        }
    };
    (@poll_write_vectored $field:ident) => {
        fn poll_write_vectored(
            mut self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
            bufs: &[::std::io::IoSlice<'_>],
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            ::std::pin::Pin::new(&mut self.$field).poll_write_vectored(cx, bufs)
        }
    };
    (@is_write_vectored $field:ident) => {
        fn is_write_vectored(&self) -> bool {
            self.$field.is_write_vectored()
        }
    };
    (@$poll:ident $field:ident) => {
        fn $poll(
            mut self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
        ) -> ::std::task::Poll<::std::io::Result<()>> {
            ::std::pin::Pin::new(&mut self.$field).$poll(cx)
        }
    };
}

pub(crate) use delegate_async_write;
