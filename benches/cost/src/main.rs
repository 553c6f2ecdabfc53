//! A program, by its features: an empty one, the service alone, a web server, and a web server
//! with parts of the library.

#[cfg(feature = "core")]
mod embedded {
    use std::time::Duration;

    use async_trait::async_trait;
    use cluster_operator::keyring::{GossipQuery, KeyChange, KeyringBackend, Pool};
    use cluster_operator::timer::{Sleep, Timer};
    use cluster_operator::{OperatorError, OperatorService, OperatorServiceBuilder, TokenStore};

    /// Stands for the embedder's backends, whose own size does not count.
    struct Gossip;

    #[async_trait]
    impl KeyringBackend for Gossip {
        fn pool(&self) -> &Pool {
            &Pool::Lan
        }

        async fn list(&self, _: &GossipQuery) -> Result<(), OperatorError> {
            Ok(())
        }

        async fn change(&self, _: &KeyChange, _: &GossipQuery) -> Result<(), OperatorError> {
            Ok(())
        }
    }

    struct Never;

    impl Timer for Never {
        fn sleep(&self, _: Duration) -> Sleep {
            Box::pin(std::future::pending())
        }
    }

    /// Answers without the adapter for HTTP.
    #[cfg(not(feature = "http"))]
    pub async fn answer(
        service: &OperatorService,
        path: &str,
    ) -> cluster_operator::consul::Response {
        use cluster_operator::consul::{Dialect, Request, Wire};

        let request = Request {
            method: "GET",
            path,
            query: None,
            headers: &[("", ""); 0],
            body: Default::default(),
        };
        Wire::new(Dialect::Precise).serve(service, request).await
    }

    pub fn builder() -> OperatorServiceBuilder {
        let tokens = TokenStore::load_file("tokens.json").expect("a token file");
        OperatorService::builder("dc1")
            .keyring(Gossip)
            .authorizer(tokens)
            .timer(Never)
    }
}

#[cfg(not(feature = "hello"))]
fn main() {
    #[cfg(feature = "core")]
    {
        use std::pin::pin;
        use std::task::{Context, Waker};

        let service = embedded::builder().build().expect("a service");
        let path = std::env::args().next_back().unwrap_or_default();
        let mut answer = pin!(embedded::answer(&service, &path));
        let answer = answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        println!("{answer:?}");
    }
}

#[cfg(feature = "hello")]
#[tokio::main]
async fn main() {
    use axum::Router;
    use axum::routing::get;

    let app: Router = Router::new().route("/", get(|| async { "hello" }));
    #[cfg(all(feature = "core", not(feature = "http")))]
    let app = {
        let service = embedded::builder().build().expect("a service");
        app.route(
            "/service",
            get(async move || format!("{:?}", embedded::answer(&service, "/").await)),
        )
    };
    #[cfg(all(feature = "http", not(feature = "peer-http")))]
    let app = {
        let service = embedded::builder().build().expect("a service");
        app.fallback_service(cluster_operator::server::OperatorHttp::new(service))
    };
    #[cfg(feature = "peer-http")]
    let app = {
        use cluster_operator::peer_http::{AddressBook, HttpPeers, PeerHttp, SharedSecret};

        let secret = || SharedSecret::new("0123456789abcdef0123456789abcdef").expect("a secret");
        let peers = HttpPeers::new(AddressBook::new()).with_shared_secret(secret());
        let service = embedded::builder().peers(peers).build().expect("a service");
        let receiver = PeerHttp::new(service.clone()).with_shared_secret(&secret());
        app.route_service("/cluster-operator/{*call}", receiver)
            .fallback_service(cluster_operator::server::OperatorHttp::new(service))
    };
    #[cfg(feature = "client")]
    let app = app.route(
        "/peers",
        get(|| async {
            use cluster_operator::client::OperatorClient;
            use cluster_operator::raft::Consistency;

            let server = "http://127.0.0.1:8500".parse().expect("a URI");
            let client = OperatorClient::new(server);
            let peers = client.raft_configuration(Consistency::Default).await;
            let keys = client.list_keys().await;
            format!("{peers:?} {keys:?}")
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    axum::serve(listener, app).await.expect("a server");
}
