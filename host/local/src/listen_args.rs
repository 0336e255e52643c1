//! Where an endpoint listens, as a command line says it.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::endpoint::Endpoint;
use crate::tls::Certificate;

// The arguments of every command that serves an endpoint.
#[derive(Clone, Debug, clap::Args)]
#[expect(
    missing_docs,
    reason = "its doc would replace the description of the command that it is flattened into"
)]
pub struct ListenArgs {
    /// The address to listen at. Beyond loopback, whoever reaches it can read and change everything
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    listen: IpAddr,

    /// Serve HTTPS at the same port too, with a certificate that signs itself and is kept in the data directory
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    tls: bool,

    /// Serve HTTPS at the same port too, with this certificate: PEM, and after it those up to its root
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key: PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl ListenArgs {
    /// The endpoint with these arguments.
    #[must_use]
    pub fn apply(self, endpoint: Endpoint) -> Endpoint {
        let endpoint = endpoint.listen(self.listen);
        match (self.tls_cert, self.tls_key) {
            (Some(chain), Some(key)) => endpoint.certificate(Certificate::Files { chain, key }),
            _ if self.tls => endpoint.certificate(Certificate::SelfSigned),
            _ => endpoint,
        }
    }

    /// What a user has to be told before others can come.
    pub fn warning(&self) -> Option<String> {
        let address = self.listen;
        (!address.is_loopback()).then(|| {
            format!("listening at {address}: nobody is authenticated, and whoever reaches it can read and change everything")
        })
    }
}
