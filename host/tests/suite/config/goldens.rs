//! `tests/config/valid/*.yaml` becomes `.resolved`, and `tests/config/invalid/*.yaml` says `.err`.
//! `UPDATE_GOLDENS=1` writes them anew, for a person to read.

use std::path::{Path, PathBuf};

use shardwright::config::{self, Problems};
use shardwright_core::pipeline::Pipeline;

use super::{env, files, package};

fn folder(name: &str) -> PathBuf {
    package().join("tests/config").join(name)
}

/// Loads a golden under its bare name, as if its folder were `/pipelines`, so that no path of this machine gets in.
fn load(path: &Path) -> Result<Vec<Pipeline>, Problems> {
    let text = std::fs::read_to_string(path).unwrap();
    let name = Path::new("/pipelines").join(path.file_name().unwrap());
    config::load_text(&name, &text, &env)
}

fn check(path: &Path, extension: &str, found: &str) {
    let golden = path.with_extension(extension);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&golden, found).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(expected, found, "{}", golden.display());
}

#[test]
fn valid_pipelines_resolve_as_written_down() {
    let all = files(&folder("valid"), "yaml");
    assert!(!all.is_empty());
    for path in all {
        match load(&path) {
            Ok(pipelines) => check(&path, "resolved", &format!("{pipelines:#?}\n")),
            Err(problems) => panic!("{problems}"),
        }
    }
}

#[test]
fn invalid_pipelines_say_what_is_wrong() {
    let all = files(&folder("invalid"), "yaml");
    assert!(!all.is_empty());
    for path in all {
        match load(&path) {
            Ok(pipelines) => panic!("{} is valid: {pipelines:?}", path.display()),
            Err(problems) => check(&path, "err", &problems.render(false, 110)),
        }
    }
}

/// The acceptance point: ten faults of ten kinds in one file, each told at its own line and column.
#[test]
fn ten_faults_are_told_at_once_each_at_its_place() {
    let path = folder("invalid").join("ten-faults.yaml");
    let problems = load(&path).unwrap_err();
    let text = std::fs::read_to_string(&path).unwrap();
    // The file marks each fault itself: a comment `# <- <column> <path>` ends its line.
    let marked: Vec<(usize, usize, String)> = text
        .lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let (column, path) = line.split_once("# <- ")?.1.split_once(' ')?;
            Some((index + 1, column.parse().unwrap(), path.to_owned()))
        })
        .collect();
    let told: Vec<(usize, usize, String)> = problems
        .iter()
        .map(|problem| {
            let (line, column) = problem.line_and_column().unwrap();
            (line, column, problem.path().to_owned())
        })
        .collect();
    assert_eq!(marked.len(), 10);
    assert_eq!(marked, told, "{problems}");
    for problem in problems.iter() {
        assert!(problem.help_text().is_some(), "{problem}");
    }
}

#[test]
fn a_folder_is_its_yaml_files_in_order_and_faults_in_all_of_them_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let pipeline = |name: &str, stream: &str| {
        format!("version: 1\npipeline: {name}\nsource: {{ kinesis: {{ stream: {stream} }} }}\n")
    };
    write("b.yaml", &pipeline("second", "s"));
    write(
        "a.yml",
        &[pipeline("first", "s"), pipeline("other", "s")].join("---\n"),
    );
    write("notes.txt", "not: yaml: at all");
    write(".hidden.yaml", "version: 2");
    let paths = [folder.path().to_owned()];
    let names: Vec<_> = config::load(&paths, &env)
        .unwrap()
        .into_iter()
        .map(|pipeline| pipeline.name.to_string())
        .collect();
    assert_eq!(names, ["first", "other", "second"]);

    // A file that is named beside its folder is read once.
    let twice = [folder.path().join("b.yaml"), folder.path().to_owned()];
    assert_eq!(config::load(&twice, &env).unwrap().len(), 3);

    write("c.yaml", &pipeline("first", "s"));
    write("d.yaml", "version: 1\npipeline: [\n");
    write("e.yaml", &pipeline("fine", "'*'"));
    let problems = config::load(&paths, &env).unwrap_err();
    let told: Vec<_> = problems
        .iter()
        .map(|problem| {
            let file = problem.file().file_name().unwrap().to_string_lossy();
            (file.into_owned(), problem.path().to_owned())
        })
        .collect();
    let expected = [
        ("c.yaml", "pipeline"),
        ("d.yaml", ""),
        ("e.yaml", "source.kinesis.stream"),
    ];
    let expected = expected.map(|(file, path)| (file.to_owned(), path.to_owned()));
    assert_eq!(told, expected, "{problems}");
    assert!(problems.to_string().contains("a.yml:2:11"), "{problems}");
}

#[test]
fn paths_without_pipelines_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.yaml");
    std::fs::write(&empty, "# nothing yet\n---\n").unwrap();
    let not_utf8 = folder.path().join("latin1.yaml");
    std::fs::write(&not_utf8, b"pipeline: caf\xe9\n").unwrap();
    let absent = folder.path().join("absent.yaml");
    let none = folder.path().join("none");
    std::fs::create_dir(&none).unwrap();
    for (path, message) in [
        (&empty, "there is no pipeline here"),
        (&not_utf8, "byte 13 of this file is not UTF-8"),
        (&absent, "cannot be read"),
        (&none, "has no *.yaml or *.yml file"),
    ] {
        let problems = config::load(std::slice::from_ref(path), &env).unwrap_err();
        assert_eq!(problems.iter().count(), 1);
        assert!(problems.to_string().contains(message), "{problems}");
        assert_eq!(problems.iter().next().unwrap().file(), path);
    }
    let all = [empty, not_utf8, absent, none];
    assert_eq!(config::load(&all, &env).unwrap_err().iter().count(), 3);
}
