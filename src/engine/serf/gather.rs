//! A listing: every node's ring by itself.
//!
//! The key manager would merge them, and its sums are wrong where a node was
//! asked to install its own primary: serf then has that key twice. It also
//! listens for the dead until its query ends, and takes no relay factor. So the
//! query that it would send is sent here.

use ::serf::delegate::Delegate;
use ::serf::transport::Transport;
use ::serf::types::{Data, KeyResponseMessage};
use bytes::Bytes;

use super::{SerfKeyring, name, within, wording};
use crate::error::OperatorError;
use crate::keyring::{GossipKey, NodeFailure, NodeMessage, RelayFactor, RingReport};
use crate::name::NodeName;

/// The name of the key manager's query for a listing. Every node's serf answers
/// it by itself, and looks at nothing but the name.
const LIST_KEYS: &str = "_serf_list_keys";

impl<T, D> SerfKeyring<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    /// Asks the living nodes for their rings. It is over when all have answered,
    /// or with serf's query.
    pub(super) async fn gather(&self, relay: RelayFactor) -> Result<RingReport, OperatorError> {
        let _turn = self.turn.lock().await;
        self.check_running()?;
        let mut waiting = self.living().await;
        let params = self.serf.default_query_param().await;
        let params = params.with_relay_factor(relay.get());
        let patience = params.timeout();
        let query = self
            .serf
            .query(LIST_KEYS, Bytes::new(), Some(params))
            .await
            .map_err(|error| self.failed(&error).with_source(error))?;

        let mut report = RingReport::new(waiting.len());
        // Serf does not ask this node itself: to that, the query is one of its
        // user's.
        if waiting.remove(self.serf.local_id()) {
            self.add_own(&mut report);
        }
        let answers = query.response_rx();
        let listen = async {
            while !waiting.is_empty()
                && let Ok(answer) = answers.recv().await
            {
                let node = answer.from().id();
                if waiting.remove(node) {
                    add(&mut report, name(node), answer.payload());
                }
            }
        };
        within::<T, _>(patience, listen).await;
        Ok(report)
    }

    fn add_own(&self, report: &mut RingReport) {
        match self.serf.memberlist().keyring() {
            Some(ring) if self.serf.encryption_enabled() => report.holds(&distinct(ring.keys())),
            _ => report.failed(name(self.serf.local_id()), NodeFailure::EncryptionOff),
        }
    }
}

/// Adds what one node answered.
fn add(report: &mut RingReport, node: NodeName, payload: &[u8]) {
    // One byte tells which message it is, and only one comes in answer.
    let message = payload.get(1..).unwrap_or_default();
    let Ok((_, answer)) = KeyResponseMessage::decode_length_delimited(message) else {
        let why = NodeFailure::Other("the node's answer cannot be read".into());
        return report.failed(node, why);
    };
    let words = answer.message().as_str();
    if !answer.result() {
        return report.failed(node, wording::failure(words));
    }
    // The primary is told by itself as well, and so even if no key fits.
    let keys = distinct(answer.primary_key().iter().chain(answer.keys()));
    match wording::truncated(words) {
        Some(total) => report.holds_more(node, &keys, total),
        None => {
            report.holds(&keys);
            if !words.is_empty() {
                let note = NodeMessage::Note(wording::without_keys(words));
                report.messages.insert(node, note);
            }
        }
    }
}

/// Each key once, in their order.
fn distinct(keys: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<GossipKey> {
    let mut ring = Vec::new();
    for key in keys.filter_map(|key| GossipKey::from_bytes(key.as_ref()).ok()) {
        if !ring.contains(&key) {
            ring.push(key);
        }
    }
    ring
}

#[cfg(test)]
mod tests {
    use ::serf::types::SecretKey;

    use super::*;

    fn heard(answer: &KeyResponseMessage) -> RingReport {
        let mut payload = vec![0];
        payload.extend(answer.encode_length_delimited_to_vec().unwrap());
        let mut report = RingReport::new(1);
        add(&mut report, "bob".into(), &payload);
        report
    }

    fn key(n: u8) -> SecretKey {
        SecretKey::from([n; 16])
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_a_failure() {
        for payload in [&[][..], &[0], &[0, 9, 9]] {
            let mut report = RingReport::new(1);
            add(&mut report, "bob".into(), payload);
            assert_eq!((report.responses, report.errors), (1, 1));
        }
    }

    #[test]
    fn the_primary_counts_though_no_key_fits() {
        let words = "truncated key list response, showing first 0 of 9 keys";
        let report = heard(
            &KeyResponseMessage::default()
                .with_result(true)
                .with_message(words.into())
                .with_primary_key(Some(key(1))),
        );
        let primary = GossipKey::from_bytes(&[1; 16]).unwrap();
        assert_eq!(report.primary_keys.get(&primary), 1);
        let cut = NodeMessage::Truncated { shown: 1, total: 9 };
        assert_eq!(report.messages.get("bob"), Some(&cut));
    }

    #[test]
    fn no_words_of_a_node_hand_a_key_on() {
        let words = format!("cannot keep {}", key(7).to_base64());
        for result in [true, false] {
            let report = heard(
                &KeyResponseMessage::default()
                    .with_result(result)
                    .with_message(words.as_str().into())
                    .with_primary_key(Some(key(7))),
            );
            assert_eq!(report.errors, usize::from(!result));
            let told = serde_json::to_string(&report.messages).unwrap();
            assert!(told.contains("withheld"), "{told}");
            assert!(!told.contains(&key(7).to_base64()), "{told}");
        }
    }
}
