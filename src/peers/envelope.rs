//! The messages between servers: a request in an envelope, and its reply.
//!
//! Both are versioned JSON. `tests/envelopes/` has every released format as bytes.

use std::time::Duration;
use std::{fmt, io, mem};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::acl::Access;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::operation::{OperatorReply, OperatorRequest};

/// The version of the server call that this library speaks.
///
/// Version 1 was a request without a version.
const VERSION: u32 = 2;

/// A request to another server, for any transport.
///
/// The bytes are opaque. Their format changes between versions of this library; a
/// server that cannot read them says so in its
/// [`answer`](crate::OperatorService::answer). They hold the token and keys of the
/// request in clear, so the channel has to be as private as the one that the request
/// arrived on. They are wiped when the last clone is dropped.
#[derive(Clone)]
pub struct Envelope {
    bytes: Bytes,
    writes: bool,
}

/// The reply to an [`Envelope`]. It is opaque and wiped too, since a listing holds
/// keys.
#[derive(Clone)]
pub struct EnvelopeReply {
    bytes: Bytes,
}

/// A request, and the routing data of the servers that forward it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Forwarded {
    pub(crate) request: OperatorRequest,
    /// The number of servers that have forwarded it.
    pub(crate) hops: u8,
    /// True if it was sent to this server as the leader. Then this server does not wait
    /// for a leader, because the one that forwarded it does.
    pub(crate) to_leader: bool,
    /// The time for which the forwarding server waits, less a margin for the transfer.
    pub(crate) timeout: Option<Duration>,
}

impl From<OperatorRequest> for Forwarded {
    fn from(request: OperatorRequest) -> Self {
        Forwarded {
            request,
            hops: 0,
            to_leader: false,
            timeout: None,
        }
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Call<T> {
    version: u32,
    call: T,
}

#[derive(Serialize, Deserialize)]
struct Reply<T> {
    version: u32,
    reply: T,
}

/// Writes JSON that is wiped when it is dropped.
pub(crate) fn write_wiped(value: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    // Large enough for any request. A reply can be longer.
    let mut json = Wiped(Zeroizing::new(Vec::with_capacity(4096)));
    serde_json::to_writer(&mut json, value)?;
    Ok(Bytes::from_owner(json.0))
}

/// A buffer that is wiped when it grows. A plain `Vec` leaves a copy in freed memory.
struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    /// Makes room for `more` bytes. Returns the old buffer if it was too small; it is
    /// wiped when it is dropped.
    fn reserve(&mut self, more: usize) -> Option<Zeroizing<Vec<u8>>> {
        let needed = self.0.len() + more;
        if needed <= self.0.capacity() {
            return None;
        }
        let size = needed.max(2 * self.0.capacity());
        let mut larger = Zeroizing::new(Vec::with_capacity(size));
        larger.extend_from_slice(&self.0);
        Some(mem::replace(&mut self.0, larger))
    }
}

impl io::Write for Wiped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.reserve(bytes.len()));
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wiped(bytes: Vec<u8>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(bytes))
}

/// The error text for a server of version 1.
pub(crate) fn too_old() -> String {
    format!(
        "the server that sent it is too old: it speaks version 1 of the server call, this one \
         version {VERSION}: upgrade it"
    )
}

/// Reads a message.
///
/// # Errors
/// A wrong version takes precedence over other errors.
fn read<T: DeserializeOwned>(
    json: &[u8],
    sender: &str,
    version: impl Fn(&T) -> u32,
) -> Result<T, String> {
    let message = serde_json::from_slice::<T>(json);
    if !message.as_ref().is_ok_and(|read| version(read) == VERSION) {
        check_version(json, sender)?;
    }
    message.map_err(malformed)
}

/// The position of an error. serde's own text is left out, because it quotes the input,
/// which can be a key.
fn malformed(error: serde_json::Error) -> String {
    format!(
        "unexpected JSON at line {}, column {}: check that all servers run the same version",
        error.line(),
        error.column()
    )
}

