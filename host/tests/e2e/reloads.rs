//! Plugins and pipelines that are edited under load, well and badly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chance::{Chance, rounds};
use super::load::{Load, Produced};
use super::machine::{LIMIT, Machine, Process, wait_for};
use super::output::{Line, final_lines, lines, whole_bytes};
use super::rows::{Row, rows};
use super::wire::Client;

const TAKEN_OVER: &str = "a new generation has taken over";
const REFUSED: &str = "a change is refused";
const FILES_REFUSED: &str = "the pipeline files are refused";

/// A component without a handler.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// What a worker may have grown by, whatever the number of generations: each compiled one is a megabyte or so.
const MEMORY_KIB_MAX: u64 = 96 << 10;

/// What an edit may change, so that no two in a row are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    lanes: u64,
    batch: u64,
    wait_ms: u64,
    attempts: u64,
    poll_ms: u64,
    every: u64,
    second_step: bool,
    /// The file that is written.
    out: u64,
    dead: u64,
}

impl Settings {
    const FIRST: Self = Self {
        lanes: 4,
        batch: 100,
        wait_ms: 20,
        attempts: 5,
        poll_ms: 50,
        every: 1,
        second_step: false,
        out: 0,
        dead: 0,
    };

    fn edit(&mut self, chance: &mut Chance) {
        let before = self.clone();
        while *self == before {
            match chance.below(9) {
                0 => self.lanes = 1 + chance.below(6),
                1 => self.batch = 10 + chance.below(200),
                2 => self.wait_ms = 1 + chance.below(50),
                3 => self.attempts = 1 + chance.below(9),
                4 => self.poll_ms = 20 + chance.below(60),
                5 => self.every = 1 + chance.below(5),
                6 => self.second_step = !self.second_step,
                7 => self.out = 1 - self.out,
                _ => self.dead = 1 - self.dead,
            }
        }
    }

    fn yaml(&self) -> String {
        let Self {
            lanes,
            batch,
            wait_ms,
            attempts,
            poll_ms,
            every,
            second_step,
            out,
            dead,
        } = self;
        let pass = "with: { at: \"\", is: { exists: true } }";
        let second = if *second_step {
            format!("  - plugin: builtin:json-filter\n    {pass}\n")
        } else {
            String::new()
        };
        format!(
            "version: 1\npipeline: reloaded\n\
             source: {{ kinesis: {{ stream: load, endpoint: local, read: {{ poll: {{ interval: {poll_ms}ms }} }}, \
             leases: {{ failover: 1m }} }} }}\n\
             flow: {{ lanes: {lanes}, batch: {{ records: {batch}, wait: {wait_ms}ms }} }}\n\
             steps:\n  - plugin: ./plugin.wasm\n    {pass}\n{second}\
             sinks: {{ out: {{ file: {{ path: out-{out}.jsonl }} }} }}\n\
             on_failure: {{ retry: {{ attempts: {attempts} }}, dead_letter: {{ file: {{ path: dead-{dead}/ }} }} }}\n\
             checkpoint: {{ every: {every}s }}\n"
        )
    }
}

/// A worker that runs, and the files that it follows.
struct Reloaded<'a> {
    machine: &'a Machine,
    client: Client,
    run: Process,
    chance: Chance,
    yaml: PathBuf,
    plugin: PathBuf,
    component: Vec<u8>,
    marks: u32,
    settings: Settings,
    leases: BTreeMap<String, (Option<String>, Option<String>)>,
}

