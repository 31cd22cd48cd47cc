//! A connection that is cut if whoever is at its other end reads too slowly: it holds a place
//! that others wait for.

use core::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use std::io;

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Bytes that earn a second more.
const A_SECOND: u64 = 16 << 10;

/// Counts how long writes had to wait. What was read earns time, so that the bound is on the
/// mean rate and a reader who takes a byte now and then is cut too.
pub struct Paced<S> {
    stream: S,
    /// How long writing may have to wait, whatever was read.
    grace: Duration,
    /// Time that is left to wait.
    left: Duration,
    /// Bytes that have not earned anything yet.
    unpaid: u64,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Paced<S> {
    pub const fn new(stream: S, grace: Duration) -> Self {
        Self {
            stream,
            grace,
            left: grace,
            unpaid: 0,
            waiting: None,
        }
    }

    fn wrote(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.unpaid = self
            .unpaid
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let earned = Duration::from_secs(self.unpaid / A_SECOND);
        self.unpaid %= A_SECOND;
        // What was earned long ago is not saved up.
        self.left = self.left.saturating_add(earned).min(self.grace);
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = self.left;
        let (_, sleep) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + left)))
        });
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn paced(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(bytes)) => {
                self.wrote(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait(context),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.paced(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.paced(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_reads_a_byte_now_and_then_is_cut_and_who_reads_on_is_not() {
        for (pause, chunk, cut) in [
            (900, 1, true),
            (900, 16 << 10, false),
            (100, 2 << 10, false),
        ] {
            let (here, mut there) = duplex(16 << 10);
            let reading = tokio::spawn(async move {
                let mut buffer = vec![0; chunk];
                while there.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            });
            let mut paced = Paced::new(here, Duration::from_secs(10));
            let outcome = paced.write_all(&vec![7; 512 << 10]).await;
            assert_eq!(outcome.is_err(), cut, "{pause} ms, {chunk} bytes");
            drop(paced);
            reading.await.unwrap();
        }
    }
}