/// Checks that the message has this version.
fn check_version(json: &[u8], sender: &str) -> Result<(), String> {
    let versioned: Versioned = serde_json::from_slice(json).map_err(malformed)?;
    match versioned.version {
        Some(VERSION) => Ok(()),
        None if sender == "sent" => Err(too_old()),
        Some(newer) if newer > VERSION => Err(format!(
            "this server is too old: it speaks version {VERSION} of the server call, and the \
             server that {sender} it version {newer}: upgrade this one"
        )),
        _ => Err(format!(
            "the server that {sender} it is too old: this one speaks version {VERSION} of the \
             server call: upgrade it"
        )),
    }
}

impl Envelope {
    /// Creates an envelope from received bytes.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Envelope {
            bytes: wiped(bytes.into()),
            writes: true,
        }
    }

    /// Creates the envelope of a new request, for a program that calls servers over
    /// their own transport, and for tests of a transport.
    ///
    /// # Errors
    /// The request cannot be serialized.
    pub fn new(request: OperatorRequest) -> Result<Self, OperatorError> {
        Envelope::seal(&request.into())
    }

    /// Returns the request.
    ///
    /// # Errors
    /// [`IncompatibleServer`](ErrorKind::IncompatibleServer) if this version cannot
    /// read the bytes.
    pub fn request(&self) -> Result<OperatorRequest, OperatorError> {
        self.open().map(|call| call.request)
    }

    /// Returns the bytes to send.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns true if the request is a write, which must not be sent again if it may
    /// have arrived. A received envelope counts as a write.
    pub fn is_write(&self) -> bool {
        self.writes
    }

    /// Returns the envelope with a shorter timeout, for a transport that tries a second
    /// server. A longer timeout than its own has no effect.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let Ok(mut call) = self.open() else {
            return self.clone();
        };
        let given = call.timeout.unwrap_or(timeout);
        call.timeout = Some(given.min(timeout));
        Envelope::seal(&call).unwrap_or_else(|_| self.clone())
    }

    pub(crate) fn seal(call: &Forwarded) -> Result<Self, OperatorError> {
        let version = VERSION;
        let bytes = write_wiped(&Call { version, call }).map_err(|error| {
            OperatorError::backend("the request cannot be written")
                .with_outcome(Outcome::NotApplied)
                .with_source(error)
        })?;
        Ok(Envelope {
            bytes,
            writes: call.request.operation.permission().1 == Access::Write,
        })
    }

    pub(crate) fn open(&self) -> Result<Forwarded, OperatorError> {
        match read(&self.bytes, "sent", |call: &Call<_>| call.version) {
            Ok(read) => Ok(read.call),
            Err(reason) => Err(ErrorKind::IncompatibleServer { reason }.into()),
        }
    }
}

impl EnvelopeReply {
    /// Creates a reply from received bytes.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        EnvelopeReply {
            bytes: wiped(bytes.into()),
        }
    }

    /// Returns the bytes to send.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Creates the reply of a server with this result.
    pub fn new(reply: &Result<OperatorReply, OperatorError>) -> Self {
        let version = VERSION;
        let bytes = write_wiped(&Reply { version, reply }).unwrap_or_else(|_| {
            // Malformed, so the other server reports an invalid reply.
            Bytes::from_static(b"{}")
        });
        EnvelopeReply { bytes }
    }

    /// Returns the result of the other service.
    ///
    /// # Errors
    /// The other service's error, or [`InvalidReply`](ErrorKind::InvalidReply) with the
    /// outcome `unread` if this version cannot read the bytes.
    pub fn result(&self, unread: Outcome) -> Result<OperatorReply, OperatorError> {
        match read(&self.bytes, "answered", |reply: &Reply<_>| reply.version) {
            Ok(read) => read.reply,
            Err(reason) => Err(OperatorError::invalid_reply(reason).with_outcome(unread)),
        }
    }
}

/// Shows only the size, because the bytes can hold a token and keys.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} bytes)", self.bytes.len())
    }
}

