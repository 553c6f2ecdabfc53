//! A request of the client for programs.

use std::error::Error;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use zeroize::Zeroizing;

use super::ServerUri;
use super::error::ClientError;
use super::transport::JSON;
use crate::acl::{Access, Resource};
use crate::error::ErrorKind;
use crate::keyring::GossipKey;
use crate::peers::write_wiped;
use crate::raft::PeerSelector;
use crate::types::DatacenterName;

/// What RFC 3986 leaves as it is in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A request, and what an error's meaning depends on.
pub(super) struct Call {
    method: Method,
    /// Path and query.
    target: String,
    body: Bytes,
    /// The key in the body.
    pub(super) key: Option<Zeroizing<String>>,
    pub(super) resource: Resource,
    pub(super) datacenter: Option<DatacenterName>,
    /// The server to remove, or to lead.
    pub(super) server: Option<PeerSelector>,
}

impl Call {
    pub(super) fn new(method: Method, path: &str, resource: Resource) -> Self {
        Call {
            method,
            target: format!("/v1/operator/{path}"),
            body: Bytes::new(),
            key: None,
            resource,
            datacenter: None,
            server: None,
        }
    }

    pub(super) fn access(&self) -> Access {
        match self.method {
            Method::GET => Access::Read,
            _ => Access::Write,
        }
    }

    /// The method and the path.
    pub(super) fn endpoint(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }

    pub(super) fn flag(&mut self, name: &str) {
        self.target
            .push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
    }

    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        self.flag(name);
        self.target.push('=');
        self.target.extend(utf8_percent_encode(value, QUERY));
    }

    /// Names the server that the request is about.
    pub(super) fn about(&mut self, server: PeerSelector) {
        match &server {
            PeerSelector::Id(id) => self.parameter("id", id.as_str()),
            PeerSelector::Address(address) => self.parameter("address", address.as_str()),
        }
        self.server = Some(server);
    }

    /// Puts a key into the body.
    pub(super) fn carry(&mut self, key: &GossipKey) -> Result<(), ClientError> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Change<'a> {
            #[serde(with = "crate::keyring::exposed")]
            key: &'a GossipKey,
        }

        self.body = write_wiped(&Change { key }).map_err(not_written)?;
        self.key = Some(key.to_base64());
        Ok(())
    }

    /// The request to this server.
    pub(super) fn request(
        &self,
        server: &ServerUri,
        token: Option<&HeaderValue>,
    ) -> Result<Request<Bytes>, ClientError> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = server.join(&self.target).map_err(not_written)?;
        let headers = request.headers_mut();
        // This library's servers say more in a problem document; Consul does not
        // look.
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, application/problem+json"),
        );
        if !self.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        if let Some(token) = token {
            headers.insert("x-consul-token", token.clone());
        }
        Ok(request)
    }
}

fn not_written(error: impl Error + Send + Sync + 'static) -> ClientError {
    let reason = format!("the request cannot be written: {error}");
    ClientError::new(ErrorKind::InvalidRequest { reason }).with_source(Some(Box::new(error)))
}
