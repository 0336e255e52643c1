//! Asking an address whose endpoint it is.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::limits;
use crate::lock::Holder;

/// Where an endpoint says who it is.
pub(crate) const WHO_PATH: &str = "/_shardwright/holder";

/// What an address says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An endpoint, of whatever directory.
    Endpoint(Holder),
    /// Something else answers there.
    Stranger,
    /// Nobody answers.
    Silent(io::Error),
}

/// Asks `address`, by a request small enough to be written by hand.
pub(crate) fn ask(address: SocketAddr) -> Answer {
    match exchange(address) {
        Ok(answer) => match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => {
                serde_json::from_str(body).map_or(Answer::Stranger, Answer::Endpoint)
            }
            _ => Answer::Stranger,
        },
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Answer::Stranger,
        Err(error) => Answer::Silent(error),
    }
}

fn exchange(address: SocketAddr) -> io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, limits::PROBE_WAIT)?;
    connection.set_read_timeout(Some(limits::PROBE_WAIT))?;
    connection.set_write_timeout(Some(limits::PROBE_WAIT))?;
    // In one piece: a stranger that answers the first of several and closes resets the connection.
    let request =
        format!("GET {WHO_PATH} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection
        .take(limits::PROBE_BYTES)
        .read_to_string(&mut answer)?;
    Ok(answer)
}
