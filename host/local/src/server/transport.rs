//! A connection's bytes, in clear or through TLS. Its first byte tells which, so that one port serves both, and the
//! processes that share a directory find its holder whatever clients use.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::limits;

/// The type of TLS's first record. No method of HTTP begins with it.
const HANDSHAKE: u8 = 22;

pub(super) enum Transport {
    /// Nothing was read yet. The socket is there until it goes on into another state.
    Fresh {
        stream: Option<TcpStream>,
        tls: TlsAcceptor,
    },
    Clear(TcpStream),
    Shaking {
        accept: Box<Accept<TcpStream>>,
        deadline: Pin<Box<Sleep>>,
    },
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    pub(super) fn new(stream: TcpStream, tls: Option<TlsAcceptor>) -> Self {
        match tls {
            Some(tls) => Self::Fresh {
                stream: Some(stream),
                tls,
            },
            None => Self::Clear(stream),
        }
    }

    /// The socket below.
    pub(super) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Fresh { stream, .. } => stream.as_ref(),
            Self::Clear(stream) => Some(stream),
            Self::Shaking { accept, .. } => accept.get_ref(),
            Self::Tls(stream) => Some(stream.get_ref().0),
        }
    }

    /// Until it is known what the client speaks, and its handshake is done.
    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self {
                Self::Clear(_) | Self::Tls(_) => return Poll::Ready(Ok(())),
                Self::Fresh { stream, tls } => {
                    let socket = stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
                    let mut first = [0];
                    let read = ready!(socket.poll_peek(cx, &mut ReadBuf::new(&mut first)))?;
                    let socket = stream.take().ok_or(io::ErrorKind::NotConnected)?;
                    *self = if read == 1 && first == [HANDSHAKE] {
                        Self::Shaking {
                            accept: Box::new(tls.accept(socket)),
                            deadline: Box::pin(tokio::time::sleep(limits::HANDSHAKE_WAIT)),
                        }
                    } else {
                        Self::Clear(socket)
                    };
                }
                Self::Shaking { accept, deadline } => {
                    if deadline.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    let stream = ready!(Pin::new(accept.as_mut()).poll(cx))?;
                    *self = Self::Tls(Box::new(stream));
                }
            }
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_settled(cx))?;
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Fresh { .. } | Self::Shaking { .. } => unsettled(),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_settled(cx))?;
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::Fresh { .. } | Self::Shaking { .. } => unsettled(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Fresh { .. } | Self::Shaking { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            // Nothing was said yet: the drop is the end.
            Self::Fresh { .. } | Self::Shaking { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_settled(cx))?;
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
            Self::Fresh { .. } | Self::Shaking { .. } => unsettled(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Fresh { .. } | Self::Shaking { .. } => false,
        }
    }
}

fn unsettled<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}
