//! Which calls a fault is for.

use std::fmt;

use fastrand::Rng;

use crate::types::NodeName;

/// Which calls between servers a [`Fault`](super::Fault) is for.
///
/// ```
/// use cluster_operator::mock::Calls;
///
/// let all = Calls::all();
/// let third_to_bob = Calls::all().to("bob").nth(3);
/// let some = Calls::all().from("alice").one_in(4);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Calls {
    pub(super) from: Option<NodeName>,
    pub(super) to: Option<NodeName>,
    which: Which,
}

#[derive(Debug, Clone, Default)]
enum Which {
    #[default]
    All,
    Nth(u64),
    OneIn(u64),
}

impl Calls {
    /// All calls between servers.
    pub fn all() -> Self {
        Calls::default()
    }

    /// Of these, the ones that this server makes.
    #[must_use]
    pub fn from(mut self, server: impl Into<NodeName>) -> Self {
        self.from = Some(server.into());
        self
    }

    /// Of these, the ones that this server gets.
    #[must_use]
    pub fn to(mut self, server: impl Into<NodeName>) -> Self {
        self.to = Some(server.into());
        self
    }

    /// Of these, the `nth` alone; the first one after the fault is injected is
    /// number 1.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        assert!(nth > 0, "calls are counted from 1");
        self.which = Which::Nth(nth);
        self
    }

    /// Of these, one in so many on average, as the
    /// [seed](super::MockFederationBuilder::seed) of the federation decides.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn one_in(mut self, times: u64) -> Self {
        assert!(times > 0, "one call in 0 is none");
        self.which = Which::OneIn(times);
        self
    }

    /// Whether a call is one of them; `seen` counts those that could be.
    pub(super) fn matches(
        &self,
        from: &NodeName,
        to: &NodeName,
        seen: &mut u64,
        rng: &mut Rng,
    ) -> bool {
        let is = |wanted: &Option<NodeName>, name| wanted.as_ref().is_none_or(|it| it == name);
        if !(is(&self.from, from) && is(&self.to, to)) {
            return false;
        }
        *seen += 1;
        match self.which {
            Which::All => true,
            Which::Nth(nth) => *seen == nth,
            Which::OneIn(times) => rng.u64(..times) == 0,
        }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.which {
            Which::All => f.write_str("every call")?,
            Which::Nth(nth) => write!(f, "call number {nth}")?,
            Which::OneIn(times) => write!(f, "one call in {times}")?,
        }
        if let Some(from) = &self.from {
            write!(f, " from {from}")?;
        }
        match &self.to {
            Some(to) => write!(f, " to {to}"),
            None => Ok(()),
        }
    }
}
