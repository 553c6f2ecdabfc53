//! Where a server listens.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// The base URI of a server, such as `http://10.0.0.1:8501`.
///
/// It has a scheme and an authority, and may have a path under which a proxy
/// serves the server. It has no user, no password and no query: secrets do not
/// belong in an address.
///
/// ```
/// use cluster_operator::client::ServerUri;
///
/// let uri: ServerUri = "https://consul.example.com/dc1/".parse()?;
/// assert_eq!(uri.to_string(), "https://consul.example.com/dc1");
/// assert!("10.0.0.1:8501".parse::<ServerUri>().is_err());
/// # Ok::<(), cluster_operator::client::InvalidServerUri>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerUri {
    uri: Uri,
}

/// A text that is not a [`ServerUri`]. The error does not repeat the text, which may
/// hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidServerUri {
    /// It is not a URI.
    #[error("the server's address is not a URI: write it as http://host:port")]
    Syntax,
    /// Its scheme is missing, or is not HTTP.
    #[error("the server's URI has to begin with http:// or https://")]
    Scheme,
    /// It has a user, perhaps with a password.
    #[error("the server's URI has a user: give a token or a shared secret instead")]
    User,
    /// It has a query.
    #[error("the server's URI has a query: it ends where the paths begin")]
    Query,
}

impl ServerUri {
    /// The URI of something on this server. `path` begins with a slash.
    pub(super) fn join(&self, path: &str) -> Result<Uri, http::Error> {
        let prefix = self.uri.path().trim_end_matches('/');
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(format!("{prefix}{path}").parse()?);
        Ok(Uri::from_parts(parts)?)
    }
}

impl FromStr for ServerUri {
    type Err = InvalidServerUri;

    fn from_str(text: &str) -> Result<Self, InvalidServerUri> {
        let uri: Uri = text.parse().map_err(|_| InvalidServerUri::Syntax)?;
        ServerUri::try_from(uri)
    }
}

impl TryFrom<&str> for ServerUri {
    type Error = InvalidServerUri;

    fn try_from(text: &str) -> Result<Self, InvalidServerUri> {
        text.parse()
    }
}

impl TryFrom<Uri> for ServerUri {
    type Error = InvalidServerUri;

    fn try_from(uri: Uri) -> Result<Self, InvalidServerUri> {
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(InvalidServerUri::Scheme);
        }
        let authority = uri.authority().ok_or(InvalidServerUri::Syntax)?;
        if authority.as_str().contains('@') {
            return Err(InvalidServerUri::User);
        }
        if uri.query().is_some() {
            return Err(InvalidServerUri::Query);
        }
        Ok(ServerUri { uri })
    }
}

impl fmt::Display for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri.to_string().trim_end_matches('/'))
    }
}

impl fmt::Debug for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUri({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str) -> String {
        let base: ServerUri = base.parse().unwrap();
        base.join("/v1/x?y=z").unwrap().to_string()
    }

    #[test]
    fn path_is_appended_to_the_base() {
        assert_eq!(joined("http://a:1"), "http://a:1/v1/x?y=z");
        assert_eq!(joined("http://a:1/"), "http://a:1/v1/x?y=z");
        assert_eq!(joined("https://a/b/c/"), "https://a/b/c/v1/x?y=z");
        assert_eq!(joined("http://[::1]:8501"), "http://[::1]:8501/v1/x?y=z");
    }

    #[test]
    fn malformed_uri_is_refused_without_being_repeated() {
        for (text, error) in [
            ("", InvalidServerUri::Syntax),
            ("http://", InvalidServerUri::Syntax),
            ("http:// a", InvalidServerUri::Syntax),
            ("a.example.com", InvalidServerUri::Scheme),
            ("10.0.0.1:8501", InvalidServerUri::Scheme),
            ("ftp://a", InvalidServerUri::Scheme),
            ("http://me:hunter2@a", InvalidServerUri::User),
            ("http://a?token=hunter2", InvalidServerUri::Query),
        ] {
            let refused = text.parse::<ServerUri>().unwrap_err();
            assert_eq!(refused, error, "{text}");
            assert!(!refused.to_string().contains("hunter2"));
        }
    }
}
