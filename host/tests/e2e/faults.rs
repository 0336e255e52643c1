//! What the command line says of pipelines that are wrong.

use super::machine::{LIMIT, Machine};

/// Ten faults of ten kinds.
const FAULTS: &str = r#"version: 2
pipeline: faulty
source:
  kinesis:
    stream: "bad name"
    endpoint: nowhere
    start: { at: yesterday }
    read: { poll: { interval: 200 } }
flow: { lanes: 0 }
steps:
  - plugin: builtin:word-count
    limit: { time: 1s }
    outputs: { default: out, late: gone }
sinks:
  out: { file: {} }
checkpoint: { every: 5s, every: 6s }
"#;

/// Where each of them is: line and column.
const PLACES: [&str; 10] = [
    "1:10", "5:13", "6:15", "7:18", "8:31", "9:16", "12:5", "13:30", "15:10", "16:26",
];

#[test]
fn ten_faults_are_shown_at_once_each_at_its_place() {
    let machine = Machine::new();
    let file = machine.write("faults.yaml", FAULTS);
    for command in ["validate", "run"] {
        let mut process = machine.start(&[command, &file]);
        assert_eq!(process.wait(LIMIT).code(), Some(64), "{}", process.story());
        let told = process.stderr();
        for place in PLACES {
            let place = format!("faults.yaml:{place}: ");
            assert!(
                told.contains(&place),
                "{command} does not show {place}:\n{told}"
            );
        }
        assert_eq!(
            told.matches("faults.yaml:").count(),
            PLACES.len(),
            "{command}:\n{told}"
        );
    }
}

#[test]
fn a_folder_of_valid_pipelines_is_valid() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path("pipelines")).unwrap();
    for name in ["one", "two"] {
        machine.write(
            &format!("pipelines/{name}.yaml"),
            &format!("version: 1\npipeline: {name}\nsource: {{ kinesis: {{ stream: s }} }}\n"),
        );
    }
    let told = machine.run(&["validate", machine.path("pipelines").to_str().unwrap()]);
    assert_eq!(told.lines().count(), 2, "{told}");
}
