//! boto3 against the endpoint: `tests/conformance` has what must hold for any Kinesis, `tests/boto3` what is ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use shardwright_local::{Certificate, Endpoint};

/// The Python to run: `SHARDWRIGHT_PYTHON`, or one that the workspace's set-up made.
fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("SHARDWRIGHT_PYTHON") {
        return python.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let made = ["target/standins/venv/bin/python3", ".venv/bin/python3"].map(|p| workspace.join(p));
    made.into_iter()
        .find(|p| p.exists())
        .unwrap_or_else(|| "python3".into())
}

/// Runs a script of `tests` against an endpoint of its own: its URL, and with `and_tls` what a client has to know of the one
/// for TLS, and a container of the KPL.
fn holds(script: &str, and_tls: bool) {
    let folder = tempfile::tempdir().unwrap();
    let python = python();
    let has_boto3 = Command::new(&python)
        .args(["-c", "import boto3, aws_kinesis_agg, cbor2"])
        .output();
    assert!(
        has_boto3.is_ok_and(|o| o.status.success()),
        "{} has no boto3; run `.ci/test --install`, or `python3 -m venv .venv && .venv/bin/pip install boto3 aws-kinesis-agg cbor2`",
        python.display()
    );
    let endpoint = Endpoint::new(folder.path()).certificate(Certificate::SelfSigned);
    let endpoint = endpoint.serve().unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut command = Command::new(&python);
    command.arg(tests.join(script)).arg(endpoint.url());
    if and_tls {
        let (url, certificate) = endpoint.tls().unwrap();
        command
            .arg(url)
            .arg(certificate)
            .arg(tests.join("sdk/container.hex"));
    }
    let output = command.output().unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{complained}");
}

#[test]
fn boto3_finds_all_of_kinesis() {
    holds("conformance/conformance.py", false);
}

#[test]
fn boto3_finds_tls_a_dynamodb_and_a_clock() {
    holds("boto3/check.py", true);
}
