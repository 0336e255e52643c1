//! Serving a data directory from this process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::sync::watch;

use crate::bind;
use crate::clock::{Clock, Millis};
use crate::directory::{Directory, DirectoryError, Identity};
use crate::faults::{FaultPlan, Faults};
use crate::limits;
use crate::lock::{Holder, Lock, holder};
use crate::operations::Service;
use crate::server::{self, App};
use crate::service_limits::ServiceLimits;
use crate::store::Store;
use crate::subscriptions::Subscriptions;
use crate::throughput::Limiter;
use crate::tls::Certificate;

/// What an acknowledged put survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// The death of the process: the write has reached the operating system.
    #[default]
    Process,
    /// Loss of power: the write has reached the disk.
    Full,
}

/// How to serve a data directory.
#[derive(Clone, Debug)]
pub struct Endpoint {
    data_dir: PathBuf,
    listen: IpAddr,
    port: Option<u16>,
    certificate: Option<Certificate>,
    sync: SyncMode,
    limits: ServiceLimits,
    faults: FaultPlan,
}

/// Why a directory cannot be served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Another process (or another part of this one) serves it.
    #[error("{data_dir} is served by process {} at {}", .holder.1, .holder.0)]
    Held {
        /// The directory.
        data_dir: PathBuf,
        /// The holder's address and process id.
        holder: (SocketAddr, u32),
    },
    /// Another process serves it and has not said where yet.
    #[error("{data_dir} is being taken by another process")]
    HeldUnnamed {
        /// The directory.
        data_dir: PathBuf,
    },
    /// The port is in use by something that is not an endpoint of this directory.
    #[error(
        "port {port} of {data_dir} is in use by another program; stop it, or choose another with --port"
    )]
    PortTaken {
        /// The port that was asked for, or is remembered.
        port: u16,
        /// The directory.
        data_dir: PathBuf,
    },
    /// Others are attached and count on the directory's port.
    #[error(
        "other processes use {data_dir} at port {port}; choose another port when they have ended"
    )]
    PortUsed {
        /// The port they use.
        port: u16,
        /// The directory.
        data_dir: PathBuf,
    },
    /// No port could be bound.
    #[error("no port can be bound: {0}")]
    NoPort(io::Error),
    /// The certificate cannot be read, made or used.
    #[error("{path}: {reason}")]
    Certificate {
        /// The certificate or its key.
        path: PathBuf,
        /// What is wrong with it.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The directory itself cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The streams' database cannot be used.
    #[error("{path}: {reason}")]
    Streams {
        /// The database.
        path: PathBuf,
        /// What it said.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tables' database cannot be used.
    #[error("{path}: {reason}")]
    Tables {
        /// The database.
        path: PathBuf,
        /// What it said.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A thread or its runtime could not be started.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

impl Endpoint {
    /// Of that directory, which is made if it is not there; on loopback, at the port it remembers, without a certificate;
    /// `SyncMode::Process`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: Ipv4Addr::LOCALHOST.into(),
            port: None,
            certificate: None,
            sync: SyncMode::default(),
            limits: ServiceLimits::DEFAULT,
            faults: FaultPlan::default(),
        }
    }

    /// On this port, which the directory remembers from then on.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self {
            port: Some(port),
            ..self
        }
    }

    /// At this address rather than at loopback. Nobody is authenticated: whoever reaches it can read and change everything.
    #[must_use]
    pub fn listen(self, address: IpAddr) -> Self {
        Self {
            listen: address,
            ..self
        }
    }

    /// With this certificate for clients that come with TLS. Those that come without are served as well.
    #[must_use]
    pub fn certificate(self, certificate: Certificate) -> Self {
        Self {
            certificate: Some(certificate),
            ..self
        }
    }

    /// What a put survives.
    #[must_use]
    pub fn sync(self, sync: SyncMode) -> Self {
        Self { sync, ..self }
    }

    /// What the service allows; by default its sizes, and any rate.
    #[must_use]
    pub fn limits(self, limits: ServiceLimits) -> Self {
        Self { limits, ..self }
    }

    /// Which requests fail; by default none.
    #[must_use]
    pub fn faults(self, faults: FaultPlan) -> Self {
        Self { faults, ..self }
    }

    pub(crate) fn data_dir(&self) -> &PathBuf {
        &self.data_dir
    }

    pub(crate) fn asked_port(&self) -> Option<u16> {
        self.port
    }

    /// Serves from this process, on threads of its own, until the handle is shut down or dropped.
    ///
    /// Blocks until the endpoint answers. Fails if another process serves the directory: see [`attach`](crate::attach) for sharing it.
    pub fn serve(&self) -> Result<Handle, ServeError> {
        let directory = Directory::open(&self.data_dir)?;
        let Some(lock) = Lock::try_take(&directory)? else {
            let data_dir = self.data_dir.clone();
            return Err(match holder(&directory)? {
                Some(holder) => ServeError::Held {
                    data_dir,
                    holder: (holder.address, holder.pid),
                },
                None => ServeError::HeldUnnamed { data_dir },
            });
        };
        self.serve_locked(&directory, lock)
    }

    /// Serves under a lock that was taken already. The port is bound first: clients that were waiting connect and are
    /// answered once the databases are open.
    pub(crate) fn serve_locked(
        &self,
        directory: &Directory,
        mut lock: Lock,
    ) -> Result<Handle, ServeError> {
        let identity = directory.identity()?;
        let listen = bind::Listen {
            address: self.listen,
            port: self.port,
        };
        let listener = listen.bind(directory, &identity)?;
        let address = bind::reachable(&listener)?;
        if !self.listen.is_loopback() {
            tracing::warn!(address = %self.listen, "whoever reaches this address can read and change everything");
        }
        let certificate = self.certificate.as_ref();
        let tls = certificate
            .map(|c| c.load(directory, self.listen))
            .transpose()?;
        if identity.port != Some(address.port()) {
            directory.save_identity(&Identity {
                port: Some(address.port()),
                ..identity.clone()
            })?;
        }
        let holder = Holder {
            directory: identity.id,
            address,
            pid: std::process::id(),
        };
        lock.name(directory, &holder)?;
        let clock = Clock::default();
        let path = directory.streams();
        let store =
            Store::open(&path, self.sync, clock.clone()).map_err(|error| ServeError::Streams {
                path,
                reason: error.into(),
            })?;
        let service = Arc::new(Service {
            store,
            clock,
            limiter: Limiter::new(self.limits),
            faults: Faults::new(self.faults.clone()),
            subscriptions: Subscriptions::default(),
            spread: AtomicU64::new(0),
        });
        let tables = crate::dynamodb::start(&directory.tables(), self.sync)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(limits::SERVER_THREADS)
            .max_blocking_threads(limits::READERS)
            .thread_name("local-server")
            .enable_all()
            .build()
            .map_err(ServeError::Start)?;
        let (stop, stopping) = watch::channel(false);
        let app = App::new(Arc::clone(&service), tables.address(), holder.clone());
        let (config, chain) = tls.map(|tls| (tls.config, tls.chain)).unzip();
        let weak = Arc::downgrade(&service);
        let server = thread::Builder::new()
            .name("local-endpoint".into())
            .spawn(move || {
                runtime.block_on(server::run(listener, config, app, stopping));
                runtime.shutdown_timeout(limits::SHUTDOWN_WAIT);
                tables.stop();
                // The store closes with its last owner, and only then may another process become the holder.
                drop(service);
                drop(lock);
            })
            .map_err(ServeError::Start)?;
        Ok(Handle {
            holder,
            chain,
            service: weak,
            stop,
            server: Some(server),
        })
    }
}

