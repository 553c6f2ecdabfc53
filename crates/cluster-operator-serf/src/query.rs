//! Sends a query to all members of the pool.
//!
//! Serf's key manager sends the same queries, but does not name the nodes that succeeded,
//! waits for members that are known to be dead, counts a key twice on a node that
//! installs its own primary, and never ends some of several queries at once.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use ::serf::agnostic::RuntimeLite;
use ::serf::transport::Transport;
use ::serf::types::{Data, KeyRequestMessage, KeyResponseMessage, MemberStatus, SecretKey};
use ::serf::{Serf, SerfState};
use bytes::Bytes;
use futures_util::future::{Either, select};

use super::ring::{self, DelegateOf};
use super::wording;
use cluster_operator::keyring::{Answers, KeyChange, NodeFailure, NodeKeys, RelayFactor};
use cluster_operator::types::NodeName;

/// The time without an answer after which serf is asked which members are dead.
const LOOK: Duration = Duration::from_millis(50);

/// The byte before a key request: length-delimited, with serf's tag 9.
const KEY_REQUEST: u8 = 2 << 3 | 9;

/// A query that serf answers in every member.
pub(super) struct Request {
    name: &'static str,
    payload: Bytes,
    /// The answer of this server's own node, if it is known from the start.
    own: Option<Result<NodeKeys, NodeFailure>>,
}

impl Request {
    /// A request for the keys of the ring.
    pub(super) fn list<T: Transport, D: DelegateOf<T>>(serf: &Serf<T, D>) -> Self {
        Request {
            name: "_serf_list_keys",
            payload: Bytes::new(),
            own: Some(ring::list(serf)),
        }
    }

    /// A request to change the ring.
    pub(super) fn change(change: &KeyChange, key: SecretKey) -> Result<Self, String> {
        let name = match change {
            KeyChange::Install(_) => "_serf_install_key",
            KeyChange::Use(_) => "_serf_use_key",
            KeyChange::Remove(_) => "_serf_remove_key",
        };
        // The type has no constructor. A message without fields is an empty one.
        let (_, empty) = KeyRequestMessage::decode(&[]).map_err(|error| error.to_string())?;
        let message = empty
            .with_key(Some(key))
            .encode_length_delimited_to_vec()
            .map_err(|error| error.to_string())?;
        Ok(Request {
            name,
            payload: [&[KEY_REQUEST], &message[..]].concat().into(),
            own: None,
        })
    }
}

/// Fails unless this server's member is running: one that has left would wait for
/// answers that never come.
pub(super) fn check_running<T: Transport, D: DelegateOf<T>>(
    serf: &Serf<T, D>,
) -> Result<(), String> {
    match serf.state() {
        SerfState::Alive => Ok(()),
        state => Err(format!("this server's member is {state}: start it again")),
    }
}

/// The members that memberlist does not know to be dead. Serf's own table can lack one for
/// good, or keep a dead one. A member that has announced to leave still gossips.
async fn living<T: Transport, D: DelegateOf<T>>(serf: &Serf<T, D>) -> HashSet<T::Id> {
    let living = serf.memberlist().online_members().await;
    living.iter().map(|node| node.id().clone()).collect()
}

/// The members that have failed, and have not left.
async fn failed<T: Transport, D: DelegateOf<T>>(
    serf: &Serf<T, D>,
    living: &HashSet<T::Id>,
) -> HashSet<T::Id> {
    let statuses = [MemberStatus::Failed, MemberStatus::Alive];
    let members = serf.members().await;
    let members = members
        .iter()
        .filter(|member| statuses.contains(member.status()));
    members
        .map(|member| member.node().id().clone())
        .filter(|id| !living.contains(id))
        .collect()
}

fn name(id: &impl std::fmt::Display) -> NodeName {
    NodeName::new(id.to_string())
}

/// The callers that wait for the answers to one query.
pub(super) struct Audience(pub(super) Vec<Answers>);

impl Audience {
    fn asking(&self, nodes: impl IntoIterator<Item = NodeName> + Clone) {
        for answers in &self.0 {
            answers.asking(nodes.clone());
        }
    }

    fn answered(&self, node: &NodeName, answer: Result<NodeKeys, NodeFailure>) {
        if let Some((last, others)) = self.0.split_last() {
            for answers in others {
                answers.answered(node, answer.clone());
            }
            last.answered(node, answer);
        }
    }

    /// Hands over the answer of this server's own node, which serf does not ask: it takes
    /// the query for one of its user.
    pub(super) fn answered_here<T: Transport, D: DelegateOf<T>>(
        &self,
        serf: &Serf<T, D>,
        answer: Result<NodeKeys, NodeFailure>,
    ) {
        self.answered(&name(serf.local_id()), answer);
    }

