//! Commands that cost, crash or pry.

use std::hint::black_box;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::bindings::shardwright::plugin::{log, metrics};

/// Carries out a command. Most of them never return; one that is not known, the empty one among them, does nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "the host must cut a guest that sleeps"
)]
pub(crate) fn act(command: &str) {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "panic" => panic_with(rest),
        "exit" => std::process::exit(rest.parse().unwrap_or(1)),
        "spin" => loop {
            black_box(());
        },
        "slow" => {
            let until = Instant::now() + Duration::from_millis(number(rest) as u64);
            while Instant::now() < until {
                black_box(());
            }
        }
        "sleep" => std::thread::sleep(Duration::from_millis(number(rest) as u64)),
        "allocate" => {
            let mut all = Vec::new();
            loop {
                all.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "recurse" => {
            black_box(recurse(1));
        }
        "log" => (0..number(rest)).for_each(|i| log::write(log::Level::Info, &format!("line {i}"))),
        "log-long" => log::write(log::Level::Error, &"x".repeat(number(rest) << 20)),
        "stderr" => (0..number(rest)).for_each(|i| eprintln!("line {i}")),
        "stdout" => (0..number(rest)).for_each(|i| println!("line {i}")),
        "count" => (0..number(rest)).for_each(|i| metrics::count(&format!("counter_{i}"), 1)),
        "count-named" => metrics::count(rest, 1),
        _ => {}
    }
}

/// What of the world outside can be seen from here, as JSON.
pub(crate) fn reach() -> String {
    let root = std::fs::read_dir("/")
        .map(Iterator::count)
        .map_err(|error| error.to_string());
    let file = std::fs::write("/tmp/hostile", "x").map_err(|error| error.to_string());
    let network = TcpStream::connect("127.0.0.1:80")
        .map(|_| ())
        .map_err(|error| error.to_string());
    let name = std::net::ToSocketAddrs::to_socket_addrs("localhost:80")
        .map(Iterator::count)
        .map_err(|error| error.to_string());
    serde_json::json!({
        "env": std::env::vars_os().count(),
        "args": std::env::args_os().count(),
        "root": root.ok(),
        "file": file.is_ok(),
        "network": network.is_ok(),
        "name": name.ok(),
    })
    .to_string()
}

/// The argument of a command; 1 where there is none.
pub(crate) fn number(text: &str) -> usize {
    text.parse().unwrap_or(1)
}

#[expect(clippy::panic, reason = "it is what was asked for")]
fn panic_with(reason: &str) {
    panic!("asked to panic: {reason}");
}

#[expect(unconditional_recursion, reason = "it is what was asked for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(frame[0] + 1) + black_box(frame)[1]
}
