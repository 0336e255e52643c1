//! Processes: those that serve, and those whose cost is measured.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use wait4::Wait4 as _;

/// What a process used from its start to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// From start to end.
    pub(crate) wall: Duration,
    /// The most memory it had at once, bytes.
    pub(crate) rss: u64,
}

/// The binary that is measured.
pub(crate) fn shardwright(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardwright"));
    without_aws(&mut command);
    command
        .env_remove("SHARDWRIGHT_LOG")
        .env("XDG_CACHE_HOME", data_dir.join("cache"))
        .arg("--data-dir")
        .arg(data_dir);
    command
}

/// Nothing of the tester's AWS set-up reaches a consumer.
pub(crate) fn without_aws(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
}

/// Runs a command to its end, which must be a good one, and says what it used.
pub(crate) fn cost_of(mut command: Command, log: &Path) -> anyhow::Result<Cost> {
    let stderr = std::fs::File::create(log)?;
    command.stderr(stderr);
    let began = Instant::now();
    let used = command
        .spawn()
        .with_context(|| format!("{}", command.get_program().display()))?
        .wait4()?;
    let wall = began.elapsed();
    anyhow::ensure!(
        used.status.success(),
        "{command:?}: {}\n{}",
        used.status,
        std::fs::read_to_string(log)?
    );
    Ok(Cost {
        cpu: used.rusage.utime + used.rusage.stime,
        wall,
        rss: used.rusage.maxrss,
    })
}

/// Runs a command to its end, which must be a good one, and gives what it prints.
pub(crate) fn output_of(mut command: Command) -> anyhow::Result<String> {
    let output = command.output()?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A server, ended with this.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("{}", command.get_program().display()))?;
        Ok(Self(child))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
