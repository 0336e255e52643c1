//! What crossing the sandbox costs: words of 100-byte messages, counted in batches of 1,000.
//!
//! The variants take turns, and the fastest round of each counts: on a machine that does other things too, that is the
//! only figure that can be set beside another. Run it with `cargo bench --bench contract`; with `-- --write` the table goes into
//! `docs/performance.md`.

#[path = "contract/bindings.rs"]
mod bindings;
#[path = "end_to_end/page.rs"]
mod page;

use std::fmt::Write as _;
use std::future::Future;
use std::hint::black_box;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bindings::contract::exports::shardwright::plugin::{batch_handler, message_handler};
use bindings::rows::exports::bench::rows::rows;
use page::Page;
use wasmtime::component::{Component, Instance, Linker, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

const MESSAGES: usize = 1_000;
const MESSAGE_BYTES: usize = 100;
const ROUNDS: usize = 300;

#[expect(unreachable_pub, reason = "the guests are another crate")]
#[path = "guests/src/lib.rs"]
mod work;

struct Host {
    wasi: WasiCtx,
    handles: ResourceTable,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.handles,
        }
    }
}

/// A batch, in the form that the host keeps it in.
struct Batch {
    data: Vec<u8>,
    data_ends: Vec<u32>,
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    sequence_numbers: Vec<u8>,
    sequence_number_ends: Vec<u32>,
    sub_sequence_numbers: Vec<u64>,
    arrival_times: Vec<i64>,
}

impl Batch {
    fn new() -> Self {
        let sentence = b"the quick brown fox jumps over the lazy dog and does it again before anybody has seen it happen twice ";
        let mut batch = Self {
            data: Vec::new(),
            data_ends: Vec::new(),
            keys: Vec::new(),
            key_ends: Vec::new(),
            sequence_numbers: Vec::new(),
            sequence_number_ends: Vec::new(),
            sub_sequence_numbers: (0..MESSAGES as u64).collect(),
            arrival_times: vec![1_763_800_000_000; MESSAGES],
        };
        for index in 0..MESSAGES {
            let text = sentence.iter().cycle().skip(index % sentence.len());
            batch.data.extend(text.take(MESSAGE_BYTES));
            batch.data_ends.push(batch.data.len() as u32);
            batch.keys.extend(format!("customer-{index:05}").bytes());
            batch.key_ends.push(batch.keys.len() as u32);
            let number = format!("{:056}", 49_600_000_000_000_u64 + index as u64);
            batch.sequence_numbers.extend(number.bytes());
            batch
                .sequence_number_ends
                .push(batch.sequence_numbers.len() as u32);
        }
        batch
    }

    fn columns(&self) -> batch_handler::Batch<'_> {
        batch_handler::Batch {
            data: &self.data,
            data_ends: &self.data_ends,
            keys: &self.keys,
            key_ends: &self.key_ends,
            sequence_numbers: &self.sequence_numbers,
            sequence_number_ends: &self.sequence_number_ends,
            sub_sequence_numbers: &self.sub_sequence_numbers,
            arrival_times: &self.arrival_times,
        }
    }

    /// Data, key and sequence number of each message.
    fn borrowed(&self) -> impl Iterator<Item = (&[u8], &str, &str)> {
        fn values<'b>(bytes: &'b [u8], ends: &'b [u32]) -> impl Iterator<Item = &'b [u8]> {
            let starts = std::iter::once(&0).chain(ends);
            starts
                .zip(ends)
                .map(|(&start, &end)| &bytes[start as usize..end as usize])
        }
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        values(&self.data, &self.data_ends)
            .zip(values(&self.keys, &self.key_ends))
            .zip(values(&self.sequence_numbers, &self.sequence_number_ends))
            .map(move |((data, key), number)| (data, text(key), text(number)))
    }

    fn rows(&self) -> Vec<rows::Message<'_>> {
        self.borrowed()
            .zip(&self.sub_sequence_numbers)
            .zip(&self.arrival_times)
            .map(
                |(((data, key, sequence_number), &sub), &arrival_time)| rows::Message {
                    data,
                    key,
                    sequence_number,
                    sub_sequence_number: sub,
                    arrival_time,
                },
            )
            .collect()
    }
}

/// One way to hand a batch to a handler.
trait Variant {
    /// Handles the batch; the answer is the number of words.
    fn run(&mut self, batch: &Batch) -> wasmtime::Result<u64>;
}

struct Native;

impl Variant for Native {
    fn run(&mut self, batch: &Batch) -> wasmtime::Result<u64> {
        Ok(batch
            .borrowed()
            .map(|(data, ..)| work::words(black_box(data)))
            .sum())
    }
}

struct Columns(Store<Host>, batch_handler::Guest);

impl Variant for Columns {
    fn run(&mut self, batch: &Batch) -> wasmtime::Result<u64> {
        let reply = now(self.1.call_handle(&mut self.0, batch.columns()))?;
        Ok(reply.map_or(0, |reply| number(&reply.emissions.data)))
    }
}

struct Rows(Store<Host>, rows::Guest);

