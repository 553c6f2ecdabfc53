//! Starts serf with the keys of the pool.

use std::collections::HashSet;
use std::error::Error;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ::serf::agnostic::RuntimeLite;
use ::serf::delegate::Delegate;
use ::serf::transport::Transport;
use ::serf::types::{MemberStatus, SecretKey};
use ::serf::{Options, Serf, SerfState};
use cluster_operator::GossipKey;
use memberlist_core::delegate::EventDelegate;

use super::ring::{self, DelegateOf};

/// How much longer memberlist remembers a dead member than serf.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// The time after which a dead member may return at another address. Consul's.
const RECLAIM: Duration = Duration::from_secs(30);

/// The least `retransmit_mult`. Members send gossip to the dead ones too: while three of
/// five were dead, a query missed the other living one in 14 of 60 cases with 4, and in 1
/// with 8.
const RETRANSMITS: usize = 8;

/// How often serf's table of members is compared with that of memberlist.
const COMPARED: Duration = Duration::from_secs(1);

/// The error of a [`start`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is neither a keyring file nor a key.
    #[error("there is no gossip key: give one, or a keyring file")]
    NoKey,
    /// The keyring file cannot be read, or is malformed.
    #[error(
        "the keyring file {file} cannot be used: make it readable, or copy that of another \
         server of the pool",
        file = .file.display()
    )]
    Keyring {
        /// The file.
        file: PathBuf,
        /// The reason, which shows no key.
        source: io::Error,
    },
    /// Serf did not start.
    #[error("serf did not start")]
    Serf(#[source] Box<dyn Error + Send + Sync>),
}

/// Starts serf such that its pool always forms, and heals after a partition.
///
/// `new` calls one of serf's constructors with the options that it is given. The keys are
/// those of the file in [`Options::keyring_file`] if it exists, otherwise `keys`; the
/// first is the primary. Keys in the options are ignored. Others may fail to join this
/// member until it has started, so repeat [`Serf::join`] until it succeeds.
///
/// ```
/// use cluster_operator::GossipKey;
/// use serf::net::NetTransportOptions;
/// use serf::tokio::{TokioNetTransport, TokioSocketAddrResolver, TokioTcp};
/// use serf::types::SmolStr;
/// use serf::{Options, Serf};
///
/// type Transport = TokioNetTransport<SmolStr, TokioSocketAddrResolver, TokioTcp>;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut transport = NetTransportOptions::new("alice".into());
/// transport.add_bind_address("127.0.0.1:0".parse()?);
/// let key = GossipKey::from_base64("0eK8RjnsGC/+I1fJErQsBA==")?;
///
/// let lan = cluster_operator_serf::start(Options::new(), &[key], |options| {
///     Serf::<Transport>::new(transport, options)
/// })
/// .await?;
/// # lan.shutdown().await?;
/// # Ok(())
/// # }
/// ```
///
/// # What it sets
/// The options that it changes, for the reasons in the [crate documentation](crate#starting-serf):
///
/// - **Encryption** in both directions, with the given algorithm or the default one.
/// - **`gossip_to_the_dead_time`**: an hour more than `reconnect_timeout`, unless it is longer
///   than that already.
/// - **`dead_node_reclaim_time`**: 30 s as in Consul, unless it is set.
/// - **`enable_id_conflict_resolution`**: off, as in Consul.
/// - **`retransmit_mult`**: at least 8.
///
/// Until the member leaves or is shut down, a task tells serf every second of the members
/// that memberlist has not told it of.
///
/// # Errors
/// [`StartError`]. No member keeps running.
///
/// # Cancel safety
/// A member whose start is dropped can keep its ports. It has a key that nobody knows, so
/// that it is in no pool.
pub async fn start<T, D, E, F>(
    options: Options,
    keys: &[GossipKey],
    new: impl FnOnce(Options) -> F,
) -> Result<Serf<T, D>, StartError>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
    E: Into<Box<dyn Error + Send + Sync>>,
    F: Future<Output = Result<Serf<T, D>, E>>,
{
    let stored = match options.keyring_file() {
        Some(file) => ring::load(file).map_err(|source| StartError::Keyring {
            file: file.clone(),
            source,
        })?,
        None => None,
    };
    let keys = stored.as_deref().unwrap_or(keys);
    let Some((primary, others)) = keys.split_first() else {
        return Err(StartError::NoKey);
    };
    // Until serf can record who joins, nobody can.
    let temporary = SecretKey::random_aes256();
    let serf = new(prepared(options, temporary))
        .await
        .map_err(|error| StartError::Serf(error.into()))?;
    match replace(&serf, temporary, primary, others) {
        Ok(()) => {
            <T::Runtime as RuntimeLite>::spawn_detach(repair(serf.clone()));
            Ok(serf)
        }
        Err(error) => {
            // The first error is returned.
            let _ = serf.shutdown().await;
            Err(StartError::Serf(error))
        }
    }
}

