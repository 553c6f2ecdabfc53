//! No text in an answer contains a key.

use super::ask::{Change, pool_of};
use super::reports::all_reports;
use super::{KeyringFixture, key};
use crate::conformance::traces::{PART, tells_part, words};
use crate::conformance::verdict::{Verdict, ensure};
use crate::keyring::{NodeMessage, RelayFactor, RingReport};

/// The numbers of the keys that the checks of this module use.
const NUMBERS: [u8; 6] = [1, 2, 3, 100, 101, 102];

/// That no part of a key is in a text; `text` is not shown, for the report's sake.
fn tells_no_key(what: &str, text: &str) -> Verdict {
    let mut keys = NUMBERS.into_iter().map(key);
    let told = keys.find(|key| tells_part(text, key.as_bytes()));
    let expected = format_args!("{what} without {PART} bytes of a key in a row");
    ensure(told.is_none(), expected, told)
}

/// All that a report says in words. Its keys are told as keys.
fn report_tells_no_key(what: &str, report: &RingReport) -> Verdict {
    tells_no_key(what, &format!("{report:?}"))?;
    for (name, message) in &report.messages {
        tells_no_key(what, &format!("{name} {message:?}"))?;
        if let NodeMessage::Note(note) = message {
            tells_no_key(what, note)?;
        }
    }
    for (_, failure) in report.failures() {
        tells_no_key(what, &failure.to_string())?;
    }
    Ok(())
}

pub(super) async fn no_key_is_in_a_report(pool: &dyn KeyringFixture) -> Verdict {
    for node in pool_of::<3>(pool).await? {
        for (what, report) in all_reports(&node).await? {
            report_tells_no_key(&format!("the report of {what}"), &report)?;
        }
    }
    Ok(())
}

pub(super) async fn no_key_is_in_an_error(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = pool_of::<3>(pool).await?;
    pool.stop(&node.name).await?;
    let relay = RelayFactor::default();
    let mut answers = vec![("a listing".into(), node.backend.list(relay).await)];
    for what in Change::ALL {
        for number in NUMBERS {
            let answer = what.call(&node, &key(number), relay).await;
            answers.push((format!("{what:?} of key {number}"), answer));
        }
    }
    for (what, answer) in answers {
        let what = format!("the answer of a stopped node to {what}");
        match answer {
            Ok(report) => report_tells_no_key(&what, &report)?,
            Err(error) => tells_no_key(&what, &words(&error))?,
        }
    }
    Ok(())
}