impl Reloaded<'_> {
    /// The plugin with other bytes: it says and does the same.
    fn another(&mut self) -> Vec<u8> {
        self.marks += 1;
        let mark = self.marks.to_le_bytes();
        let mut component = self.component.clone();
        // A custom section: its id, its length, and its name, which has a length too.
        component.extend([0, 5 + mark.len() as u8, 4]);
        component.extend(b"mark");
        component.extend(mark);
        component
    }

    fn count(&self, what: &str) -> usize {
        self.run.stderr().matches(what).count()
    }

    /// Does something and waits until the log says so once more.
    fn expect(&mut self, what: &str, act: impl FnOnce(&mut Self)) {
        let before = self.count(what);
        act(self);
        wait_for(what, || {
            assert!(self.run.is_running(), "{}", self.run.story());
            (self.count(what) > before).then_some(())
        });
    }

    fn rename_over(&self, path: &Path, bytes: &[u8]) {
        let aside = self.machine.path("aside");
        fs::write(&aside, bytes).unwrap();
        fs::rename(aside, path).unwrap();
    }

    fn replace_plugin(&mut self) {
        let plugin = self.plugin.clone();
        match self.chance.below(6) {
            0 => self.expect(TAKEN_OVER, |this| {
                let good = this.another();
                fs::write(&plugin, good).unwrap();
            }),
            1 => self.expect(TAKEN_OVER, |this| {
                let good = this.another();
                this.rename_over(&plugin, &good);
            }),
            2 => self.expect(REFUSED, |this| {
                this.marks += 1;
                fs::write(&plugin, format!("broken {}", this.marks)).unwrap();
            }),
            3 => {
                self.expect(REFUSED, |this| {
                    let mark = this.another().split_off(this.component.len());
                    this.rename_over(&plugin, &[EMPTY_COMPONENT, &mark].concat());
                });
            }
            4 => {
                let good = self.another();
                let half = good.len() / 2 + self.marks as usize;
                self.expect(REFUSED, |_| fs::write(&plugin, &good[..half]).unwrap());
                self.expect(TAKEN_OVER, |_| fs::write(&plugin, &good).unwrap());
            }
            _ => {
                self.expect(REFUSED, |_| {
                    // One refusal may have left no file already.
                    fs::remove_file(&plugin).unwrap();
                });
                self.expect(TAKEN_OVER, |this| {
                    let good = this.another();
                    this.rename_over(&plugin, &good);
                });
            }
        }
    }

    /// The plugin is one that can be used again.
    fn mend_plugin(&mut self) {
        let plugin = self.plugin.clone();
        self.expect(TAKEN_OVER, |this| {
            let good = this.another();
            this.rename_over(&plugin, &good);
        });
    }

    fn edit_pipeline(&mut self) {
        let yaml = self.yaml.clone();
        if self.chance.below(4) == 0 {
            let text = self.settings.yaml();
            let at = text.find("sinks:").unwrap();
            self.expect(FILES_REFUSED, |this| {
                this.marks += 1;
                let broken = format!("{}# {}\nsinks: {{", &text[..at], this.marks);
                fs::write(&yaml, broken).unwrap();
            });
        }
        self.expect(TAKEN_OVER, |this| {
            this.settings.edit(&mut this.chance);
            let text = this.settings.yaml();
            if this.chance.below(2) == 0 {
                fs::write(&yaml, text).unwrap();
            } else {
                this.rename_over(&yaml, text.as_bytes());
            }
        });
    }

    /// No lease was given up: each has the owner and the incarnation that it had.
    fn check_leases(&self) {
        assert_eq!(tenures(&rows(&self.client, "reloaded")), self.leases);
    }
}

fn tenures(rows: &BTreeMap<String, Row>) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let tenure = |row: &Row| (row.owner.clone(), row.incarnation.clone());
    rows.iter()
        .map(|(shard, row)| (shard.clone(), tenure(row)))
        .collect()
}

