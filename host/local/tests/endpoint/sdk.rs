//! SDKs of other languages: puts, reads and subscriptions over HTTP/1.1 and HTTP/2, in the clear and over TLS; and the Kinesis
//! Client Library with its leases. The scripts in `tests/sdk` have what must hold; `.ci/test --install` installs what they run on.

use std::path::{Path, PathBuf};
use std::process::Command;

use shardwright_local::{Certificate, Endpoint, Handle};
use tempfile::TempDir;

/// Where the SDKs are: `SHARDWRIGHT_STANDINS`, or where the workspace's set-up put them.
fn standins() -> PathBuf {
    std::env::var_os("SHARDWRIGHT_STANDINS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/standins"),
        PathBuf::from,
    )
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sdk")
        .join(name)
}

fn serve() -> (TempDir, Handle, String, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::new(folder.path()).certificate(Certificate::SelfSigned);
    let endpoint = endpoint.serve().unwrap();
    let (url, chain) = endpoint.tls().unwrap();
    let chain = chain.to_owned();
    (folder, endpoint, url, chain)
}

fn holds(command: &mut Command) {
    let ran = command.output();
    assert!(
        ran.is_ok(),
        "{command:?}: {ran:?}; run `.ci/test --install`"
    );
    let output = ran.unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{complained}");
}

#[test]
fn the_java_sdk_puts_reads_and_subscribes_in_cbor() {
    let (_folder, endpoint, tls, chain) = serve();
    let libraries = standins().join("java/*");
    holds(
        Command::new("java")
            .args(["-Xmx256m".as_ref(), "-cp".as_ref(), libraries.as_os_str()])
            .arg(script("java/Check.java"))
            .args([endpoint.url(), tls])
            .arg(chain)
            .arg(script("container.hex")),
    );
}

#[test]
fn the_kinesis_client_library_consumes_by_polling_and_by_fan_out_through_a_split() {
    let (_folder, endpoint, _, _) = serve();
    let libraries = standins().join("java/*");
    holds(
        Command::new("java")
            .args(["-Xmx256m".as_ref(), "-cp".as_ref(), libraries.as_os_str()])
            .arg(script("java/Kcl.java"))
            .arg(endpoint.url())
            .arg(script("container.hex")),
    );
}

#[test]
fn the_javascript_sdk_puts_reads_and_subscribes() {
    let (_folder, endpoint, tls, chain) = serve();
    holds(
        Command::new("node")
            .env("NODE_EXTRA_CA_CERTS", chain)
            .arg(script("javascript/check.mjs"))
            .arg(standins())
            .args([endpoint.url(), tls])
            .arg(script("container.hex")),
    );
}
