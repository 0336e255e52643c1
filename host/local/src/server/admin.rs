//! What is ours beside the two APIs: who holds the endpoint, its clock, its limits and its faults.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::App;
use super::connections::Peer;
use crate::clock::LATEST;
use crate::faults::FaultPlan;

/// Where tests read and set the clock.
pub(super) const CLOCK_PATH: &str = "/_shardwright/clock";

/// Where the service's limits are read and set.
pub(super) const LIMITS_PATH: &str = "/_shardwright/limits";
/// Where faults are asked for.
pub(super) const FAULTS_PATH: &str = "/_shardwright/faults";

/// Only those on this machine may change how the endpoint behaves, whoever else it listens to. It is also how processes that
/// share a directory find its holder, who may listen at another address than loopback.
pub(super) async fn from_this_machine(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.is_on_this_machine() {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "only from this machine\n").into_response()
}

pub(super) async fn holder(State(app): State<Arc<App>>) -> Response {
    json(&app.holder)
}

#[derive(Serialize)]
struct Now {
    now_ms: u64,
}

/// One of the three.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum SetClock {
    /// Stand still at this time.
    FreezeMs(u64),
    /// Move forward.
    AdvanceMs(u64),
    /// Follow the system's time again.
    FollowSystem(bool),
}

pub(super) async fn clock(State(app): State<Arc<App>>) -> Response {
    json(&Now {
        now_ms: app.service.clock.now(),
    })
}

/// Answers once retention has been applied as of the new time.
pub(super) async fn set_clock(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let clock = &app.service.clock;
    match serde_json::from_slice(&body) {
        Ok(SetClock::FreezeMs(at)) if at <= LATEST => clock.freeze(at),
        Ok(SetClock::AdvanceMs(by)) if by <= LATEST => clock.advance(Duration::from_millis(by)),
        Ok(SetClock::FollowSystem(true)) => clock.follow_system(),
        _ => {
            let help =
                "one of {\"freeze_ms\": N}, {\"advance_ms\": N}, {\"follow_system\": true}\n";
            return (StatusCode::BAD_REQUEST, help).into_response();
        }
    }
    match app.service.store.maintain().await {
        Ok(()) => json(&Now {
            now_ms: clock.now(),
        }),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

pub(super) async fn limits(State(app): State<Arc<App>>) -> Response {
    json(&app.service.limiter.limits())
}

/// Replaces the limits that are given.
pub(super) async fn set_limits(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let limiter = &app.service.limiter;
    match limiter.limits().with_json(&body) {
        Ok(limits) => {
            limiter.set(limits);
            json(&limits)
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

pub(super) async fn faults(State(app): State<Arc<App>>) -> Response {
    json(&app.service.faults.shown())
}

/// Replaces all rules; an object without any ends the faults.
pub(super) async fn set_faults(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match FaultPlan::from_json(&body) {
        Ok(plan) => {
            app.service.faults.replace(plan);
            json(&app.service.faults.shown())
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

fn json<T: Serialize>(answer: &T) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