/// Good, broken, half-written, deleted and renamed files under load: nothing is lost, nothing repeated, each key stays in
/// order, what is bad is told, and no lease changes hands (HR-2).
#[test]
fn files_that_change_under_load_lose_and_repeat_nothing() {
    let machine = Machine::new();
    let (_endpoint, client) = machine.endpoint();
    machine.run(&["stream", "create", "load", "--shards", "4"]);
    let plugin = machine.path("plugin.wasm");
    machine.run(&[
        "plugin",
        "export",
        "builtin:json-filter",
        plugin.to_str().unwrap(),
    ]);
    let yaml = machine.write("reloaded.yaml", &Settings::FIRST.yaml());
    let load = Load::start(client, "load");
    let mut command = machine.command(&["run", &yaml]);
    command
        .env("SHARDWRIGHT_LOG", "info,shardwright::runtime=debug")
        .env("XDG_CACHE_HOME", machine.path("cache"));
    let mut run = machine.spawn(command);
    wait_for("all shards in one worker's hands", || {
        assert!(run.is_running(), "{}", run.story());
        let rows = rows(&client, "reloaded");
        let held = rows.values().filter(|row| row.owner.is_some()).count();
        (held == 4 && whole_bytes(&machine.path("out-0.jsonl")) > 0).then_some(())
    });
    let mut reloaded = Reloaded {
        machine: &machine,
        client,
        run,
        chance: Chance::new(),
        component: fs::read(&plugin).unwrap(),
        yaml: yaml.into(),
        plugin,
        marks: 0,
        settings: Settings::FIRST,
        leases: tenures(&rows(&client, "reloaded")),
    };
    let memory = memory_of(&reloaded.run);
    let replaced = rounds(12);
    for round in 0..replaced {
        reloaded.replace_plugin();
        if round % 2 == 1 {
            // A pipeline whose plugin is broken cannot be rebuilt.
            reloaded.mend_plugin();
            reloaded.edit_pipeline();
        }
        reloaded.check_leases();
    }
    reloaded.mend_plugin();
    hangup_tries_again(&mut reloaded);
    reloaded.check_leases();
    if let (Some(before), Some(after)) = (memory, memory_of(&reloaded.run)) {
        println!("resident: {before} KiB before, {after} KiB after");
        assert!(after < before + MEMORY_KIB_MAX, "generations are not freed");
    }
    let produced = load.stop();
    let Reloaded { mut run, .. } = reloaded;
    run.terminate();
    assert!(run.wait(LIMIT).success(), "{}", run.story());
    machine.run(&[
        "run",
        &machine.path("reloaded.yaml").to_string_lossy(),
        "--until-tip",
    ]);
    let outputs = ["out-0.jsonl", "out-1.jsonl"].map(|name| machine.path(name));
    let told = run.stderr();
    let generations = told.matches(TAKEN_OVER).count();
    let refusals = told.matches(REFUSED).count() + told.matches(FILES_REFUSED).count();
    check_outputs(&outputs, &produced);
    println!(
        "{} records, {replaced} plugin files and {} pipeline files in turn: {generations} generations, {refusals} refusals",
        produced.total(),
        replaced / 2,
    );
    tell_pauses(&told);
}

