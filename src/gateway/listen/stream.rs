//! The socket under a connection: counts, takes turns, and closes so that the peer sees the answer.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::server::TlsStream;

use super::{
    connection::{Answer, Connection},
    frames::{Frames, PREFACE},
    gate::Cut,
    limits::Config,
};

/// TCP, or TLS over it.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why nobody knows what a connection would have spoken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Silence {
    /// The peer went, as health checks do.
    Closed,
    Cut(Cut),
}

/// A transport that keeps its connection's meter.
#[derive(Debug)]
pub(super) struct Socket {
    transport: Transport,
    /// What was read and not handed on yet: to tell HTTP/1.1 from HTTP/2, or with the request before.
    held: BytesMut,
    connection: Rc<Connection>,
    config: Rc<Config>,
    inbound: Frames,
    outbound: Frames,
    is_shut: bool,
}

/// A socket lent to hyper, and ours again when hyper is done with it.
#[derive(Clone, Debug)]
pub(super) struct Shared(Rc<RefCell<Socket>>);

/// What fits hyper's own first read.
const PREFIX_BYTES: usize = 8 << 10;

// === impl Transport ===

impl Transport {
    /// Reads until the first bytes tell HTTP/2 from HTTP/1.1; the bytes come along.
    pub(super) async fn sniff(
        &mut self,
        first_byte_by: Instant,
        config: &Config,
    ) -> Result<(bool, BytesMut), Silence> {
        let mut prefix = BytesMut::new();
        let mut deadline = first_byte_by;
        while prefix.len() < PREFACE.len() && PREFACE.starts_with(&prefix) {
            let had_none = prefix.is_empty();
            match timeout_at(deadline, self.read_some(&mut prefix)).await {
                Ok(Ok(count)) if count > 0 => {}
                Ok(_) => return Err(Silence::Closed),
                Err(_) if had_none => return Err(Silence::Cut(Cut::FirstByte)),
                Err(_) => return Err(Silence::Cut(Cut::Headers)),
            }
            if had_none {
                deadline = Instant::now() + config.headers_timeout;
            }
        }
        Ok((prefix.starts_with(PREFACE), prefix))
    }

    async fn read_some(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        if let Self::Plain(stream) = self {
            // No buffer for a peer that says nothing.
            stream.readable().await?;
        }
        into.reserve(PREFIX_BYTES);
        self.read_buf(into).await
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

// === impl Socket ===

impl Socket {
    /// Reads from the transport, or from what is held.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if !self.held.is_empty() {
            let count = self.held.len().min(buffer.remaining());
            buffer.put_slice(&self.held[..count]);
            let passed = self.look(&buffer.filled()[before..]);
            buffer.set_filled(before + passed);
            self.held.advance(passed);
            if self.held.is_empty() {
                self.held = BytesMut::new();
            }
            return Poll::Ready(not_broken(passed));
        }
        let read = ready!(Pin::new(&mut self.transport).poll_read(cx, buffer));
        let meter = &self.connection.meter;
        if let Err(error) = read {
            meter.is_broken.set(true);
            return Poll::Ready(Err(error));
        }
        let count = buffer.filled().len() - before;
        meter.read.set(meter.read.get() + count as u64);
        let turn = &meter.turn;
        turn.budget.set(turn.budget.get().saturating_sub(count));
        turn.has_more.set(buffer.remaining() == 0);
        if count == 0 {
            meter.is_eof.set(true);
            return Poll::Ready(Ok(()));
        }
        let passed = self.look(&buffer.filled()[before..]);
        // The next request, sent without waiting for this one's answer.
        self.held
            .extend_from_slice(&buffer.filled()[before + passed..]);
        buffer.set_filled(before + passed);
        Poll::Ready(not_broken(passed))
    }

    /// Looks at what is to be handed on; gives how much of it may be.
    fn look(&mut self, bytes: &[u8]) -> usize {
        let meter = &self.connection.meter;
        let now = meter.turn.now.get();
        let since = Some(meter.head_since.get().unwrap_or(now));
        if !self.connection.is_h2 {
            let mut messages = meter.messages.borrow_mut();
            if messages.is_in_head() {
                meter.head_since.set(since);
            }
            return messages.pass(bytes);
        }
        let whole = self.inbound.whole();
        let seen = self.inbound.feed(bytes);
        meter.count(seen, self.config.control_window);
        let since = if self.inbound.whole() > whole {
            Some(now)
        } else {
            since
        };
        let is_waiting = self.inbound.is_waiting();
        meter.head_since.set(since.filter(|_| is_waiting));
        bytes.len()
    }

    /// Keeps an answer of hyper's own from the wire: it refuses a head that it can't read, with a bare status.
    fn holds_back(&self, bytes: &[u8]) -> bool {
        let meter = &self.connection.meter;
        if self.connection.is_h2 || meter.messages.borrow().is_begun() {
            return false;
        }
        if meter.unreadable.get().is_none() {
            let why = match bytes.get(9..12) {
                Some(b"431") => "the head is too long or has too many headers",
                Some(b"414") => "the request target is too long",
                _ => "the head is malformed",
            };
            meter.unreadable.set(Some(why));
        }
        true
    }

