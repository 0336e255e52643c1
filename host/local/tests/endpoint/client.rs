//! A client small enough to be read at a glance: one connection, one request at a time.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64_simd::STANDARD;
use serde_json::{Value, json};

pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// An answer as it came.
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The service's name of the error, if it is one.
    pub(crate) fn kind(&self) -> &str {
        self.body["__type"].as_str().unwrap_or_default()
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// A Kinesis operation that must succeed.
    pub(crate) fn kinesis(&mut self, operation: &str, request: &Value) -> Value {
        let answer = self.try_kinesis(operation, request).unwrap();
        assert_eq!(answer.status, 200, "{operation} {request}: {}", answer.body);
        answer.body
    }

    /// A Kinesis operation that must be refused, with this error.
    pub(crate) fn refused(&mut self, operation: &str, request: &Value, kind: &str) {
        let answer = self.try_kinesis(operation, request).unwrap();
        assert_eq!(
            (answer.status, answer.kind()),
            (400, kind),
            "{operation} {request}: {}",
            answer.body
        );
        assert!(
            answer.body["message"]
                .as_str()
                .is_some_and(|m| !m.is_empty())
        );
    }

    pub(crate) fn try_kinesis(&mut self, operation: &str, request: &Value) -> io::Result<Answer> {
        self.call(
            "Kinesis_20131202",
            "application/x-amz-json-1.1",
            operation,
            request,
        )
    }

    /// A `DynamoDB` operation that must succeed.
    pub(crate) fn dynamodb(&mut self, operation: &str, request: &Value) -> Value {
        let answer = self.try_dynamodb(operation, request).unwrap();
        assert_eq!(answer.status, 200, "{operation} {request}: {}", answer.body);
        answer.body
    }

    pub(crate) fn try_dynamodb(&mut self, operation: &str, request: &Value) -> io::Result<Answer> {
        self.call(
            "DynamoDB_20120810",
            "application/x-amz-json-1.0",
            operation,
            request,
        )
    }

    fn call(
        &mut self,
        service: &str,
        kind: &str,
        operation: &str,
        request: &Value,
    ) -> io::Result<Answer> {
        let head = format!(
            "POST / HTTP/1.1\r\ncontent-type: {kind}\r\nx-amz-target: {service}.{operation}\r\n\
             x-amz-date: 20260101T000000Z\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential=key/20260101/eu-west-1/kinesis/aws4_request, SignedHeaders=host, Signature=00\r\n"
        );
        self.send(&head, request.to_string().as_bytes())
    }

    /// Sends a request whose head lacks only host and length.
    pub(crate) fn send(&mut self, head: &str, body: &[u8]) -> io::Result<Answer> {
        let Raw { status, body, .. } = self.send_raw(head, body)?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    pub(crate) fn send_raw(&mut self, head: &str, body: &[u8]) -> io::Result<Raw> {
        let result = self.exchange(head, body);
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    fn exchange(&mut self, head: &str, body: &[u8]) -> io::Result<Raw> {
        let mut connection = if let Some(connection) = self.connection.take() {
            connection
        } else {
            let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_mins(1)))?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        };
        let mut request = format!(
            "{head}host: {}\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        connection.get_mut().write_all(&request)?;
        let answer = read_answer(&mut connection)?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

fn read_answer(connection: &mut BufReader<TcpStream>) -> io::Result<Raw> {
    let mut line = String::new();
    let mut next_line = |connection: &mut BufReader<TcpStream>| {
        line.clear();
        match connection.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_ascii_lowercase()),
        }
    };
    let status = next_line(connection)?
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap();
    let (mut length, mut content_type) = (0, String::new());
    loop {
        let header = next_line(connection)?;
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if let Some(value) = header.strip_prefix("content-type:") {
            value.trim().clone_into(&mut content_type);
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(Raw {
        status,
        content_type,
        body,
    })
}

pub(crate) fn base64(data: &str) -> String {
    STANDARD.encode_to_string(data)
}

pub(crate) fn text(record: &Value) -> String {
    String::from_utf8(
        STANDARD
            .decode_to_vec(record["Data"].as_str().unwrap())
            .unwrap(),
    )
    .unwrap()
}

/// All records of a shard from an iterator on, until it has no more now.
pub(crate) fn read_from(client: &mut Client, iterator: &Value) -> Vec<Value> {
    let mut iterator = iterator.clone();
    let mut records = Vec::new();
    while iterator.is_string() {
        let page = client.kinesis("GetRecords", &json!({"ShardIterator": iterator}));
        let found = page["Records"].as_array().unwrap();
        if found.is_empty() && page["MillisBehindLatest"] == 0 {
            break;
        }
        records.extend_from_slice(found);
        iterator = page["NextShardIterator"].clone();
    }
    records
}

/// All records of a shard that is there.
pub(crate) fn read_shard(client: &mut Client, stream: &str, shard: &Value) -> Vec<Value> {
    let request =
        json!({"StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = client.kinesis("GetShardIterator", &request)["ShardIterator"].clone();
    read_from(client, &iterator)
}

/// The ids of the shards that a listing gives.
pub(crate) fn shard_ids(client: &mut Client, request: &Value) -> Vec<Value> {
    let answer = client.kinesis("ListShards", request);
    answer["Shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["ShardId"].clone())
        .collect()
}