/// A folder's pipelines start and stop with their files. What cannot change under leases is drained and started anew; a
/// pipeline that nobody touched keeps its leases.
#[test]
fn pipelines_come_and_go_with_their_files() {
    let machine = Machine::new();
    let (_endpoint, client) = machine.endpoint();
    let text = machine.write("text", &"a line\n".repeat(200));
    for stream in ["one", "two"] {
        machine.run(&["stream", "create", stream, "--shards", "2"]);
        machine.run(&["stream", "put", stream, "--from", &text, "--lines"]);
    }
    let pipeline = |name: &str, stream: &str| {
        format!(
            "version: 1\npipeline: {name}\nsource: {{ kinesis: {{ stream: {stream}, endpoint: local, \
             read: {{ poll: {{ interval: 50ms }} }}, leases: {{ table: {name}-{stream} }} }} }}\n\
             flow: {{ lanes: 2 }}\nsinks: {{ out: {{ file: {{ path: ../out/ }} }} }}\n"
        )
    };
    let written = |name: &str| {
        let text = fs::read_to_string(machine.path(&format!("out/{name}.jsonl")));
        text.unwrap_or_default().lines().count()
    };
    fs::create_dir(machine.path("pipelines")).unwrap();
    machine.write("pipelines/stays.yaml", &pipeline("stays", "one"));
    let mut run = machine.start(&["run", machine.path("pipelines").to_str().unwrap()]);
    let mut await_that = |what: &str, holds: &dyn Fn(&str) -> bool| {
        wait_for(what, || {
            assert!(run.is_running(), "{}", run.story());
            holds(&run.stderr()).then_some(())
        });
    };
    await_that("the first pipeline", &|_| written("stays") == 200);
    let before = tenures(&rows(&client, "stays-one"));

    machine.write("pipelines/comes.yaml", &pipeline("comes", "one"));
    await_that("a new pipeline", &|_| written("comes") == 200);
    // HR-2: one that names a stream which is not there does not start, and stops nobody else.
    machine.write("pipelines/wrong.yaml", &pipeline("wrong", "nowhere"));
    await_that("a wrong stream is refused", &|told| {
        told.contains("a new pipeline does not start") && told.contains("nowhere")
    });
    fs::remove_file(machine.path("pipelines/wrong.yaml")).unwrap();
    machine.write("pipelines/comes.yaml", &pipeline("comes", "two"));
    await_that("it reads another stream", &|told| {
        told.contains("drained and started anew") && written("comes") == 400
    });
    let given_up = rows(&client, "comes-one");
    assert!(given_up.values().all(|row| row.owner.is_none()));
    fs::remove_file(machine.path("pipelines/comes.yaml")).unwrap();
    await_that("it is stopped", &|told| {
        told.matches("stopped; its leases are released").count() == 2
    });
    let given_up = rows(&client, "comes-two");
    assert!(given_up.values().all(|row| row.owner.is_none()));
    // The last file of a folder is not gone on purpose.
    fs::remove_file(machine.path("pipelines/stays.yaml")).unwrap();
    await_that("an empty folder is refused", &|told| {
        told.contains(FILES_REFUSED)
    });
    assert_eq!(tenures(&rows(&client, "stays-one")), before);
    run.terminate();
    assert!(run.wait(LIMIT).success(), "{}", run.story());
    assert_eq!((written("stays"), written("comes")), (200, 400));
}

/// What was refused is tried again when SIGHUP asks for it, though nothing has changed.
fn hangup_tries_again(reloaded: &mut Reloaded<'_>) {
    let plugin = reloaded.plugin.clone();
    reloaded.expect(REFUSED, |_| fs::write(&plugin, "broken at last").unwrap());
    reloaded.expect(REFUSED, |this| this.run.hang_up());
    reloaded.mend_plugin();
}

/// Over all files: every record once, and in each file the records of a key in their order.
fn check_outputs(outputs: &[PathBuf], produced: &Produced) {
    let mut seen: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for path in outputs {
        let lines: Vec<Line> = if whole_bytes(path) > 0 {
            final_lines(path)
        } else {
            lines(path)
        };
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &lines {
            let before = last.insert(&line.key, line.number);
            assert!(
                before.is_none_or(|before| before < line.number),
                "{} {} came after {before:?}",
                line.key,
                line.number
            );
            let is_new = seen
                .entry(line.key.clone())
                .or_default()
                .insert(line.number);
            assert!(
                is_new,
                "{} {} is repeated: {}",
                line.key, line.number, line.id
            );
        }
    }
    for (key, count) in produced.keys.iter().enumerate() {
        let key = format!("key-{key}");
        let numbers = seen.remove(&key).unwrap_or_default();
        let all = numbers.iter().copied().eq(0..*count);
        assert!(all, "{key}: {} of {count} were delivered", numbers.len());
    }
}

/// Resident memory in KiB, where the system tells.
fn memory_of(process: &Process) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn tell_pauses(told: &str) {
    let pauses = told.split("pause_us=").skip(1).filter_map(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok().map(Duration::from_micros)
    });
    let mut pauses: Vec<Duration> = pauses.collect();
    assert!(!pauses.is_empty(), "no lane has passed over");
    pauses.sort_unstable();
    let at = |percent: usize| pauses[(pauses.len() * percent).div_ceil(100) - 1];
    println!(
        "{} lanes passed over; a lane stood still for {:?} (p50), {:?} (p99), {:?} (most)",
        pauses.len(),
        at(50),
        at(99),
        at(100)
    );
}
