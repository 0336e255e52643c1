//! HTTP: tells requests apart, reads their bodies within bounds, writes answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::stream;
use rustls::ServerConfig;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::faults::Api;
use crate::limits;
use crate::lock::Holder;
use crate::operations::{Call, Service, Subscription, dispatch, subscribe};
use crate::probe;
use crate::wire::event_stream::EVENT_STREAM;
use crate::wire::{Encoding, ServiceError};

mod admin;
mod connections;
mod forward;
mod idle;
mod inject;
mod parting;
mod transport;

use connections::{Connections, Peer};
use forward::Forward;
use idle::{Busy, Patience};
use inject::Reset;

/// What a request can reach.
#[derive(Debug)]
pub(crate) struct App {
    service: Arc<Service>,
    tables: Forward,
    holder: Holder,
    /// One permit per KiB of a body.
    bodies: Semaphore,
    requests: AtomicU64,
}

const KIB: usize = 1024;

impl App {
    pub(crate) fn new(service: Arc<Service>, tables: SocketAddr, holder: Holder) -> Self {
        Self {
            service,
            tables: Forward::new(tables),
            holder,
            bodies: Semaphore::new(limits::BODIES_BYTES / KIB),
            requests: AtomicU64::new(0),
        }
    }
}

/// Serves until told to stop, and then until requests under way are done or have had their time.
pub(crate) async fn run(
    listener: std::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    app: App,
    mut stopping: watch::Receiver<bool>,
) {
    let patience = Patience {
        first: limits::FIRST_WAIT,
        idle: limits::IDLE_WAIT,
    };
    let listener = match Connections::new(listener, tls, patience, stopping.clone()) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the endpoint cannot listen"),
    };
    let app = Arc::new(app);
    let service = Arc::clone(&app.service);
    let upkeep = tokio::spawn(upkeep(Arc::clone(&app), stopping.clone()));
    let router = Router::new()
        .route(probe::WHO_PATH, get(admin::holder))
        .route(admin::CLOCK_PATH, get(admin::clock).put(admin::set_clock))
        .route(
            admin::LIMITS_PATH,
            get(admin::limits).put(admin::set_limits),
        )
        .route(
            admin::FAULTS_PATH,
            get(admin::faults).put(admin::set_faults),
        )
        .route_layer(middleware::from_fn(admin::from_this_machine))
        .fallback(any(handle))
        .with_state(app)
        .into_make_service_with_connect_info::<Peer>();
    let mut told = stopping.clone();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        // An error means that the handle is gone: the same.
        let _: Result<_, _> = told.wait_for(|stop| *stop).await;
        service.subscriptions.close();
    });
    let deadline = async {
        let _: Result<_, _> = stopping.wait_for(|stop| *stop).await;
        tokio::time::sleep(limits::SHUTDOWN_WAIT).await;
    };
    tokio::select! {
        result = serving.into_future() => if let Err(error) = result {
            tracing::error!(%error, "the endpoint stopped serving");
        },
        () = deadline => tracing::warn!("requests were still under way at shutdown"),
    }
    upkeep.abort();
}

/// Applies retention as time passes.
async fn upkeep(app: Arc<App>, mut stopping: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(limits::MAINTENANCE);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopping.changed() => return,
            _ = every.tick() => if let Err(error) = app.service.upkeep().await {
                tracing::warn!(%error, "upkeep not done");
            },
        }
    }
}

