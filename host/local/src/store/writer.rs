//! The writer's thread: takes what waits, has the engine apply it, answers. While nothing waits it sweeps.

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::engine::{Append, Change, Engine, Placed};
use crate::limits;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Append {
        append: Append,
        reply: Reply<Vec<Placed>>,
    },
    Change {
        change: Change,
        reply: Reply<()>,
    },
    Maintain {
        reply: Reply<()>,
    },
}

/// Runs until every sender is gone and the queue is empty.
pub(super) fn run(mut engine: Engine, mut queue: mpsc::Receiver<Command>) {
    let mut next = queue.blocking_recv();
    while let Some(command) = next {
        next = None;
        match command {
            Command::Append { append, reply } => {
                next = append_all(&mut engine, &mut queue, append, reply);
            }
            Command::Change { change, reply } => answer(reply, engine.change(change)),
            Command::Maintain { reply } => answer(reply, engine.trim()),
        }
        if next.is_none() {
            next = next_command(&mut engine, &mut queue);
        }
    }
}

/// Commits `append` together with those that wait behind it; gives the first command that is none.
fn append_all(
    engine: &mut Engine,
    queue: &mut mpsc::Receiver<Command>,
    append: Append,
    reply: Reply<Vec<Placed>>,
) -> Option<Command> {
    let mut bytes = append.batch.bytes();
    let (mut appends, mut replies) = (vec![append], vec![reply]);
    let mut next = None;
    while appends.len() < limits::COMMIT_REQUESTS && bytes < limits::COMMIT_BYTES {
        match queue.try_recv() {
            Ok(Command::Append { append, reply }) => {
                bytes += append.batch.bytes();
                appends.push(append);
                replies.push(reply);
            }
            Ok(other) => {
                next = Some(other);
                break;
            }
            Err(_) => break,
        }
    }
    for (reply, result) in replies.into_iter().zip(engine.append(&appends)) {
        answer(reply, result);
    }
    if let Err(error) = engine.sweep_as_written() {
        warn_of_sweep(&error);
    }
    next
}

/// The next command, once there is one. Until then what was trimmed is swept, a step between two looks at the queue.
fn next_command(engine: &mut Engine, queue: &mut mpsc::Receiver<Command>) -> Option<Command> {
    loop {
        match queue.try_recv() {
            Ok(command) => return Some(command),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        match engine.sweep(limits::SWEEP_ROWS) {
            Ok(true) => {}
            Ok(false) => return queue.blocking_recv(),
            Err(error) => {
                warn_of_sweep(&error);
                return queue.blocking_recv();
            }
        }
    }
}

fn warn_of_sweep(error: &StoreError) {
    tracing::warn!(%error, "space of trimmed records not given back");
}

fn answer<T>(reply: Reply<T>, result: Result<T, StoreError>) {
    if reply.send(result).is_err() {
        tracing::debug!("the client left before its answer");
    }
}
