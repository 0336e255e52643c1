//! Hands requests to the tables' server and its answers back.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderValue, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::limits;

/// A pool of connections to one server.
#[derive(Debug)]
pub(super) struct Forward {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

impl Forward {
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            address,
        }
    }

    /// Sends a request that was read whole. A server that does not answer is an internal failure, which clients retry.
    pub(super) async fn send(&self, mut parts: Parts, body: Bytes) -> Response {
        let authority = Authority::try_from(self.address.to_string());
        let mut uri = parts.uri.into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = authority.ok();
        let Ok(uri) = Uri::from_parts(uri) else {
            return failure("no such address");
        };
        // They belong to the client's connection, not to this one.
        for name in [
            header::HOST,
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::EXPECT,
        ] {
            parts.headers.remove(name);
        }
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = parts.headers;
        request
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        match tokio::time::timeout(limits::DYNAMODB_WAIT, self.client.request(request)).await {
            Ok(Ok(response)) => response.map(Body::new),
            Ok(Err(error)) => failure(&error.to_string()),
            Err(_) => failure("no answer in time"),
        }
    }
}

fn failure(reason: &str) -> Response {
    tracing::error!(reason, "the tables did not answer");
    let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"the tables did not answer"}"#;
    let kind = [(header::CONTENT_TYPE, "application/x-amz-json-1.0")];
    (StatusCode::INTERNAL_SERVER_ERROR, kind, body).into_response()
}