    /// Looks at what became of a write.
    fn account_write<'b>(
        &mut self,
        outcome: Poll<io::Result<usize>>,
        slices: impl Iterator<Item = &'b [u8]>,
    ) -> Poll<io::Result<usize>> {
        let meter = &self.connection.meter;
        match &outcome {
            Poll::Pending => {
                if meter.write_blocked_since.get().is_none() {
                    meter.write_blocked_since.set(Some(meter.turn.now.get()));
                }
            }
            Poll::Ready(Ok(written)) => {
                meter.written.set(meter.written.get() + *written as u64);
                meter.write_blocked_since.set(None);
                if meter.turn.answer.replace(Answer::None) != Answer::None {
                    meter.read_before_answer.set(meter.read.get());
                }
                if self.connection.is_h2 {
                    let mut left = *written;
                    for slice in slices {
                        let taken = left.min(slice.len());
                        let resets = self.outbound.feed(&slice[..taken]).resets;
                        meter.count_our_resets(resets, self.config.control_window);
                        left -= taken;
                    }
                }
            }
            Poll::Ready(Err(_)) => meter.is_broken.set(true),
        }
        outcome
    }
}

/// To read nothing would be the end.
fn not_broken(passed: usize) -> io::Result<()> {
    if passed == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a chunked body that can be read two ways",
        ));
    }
    Ok(())
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(
        transport: Transport,
        prefix: BytesMut,
        connection: Rc<Connection>,
        config: Rc<Config>,
    ) -> Self {
        connection.meter.read.set(prefix.len() as u64);
        Self(Rc::new(RefCell::new(Socket {
            transport,
            held: prefix,
            connection,
            config,
            inbound: Frames::inbound(),
            outbound: Frames::outbound(),
            is_shut: false,
        })))
    }

    /// If hyper has given up a head that it can't read: another that can be read, and that knocks at the same door, comes
    /// next, so that its sender is refused in its own protocol.
    pub(super) fn replaces_head(&self) -> bool {
        let mut socket = self.0.borrow_mut();
        let meter = &socket.connection.meter;
        if meter.unreadable.get().is_none() || meter.is_broken.get() {
            return false;
        }
        let head = meter.messages.borrow_mut().replace();
        socket.held = BytesMut::from(&head[..]);
        true
    }

    /// Half-closes, then throws away what the peer still sends for a while: closing at once would make the kernel send
    /// a reset, which can destroy the answer before the peer has read it.
    pub(super) async fn linger(self) {
        let Ok(mut socket) = Rc::try_unwrap(self.0).map(RefCell::into_inner) else {
            return;
        };
        let meter = &socket.connection.meter;
        if meter.is_broken.get() {
            return;
        }
        let is_eof = meter.is_eof.get();
        let (time, bytes_max) = (socket.config.linger_timeout, socket.config.linger_bytes_max);
        let close = async {
            if !socket.is_shut {
                socket.transport.shutdown().await?;
            }
            let mut discarded = 0;
            let mut scratch = Vec::with_capacity(PREFIX_BYTES);
            while !is_eof && discarded < bytes_max {
                scratch.clear();
                match socket.transport.read_buf(&mut scratch).await? {
                    0 => break,
                    count => discarded += count as u64,
                }
            }
            io::Result::Ok(())
        };
        // Nobody is left to tell of an error.
        let _ = timeout(time, close).await;
    }
}

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut socket = self.0.borrow_mut();
        let meter = &socket.connection.meter;
        if !socket.connection.is_h2 && meter.messages.borrow_mut().must_wait() {
            // The driver wakes the task when the answer has gone out.
            return Poll::Pending;
        }
        if !meter.turn.may_read() {
            // The driver wakes the task when its turn is over.
            return Poll::Pending;
        }
        socket.poll_fill(cx, buffer)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.borrow_mut();
        if socket.holds_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut socket.transport).poll_write(cx, bytes);
        socket.account_write(outcome, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.borrow_mut();
        if socket.holds_back(slices.first().map_or(&[], |slice| slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let outcome = Pin::new(&mut socket.transport).poll_write_vectored(cx, slices);
        socket.account_write(outcome, slices.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.0.borrow_mut();
        ready!(Pin::new(&mut socket.transport).poll_flush(cx))?;
        socket.connection.meter.messages.borrow_mut().flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.0.borrow_mut();
        let meter = &socket.connection.meter;
        if meter.unreadable.get().is_some() && !meter.messages.borrow().is_begun() {
            // It still has to be answered.
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut socket.transport).poll_shutdown(cx))?;
        socket.is_shut = true;
        Poll::Ready(Ok(()))
    }
}
