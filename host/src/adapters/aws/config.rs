//! Where calls go and with what credentials.

use std::collections::HashMap;
use std::env;
use std::net::IpAddr;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::Mutex;

use super::{DynamoLeaseTable, KinesisSink, KinesisSource, StreamAdmin};
use crate::limits::{
    AWS_CONNECT_TIMEOUT, FENCED_WRITE_TIMEOUT, KINESIS_CALL_TIMEOUT, LEASE_CALL_TIMEOUT,
};
use crate::ports::{ErrorKind, PortError};

/// What a stand-in on this machine gets when nothing names a region: the SDKs' own example.
const LOOPBACK_REGION: &str = "us-east-1";

/// A service to talk to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AwsTarget {
    /// The region; none: what the environment, the profile or the instance says.
    pub region: Option<String>,
    /// A base URL instead of AWS's own, `http://` or `https://`.
    pub endpoint: Option<String>,
}

impl AwsTarget {
    /// Whether the endpoint was given and is on this machine.
    fn is_loopback(&self) -> bool {
        self.endpoint
            .as_deref()
            .and_then(host_of)
            .is_some_and(|host| {
                host == "localhost"
                    || host.ends_with(".localhost")
                    || host
                        .parse::<IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            })
    }
}

/// The host in `http(s)://[user@]host[:port][/path]`, brackets of IPv6 removed.
fn host_of(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

/// Makes adapters. One per process: its connections are shared by every pipeline, and its credentials by every adapter
/// of one target.
///
/// Making an adapter sends nothing, save for what the default credential chain needs to find a region.
#[derive(Debug)]
pub struct AwsClients {
    https: SharedHttpClient,
    /// For stand-ins on this machine. It needs no certificates, whose loading costs a start some tens of milliseconds,
    /// and no proxy.
    plain: SharedHttpClient,
    loaded: Mutex<HashMap<AwsTarget, SdkConfig>>,
}

impl Default for AwsClients {
    fn default() -> Self {
        Self::new()
    }
}

impl AwsClients {
    /// Nothing is loaded yet.
    pub fn new() -> Self {
        Self {
            https: https_client(),
            plain: Builder::new().build_http(),
            loaded: Mutex::new(HashMap::new()),
        }
    }

    /// A stream to read, by its name.
    pub async fn stream_source(
        &self,
        target: &AwsTarget,
        stream: &str,
    ) -> Result<KinesisSource, PortError> {
        Ok(KinesisSource::new(self.kinesis(target).await?, stream))
    }

    /// A stream to write to, by its name, in this order.
    pub async fn sink(
        &self,
        target: &AwsTarget,
        stream: &str,
        order: shardwright_core::pipeline::Order,
    ) -> Result<KinesisSink, PortError> {
        Ok(KinesisSink::new(self.kinesis(target).await?, stream, order))
    }

    /// A lease table, by its name.
    pub async fn lease_table(
        &self,
        target: &AwsTarget,
        table: &str,
    ) -> Result<DynamoLeaseTable, PortError> {
        let config = self.load(target).await?;
        let client = |timeout| {
            aws_sdk_dynamodb::Client::from_conf(
                aws_sdk_dynamodb::config::Builder::from(&config)
                    .timeout_config(timeouts(timeout))
                    .build(),
            )
        };
        Ok(DynamoLeaseTable::new(
            client(LEASE_CALL_TIMEOUT),
            client(FENCED_WRITE_TIMEOUT),
            table,
        ))
    }

    /// The streams of a target.
    pub async fn stream_admin(&self, target: &AwsTarget) -> Result<StreamAdmin, PortError> {
        Ok(StreamAdmin::new(self.kinesis(target).await?))
    }

    async fn kinesis(&self, target: &AwsTarget) -> Result<aws_sdk_kinesis::Client, PortError> {
        Ok(aws_sdk_kinesis::Client::new(&self.load(target).await?))
    }

    async fn load(&self, target: &AwsTarget) -> Result<SdkConfig, PortError> {
        if let Some(endpoint) = &target.endpoint
            && host_of(endpoint).is_none()
        {
            return Err(PortError::new(
                ErrorKind::Fatal,
                format!("endpoint {endpoint:?} is no http:// or https:// URL"),
            ));
        }
        // The lock is held while the chain is asked, so that ten pipelines ask it once.
        let mut loaded = self.loaded.lock().await;
        if let Some(config) = loaded.get(target) {
            return Ok(config.clone());
        }
        let config = if target.is_loopback() && !environment_has_credentials() {
            self.loopback_config(target)
        } else {
            self.default_chain(target).await
        };
        if config.region().is_none() {
            return Err(PortError::new(
                ErrorKind::Fatal,
                "no AWS region is known: set `region` in the pipeline, AWS_REGION, or a region in the AWS profile",
            ));
        }
        loaded.insert(target.clone(), config.clone());
        Ok(config)
    }

    /// A laptop has no credentials, and asking the whole chain for them ends with a wait for an instance's metadata.
    fn loopback_config(&self, target: &AwsTarget) -> SdkConfig {
        let mut config = SdkConfig::builder();
        config.set_endpoint_url(target.endpoint.clone());
        config
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http_client(target))
            .timeout_config(timeouts(KINESIS_CALL_TIMEOUT))
            .retry_config(RetryConfig::disabled())
            .region(Region::new(loopback_region(target)))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(
                "shardwright",
                "shardwright",
                None,
            )))
            .build()
    }

    async fn default_chain(&self, target: &AwsTarget) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http_client(target))
            .timeout_config(timeouts(KINESIS_CALL_TIMEOUT))
            .retry_config(RetryConfig::disabled());
        if target.is_loopback() {
            loader = loader.region(Region::new(loopback_region(target)));
        } else if let Some(region) = &target.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &target.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        loader.load().await
    }

    fn http_client(&self, target: &AwsTarget) -> SharedHttpClient {
        let is_plain = target
            .endpoint
            .as_deref()
            .is_some_and(|endpoint| endpoint.starts_with("http://"));
        if is_plain && target.is_loopback() {
            self.plain.clone()
        } else {
            self.https.clone()
        }
    }
}

