//! Binding the address that clients of a directory come to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::directory::{Directory, Identity};
use crate::endpoint::ServeError;
use crate::limits;
use crate::lock::Use;

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    pub(crate) address: IpAddr,
    /// The port that was asked for.
    pub(crate) port: Option<u16>,
}

impl Listen {
    /// Binds the port that was asked for or is remembered. A remembered one changes only while nobody counts on it.
    pub(crate) fn bind(
        self,
        directory: &Directory,
        identity: &Identity,
    ) -> Result<TcpListener, ServeError> {
        let Some(port) = self.port.or(identity.port) else {
            return bind_any(self.address);
        };
        let data_dir = || directory.root().to_owned();
        let is_used = || Use::any(directory);
        if identity.port.is_some_and(|remembered| remembered != port) && is_used()? {
            return Err(ServeError::PortUsed {
                port: identity.port.unwrap_or(port),
                data_dir: data_dir(),
            });
        }
        match bind_again(self.address, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if self.port.is_some() || is_used()? {
                    return Err(ServeError::PortTaken {
                        port,
                        data_dir: data_dir(),
                    });
                }
                tracing::warn!(
                    port,
                    "the remembered port is in use by another program, choosing another"
                );
                bind_any(self.address)
            }
            result => result.map_err(ServeError::NoPort),
        }
    }
}

/// Where a client on this machine reaches the listener: one that listens at all addresses is at loopback too.
pub(crate) fn reachable(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    let mut address = listener.local_addr().map_err(ServeError::NoPort)?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

/// Binds some port below the range that systems give out by themselves, so that no passing connection sits on it at a restart.
fn bind_any(address: IpAddr) -> Result<TcpListener, ServeError> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..limits::PORT_TRIES {
        let mut random = [0; 2];
        getrandom::fill(&mut random)
            .map_err(|error| ServeError::NoPort(io::Error::other(error.to_string())))?;
        let port = PORTS_FROM + u16::from_le_bytes(random) % PORTS;
        match TcpListener::bind((address, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(ServeError::NoPort(last))
}

/// Ports to choose from when none is remembered.
const PORTS_FROM: u16 = 20_000;
const PORTS: u16 = 12_000;

/// Tries for a while: the last holder's socket may close a moment after its lock.
fn bind_again(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let deadline = Instant::now() + limits::BIND_WAIT;
    loop {
        match TcpListener::bind((address, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::park_timeout(BIND_PAUSE);
            }
            result => return result,
        }
    }
}

/// Between two tries to bind.
const BIND_PAUSE: Duration = Duration::from_millis(5);
