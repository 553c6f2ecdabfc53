//! A status page for servers that embed [`cluster_operator`].
//!
//! The page shows the servers of every datacenter with leader, votes, health and lag, how
//! many more servers may fail, the gossip rings with each key by its fingerprint, and
//! what is wrong, worst first. It removes a server after showing the plan of the removal
//! and asking for the server's name. It works in current browsers, without other
//! resources, by keyboard, in light and dark, on phones and on wide screens.
//!
//! ```
//! use cluster_operator::OperatorService;
//! use cluster_operator::server::OperatorHttp;
//!
//! fn endpoints(service: OperatorService) -> OperatorHttp {
//!     OperatorHttp::new(service).with_ui(cluster_operator_ui::PAGE)
//! }
//! ```
//!
//! The page is then at `/v1/operator/ui`, and works behind any prefix of a proxy.
//!
//! # Security
//! Everyone may load the page, since it holds no data. Its user enters a token, which
//! stays in the memory of the page and is sent in `X-Consul-Token`. The page reads
//! `GET /v1/operator/diagnosis` (`operator:read` and `keyring:read`) and never receives a
//! gossip key. Its only change is `POST /v1/operator/raft/planned-removal`
//! (`operator:write`), which a listener that is
//! [read-only](cluster_operator::server::OperatorHttp::read_only) does not offer.
//!
//! The Content-Security-Policy allows only the page's own script and style, by their
//! hashes, and requests to the page's own origin. What a server sends is shown as text.

use cluster_operator::server::Page;

/// The status page, for
/// [`OperatorHttp::with_ui`](cluster_operator::server::OperatorHttp::with_ui).
pub const PAGE: Page = Page::new(include_str!("page.html"), POLICY);

/// A test compares the hashes with the content, and prints the right ones.
const POLICY: &str = "default-src 'none'; \
    script-src 'sha256-sqnXiIllQhwirExHqVsXYRAC0F99uN8kybYquLscRME='; \
    style-src 'sha256-rnnqtuy/T1IxZuR+QqgIKBZUv8HvaEgfzT0G0D/4aEU='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
