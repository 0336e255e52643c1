//! TLS at the port that serves clients without it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use shardwright_local::{Certificate, Endpoint, Handle, ServeError};

use crate::client::Client;

/// A connection that trusts this certificate alone, offers these protocols, and has shaken hands.
fn connect(
    served: &Handle,
    certificate: &Path,
    protocols: &[&[u8]],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate).unwrap())
        .unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(served.address()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut stream = StreamOwned::new(client, socket);
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream
}

fn answers(stream: &mut StreamOwned<ClientConnection, TcpStream>) {
    let request = "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: Kinesis_20131202.ListStreams\r\n\
                   content-length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).unwrap();
    let mut start = [0; 15];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
}

#[test]
fn one_port_serves_tls_with_either_version_of_http_and_clients_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::new(folder.path()).certificate(Certificate::SelfSigned);
    let served = endpoint.serve().unwrap();
    let (url, certificate) = served.tls().unwrap();
    assert_eq!(url, format!("https://{}", served.address()));
    for (offered, chosen) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut stream = connect(&served, certificate, offered);
        assert_eq!(stream.conn.alpn_protocol(), chosen);
        if chosen != Some(b"h2") {
            answers(&mut stream);
        }
    }
    // A handshake that is none ends its own connection only.
    let mut garbage = TcpStream::connect(served.address()).unwrap();
    garbage.write_all(&[22, 3, 1, 0, 5, 9, 9, 9, 9, 9]).unwrap();
    let mut rest = Vec::new();
    // However it ends, it ends.
    let _: std::io::Result<usize> = garbage.read_to_end(&mut rest);
    Client::new(served.address()).kinesis("ListStreams", &json!({}));
    // Processes that share the directory find it.
    let other = shardwright_local::attach(folder.path()).unwrap();
    assert_eq!(other.address(), served.address());
}

#[test]
fn a_certificate_that_was_made_stays_and_its_key_is_the_owners() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::new(folder.path()).certificate(Certificate::SelfSigned);
    let served = endpoint.serve().unwrap();
    let path = served.tls().unwrap().1.to_owned();
    let made = std::fs::read(&path).unwrap();
    let key = path.with_file_name("key-127.0.0.1.pem");
    let mode = std::fs::metadata(key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    served.shutdown();
    let served = endpoint.serve().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), made);
    answers(&mut connect(&served, &path, &[]));
}

#[test]
fn a_certificate_that_is_given_is_shown_and_one_that_is_not_there_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (
        folder.path().join("own.pem"),
        folder.path().join("own-key.pem"),
    );
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&chain, made.cert.pem()).unwrap();
    let given = Certificate::Files {
        chain: chain.clone(),
        key: key.clone(),
    };
    let endpoint = Endpoint::new(folder.path().join("data")).certificate(given);
    let error = endpoint.serve().unwrap_err();
    assert!(
        matches!(&error, ServeError::Certificate { path, .. } if *path == key),
        "{error}"
    );
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let served = endpoint.serve().unwrap();
    answers(&mut connect(&served, &chain, &[b"http/1.1"]));
}

#[test]
fn another_address_is_listened_at_when_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::new(folder.path()).listen("127.0.0.2".parse().unwrap());
    let served = endpoint.serve().unwrap();
    assert_eq!(served.address().ip().to_string(), "127.0.0.2");
    Client::new(served.address()).kinesis("ListStreams", &json!({}));
}
