//! The connection to the servers, from flags and from the environment.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster_operator::client::{self, ClientError, OperatorClient, ServerUri, Transport};
use cluster_operator::diagnosis::Diagnosis;
use cluster_operator::{ErrorKind, Token};
use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::flags::Connection;
use crate::output::{note, safe_lines};

/// The servers that can be asked.
#[derive(Debug)]
pub(crate) struct Servers {
    /// With their addresses, as they were written.
    all: Vec<(String, OperatorClient)>,
    /// The one that answered last.
    current: Cell<usize>,
}

impl Servers {
    /// Prepares the connections; nothing is sent yet.
    pub(crate) fn new(flags: &Connection) -> Result<Self, Failure> {
        Servers::connect(&flags.http_addr, flags)
    }

    /// The same for another server.
    pub(crate) fn at(address: &str, flags: &Connection) -> Result<Self, Failure> {
        Servers::connect(&[address.to_owned()], flags)
    }

    fn connect(addresses: &[String], flags: &Connection) -> Result<Self, Failure> {
        for (variable, reason) in [
            (
                "CONSUL_HTTP_AUTH",
                "basic authentication is not supported: use a token",
            ),
            (
                "CONSUL_CAPATH",
                "is not supported: put the certificates into one file for CONSUL_CACERT",
            ),
        ] {
            if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
                return Err(Failure::usage(format!("{variable}: {reason}")));
            }
        }
        let verify = std::env::var("CONSUL_HTTP_SSL_VERIFY").unwrap_or_default();
        if matches!(
            verify.as_str(),
            "0" | "f" | "F" | "false" | "FALSE" | "False"
        ) {
            return Err(Failure::usage(
                "CONSUL_HTTP_SSL_VERIFY: certificates are always verified: give the authority \
                 with CONSUL_CACERT",
            ));
        }
        let token = token(flags)?;
        let all = addresses.iter().map(|address| {
            let mut client = client(address, flags)?.with_deadline(flags.timeout);
            if let Some(datacenter) = &flags.datacenter {
                client = client.in_datacenter(datacenter.as_str());
            }
            if let Some(token) = &token {
                client = client
                    .with_token(token)
                    .map_err(|error| Failure::usage(format!("the token is malformed: {error}")))?;
            }
            Ok((address.clone(), client))
        });
        let all = all.collect::<Result<Vec<_>, Failure>>()?;
        if all.is_empty() {
            return Err(Failure::usage("no server is named: give --http-addr"));
        }
        let current = Cell::new(0);
        Ok(Servers { all, current })
    }

    /// Asks one server after the other, until one can be reached.
    pub(crate) async fn read<T>(
        &self,
        ask: impl AsyncFn(&OperatorClient) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let count = self.all.len();
        let first = self.current.get();
        let mut at = first;
        loop {
            let next = (at + 1) % count;
            match ask(&self.all[at].1).await {
                Err(error) if is_unreachable(&error) && next != first => {
                    let error = safe_lines(&error.to_string());
                    note(format!("{error}: asking the next server"));
                    at = next;
                }
                answer => {
                    self.current.set(at);
                    return answer;
                }
            }
        }
    }

    /// Returns the server that answered last. A change is sent to it alone.
    pub(crate) fn current(&self) -> &OperatorClient {
        &self.all[self.current.get()].1
    }

    /// Returns the other servers than the one at this address.
    pub(crate) fn without(&self, address: &str) -> Result<Self, Failure> {
        let left_out = address.trim_start_matches("http://");
        let mut all = self.all.clone();
        all.retain(|(other, _)| other.trim_start_matches("http://") != left_out);
        if all.is_empty() {
            return Err(Failure::usage(
                "the node's own server cannot say which key the others use: name another one \
                 with --http-addr",
            ));
        }
        let current = Cell::new(0);
        Ok(Servers { all, current })
    }

    /// Returns the rings of all servers, for a rotation.
    pub(crate) fn rings(&self) -> client::Servers {
        client::Servers::new(self.all.iter().map(|(_, client)| client.clone()))
    }

    /// Returns the diagnosis, by a server or else by this command, and what this command
    /// cannot see.
    pub(crate) async fn diagnose(&self) -> Result<(Diagnosis, Option<&'static str>), ClientError> {
        match self.read(async |client| client.diagnosis().await).await {
            Ok(diagnosis) => Ok((diagnosis, None)),
            Err(error) if is_unknown_to_server(&error) => Ok((
                self.rings().diagnose().await,
                Some(
                    "this server makes no diagnosis: it is this command's, by what the named \
                     servers show; name all servers with --http-addr to compare their views. \
                     Neither terms nor logs were compared",
                ),
            )),
            Err(error) => Err(error),
        }
    }
}

