//! What a guest does when it is told to, apart from answering.

use std::hint::black_box;
use std::time::Duration;

/// Does what it is told; a word that it does not know is nothing to do.
pub fn act(what: &str) {
    match what {
        "panic" => panic!("this is what it says"),
        "loop" => {
            let mut n = 0u64;
            loop {
                n = black_box(n + 1);
            }
        }
        "sleep" => std::thread::sleep(Duration::from_secs(3_600)),
        "naps" => (0..50).for_each(|_| std::thread::sleep(Duration::from_millis(2))),
        "grow" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1u8; 1 << 20]);
                black_box(&all);
            }
        }
        "recurse" => {
            black_box(recurse(0));
        }
        "exit" => std::process::exit(3),
        "stderr-flood" => (0..100_000).for_each(|n| eprintln!("line {n} of a flood")),
        "stderr-line" => eprint!("{}", "x".repeat(10 << 20)),
        _ => {}
    }
}

fn recurse(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    if n == u64::MAX {
        return 0;
    }
    recurse(n + 1) + frame[(n % 64) as usize]
}
