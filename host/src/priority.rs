//! Priorities of threads: what may wait, waits for what may not.

/// Lowers the priority of this thread to a nice value of so much.
///
/// On Linux a priority is a thread's; elsewhere it would be the process's, and is left alone.
pub(crate) fn lower(nice: i32) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(%error, nice, "a thread runs at normal priority");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}
