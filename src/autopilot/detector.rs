//! What a failure detector says about a server.

use std::fmt;
use std::time::Duration;

/// The status of a server in a failure detector, such as gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Detected {
    /// It answers.
    Alive,
    /// It stopped answering without notice.
    Failed,
    /// It announced that it leaves for good.
    Left,
}

/// Writes `alive`, `failed` or `left`, as Consul does.
impl fmt::Display for Detected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Detected::Alive => "alive",
            Detected::Failed => "failed",
            Detected::Left => "left",
        })
    }
}

/// The status of a server, and for how long it has had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Detection {
    /// The status.
    pub status: Detected,
    /// The time for which this server's own detector has seen the status without a break.
    pub lasted: Duration,
}
