//! The connection's reads, writes and waits, each cancel-safe.
//!
//! A connection that waits holds no buffer: reads go through one buffer per worker thread.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

/// What one read takes at most: little enough that many publishers and their receivers take fair turns.
const READ_BYTES: usize = 8 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Appends what the socket has to `input`; 0 is the end of the stream.
pub(super) async fn read_some(reader: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut buffer))?;
            input.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    })
    .await
}

/// Writes part of `output` and removes it. When all is written it is flushed, so that TLS keeps nothing back;
/// `flushing` stays set until then.
pub(super) async fn write_some(
    writer: &mut (impl AsyncWrite + Unpin),
    output: &mut BytesMut,
    flushing: &mut bool,
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut written = 0;
        while !output.is_empty() {
            match Pin::new(&mut *writer).poll_write(cx, output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    output.advance(count);
                    *flushing = true;
                    written += count;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if written > 0 => return Poll::Ready(Ok(written)),
                Poll::Pending => return Poll::Pending,
            }
        }
        match Pin::new(&mut *writer).poll_flush(cx) {
            Poll::Ready(flushed) => {
                *flushing = false;
                Poll::Ready(flushed.map(|()| written))
            }
            Poll::Pending if written > 0 => Poll::Ready(Ok(written)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The task's result; forgets the task when it is done.
pub(super) async fn joined<T: Default>(task: &mut Option<JoinHandle<T>>) -> T {
    let Some(handle) = task else { return std::future::pending().await };
    let result = handle.await;
    *task = None;
    result.unwrap_or_default()
}
