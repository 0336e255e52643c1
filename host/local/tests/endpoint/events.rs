//! The reading side of a subscription: HTTP chunks, and the messages in them with their CRCs.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

pub(crate) struct Events {
    connection: BufReader<TcpStream>,
    /// Of chunks, not yet read as messages.
    bytes: Vec<u8>,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Event {
    /// The type of the event or of the exception.
    pub(crate) kind: String,
    pub(crate) is_exception: bool,
    pub(crate) body: Value,
}

impl Event {
    pub(crate) fn records(&self) -> &[Value] {
        assert_eq!(self.kind, "SubscribeToShardEvent", "{self:?}");
        self.body["Records"].as_array().unwrap()
    }
}

impl Events {
    /// Subscribes; the answer has begun with its initial response. What is refused gives status and body.
    pub(crate) fn subscribe(
        address: SocketAddr,
        consumer: &Value,
        shard: &str,
        position: &Value,
    ) -> Result<Self, (u16, Value)> {
        let request =
            json!({"ConsumerARN": consumer, "ShardId": shard, "StartingPosition": position});
        let body = request.to_string();
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        write!(
            stream,
            "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: \
             Kinesis_20131202.SubscribeToShard\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut connection = BufReader::new(stream);
        let status = line(&mut connection).unwrap();
        let status: u16 = status.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let header = line(&mut connection).unwrap();
            let Some((name, value)) = header.split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        if status != 200 {
            let mut body = vec![0; headers["content-length"].parse().unwrap()];
            connection.read_exact(&mut body).unwrap();
            return Err((status, serde_json::from_slice(&body).unwrap()));
        }
        assert_eq!(
            headers["content-type"],
            "application/vnd.amazon.eventstream"
        );
        let mut events = Self {
            connection,
            bytes: Vec::new(),
        };
        let first = events.next().unwrap().unwrap();
        assert_eq!(
            (first.kind.as_str(), first.is_exception),
            ("initial-response", false)
        );
        Ok(events)
    }

    /// The next message; nothing at an orderly end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.take_message() {
                return Ok(Some(event));
            }
            let size = line(&mut self.connection)?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            self.connection.read_exact(&mut chunk)?;
            if size == 0 {
                assert!(self.bytes.is_empty(), "half a message");
                return Ok(None);
            }
            self.bytes.extend_from_slice(&chunk[..size]);
        }
    }

    /// The next event with records, or the end.
    pub(crate) fn next_records(&mut self) -> Option<Event> {
        loop {
            let event = self.next().unwrap()?;
            if !event.records().is_empty() || event.body.get("ChildShards").is_some() {
                return Some(event);
            }
        }
    }

    fn take_message(&mut self) -> Option<Event> {
        let number = |at: usize| -> Option<u32> {
            let bytes = self.bytes.get(at..at + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().unwrap()))
        };
        let (total, headers) = (number(0)? as usize, number(4)? as usize);
        let message = self.bytes.get(..total)?;
        assert_eq!(number(8)?, crc32fast::hash(&message[..8]));
        assert_eq!(number(total - 4)?, crc32fast::hash(&message[..total - 4]));
        let mut named = BTreeMap::new();
        let mut rest = &message[12..12 + headers];
        while let Some((length, after)) = rest.split_first() {
            let (name, after) = after.split_at((*length).into());
            assert_eq!(after[0], 7, "a header is a string");
            let length = u16::from_be_bytes([after[1], after[2]]);
            let (value, after) = after[3..].split_at(length.into());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            named.insert(text(name), text(value));
            rest = after;
        }
        let body = serde_json::from_slice(&message[12 + headers..total - 4]).unwrap();
        self.bytes.drain(..total);
        let is_exception = named[":message-type"] == "exception";
        let kind = if is_exception {
            ":exception-type"
        } else {
            ":event-type"
        };
        assert_eq!(named[":content-type"], "application/x-amz-json-1.1");
        Some(Event {
            kind: named[kind].clone(),
            is_exception,
            body,
        })
    }
}

fn line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    match connection.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}