/// Replaces the temporary key with those of the pool.
fn replace<T: Transport, D: DelegateOf<T>>(
    serf: &Serf<T, D>,
    temporary: SecretKey,
    primary: &GossipKey,
    others: &[GossipKey],
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let ring = serf.memberlist().keyring();
    let ring = ring
        .filter(|ring| ring.primary_key() == temporary)
        .ok_or("pass the options that `new` is given to serf")?;
    ring.insert(SecretKey::try_from(primary.as_bytes())?);
    ring.use_key(primary.as_bytes())?;
    // Memberlist stores the primary apart, and would add it again.
    for key in others.iter().filter(|key| *key != primary) {
        ring.insert(SecretKey::try_from(key.as_bytes())?);
    }
    ring.remove(&temporary)?;
    Ok(())
}

/// Repairs serf's table of members until serf stops.
async fn repair<T: Transport, D: DelegateOf<T>>(serf: Serf<T, D>) {
    let memberlist = serf.memberlist();
    let mut before = HashSet::new();
    while let (SerfState::Alive, Some(table)) = (serf.state(), memberlist.delegate()) {
        let wrong = wrong(&serf).await;
        // Memberlist may be about to tell serf of a change that is new.
        for (id, is_alive) in wrong.intersection(&before) {
            match memberlist.by_id(id).await {
                Some(node) if *is_alive => table.notify_join(node).await,
                Some(node) => table.notify_leave(node).await,
                None => {}
            }
        }
        before = wrong;
        <T::Runtime as RuntimeLite>::sleep(COMPARED).await;
    }
}

/// The members whose state is wrong in serf's table, and whether they are alive.
async fn wrong<T: Transport, D: DelegateOf<T>>(serf: &Serf<T, D>) -> HashSet<(T::Id, bool)> {
    let alive = serf.memberlist().online_members().await;
    let mut alive: HashSet<_> = alive.iter().map(|node| node.id().clone()).collect();
    let mut wrong = HashSet::new();
    for member in serf.members().await.iter() {
        let id = member.node().id();
        let is_alive = alive.remove(id);
        match member.status() {
            MemberStatus::Failed if is_alive => wrong.insert((id.clone(), true)),
            MemberStatus::Alive | MemberStatus::Leaving if !is_alive => {
                wrong.insert((id.clone(), false))
            }
            _ => false,
        };
    }
    wrong.extend(alive.into_iter().map(|id| (id, true)));
    wrong
}

/// Sets the options for a pool that is encrypted and heals.
fn prepared(options: Options, key: SecretKey) -> Options {
    let memberlist = options.memberlist_options();
    let algorithm = memberlist.encryption_algo().unwrap_or_default();
    let mut memberlist = memberlist
        .clone()
        .with_encryption_algo(algorithm)
        .with_gossip_verify_outgoing(true)
        .with_gossip_verify_incoming(true)
        .with_primary_key(key)
        .with_secret_keys(Default::default());
    if memberlist.retransmit_mult() < RETRANSMITS {
        memberlist = memberlist.with_retransmit_mult(RETRANSMITS);
    }
    let given_up = options.reconnect_timeout();
    if memberlist.gossip_to_the_dead_time() <= given_up {
        memberlist = memberlist.with_gossip_to_the_dead_time(given_up.saturating_add(MARGIN));
    }
    if memberlist.dead_node_reclaim_time().is_zero() {
        memberlist = memberlist.with_dead_node_reclaim_time(RECLAIM);
    }
    options
        .with_memberlist_options(memberlist)
        .with_enable_id_conflict_resolution(false)
}

#[cfg(test)]
mod tests {
    use ::serf::MemberlistOptions;

    use super::*;

    fn times(options: Options) -> (Duration, Duration) {
        let options = prepared(options, SecretKey::random_aes256());
        let memberlist = options.memberlist_options();
        let dead = memberlist.gossip_to_the_dead_time();
        (dead, memberlist.dead_node_reclaim_time())
    }

    #[test]
    fn dead_member_is_remembered_longer_than_serf_reconnects() {
        let day = Duration::from_secs(24 * 60 * 60);
        for (reconnect, given, expected) in [
            (day, Duration::from_secs(30), day + MARGIN),
            (day, day, day + MARGIN),
            (day, 2 * day, 2 * day),
            (Duration::MAX, day, Duration::MAX),
        ] {
            let memberlist = MemberlistOptions::lan().with_gossip_to_the_dead_time(given);
            let options = Options::new()
                .with_memberlist_options(memberlist)
                .with_reconnect_timeout(reconnect);
            assert_eq!(times(options).0, expected);
        }
    }

    #[test]
    fn name_of_a_dead_member_is_free_after_a_while() {
        assert_eq!(times(Options::new()).1, RECLAIM);
        let hour = Duration::from_secs(60 * 60);
        let memberlist = MemberlistOptions::lan().with_dead_node_reclaim_time(hour);
        let options = Options::new().with_memberlist_options(memberlist);
        assert_eq!(times(options).1, hour);
    }

    #[test]
    fn messages_are_repeated_often_enough_for_the_living() {
        for (given, expected) in [(2, 8), (8, 8), (9, 9)] {
            let memberlist = MemberlistOptions::lan().with_retransmit_mult(given);
            let options = Options::new().with_memberlist_options(memberlist);
            let options = prepared(options, SecretKey::random_aes256());
            assert_eq!(options.memberlist_options().retransmit_mult(), expected);
        }
    }

    #[test]
    fn members_of_one_name_do_not_turn_each_other_off() {
        let options = prepared(Options::new(), SecretKey::random_aes256());
        assert!(!options.enable_id_conflict_resolution());
    }
}
