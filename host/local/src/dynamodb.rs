//! `DynamoDB` beside the streams: dynoxide on an inner loopback port, on a thread of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use dynoxide::Database;
use tokio::sync::oneshot;

use crate::endpoint::{ServeError, SyncMode};
use crate::limits;

/// The tables' server. Its port is not told to anyone: clients come through ours.
#[derive(Debug)]
pub(crate) struct Tables {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Tables {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets requests under way finish, for a while, and closes the database.
    pub(crate) fn stop(self) {
        // An error means that the server is gone already.
        let _: Result<(), ()> = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread of the tables panicked");
        }
    }
}

/// Opens the database at `path` and serves it.
pub(crate) fn start(path: &Path, sync: SyncMode) -> Result<Tables, ServeError> {
    let database = open(path, sync)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ServeError::Start)?;
    listener.set_nonblocking(true).map_err(ServeError::Start)?;
    let address = listener.local_addr().map_err(ServeError::Start)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("local-dynamodb".into())
        .spawn(move || {
            if let Err(error) = runtime.block_on(serve(listener, database, stopped)) {
                tracing::error!(%error, "the tables are not served any more");
            }
            runtime.shutdown_timeout(limits::SHUTDOWN_WAIT);
        })
        .map_err(ServeError::Start)?;
    Ok(Tables {
        address,
        stop,
        thread,
    })
}

fn open(path: &Path, sync: SyncMode) -> Result<Database, ServeError> {
    let failed = |error: dynoxide::DynoxideError| ServeError::Tables {
        path: path.into(),
        reason: error.into(),
    };
    let text = path.to_str().ok_or_else(|| ServeError::Tables {
        path: path.into(),
        reason: io::Error::from(io::ErrorKind::InvalidFilename).into(),
    })?;
    let database = Database::new(text).map_err(failed)?;
    if sync == SyncMode::Process {
        // The end of bulk loading leaves SQLite's NORMAL: with a write-ahead log, a commit then survives the process
        // without waiting for the disk. There is no other way to ask for it.
        database.disable_bulk_loading().map_err(failed)?;
    }
    Ok(database)
}

async fn serve(
    listener: TcpListener,
    database: Database,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (tell, told) = oneshot::channel::<()>();
    let serving = dynoxide::server::serve_with_shutdown(listener, database, async {
        // Either end of the channel means the same: stop.
        let _: Result<(), _> = told.await;
    });
    tokio::pin!(serving);
    let stopped_by_us = tokio::select! {
        result = &mut serving => return result.map_err(io::Error::other),
        _ = stopped => tell,
    };
    drop(stopped_by_us);
    tokio::time::timeout(limits::SHUTDOWN_WAIT, serving)
        .await
        .map_or(Ok(()), |r| r.map_err(io::Error::other))
}