impl Variant for Rows {
    fn run(&mut self, batch: &Batch) -> wasmtime::Result<u64> {
        let answer = now(self.1.call_handle(&mut self.0, &batch.rows()))?;
        Ok(answer.unwrap_or(0))
    }
}

struct Messages(Store<Host>, message_handler::Guest);

impl Variant for Messages {
    fn run(&mut self, batch: &Batch) -> wasmtime::Result<u64> {
        let mut words = 0;
        for (index, (data, key, sequence_number)) in batch.borrowed().enumerate() {
            let message = message_handler::Message {
                data,
                key,
                sequence_number,
                sub_sequence_number: batch.sub_sequence_numbers[index],
                arrival_time: batch.arrival_times[index],
            };
            let answer = now(self.1.call_handle(&mut self.0, message))?;
            words += answer.map_or(0, |all| all.iter().map(|one| number(&one.data)).sum());
        }
        Ok(words)
    }
}

fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Nothing here waits: a guest is done when it has been polled once.
fn now<T>(call: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(wasmtime::Error::msg("a guest waits")),
    }
}

fn engine(epochs: bool) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .epoch_interruption(epochs)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(
            PoolingAllocationConfig::new(),
        ));
    Engine::new(&config)
}

fn start(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<(Store<Host>, Instance)> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    let component = Component::new(engine, bytes)?;
    let host = Host {
        wasi: WasiCtxBuilder::new().build(),
        handles: ResourceTable::new(),
    };
    let mut store = Store::new(engine, host);
    // Checked at every loop, and never reached.
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = now(linker.instantiate_async(&mut store, &component))?;
    Ok((store, instance))
}

fn guests() -> anyhow::Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/guests/Cargo.toml");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-guests");
    let mut cargo = Command::new(env!("CARGO"));
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        cargo.env_remove(name);
    }
    let status = cargo
        .args([
            "build",
            "--profile",
            "guest",
            "--locked",
            "--examples",
            "--quiet",
        ])
        .args(["--target", "wasm32-wasip2", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()?;
    anyhow::ensure!(status.success(), "the guests do not build");
    Ok(target.join("wasm32-wasip2/guest/examples"))
}

fn variants() -> anyhow::Result<Vec<(String, Box<dyn Variant>)>> {
    let guests = guests()?;
    let bytes = |name: &str| std::fs::read(guests.join(name).with_extension("wasm"));
    let mut variants: Vec<(String, Box<dyn Variant>)> = vec![("native".into(), Box::new(Native))];
    for epochs in [true, false] {
        let engine = engine(epochs)?;
        let name = |what: &str| format!("{what}, epochs {}", if epochs { "on" } else { "off" });

        let (mut store, instance) = start(&engine, &bytes("columns")?)?;
        let pre = instance.instance_pre(&store);
        let guest = batch_handler::GuestIndices::new(&pre)?.load(&mut store, &instance)?;
        variants.push((name("columns"), Box::new(Columns(store, guest))));

        let (mut store, instance) = start(&engine, &bytes("rows")?)?;
        let pre = instance.instance_pre(&store);
        let guest = rows::GuestIndices::new(&pre)?.load(&mut store, &instance)?;
        variants.push((name("list of records"), Box::new(Rows(store, guest))));

        let (mut store, instance) = start(&engine, &bytes("messages")?)?;
        let pre = instance.instance_pre(&store);
        let guest = message_handler::GuestIndices::new(&pre)?.load(&mut store, &instance)?;
        variants.push((name("one call a message"), Box::new(Messages(store, guest))));
    }
    Ok(variants)
}

fn main() -> anyhow::Result<()> {
    // `cargo test --benches` runs it too, and wants to know only that it works.
    let rounds = if std::env::args().any(|arg| arg == "--bench") {
        ROUNDS
    } else {
        1
    };
    let batch = Batch::new();
    let words = Native.run(&batch)?;
    let mut variants = variants()?;
    let mut fastest = vec![Duration::MAX; variants.len()];
    for _ in 0..rounds {
        for ((name, variant), fastest) in variants.iter_mut().zip(&mut fastest) {
            let began = Instant::now();
            let counted = variant.run(black_box(&batch))?;
            *fastest = (*fastest).min(began.elapsed());
            anyhow::ensure!(
                counted == words,
                "{name} counts {counted} words, not {words}"
            );
        }
    }
    let per_message = |time: Duration| time.as_nanos() as f64 / MESSAGES as f64;
    let (native, columns) = (per_message(fastest[0]), per_message(fastest[1]));
    let mut table =
        "| word count, 1,000 messages of 100 bytes | ns a message | of native | of columns |\n\
                     |---|---|---|---|\n"
            .to_owned();
    for ((name, _), fastest) in variants.iter().zip(&fastest) {
        let took = per_message(*fastest);
        let (of_native, of_columns) = (took / native, took / columns);
        writeln!(
            table,
            "| {name} | {took:.0} | {of_native:.2} | {of_columns:.2} |"
        )?;
    }
    let is_written = std::env::args().any(|arg| arg == "--write");
    Page::of(is_written).put("contract", &format!("{table}\n"))
}