/// An endpoint that is served from this process.
#[derive(Debug)]
pub struct Handle {
    holder: Holder,
    /// Of the certificate that is shown, if any.
    chain: Option<PathBuf>,
    service: std::sync::Weak<Service>,
    stop: watch::Sender<bool>,
    server: Option<thread::JoinHandle<()>>,
}

impl Handle {
    /// Where it is reached: on loopback unless told otherwise.
    pub fn address(&self) -> SocketAddr {
        self.holder.address
    }

    /// The URL for Kinesis and `DynamoDB` clients alike.
    pub fn url(&self) -> String {
        format!("http://{}", self.holder.address)
    }

    /// The URL for clients that come with TLS, and the certificate they have to trust, in PEM; none without a certificate.
    /// It is the same port: what a client says first tells which it means.
    pub fn tls(&self) -> Option<(String, &Path)> {
        let chain = self.chain.as_deref()?;
        Some((format!("https://{}", self.holder.address), chain))
    }

    /// The id of the directory it serves.
    pub fn directory_id(&self) -> &str {
        &self.holder.directory
    }

    /// The endpoint's clock, for tests.
    pub fn clock(&self) -> ClockControl {
        ClockControl {
            service: self.service.clone(),
        }
    }

    /// Stops accepting, lets requests under way finish for at most 3 s, closes the databases and gives the directory up.
    /// Blocks until then; so does a drop.
    pub fn shutdown(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        self.stop.send_replace(true);
        if let Some(server) = self.server.take()
            && server.join().is_err()
        {
            tracing::error!("the endpoint's thread panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// Sets the clock of an endpoint in this process. What it moves over (retention, ages of iterators) counts at once for
/// iterators, and for retention at the next upkeep, within a second; over HTTP, before the answer.
#[derive(Clone, Debug)]
pub struct ClockControl {
    service: std::sync::Weak<Service>,
}

impl ClockControl {
    /// The endpoint's time; the epoch once the endpoint is gone.
    pub fn now(&self) -> SystemTime {
        let now = self.service.upgrade().map_or(0, |s| s.clock.now());
        UNIX_EPOCH + Duration::from_millis(now)
    }

    /// Stands still at `at` from now on, but for `advance`.
    pub fn freeze(&self, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.with(|clock| clock.freeze(Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)));
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.with(|clock| clock.advance(by));
    }

    /// Follows the system's time again.
    pub fn follow_system(&self) {
        self.with(Clock::follow_system);
    }

    fn with(&self, change: impl FnOnce(&Clock)) {
        if let Some(service) = self.service.upgrade() {
            change(&service.clock);
        }
    }
}
