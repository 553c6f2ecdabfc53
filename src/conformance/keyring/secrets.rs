//! No text in an answer contains a key.

use std::error::Error;
use std::fmt::Write;

use super::ask::{Change, pool_of};
use super::reports::all_reports;
use super::{KeyringFixture, key};
use crate::conformance::verdict::{Verdict, ensure};
use crate::error::OperatorError;
use crate::keyring::{GossipKey, RelayFactor, RingReport};

/// The numbers of the keys that the checks of this module use.
const NUMBERS: [u8; 6] = [1, 2, 3, 100, 101, 102];

/// The halves of a key, in each way in which someone may write it.
fn writings(key: &GossipKey) -> Vec<String> {
    let base64 = key.to_base64().trim_end_matches('=').to_owned();
    let numbers = format!("{:?}", key.as_bytes());
    let hex = key.as_bytes().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let whole = [
        base64.replace('+', "-").replace('/', "_"),
        base64,
        hex.to_uppercase(),
        hex,
        numbers.trim_matches(['[', ']']).to_owned(),
        numbers
            .replace(", ", " ")
            .trim_matches(['[', ']'])
            .to_owned(),
    ];
    let halves = whole.iter().flat_map(|text| {
        let (one, other) = text.split_at(text.len() / 2);
        [one.to_owned(), other.to_owned()]
    });
    halves.collect()
}

/// That no key is in a text; `text` is not shown, for the report's sake.
fn tells_no_key(what: &str, text: &str) -> Verdict {
    let keys = NUMBERS.into_iter().map(key);
    let mut told = keys.filter(|key| writings(key).iter().any(|part| text.contains(part)));
    let told = told.next();
    let expected = format_args!("{what} without a key");
    ensure(told.is_none(), expected, told)
}

/// All that a report says in words. Its keys are told as keys.
fn report_tells_no_key(what: &str, report: &RingReport) -> Verdict {
    tells_no_key(what, &format!("{report:?}"))?;
    for (name, message) in &report.messages {
        tells_no_key(what, &format!("{name} {message:?}"))?;
    }
    for (_, failure) in report.failures() {
        tells_no_key(what, &failure.to_string())?;
    }
    Ok(())
}

/// All that an error says in words, and what caused it.
fn error_tells_no_key(what: &str, error: &OperatorError) -> Verdict {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        tells_no_key(what, &format!("{error} {error:?}"))?;
        cause = error.source();
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
            Err(error) => error_tells_no_key(&what, &error)?,
        }
    }
    Ok(())
}
