//! Addresses, tokens, TLS and sockets.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use cluster_operator::consul::Dialect;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::{TOKEN, ask, command, federation, routes, run, serve};

#[tokio::test(flavor = "multi_thread")]
async fn read_goes_to_the_next_server_that_can_be_reached() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    // Nobody listens there: the port is free again.
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let ended = ask(&format!("{free},{alice}"), "raft list").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("asking the next server"), "{ended:?}");
    // A change follows the read to the server that answered.
    let ended = ask(&format!("{free},{alice}"), "raft remove carol --yes").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = ask(&free.to_string(), "raft list").await;
    assert_eq!(ended.code, 1, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_comes_from_flag_file_or_variable() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let list = ["raft", "list"];
    let mut without = command(&alice);
    let denied = run(without.env_remove("CONSUL_HTTP_TOKEN").args(list)).await;
    assert_eq!(denied.code, 1, "{denied:?}");
    let mut wrong = command(&alice);
    wrong.env("CONSUL_HTTP_TOKEN", "a-wrong-token").args(list);
    let denied = run(&mut wrong).await;
    assert_eq!(denied.code, 1, "{denied:?}");
    assert!(!denied.err.contains("a-wrong-token"));
    let ended = run(wrong.env("CONSUL_HTTP_TOKEN_FILE", &file)).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let mut flag = command(&alice);
    flag.env("CONSUL_HTTP_TOKEN", "a-wrong-token")
        .args(list)
        .args(["-token", TOKEN]);
    assert_eq!(run(&mut flag).await.code, 0);
    // The flag comes before the variables.
    std::fs::write(&file, "another-wrong-token").unwrap();
    let ended = run(flag.env("CONSUL_HTTP_TOKEN_FILE", &file)).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_variable_is_like_none() {
    let ended = run(command("")
        .envs([("CONSUL_HTTP_TOKEN", ""), ("CONSUL_HTTP_TOKEN_FILE", "")])
        .envs([("CONSUL_HTTP_SSL", ""), ("CONSUL_CACERT", "")])
        .envs([("CONSUL_CLIENT_CERT", ""), ("CONSUL_CLIENT_KEY", "")])
        .args(["raft", "list", "--timeout", "1ms"]))
    .await;
    // Nothing is wrong with the command line, whether a server listens there or not.
    assert_ne!(ended.code, 2, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_that_would_be_ignored_is_refused() {
    for (name, value) in [
        ("CONSUL_HTTP_AUTH", "user:password"),
        ("CONSUL_CAPATH", "/etc/ssl"),
        ("CONSUL_HTTP_SSL_VERIFY", "false"),
    ] {
        let ended = run(command("127.0.0.1:1")
            .env(name, value)
            .args(["raft", "list"]))
        .await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(
            ended.err.contains(name) && !ended.err.contains("password"),
            "{ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_is_asked_over_a_unix_socket() {
    let federation = federation();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let routes = routes(&federation, "alice", Dialect::Precise);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let ended = ask(&format!("unix://{}", path.display()), "raft list").await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// An authority, and what it has signed, as files.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate and its key.
    fn sign(&self, folder: &Path, name: &str, subject: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([subject.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        [("crt", certificate.pem()), ("key", key.serialize_pem())]
            .map(|(kind, pem)| write(folder, &format!("{name}.{kind}"), &pem))
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn server_is_asked_over_mutual_tls() {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = write(folder.path(), "ca.crt", &authority.0.pem());
    let [certificate, key] = authority.sign(folder.path(), "server", "server.dc1.consul");
    let [client, client_key] = authority.sign(folder.path(), "client", "client.dc1.consul");

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&ca).unwrap())
        .unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&key).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let federation = federation();
    let routes = routes(&federation, "alice", Dialect::Precise);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, routes) = (acceptor.clone(), routes.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let service = TowerToHyperService::new(routes);
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });

    let name = "-tls-server-name=server.dc1.consul";
    let tls = format!("raft list -ca-file {ca} {name}");
    let pair = format!("-client-cert {client} -client-key {client_key}");
    let url = format!("https://{address}");
    let ended = ask(&url, &format!("{tls} {pair}")).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    // The same by the environment.
    let mut by_variables = command(&address.to_string());
    by_variables
        .envs([
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul"),
        ])
        .envs([("CONSUL_CACERT", &ca), ("CONSUL_CLIENT_CERT", &client)])
        .env("CONSUL_CLIENT_KEY", &client_key)
        .args(["raft", "list"]);
    let ended = run(&mut by_variables).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    // Without the client's certificate, with another authority, or by another name.
    let other = write(folder.path(), "other.crt", &Authority::new().0.pem());
    for words in [
        tls.clone(),
        format!("raft list -ca-file {other} {name} {pair}"),
        format!("raft list -ca-file {ca} {pair}"),
    ] {
        let ended = ask(&url, &words).await;
        assert_eq!(ended.code, 1, "{ended:?}");
    }
}
