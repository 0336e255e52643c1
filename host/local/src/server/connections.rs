//! The listening socket, with a bound on the connections it gives out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::idle::{Patience, UnderWay, Watch};
use super::inject::Reset;
use super::parting::{Http2, Parting};
use super::transport::Transport;
use crate::limits;

/// Accepts while fewer than `limits::CONNECTIONS` are open.
pub(super) struct Connections {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    permits: Arc<Semaphore>,
    patience: Patience,
    stopping: watch::Receiver<bool>,
}

impl Connections {
    pub(super) fn new(
        listener: std::net::TcpListener,
        tls: Option<Arc<ServerConfig>>,
        patience: Patience,
        stopping: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self {
            listener,
            tls: tls.map(TlsAcceptor::from),
            permits: Arc::new(Semaphore::new(limits::CONNECTIONS)),
            patience,
            stopping,
        })
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Never closed, so that a permit always comes.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        // Waits out an exhausted table of file descriptors.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers may be delayed");
        }
        (
            Connection {
                stream: Transport::new(stream, self.tls.clone()),
                reset: Reset::default(),
                watch: Watch::new(self.patience),
                parting: Parting::new(self.stopping.clone()),
                _permit: permit,
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What a request knows of its connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// Where it came to.
    pub(super) local: Option<SocketAddr>,
    pub(super) reset: Reset,
    pub(super) under_way: UnderWay,
    pub(super) http2: Http2,
}

impl Peer {
    /// Whether it is a process of this machine: it came from loopback, or from the very address that it came to.
    pub(super) fn is_on_this_machine(&self) -> bool {
        let from = self.address.ip().to_canonical();
        let is_own = |local: SocketAddr| local.ip().to_canonical() == from;
        from.is_loopback() || self.local.is_some_and(is_own)
    }
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self {
            address: *stream.remote_addr(),
            local: stream
                .io()
                .stream
                .socket()
                .and_then(|s| s.local_addr().ok()),
            reset: stream.io().reset.clone(),
            under_way: stream.io().watch.under_way(),
            http2: stream.io().parting.http2(),
        }
    }
}

/// A connection and its permit.
pub(super) struct Connection {
    stream: Transport,
    reset: Reset,
    watch: Watch,
    parting: Parting,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Fails once the connection is to be reset.
    fn check(&self) -> io::Result<()> {
        if self.reset.is_due() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.watch.has_moved();
        }
        written
    }

    /// Until the client has closed, has been silent for too long, or is not to be waited for. What it still says is of no interest.
    fn poll_parted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut said = [0; 512];
        while !self.reset.is_due() && self.parting.poll_over(cx).is_pending() {
            let mut said = ReadBuf::new(&mut said);
            let read = ready!(Pin::new(&mut *self).poll_read(cx, &mut said));
            if read.is_err() || said.filled().is_empty() {
                self.parting.end();
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without it a close would be an orderly end.
        if self.reset.is_due()
            && let Some(socket) = self.stream.socket()
            && let Err(error) = socket.set_zero_linger()
        {
            tracing::debug!(%error, "closed rather than reset");
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.watch.poll_silence(cx),
            ready @ Poll::Ready(_) => {
                self.watch.has_moved();
                ready
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_parted(cx));
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_millis(50),
        idle: Duration::from_millis(200),
    };

    /// Both ends of a connection.
    async fn connect(tls: Option<Arc<ServerConfig>>) -> (Connection, TcpStream) {
        connect_until(watch::channel(false).1, tls).await
    }

    async fn connect_until(
        stopping: watch::Receiver<bool>,
        tls: Option<Arc<ServerConfig>>,
    ) -> (Connection, TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connections = Connections::new(listener, tls, PATIENCE, stopping).unwrap();
        let address = connections.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        (connections.accept().await.0, client)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn a_connection_that_says_nothing_is_given_up() {
        run(async {
            let (mut connection, _client) = connect(None).await;
            let error = connection.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);

            let (mut connection, mut client) = connect(None).await;
            client.write_all(b"ab").await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'a');
            let begun = tokio::time::Instant::now();
            assert_eq!(connection.read_u8().await.unwrap(), b'b');
            let error = connection.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(begun.elapsed() >= PATIENCE.idle);
        });
    }

    #[test]
    fn a_connection_is_kept_while_a_request_is_under_way_however_long_that_takes() {
        run(async {
            let (mut connection, mut client) = connect(None).await;
            client.write_all(b"a").await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'a');
            let busy = connection.watch.under_way().begin();
            let silent = tokio::time::timeout(3 * PATIENCE.idle, connection.read_u8()).await;
            assert!(silent.is_err(), "{silent:?}");
            drop(busy);
            let error = connection.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_connection_over_http_2_is_its_clients_to_close_until_the_client_is_silent_or_the_endpoint_stops()
     {
        let soon = PATIENCE.idle / 2;
        run(async {
            let (stop, stopping) = watch::channel(false);
            // The last one of HTTP/1.1 is ended at once.
            let (mut connection, mut client) = connect_until(stopping.clone(), None).await;
            client.write_all(b"a").await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'a');
            let ended = tokio::time::timeout(soon, connection.shutdown()).await;
            assert!(ended.is_ok(), "over HTTP/1.1");

            let (mut connection, mut client) = connect_until(stopping.clone(), None).await;
            client.write_all(b"ab").await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'a');
            connection.parting.http2().is_spoken();
            let open = tokio::time::timeout(soon, connection.shutdown()).await;
            assert!(open.is_err(), "while its client has it open");
            client.shutdown().await.unwrap();
            let ended = tokio::time::timeout(soon, connection.shutdown()).await;
            assert!(ended.is_ok(), "once its client has closed it");
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);

            let (mut connection, mut client) = connect_until(stopping.clone(), None).await;
            client.write_all(b"a").await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'a');
            connection.parting.http2().is_spoken();
            let open = tokio::time::timeout(soon, connection.shutdown()).await;
            assert!(open.is_err(), "while its client may still say something");
            let ended = tokio::time::timeout(PATIENCE.idle, connection.shutdown()).await;
            assert!(ended.is_ok(), "once its client was silent for long");

            let (mut connection, mut client) = connect_until(stopping, None).await;
            client.write_all(b"a").await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'a');
            connection.parting.http2().is_spoken();
            let (ended, ()) =
                tokio::join!(tokio::time::timeout(soon, connection.shutdown()), async {
                    stop.send(true).unwrap();
                },);
            assert!(ended.is_ok(), "once the endpoint stops");
        });
    }

    #[test]
    fn this_machine_is_whoever_comes_from_loopback_or_from_the_address_that_it_comes_to() {
        for (from, to, is_here) in [
            ("127.0.0.1:5", "127.0.0.1:80", true),
            ("[::1]:5", "[::1]:80", true),
            ("[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:80", true),
            ("192.168.1.7:5", "192.168.1.7:80", true),
            ("[::ffff:192.168.1.7]:5", "192.168.1.7:80", true),
            ("192.168.1.8:5", "192.168.1.7:80", false),
            ("[fe80::1]:5", "[fe80::2]:80", false),
        ] {
            let peer = Peer {
                address: from.parse().unwrap(),
                local: to.parse().ok(),
                reset: Reset::default(),
                under_way: UnderWay::default(),
                http2: Http2::default(),
            };
            assert_eq!(peer.is_on_this_machine(), is_here, "{from} at {to}");
        }
    }
}