fn loopback_region(target: &AwsTarget) -> String {
    target
        .region
        .clone()
        .or_else(|| env::var("AWS_REGION").ok())
        .or_else(|| env::var("AWS_DEFAULT_REGION").ok())
        .unwrap_or_else(|| LOOPBACK_REGION.to_owned())
}

fn environment_has_credentials() -> bool {
    ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// With retries off, an attempt is the operation.
fn timeouts(operation: std::time::Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(AWS_CONNECT_TIMEOUT)
        .operation_attempt_timeout(operation)
        .operation_timeout(operation)
        .build()
}

/// What the SDK would make for each of its clients, made once: rustls with the system's certificates, and the
/// environment's proxy.
fn https_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::AwsLc,
            ))
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: &str) -> AwsTarget {
        AwsTarget {
            region: None,
            endpoint: Some(endpoint.to_owned()),
        }
    }

    #[test]
    fn only_an_endpoint_on_this_machine_is_loopback() {
        for here in [
            "http://localhost:4567",
            "https://localhost",
            "http://127.0.0.1:1/",
            "http://127.9.9.9",
            "http://[::1]:80/x",
            "http://user@localhost:1",
            "http://kinesis.localhost:1",
        ] {
            assert!(target(here).is_loopback(), "{here}");
        }
        for elsewhere in [
            "http://localhost.example.com",
            "http://localhost@example.com",
            "http://example.com/localhost",
            "http://128.0.0.1",
            "http://127.0.0.1.example.com",
            "ftp://localhost",
            "localhost:4567",
        ] {
            assert!(!target(elsewhere).is_loopback(), "{elsewhere}");
        }
        assert!(!AwsTarget::default().is_loopback());
    }

    #[tokio::test]
    async fn an_endpoint_that_is_no_url_is_refused_by_name() {
        let error = AwsClients::new()
            .stream_source(&target("localhost:4567"), "orders")
            .await
            .expect_err("it is refused");
        assert_eq!(error.kind, ErrorKind::Fatal);
        assert!(error.what.contains("\"localhost:4567\""), "{}", error.what);
    }
}
