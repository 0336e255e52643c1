//! Sharing a directory's endpoint between processes.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::directory::{Directory, DirectoryError};
use crate::endpoint::{ClockControl, Endpoint, Handle, ServeError};
use crate::limits;
use crate::lock::{Holder, Lock, Use, holder};
use crate::probe::{self, Answer};

#[cfg(test)]
mod tests;

/// Why a process cannot share a directory's endpoint.
#[derive(Debug, Error)]
pub enum AttachError {
    /// Nobody holds it, and this process cannot serve it.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The directory itself cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The holder does not answer: it is stopped, or hangs.
    #[error("process {pid} holds the endpoint and does not answer at {address}: {source}")]
    Silent {
        /// Where it should answer.
        address: SocketAddr,
        /// The holder's process id.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The holder has not said where it listens.
    #[error("another process holds {data_dir} and does not say where it listens")]
    Unnamed {
        /// The directory.
        data_dir: PathBuf,
    },
    /// Something else answers at the holder's address.
    #[error("what answers at {address} is no endpoint; process {pid} should be")]
    Stranger {
        /// The holder's address.
        address: SocketAddr,
        /// The holder's process id.
        pid: u32,
    },
    /// The endpoint of another directory answers at the holder's address.
    #[error("{address} serves the directory with id {found}, not {expected}")]
    WrongDirectory {
        /// The holder's address.
        address: SocketAddr,
        /// The id of this directory.
        expected: String,
        /// The id of the one that is served there.
        found: String,
    },
    /// It is served at another port than the one asked for.
    #[error("the endpoint is served at {address} already, not at port {asked}")]
    OtherPort {
        /// Where it is served.
        address: SocketAddr,
        /// The port that was asked for.
        asked: u16,
    },
    /// The thread that watches the holder could not be started.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// A use of a directory's endpoint, wherever it is served.
///
/// If this process is the holder, it serves on threads of its own. If not, a thread looks at the lock, and takes over
/// on the same port when the holder is gone: of several, one gets the lock, and the others go on with it. Clients of the
/// URL see refused connections in between, for some tens of milliseconds, which the SDKs' retries bridge. A drop
/// detaches: the endpoint goes on only if another process is attached.
#[derive(Debug)]
pub struct Attachment {
    address: SocketAddr,
    directory_id: String,
    shared: Arc<Shared>,
    watcher: Option<thread::JoinHandle<()>>,
    /// Ends after the endpoint that was served here.
    _use: Use,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// There while this process is the holder.
    handle: Option<Handle>,
    stop: bool,
}

/// Uses the endpoint of `data_dir`: the one that is served, or else one that this process serves from now on.
///
/// Blocks until it answers, and for at most 10 s. From async code, call it where blocking is allowed.
///
/// ```no_run
/// let attachment = shardwright_local::attach(".shardwright")?;
/// println!("{}", attachment.url());
/// # Ok::<(), shardwright_local::AttachError>(())
/// ```
pub fn attach(data_dir: impl AsRef<Path>) -> Result<Attachment, AttachError> {
    Endpoint::new(data_dir.as_ref()).attach()
}

impl Endpoint {
    /// As [`attach`](crate::attach), with this port and mode should this process become the holder.
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        let directory = Directory::open(self.data_dir())?;
        let deadline = Instant::now() + limits::ATTACH_WAIT;
        loop {
            if let Some(lock) = Lock::try_take(&directory)? {
                let handle = self.serve_locked(&directory, lock)?;
                return Ok(Attachment::holding(handle, Use::begin(&directory)?));
            }
            // Said before the holder is asked, so that the port in its answer is one that stays.
            let held = Use::begin(&directory)?;
            match find(&directory)? {
                Found::Holder(holder) => {
                    return match self.asked_port() {
                        Some(asked) if asked != holder.address.port() => {
                            Err(AttachError::OtherPort {
                                address: holder.address,
                                asked,
                            })
                        }
                        _ => Attachment::watching(self.clone(), directory, holder, held),
                    };
                }
                // A holder may be starting or dying: what is wrong now may be right in a moment.
                Found::Wrong(error) if Instant::now() >= deadline => return Err(error),
                Found::Wrong(_) => thread::park_timeout(limits::WATCH_EVERY),
            }
        }
    }
}

enum Found {
    Holder(Holder),
    Wrong(AttachError),
}

/// Looks for the holder that the lock file names, and asks it.
fn find(directory: &Directory) -> Result<Found, AttachError> {
    let Some(named) = holder(directory)? else {
        return Ok(Found::Wrong(AttachError::Unnamed {
            data_dir: directory.root().into(),
        }));
    };
    let Holder {
        directory: expected,
        address,
        pid,
    } = named.clone();
    Ok(match probe::ask(address) {
        Answer::Endpoint(found) if found.directory == expected => Found::Holder(found),
        Answer::Endpoint(found) => Found::Wrong(AttachError::WrongDirectory {
            address,
            expected,
            found: found.directory,
        }),
        Answer::Stranger => Found::Wrong(AttachError::Stranger { address, pid }),
        Answer::Silent(source) => Found::Wrong(AttachError::Silent {
            address,
            pid,
            source,
        }),
    })
}

impl Attachment {
    fn holding(handle: Handle, held: Use) -> Self {
        let (address, directory_id) = (handle.address(), handle.directory_id().to_owned());
        let shared = Shared {
            state: Mutex::new(State {
                handle: Some(handle),
                stop: false,
            }),
            ..Shared::default()
        };
        Self {
            address,
            directory_id,
            shared: Arc::new(shared),
            watcher: None,
            _use: held,
        }
    }