async fn handle(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let busy = peer.under_way.begin();
    if request.version() == Version::HTTP_2 {
        peer.http2.is_spoken();
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let encoding = Encoding::of(content_type.and_then(|v| v.to_str().ok()));
    let result = match Target::of(&request) {
        Ok(Target::Kinesis(operation)) => {
            kinesis(&app, &peer.reset, operation, encoding, request).await
        }
        Ok(Target::DynamoDb(operation)) => {
            match dynamodb(&app, &peer.reset, &operation, request).await {
                Ok(response) => return response,
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    answer(&app, encoding, result, busy)
}

/// What an operation gives.
enum Answer {
    Body(Vec<u8>),
    Events(Subscription),
}

/// Whose operation a request asks for.
enum Target {
    Kinesis(String),
    DynamoDb(String),
}

impl Target {
    fn of(request: &Request) -> Result<Self, ServiceError> {
        let target = request.headers().get("x-amz-target");
        let target = target.and_then(|v| v.to_str().ok()).unwrap_or_default();
        if target.starts_with("DynamoDB") {
            let operation = target
                .rsplit_once('.')
                .map_or("", |(_, operation)| operation);
            return Ok(Self::DynamoDb(operation.to_owned()));
        }
        if request.method() != Method::POST {
            let reason = "only POST is an operation".into();
            return Err(ServiceError::UnknownOperation(reason));
        }
        let operation = target.strip_prefix("Kinesis_20131202.").ok_or_else(|| {
            let reason = format!("no operation of Kinesis or DynamoDB: '{target}'");
            ServiceError::UnknownOperation(reason)
        })?;
        Ok(Self::Kinesis(operation.to_owned()))
    }
}

async fn kinesis(
    app: &App,
    reset: &Reset,
    operation: String,
    encoding: Encoding,
    request: Request,
) -> Result<Answer, ServiceError> {
    let region = region(request.headers());
    let drawn = app.service.faults.draw(Api::Kinesis, &operation);
    // Whoever waits on purpose takes no share of what bodies may take: the others would wait for it too.
    inject::delay(drawn).await;
    let (_, body, permit) = take_body(app, request).await?;
    let fault = inject::refuse(drawn, reset)?;
    let call = Call {
        operation,
        region,
        encoding,
        body: encoding.prepare(body),
        fault,
    };
    let result = match call.operation.as_str() {
        "SubscribeToShard" => subscribe(&app.service, &call).await.map(Answer::Events),
        _ => dispatch(&app.service, &call).await.map(Answer::Body),
    };
    drop((call, permit));
    inject::after(fault, reset).await;
    result
}

async fn dynamodb(
    app: &App,
    reset: &Reset,
    operation: &str,
    request: Request,
) -> Result<Response, ServiceError> {
    let drawn = app.service.faults.draw(Api::DynamoDb, operation);
    inject::delay(drawn).await;
    let (parts, body, permit) = take_body(app, request).await?;
    let fault = inject::refuse(drawn, reset)?;
    let response = app.tables.send(parts, body).await;
    drop(permit);
    inject::after(fault, reset).await;
    Ok(response)
}

/// Reads a body once there is room for it.
async fn take_body(
    app: &App,
    request: Request,
) -> Result<(axum::http::request::Parts, Bytes, SemaphorePermit<'_>), ServiceError> {
    let (parts, body) = request.into_parts();
    let told = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    // A body of unknown length may be of any.
    let bytes: usize = told.unwrap_or(limits::BODY_BYTES);
    let too_large = || {
        ServiceError::RequestTooLarge(format!("a body has at most {} bytes", limits::BODY_BYTES))
    };
    if bytes > limits::BODY_BYTES {
        return Err(too_large());
    }
    let permits = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
    let permit = app
        .bodies
        .acquire_many(permits)
        .await
        .map_err(|e| ServiceError::Internal(e.to_string()))?;
    let read = tokio::time::timeout(limits::BODY_WAIT, to_bytes(body, limits::BODY_BYTES)).await;
    let late = |_| {
        ServiceError::RequestTimeout(format!(
            "a body has to arrive within {:?}",
            limits::BODY_WAIT
        ))
    };
    let body = read.map_err(late)?.map_err(|_| too_large())?;
    Ok((parts, body, permit))
}

/// The region in the credential's scope: `AWS4-HMAC-SHA256 Credential=key/date/region/service/aws4_request`.
fn region(headers: &HeaderMap) -> String {
    let signed = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let scope = signed
        .split_once("Credential=")
        .map_or("", |(_, rest)| rest);
    let region = scope
        .split('/')
        .nth(2)
        .filter(|r| !r.is_empty() && r.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    region.unwrap_or("us-east-1").to_owned()
}

fn answer(
    app: &App,
    encoding: Encoding,
    result: Result<Answer, ServiceError>,
    busy: Busy,
) -> Response {
    let mut content_type = encoding.content_type();
    let (status, body) = match result {
        Ok(Answer::Body(body)) => (StatusCode::OK, body.into()),
        Ok(Answer::Events(subscription)) => {
            content_type = EVENT_STREAM;
            (StatusCode::OK, events(subscription, busy))
        }
        Err(error) => {
            let status =
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, error.body(encoding).into())
        }
    };
    let number = app.requests.fetch_add(1, Ordering::Relaxed);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let id = format!("{:08x}-0000-4000-8000-{number:012x}", app.holder.pid);
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

/// Asks for a message when the last one is on its way. A client may take its time: its connection counts as in use.
fn events(subscription: Subscription, busy: Busy) -> Body {
    let messages = stream::unfold(
        (subscription, busy),
        |(mut subscription, busy)| async move {
            let message = subscription.message().await?;
            Some((message, (subscription, busy)))
        },
    );
    Body::from_stream(messages)
}
