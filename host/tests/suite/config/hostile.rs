//! Whatever is in a file, the answer is pipelines or problems that can be shown.

use std::path::Path;

use proptest::prelude::*;
use shardwright::config;

use super::{env, files, package};

/// Loads and renders; whatever is told lies within the text.
fn survives(text: &str) {
    if let Err(problems) = config::load_text(Path::new("any.yaml"), text, &env) {
        assert!(problems.iter().count() > 0);
        let lines = text.split('\n').count();
        for problem in problems.iter() {
            let (line, column) = problem.line_and_column().unwrap();
            let width = text
                .split('\n')
                .nth(line - 1)
                .map(|line| line.chars().count());
            assert!(line <= lines && column <= width.unwrap() + 1, "{problem}");
        }
        assert!(!problems.render(true, 80).is_empty());
        assert!(!problems.to_string().is_empty());
    }
}

fn corpus() -> Vec<String> {
    ["valid", "invalid"]
        .iter()
        .flat_map(|folder| files(&package().join("tests/config").join(folder), "yaml"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_yaml_is_answered(text in "[\\[\\]{}:,&*!|>'\"%@`?#$ \\n\\ta-c0-9é\u{feff}-]{0,120}") {
        survives(&text);
    }

    /// Real pipelines with a piece cut out and another put in, wherever that may be.
    #[test]
    fn damaged_pipelines_are_answered(
        (one, other) in (0..corpus().len(), 0..corpus().len()),
        cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        paste in any::<(prop::sample::Index, u8)>(),
    ) {
        let corpus = corpus();
        let chars: Vec<char> = corpus[one].chars().collect();
        let source: Vec<char> = corpus[other].chars().collect();
        let (mut from, mut to) = (cut.0.index(chars.len() + 1), cut.1.index(chars.len() + 1));
        if from > to {
            std::mem::swap(&mut from, &mut to);
        }
        to = to.min(from + 40);
        let start = paste.0.index(source.len());
        let end = (start + usize::from(paste.1)).min(source.len());
        let text: String = chars[..from].iter().chain(&source[start..end]).chain(&chars[to..]).collect();
        survives(&text);
    }
}

#[test]
fn what_grows_without_end_is_refused() {
    survives(&"[".repeat(100_000));
    survives(&"a: {".repeat(10_000));
    survives(&"- ".repeat(50_000));
    // Each level unfolds the one before it nine times.
    let level = |level: usize| {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        format!("a{level}: &a{level} [{items}]\n")
    };
    let bomb: String = (1..12).map(level).collect();
    let bomb = format!("a0: &a0 [x, x, x, x, x, x, x, x, x]\n{bomb}");
    survives(&bomb);
}