    fn watching(
        endpoint: Endpoint,
        directory: Directory,
        holder: Holder,
        held: Use,
    ) -> Result<Self, AttachError> {
        let shared = Arc::<Shared>::default();
        let watched = Arc::clone(&shared);
        let watcher = thread::Builder::new()
            .name("local-watch".into())
            .spawn(move || watch(&endpoint, &directory, &watched))
            .map_err(AttachError::Start)?;
        Ok(Self {
            address: holder.address,
            directory_id: holder.directory,
            shared,
            watcher: Some(watcher),
            _use: held,
        })
    }

    /// Where the endpoint is, whoever holds it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for Kinesis and `DynamoDB` clients alike. It stays the same when the holder changes.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL for clients that come with TLS, and the certificate they have to trust, if this process serves with one.
    pub fn tls(&self) -> Option<(String, PathBuf)> {
        let state = self.shared.lock();
        let (url, chain) = state.handle.as_ref()?.tls()?;
        Some((url, chain.to_owned()))
    }

    /// The id of the directory.
    pub fn directory_id(&self) -> &str {
        &self.directory_id
    }

    /// Whether this process serves the endpoint at this moment.
    pub fn is_holder(&self) -> bool {
        self.shared.lock().handle.is_some()
    }

    /// The clock, if this process is the holder.
    pub fn clock(&self) -> Option<ClockControl> {
        self.shared.lock().handle.as_ref().map(Handle::clock)
    }

    /// Blocks until this process is the holder, for at most `timeout`; whether it is.
    pub fn wait_until_holder(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, timeout, |s| s.handle.is_none());
        waited.map_or_else(
            |e| e.into_inner().0.handle.is_some(),
            |(state, _)| state.handle.is_some(),
        )
    }

    /// Ends the use. Blocks until an endpoint that was served here is closed and given up; so does a drop.
    pub fn detach(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(watcher) = self.watcher.take()
            && watcher.join().is_err()
        {
            tracing::error!("the watch on the endpoint panicked");
        }
        let handle = self.shared.lock().handle.take();
        if let Some(handle) = handle {
            handle.shutdown();
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one look's time; whether to go on.
    fn pause(&self) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limits::WATCH_EVERY, |s| !s.stop);
        waited.map_or_else(|e| !e.into_inner().0.stop, |(state, _)| !state.stop)
    }
}

/// Looks at the lock until it can be had or the use ends. A takeover that fails leaves the lock to others, and is
/// tried again: what stands in the way, a stranger on the port, may go.
fn watch(endpoint: &Endpoint, directory: &Directory, shared: &Shared) {
    let mut reported = false;
    while shared.pause() {
        let taken = match Lock::try_take(directory) {
            Ok(None) => continue,
            Ok(Some(lock)) => endpoint.serve_locked(directory, lock),
            Err(error) => Err(error.into()),
        };
        match taken {
            Ok(handle) => {
                tracing::info!(url = handle.url(), "took the endpoint over");
                shared.lock().handle = Some(handle);
                shared.changed.notify_all();
                return;
            }
            Err(error) => {
                if !reported {
                    tracing::error!(%error, "cannot take the endpoint over, trying on");
                }
                reported = true;
            }
        }
    }
}