/// Shows only the size, because the bytes can hold keys.
impl fmt::Debug for EnvelopeReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvelopeReply({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Token;
    use crate::operation::Operation;
    use crate::raft::{Consistency, PeerSelector};

    fn read() -> Forwarded {
        let operation = Operation::RaftConfiguration(Consistency::Default);
        OperatorRequest::new(operation)
            .with_token(Token::new("hunter2"))
            .into()
    }

    #[test]
    fn envelope_knows_writes_and_debug_shows_no_token() {
        let envelope = Envelope::seal(&read()).unwrap();
        assert!(!envelope.is_write());
        assert!(!format!("{envelope:?}").contains("hunter2"));
        let operation = Operation::RemovePeer {
            server: PeerSelector::Id("a".into()),
            expected_index: None,
        };
        let removal = Envelope::seal(&OperatorRequest::new(operation).into()).unwrap();
        assert!(removal.is_write());
        assert!(Envelope::from_bytes(envelope.as_bytes().clone()).is_write());
    }

    #[test]
    fn timeout_of_envelope_can_only_shrink() {
        let second = Duration::from_secs(1);
        let envelope = Envelope::seal(&read()).unwrap().with_timeout(2 * second);
        let timeout = |envelope: &Envelope| envelope.open().unwrap().timeout;
        assert_eq!(timeout(&envelope), Some(2 * second));
        assert_eq!(timeout(&envelope.with_timeout(second)), Some(second));
        assert_eq!(
            timeout(&envelope.with_timeout(3 * second)),
            Some(2 * second)
        );
    }

    #[test]
    fn error_for_other_version_names_the_older_server() {
        for (bytes, words) in [
            (r#"{"operation":{}}"#, "the server that sent it is too old"),
            (r#"{"version":1}"#, "the server that sent it is too old"),
            (r#"{"version":3}"#, "this server is too old"),
            (r#"{"version":2}"#, "unexpected JSON"),
            (r#"{"version":"hunter2"}"#, "unexpected JSON"),
            ("", "unexpected JSON"),
        ] {
            let error = Envelope::from_bytes(bytes).open().unwrap_err();
            assert_eq!(error.kind().name(), "incompatible-server");
            assert_eq!(error.outcome(), Outcome::NotApplied);
            assert!(error.to_string().contains(words), "{bytes}: {error}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn malformed_reply_has_the_given_outcome() {
        for bytes in ["{}", r#"{"version":3}"#, r#"{"version":2,"reply":{}}"#, "x"] {
            let reply = EnvelopeReply::from_bytes(bytes);
            for unread in [Outcome::Unknown, Outcome::NotApplied] {
                let error = reply.result(unread).unwrap_err();
                assert_eq!(error.kind().name(), "invalid-reply");
                assert_eq!(error.outcome(), unread);
            }
        }
    }

    #[test]
    fn buffer_that_grows_wipes_the_old_one() {
        use io::Write;

        let mut buffer = Wiped(Zeroizing::new(Vec::with_capacity(4)));
        buffer.write_all(b"hunt").unwrap();
        let first = buffer.0.as_ptr();
        assert!(buffer.reserve(0).is_none());
        // The old buffer is still allocated here and is wiped when it is dropped.
        let old = buffer.reserve(1).unwrap();
        assert_eq!((old.as_ptr(), old.as_slice()), (first, &b"hunt"[..]));
        assert_ne!(buffer.0.as_ptr(), first);
        assert_eq!(buffer.0.capacity(), 8);
        buffer.write_all(b"er2").unwrap();
        buffer.write_all(&[b'!'; 99]).unwrap();
        assert_eq!(buffer.0[..], [&b"hunter2"[..], &[b'!'; 99]].concat()[..]);
    }

    #[test]
    fn long_reply_round_trips() {
        let error = OperatorError::backend("é\"".repeat(10_000));
        let reply = EnvelopeReply::new(&Err(error.clone()));
        assert_eq!(reply.result(Outcome::NotApplied), Err(error));
    }

    #[test]
    fn error_round_trips() {
        let error = OperatorError::new(ErrorKind::LastVoter).with_outcome(Outcome::Unknown);
        let reply = EnvelopeReply::new(&Err(error.clone()));
        let reply = EnvelopeReply::from_bytes(reply.as_bytes().clone());
        assert_eq!(reply.result(Outcome::NotApplied), Err(error));
    }
}
