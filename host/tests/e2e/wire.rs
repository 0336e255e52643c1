//! A client of the local endpoint that shares no code with it: one connection and one JSON request a call.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const CALL_LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    address: SocketAddr,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn port(&self) -> String {
        self.address.port().to_string()
    }

    fn call(&self, target: &str, body: &Value) -> io::Result<Value> {
        let body = body.to_string();
        let mut stream = TcpStream::connect_timeout(&self.address, CALL_LIMIT)?;
        stream.set_read_timeout(Some(CALL_LIMIT))?;
        stream.set_write_timeout(Some(CALL_LIMIT))?;
        // In version 1.0 an answer ends where the connection does, and is never cut into chunks.
        // Kinesis speaks version 1.1 of the protocol, DynamoDB 1.0.
        let version = if target.starts_with("Kinesis") {
            "1.1"
        } else {
            "1.0"
        };
        let head = format!(
            "POST / HTTP/1.0\r\nHost: {}\r\nX-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-{version}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=e2e/20260101/us-east-1/kinesis/aws4_request, \
             SignedHeaders=host, Signature=0\r\nX-Amz-Date: 20260101T000000Z\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| io::Error::other("an answer without an end"))?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            return Err(io::Error::other(format!("{status}: {body}")));
        }
        Ok(serde_json::from_str(body)?)
    }

    /// Whether anybody serves.
    pub(super) fn is_answered(&self) -> bool {
        self.call("Kinesis_20131202.ListStreams", &json!({}))
            .is_ok()
    }

    /// Puts records; good only if every one is acknowledged.
    pub(super) fn put(&self, stream: &str, records: &[(String, String)]) -> io::Result<()> {
        let records: Vec<Value> = records
            .iter()
            .map(|(key, data)| json!({ "PartitionKey": key, "Data": STANDARD.encode(data) }))
            .collect();
        let body = json!({ "StreamName": stream, "Records": records });
        let answer = self.call("Kinesis_20131202.PutRecords", &body)?;
        match answer["FailedRecordCount"].as_u64() {
            Some(0) => Ok(()),
            _ => Err(io::Error::other(answer.to_string())),
        }
    }

    /// Puts one record where `hash` is.
    pub(super) fn put_at(
        &self,
        stream: &str,
        hash: &str,
        key: &str,
        data: &[u8],
    ) -> io::Result<()> {
        let data = STANDARD.encode(data);
        let body = json!({ "StreamName": stream, "PartitionKey": key, "ExplicitHashKey": hash, "Data": data });
        self.call("Kinesis_20131202.PutRecord", &body).map(drop)
    }

    /// One call to the stream's service.
    pub(super) fn kinesis(&self, operation: &str, body: &Value) -> io::Result<Value> {
        self.call(&format!("Kinesis_20131202.{operation}"), body)
    }

    pub(super) fn dynamodb(&self, operation: &str, body: &Value) -> io::Result<Value> {
        self.call(&format!("DynamoDB_20120810.{operation}"), body)
    }

    /// The shards of a stream and their parents.
    pub(super) fn shards(&self, stream: &str) -> BTreeMap<String, Vec<String>> {
        let mut shards = BTreeMap::new();
        let mut body = json!({ "StreamName": stream });
        loop {
            let answer = self.kinesis("ListShards", &body).unwrap();
            for shard in answer["Shards"].as_array().unwrap() {
                let parents = [&shard["ParentShardId"], &shard["AdjacentParentShardId"]];
                let parents = parents.iter().filter_map(|id| id.as_str());
                let id = shard["ShardId"].as_str().unwrap().to_owned();
                shards.insert(id, parents.map(str::to_owned).collect());
            }
            match answer["NextToken"].as_str() {
                Some(next) => body = json!({ "NextToken": next }),
                None => return shards,
            }
        }
    }

    /// Every item of a table; none while there is no table.
    pub(super) fn scan(&self, table: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut from = Value::Null;
        loop {
            let mut body = json!({ "TableName": table, "ConsistentRead": true });
            if !from.is_null() {
                body["ExclusiveStartKey"] = from;
            }
            let mut answer = match self.call("DynamoDB_20120810.Scan", &body) {
                Ok(answer) => answer,
                Err(error) if error.to_string().contains("ResourceNotFound") => return items,
                Err(error) => panic!("scan of {table}: {error}"),
            };
            items.extend(answer["Items"].as_array().unwrap().iter().cloned());
            from = answer["LastEvaluatedKey"].take();
            if from.is_null() {
                return items;
            }
        }
    }
}
