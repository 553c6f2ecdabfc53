//! Names of servers, nodes, datacenters and versions, and the limits of texts from
//! other servers.
//!
//! Names are opaque to this library: it compares and prints them and never parses
//! them. Systems differ in which names they allow, so any text is a name, also the
//! empty one.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Cheap to clone. Compared byte for byte, so case matters.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Creates a name from any text.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                $name(text.into())
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                $name::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map($name::from)
            }
        }
    };
}

name! {
    /// The identity of a server in the Raft configuration, such as a UUID.
    ///
    /// ```
    /// use cluster_operator::ServerId;
    ///
    /// let id = ServerId::new("8c2562c7-df78-bf89-3010-e31384d0b5f2");
    /// assert_eq!(id, "8c2562c7-df78-bf89-3010-e31384d0b5f2");
    /// ```
    ServerId
}

name! {
    /// The address at which Raft reaches a server, such as `10.0.0.1:8300`.
    ///
    /// ```
    /// use cluster_operator::ServerAddress;
    ///
    /// assert_eq!(ServerAddress::new("10.0.0.1:8300").as_str(), "10.0.0.1:8300");
    /// ```
    ServerAddress
}

name! {
    /// The name of a node in a gossip pool.
    ///
    /// ```
    /// use cluster_operator::NodeName;
    ///
    /// assert_eq!(NodeName::new("alice").to_string(), "alice");
    /// ```
    NodeName
}

name! {
    /// The name of a datacenter.
    ///
    /// ```
    /// use cluster_operator::DatacenterName;
    ///
    /// assert_ne!(DatacenterName::new("dc1"), DatacenterName::new("DC1"));
    /// ```
    DatacenterName
}

name! {
    /// The name of a network segment of a LAN pool.
    ///
    /// ```
    /// use cluster_operator::types::SegmentName;
    ///
    /// assert_eq!(SegmentName::new("alpha").as_str(), "alpha");
    /// ```
    SegmentName
}

name! {
    /// The version of the Raft protocol that a server speaks, such as `3`.
    ///
    /// ```
    /// use cluster_operator::types::ProtocolVersion;
    ///
    /// assert_eq!(ProtocolVersion::new("3"), "3");
    /// ```
    ProtocolVersion
}

/// The limit of a text from another server, in bytes.
pub(crate) const TEXT_LIMIT: usize = 4096;

/// Cuts a text that is longer than [`TEXT_LIMIT`] and appends three dots.
pub(crate) fn cut_text(mut text: String) -> String {
    if text.len() > TEXT_LIMIT {
        let mut end = TEXT_LIMIT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

/// Cuts a name as [`cut_text`] cuts a text.
pub(crate) fn cut_name<T: AsRef<str> + From<String>>(name: T) -> T {
    if name.as_ref().len() > TEXT_LIMIT {
        cut_text(name.as_ref().to_owned()).into()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_serializes_as_a_string() {
        let json = serde_json::to_string(&ServerId::new("a\"b")).unwrap();
        assert_eq!(json, r#""a\"b""#);
        let back: ServerId = serde_json::from_str(&json).unwrap();
        assert_eq!(back, "a\"b");
    }
}
