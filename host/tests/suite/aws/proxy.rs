//! A proxy that breaks calls in the ways a network does: before they arrive, or after they were carried out.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to one call.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It is carried out, and the connection closes before the reply.
    LoseReply,
    /// The connection closes before it is passed on.
    Refuse,
    /// It is answered here.
    Answer { status: u16, body: String },
    /// The answer is cut in the middle of its body.
    Truncate,
}

/// A call as it was seen.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The last part of `X-Amz-Target`.
    pub(super) operation: String,
    pub(super) body: serde_json::Value,
}

#[derive(Default)]
struct Script {
    /// Each for the next call of its operation that has none.
    faults: VecDeque<(String, Fault)>,
    calls: Vec<Call>,
}

/// Runs while it is held.
pub(super) struct Proxy {
    endpoint: String,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// In front of `http://host:port`.
    pub(super) async fn to(upstream: &str) -> Self {
        let upstream: Arc<str> = upstream
            .strip_prefix("http://")
            .expect("a stand-in speaks plain HTTP")
            .trim_end_matches('/')
            .into();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, script) = (Arc::clone(&upstream), Arc::clone(&shared));
                // A connection that breaks is what the client is tested with.
                tokio::spawn(async move { drop(relay(client, &upstream, &script).await) });
            }
        });
        Self {
            endpoint,
            script,
            accepting,
        }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Breaks the next call of an operation, after those broken before.
    pub(super) fn next(&self, operation: &str, fault: Fault) {
        let mut script = self
            .script
            .lock()
            .expect("no test panics while it holds it");
        script.faults.push_back((operation.to_owned(), fault));
    }

    /// The calls of an operation since the last look.
    pub(super) fn take_calls(&self, operation: &str) -> Vec<Call> {
        let mut script = self
            .script
            .lock()
            .expect("no test panics while it holds it");
        let calls = std::mem::take(&mut script.calls);
        calls
            .into_iter()
            .filter(|call| call.operation == operation)
            .collect()
    }

    /// Faults that no call has met.
    pub(super) fn faults_left(&self) -> usize {
        let script = self
            .script
            .lock()
            .expect("no test panics while it holds it");
        script.faults.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One request a connection: the client is told that it closes.
async fn relay(mut client: TcpStream, upstream: &str, script: &Mutex<Script>) -> io::Result<()> {
    let request = read_request(&mut client).await?;
    let fault = {
        let mut script = script.lock().expect("no test panics while it holds it");
        script.calls.push(Call {
            operation: request.operation.clone(),
            body: serde_json::from_slice(&request.body).unwrap_or_default(),
        });
        let at = script
            .faults
            .iter()
            .position(|(operation, _)| *operation == request.operation);
        at.and_then(|at| script.faults.remove(at))
    };
    match fault {
        Some((_, Fault::Refuse)) => Ok(()),
        Some((_, Fault::Answer { status, body })) => {
            let head = format!(
                "HTTP/1.1 {status} Scripted\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                body.len()
            );
            client.write_all(head.as_bytes()).await?;
            client.write_all(body.as_bytes()).await?;
            client.shutdown().await
        }
        Some((_, Fault::LoseReply)) => ask(&request, upstream).await.map(drop),
        Some((_, Fault::Truncate)) => {
            let answer = ask(&request, upstream).await?;
            client.write_all(&answer[..answer.len() - 1]).await?;
            client.shutdown().await
        }
        None => {
            let answer = ask(&request, upstream).await?;
            client.write_all(&answer).await?;
            client.shutdown().await
        }
    }
}

struct Request {
    operation: String,
    /// Without the empty line that ends it, and asking for the connection to close.
    head: String,
    body: Vec<u8>,
}

async fn read_request(client: &mut TcpStream) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes.split_off(end + 4);
    let length: usize = header(&head, "content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let operation = header(&head, "x-amz-target")
        .and_then(|target| target.rsplit('.').next())
        .unwrap_or_default()
        .to_owned();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines.retain(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    lines.push("Connection: close");
    Ok(Request {
        operation,
        head: lines.join("\r\n"),
        body,
    })
}

async fn ask(request: &Request, upstream: &str) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(request.head.as_bytes()).await?;
    server.write_all(b"\r\n\r\n").await?;
    server.write_all(&request.body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
