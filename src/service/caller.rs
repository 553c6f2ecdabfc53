//! Who asks.

use crate::acl::Token;
use crate::types::DatacenterName;

/// Who asks for an operation, and of which datacenter.
///
/// ```
/// use cluster_operator::{Caller, Token};
///
/// let caller = Caller::with_token(Token::new("b852fbe7")).in_datacenter("dc2");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    pub(crate) token: Option<Token>,
    pub(crate) datacenter: Option<DatacenterName>,
}

impl Caller {
    /// Someone without a token, who asks of the local datacenter.
    pub fn anonymous() -> Self {
        Caller::default()
    }

    /// The owner of a token, who asks of the local datacenter.
    pub fn with_token(token: Token) -> Self {
        Caller {
            token: Some(token),
            datacenter: None,
        }
    }

    /// The same caller, who asks of this datacenter.
    #[must_use]
    pub fn in_datacenter(mut self, datacenter: impl Into<DatacenterName>) -> Self {
        self.datacenter = Some(datacenter.into());
        self
    }
}