/// The server has no such endpoint, as Consul.
pub(crate) fn is_unknown_to_server(error: &ClientError) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported { .. })
}

fn is_unreachable(error: &ClientError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unreachable { .. } | ErrorKind::DeadlineExceeded { .. }
    )
}

fn token(flags: &Connection) -> Result<Option<Token>, Failure> {
    let token = match &flags.token_file {
        Some(file) => Some(Token::new(read(file)?.trim())),
        None => flags.token.clone(),
    };
    Ok(token.filter(|token| !token.expose().is_empty()))
}

/// Reads a file with a secret.
fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|error| Failure::unreadable(file, error))
}

fn client(address: &str, flags: &Connection) -> Result<OperatorClient, Failure> {
    let address = address.trim();
    if let Some(path) = address.strip_prefix("unix://") {
        let server = uri("http://localhost")?;
        let path = PathBuf::from(path);
        return Ok(OperatorClient::new(server).with_transport(over_unix(path)));
    }
    let url = match (address.contains("://"), flags.http_ssl) {
        (true, _) => address.to_owned(),
        (false, true) => format!("https://{address}"),
        (false, false) => format!("http://{address}"),
    };
    let client = OperatorClient::new(uri(&url)?);
    if url.starts_with("https://") {
        return Ok(client.with_transport(over_tls(flags)?));
    }
    Ok(client)
}

fn uri(url: &str) -> Result<ServerUri, Failure> {
    url.parse()
        .map_err(|error| Failure::usage(format!("--http-addr: {error}")))
}

fn over_unix(path: PathBuf) -> Transport {
    Transport::over(tower::service_fn(move |_: Uri| {
        let path = path.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }))
}

fn over_tls(flags: &Connection) -> Result<Transport, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::usage(error.to_string()))?
        .with_root_certificates(roots(flags.ca_file.as_deref())?);
    let config = match (&flags.client_cert, &flags.client_key) {
        (Some(chain), Some(key)) => {
            let chain = certificates(chain)?;
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| Failure::unreadable(key, error))?;
            config
                .with_client_auth_cert(chain, secret)
                .map_err(|error| Failure::usage(format!("the client's certificate: {error}")))?
        }
        (None, None) => config.with_no_client_auth(),
        (Some(_), None) | (None, Some(_)) => {
            return Err(Failure::usage(
                "a client's certificate needs its key: give both --client-cert and --client-key",
            ));
        }
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only();
    let connector = match &flags.tls_server_name {
        None => connector.enable_http1().build(),
        Some(name) => {
            let name = ServerName::try_from(name.clone())
                .map_err(|error| Failure::usage(format!("--tls-server-name: {error}")))?;
            connector
                .with_server_name_resolver(FixedServerNameResolver::new(name))
                .enable_http1()
                .build()
        }
    };
    Ok(Transport::over(connector))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|error| Failure::unreadable(file, error))?;
            }
        }
        None => {
            let native = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(native.certs);
            if added == 0 {
                return Err(Failure::usage(
                    "the system has no certificate authorities: give them with --ca-file",
                ));
            }
        }
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().map_err(|error| Failure::unreadable(file, error))?;
    if certificates.is_empty() {
        return Err(Failure::unreadable(file, "it has no certificate"));
    }
    Ok(certificates)
}
