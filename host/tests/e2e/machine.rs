//! One machine: a folder with a data directory, pipelines and outputs, and the processes that run there.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::wire::Client;

/// For one command, or one thing to come about. Far more than is needed on a machine with other work.
pub(super) const LIMIT: Duration = Duration::from_mins(2);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `look` gives something, and panics with `what` after [`LIMIT`].
pub(super) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::park_timeout(LOOK);
    }
}

pub(super) struct Machine {
    folder: TempDir,
    started: Cell<u32>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            started: Cell::new(0),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and gives its path.
    pub(super) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The binary with these arguments and the machine's data directory. Nothing of the tester's AWS set-up reaches it.
    pub(super) fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardwright"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .env_remove("SHARDWRIGHT_LOG")
            .env_remove("SHARDWRIGHT_DATA_DIR")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .arg("--data-dir")
            .arg(self.path("data"))
            .args(args.iter().map(AsRef::as_ref));
        command
    }

    /// Starts a process.
    pub(super) fn start<S: AsRef<str>>(&self, args: &[S]) -> Process {
        self.spawn(self.command(args))
    }

    /// Starts a process from a command that was changed.
    pub(super) fn spawn(&self, mut command: Command) -> Process {
        let number = self.started.replace(self.started.get() + 1);
        let out = self.path(&format!("{number}.out"));
        let err = self.path(&format!("{number}.err"));
        let child = command
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        Process {
            child,
            what: format!("{:?}", command.get_args().collect::<Vec<_>>()),
            out,
            err,
        }
    }

    /// Runs a command to its end, which must be a good one, and gives its standard output.
    pub(super) fn run<S: AsRef<str>>(&self, args: &[S]) -> String {
        let mut process = self.start(args);
        let status = process.wait(LIMIT);
        assert!(status.success(), "{status}: {}", process.story());
        process.stdout()
    }

    /// Runs a command to its end, which must be a good one, and gives what it logged.
    pub(super) fn run_told<S: AsRef<str>>(&self, args: &[S]) -> String {
        let mut process = self.start(args);
        let status = process.wait(LIMIT);
        assert!(status.success(), "{status}: {}", process.story());
        process.stderr()
    }

    /// Starts the endpoint as a process of its own, and waits until it serves.
    pub(super) fn endpoint(&self) -> (Process, Client) {
        let endpoint = self.start(&["local"]);
        let client = endpoint.wait_for_client();
        (endpoint, client)
    }
}

/// A process, killed at the latest when this is dropped.
pub(super) struct Process {
    child: Child,
    what: String,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn stdout(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub(super) fn stderr(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// What it was and what it said, for a failure.
    pub(super) fn story(&self) -> String {
        format!("{}\n{}{}", self.what, tail(&self.out), tail(&self.err))
    }

    /// With `local`: a client of what it serves.
    pub(super) fn wait_for_client(&self) -> Client {
        let address = wait_for("the endpoint's address", || {
            let stdout = self.stdout();
            let url = stdout.strip_suffix('\n')?.rsplit("http://").next()?;
            url.parse().ok()
        });
        Client::new(address)
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it stands still, its clocks do not.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGHUP.
    pub(super) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                began.elapsed() < limit,
                "not over within {limit:?}: {}",
                self.story()
            );
            thread::park_timeout(LOOK);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("--- {}", self.story());
        }
    }
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut tail = lines[lines.len().saturating_sub(30)..].join("\n");
    if !tail.is_empty() {
        tail.push('\n');
    }
    tail
}