    /// Names the members that joined in the meantime, which may lack the change.
    pub(super) async fn joined<T: Transport, D: DelegateOf<T>>(&self, serf: &Serf<T, D>) {
        let now: Vec<_> = living(serf).await.iter().map(name).collect();
        self.asking(now);
    }

    /// Sends a query and collects the answers of all but this node, until the living
    /// members have answered, or the timeout is over.
    ///
    /// # Errors
    /// Why nothing was sent.
    pub(super) async fn ask<T: Transport, D: DelegateOf<T>>(
        &self,
        serf: &Serf<T, D>,
        request: Request,
        relay: RelayFactor,
        timeout: Duration,
    ) -> Result<(), String> {
        let mut waiting = living(serf).await;
        let named: Vec<_> = waiting.iter().map(name).collect();
        let params = serf.default_query_param().await;
        let params = params.with_relay_factor(relay.get()).with_timeout(timeout);
        self.asking(named);
        let failed = failed(serf, &waiting).await;
        for answers in &self.0 {
            answers.absent(failed.iter().map(name));
        }
        let asked = async {
            let query = serf
                .query(request.name, request.payload, Some(params))
                .await
                .map_err(|error| wording::without_keys(&error.to_string()))?;
            waiting.remove(serf.local_id());
            if let Some(own) = request.own {
                self.answered_here(serf, own);
            }
            let answers = query.response_rx();
            while !waiting.is_empty() {
                match within::<T, _>(LOOK, answers.recv()).await {
                    Some(Ok(answer)) => {
                        let node = answer.from().id();
                        waiting.remove(node);
                        self.answered(&name(node), read(answer.payload()));
                    }
                    Some(Err(_)) => break,
                    None => {
                        let living = living(serf).await;
                        waiting.retain(|node| living.contains(node));
                    }
                }
            }
            Ok(())
        };
        within::<T, _>(timeout, asked).await.unwrap_or(Ok(()))
    }
}

/// The work's output, or `None` if it takes longer than the timeout.
pub(super) async fn within<T: Transport, F: Future>(
    timeout: Duration,
    work: F,
) -> Option<F::Output> {
    let sleep = pin!(<T::Runtime as RuntimeLite>::sleep(timeout));
    match select(pin!(work), sleep).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Decodes the answer of a node.
fn read(payload: &[u8]) -> Result<NodeKeys, NodeFailure> {
    // The first byte is the kind of the message, of which answers have only one.
    let message = payload.get(1..).unwrap_or_default();
    let Ok((_, answer)) = KeyResponseMessage::decode_length_delimited(message) else {
        return Err(NodeFailure::Other("the node's answer is malformed".into()));
    };
    let words = answer.message().as_str();
    if !answer.result() {
        return Err(wording::failure(words));
    }
    // The primary has a field of its own, which is sent even if no key fits.
    let keys = NodeKeys::ring(ring::distinct(
        answer.primary_key().iter().chain(answer.keys()),
    ));
    Ok(match wording::truncated(words) {
        Some(total) => keys.truncated(total),
        None if words.is_empty() => keys,
        None => keys.with_note(wording::without_keys(words)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_operator::keyring::GossipKey;

    fn read_back(answer: &KeyResponseMessage) -> Result<NodeKeys, NodeFailure> {
        let mut payload = vec![0];
        payload.extend(answer.encode_length_delimited_to_vec().unwrap());
        read(&payload)
    }

    fn secret(n: u8) -> SecretKey {
        SecretKey::from([n; 16])
    }

    #[test]
    fn malformed_answer_is_a_failure() {
        for payload in [&[][..], &[0], &[0, 9, 9]] {
            assert!(matches!(read(payload), Err(NodeFailure::Other(_))));
        }
    }

    #[test]
    fn primary_is_known_even_if_no_key_fits() {
        let words = "truncated key list response, showing first 0 of 9 keys";
        let answer = KeyResponseMessage::default()
            .with_result(true)
            .with_message(words.into())
            .with_primary_key(Some(secret(1)));
        let primary = GossipKey::from_bytes(&[1; 16]).unwrap();
        let expected = NodeKeys::ring([primary]).truncated(9);
        assert_eq!(read_back(&answer), Ok(expected));
    }

    #[test]
    fn key_in_a_message_is_withheld() {
        let words = format!("cannot keep {}", secret(7).to_base64());
        for result in [true, false] {
            let answer = KeyResponseMessage::default()
                .with_result(result)
                .with_message(words.as_str().into());
            let told = match read_back(&answer) {
                Ok(keys) => keys.note.unwrap(),
                Err(failure) => failure.to_string(),
            };
            assert!(told.contains("withheld"), "{told}");
        }
    }
}
