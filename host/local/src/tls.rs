//! The certificate that an endpoint shows, given or made.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::directory::Directory;
use crate::endpoint::ServeError;

/// Which certificate an endpoint shows to clients that come with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// One that signs itself, for `localhost` and the address that is listened at. It is made once and kept in the data
    /// directory, where clients that have to trust it find it.
    SelfSigned,
    /// One of the user's, in PEM.
    Files {
        /// The certificate, and after it those between it and its root.
        chain: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

/// A certificate that was read.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Where its PEM lies.
    pub(crate) chain: PathBuf,
    pub(crate) config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads the certificate, and makes it first if that is asked for.
    pub(crate) fn load(
        &self,
        directory: &Directory,
        address: IpAddr,
    ) -> Result<Identity, ServeError> {
        let (chain, key) = match self {
            Self::Files { chain, key } => (chain.clone(), key.clone()),
            Self::SelfSigned => {
                let paths = directory.certificate(address);
                make(&paths.0, &paths.1, address)?;
                paths
            }
        };
        let config = read(&chain, &key)?;
        Ok(Identity {
            chain,
            config: Arc::new(config),
        })
    }
}

fn failed(path: &Path) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> ServeError {
    let path = path.to_owned();
    move |reason| ServeError::Certificate { path, reason }
}

fn read(chain: &Path, key: &Path) -> Result<ServerConfig, ServeError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .map_err(|error| failed(chain)(error.into()));
    let private_key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key)(error.into()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(chain)(error.into()))?
        .with_no_client_auth()
        .with_single_cert(certificates?, private_key)
        .map_err(|error| failed(chain)(error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Makes a certificate that signs itself, unless it is there. The key first: a certificate without it is never seen.
fn make(chain: &Path, key: &Path, address: IpAddr) -> Result<(), ServeError> {
    if chain.exists() {
        return Ok(());
    }
    let made = KeyPair::generate().and_then(|pair| {
        let names = ["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
        let own = (!address.is_unspecified()).then(|| address.to_string());
        let mut params = CertificateParams::new(names.into_iter().chain(own).collect::<Vec<_>>())?;
        let name = "shardwright local endpoint";
        params.distinguished_name.push(DnType::CommonName, name);
        // Nobody renews what certifies a test endpoint.
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2125, 1, 1);
        Ok((params.self_signed(&pair)?.pem(), pair.serialize_pem()))
    });
    let (certificate, private) = made.map_err(|error| failed(chain)(error.into()))?;
    write(key, 0o600, &private).map_err(|error| failed(key)(error.into()))?;
    write(chain, 0o644, &certificate).map_err(|error| failed(chain)(error.into()))
}

/// Replaces the file as a whole.
fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    // Left by a crash, with whatever mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
