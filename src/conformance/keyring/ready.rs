//! That a pool is what was wanted, before a rule is tried on it.

use super::fixture::sized_key;
use super::{KeyringFixture, Node, Rings};
use crate::conformance::check::Checking;
use crate::conformance::verdict::{Verdict, ensure, until};
use crate::conformance::wanted::Wanted;
use crate::keyring::RelayFactor;

impl Wanted<dyn KeyringFixture> for Rings {
    fn ready<'a>(&'a self, pool: &'a (dyn KeyringFixture + 'static)) -> Checking<'a> {
        Box::pin(whole(pool, self.rings().len()))
    }

    fn reworded(text: String) -> String {
        with_numbers(text)
    }
}

/// Waits until each of so many nodes gets an answer from all.
async fn whole(pool: &dyn KeyringFixture, wanted: usize) -> Verdict {
    let nodes = pool.nodes();
    as_many(&nodes, wanted)?;
    let expected = format!(
        "a whole pool before the rule is tried: each of its {wanted} nodes lists with \
         {wanted} answers"
    );
    until(pool, &expected, || async {
        for node in &nodes {
            match node.backend.list(RelayFactor::default()).await {
                Ok(report) if report.nodes >= wanted && report.responses >= wanted => {}
                other => {
                    let name = &node.name;
                    return Err(format!(
                        "{name} never did, and the rule was not tried: either the nodes of the \
                         fixture have not joined, or the backend leaves one out. It told at \
                         last {other:?}"
                    ));
                }
            }
        }
        Ok(())
    })
    .await
}

fn as_many(nodes: &[Node], wanted: usize) -> Verdict {
    let names: Vec<_> = nodes.iter().map(|node| &node.name).collect();
    let expected = format_args!("a fixture of {wanted} nodes, as was wanted");
    ensure(nodes.len() == wanted, expected, names)
}

/// Calls the keys of the checks by their numbers.
fn with_numbers(mut text: String) -> String {
    if !text.contains("GossipKey(") {
        return text;
    }
    for number in 0..=u8::MAX {
        for bytes in [16, 24, 32] {
            let shown = format!("{:?}", sized_key(number, bytes));
            if text.contains(&shown) {
                let size = match bytes {
                    32 => String::new(),
                    bytes => format!(" of {bytes} bytes"),
                };
                text = text.replace(&shown, &format!("key {number}{size}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::*;
    use crate::keyring::{GossipKey, KeyCounts};

    #[test]
    fn a_failure_calls_keys_by_their_numbers() {
        let foreign = GossipKey::from_bytes(&[7; 16]).unwrap();
        let counts: KeyCounts = [(key(100), 3), (key(1), 2)].into_iter().collect();
        let text = with_numbers(format!("{counts:?}, {:?}, {foreign:?}", sized_key(100, 16)));
        assert!(text.contains("key 100: 3"), "{text}");
        assert!(text.contains("key 1: 2"), "{text}");
        assert!(text.contains("key 100 of 16 bytes"), "{text}");
        assert!(text.ends_with(&format!("{foreign:?}")), "{text}");
    }
}
