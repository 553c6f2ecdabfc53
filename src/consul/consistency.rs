//! How fresh a read is asked to be.

use super::go::duration::parse_duration;
use super::go::number::{atoi, parse_uint};
use super::go::query::Query;
use super::go::quote::quote;
use super::message::Headers;
use crate::consul::dialect::Rules;
use crate::raft::Consistency;

/// Reads `?stale`, `?consistent` and those that are checked but have no effect
/// on these endpoints: nothing is cached, and nothing blocks until an index.
/// The order of the checks is Consul's.
///
/// # Errors
/// The text of a 400.
pub(super) fn consistency(
    query: Query<'_>,
    headers: &dyn Headers,
    rules: &Rules,
) -> Result<Consistency, String> {
    let mut stale = query.has("stale");
    let consistent = query.has("consistent");
    if rules.max_stale
        && let Some(age) = query.get("max_stale").filter(|age| !age.is_empty())
    {
        let nanoseconds =
            parse_duration(&age).map_err(|_| format!("Invalid max_stale value {}", quote(&age)))?;
        stale |= nanoseconds > 0;
    }
    if stale && consistent {
        return Err("Cannot specify ?stale with ?consistent, conflicting semantics.".into());
    }
    if rules.max_stale {
        if query.has("cached") && consistent {
            return Err("Cannot specify ?cached with ?consistent, conflicting semantics.".into());
        }
        if !headers.field("cache-control").is_none_or(is_cache_control) {
            return Err("Invalid Cache-Control header.".into());
        }
    }
    let given = |name| query.get(name).filter(|value| !value.is_empty());
    if given("wait").is_some_and(|wait| parse_duration(&wait).is_err()) {
        return Err("Invalid wait time".into());
    }
    if given("index").is_some_and(|index| parse_uint(&index).is_err()) {
        return Err("Invalid index".into());
    }
    Ok(match (stale, consistent) {
        (true, _) => Consistency::Stale,
        (_, true) => Consistency::Consistent,
        _ => Consistency::Default,
    })
}

/// Whether the directives that Consul reads have whole seconds behind them.
fn is_cache_control(value: &str) -> bool {
    value.split(',').all(|directive| {
        let directive = directive.trim().to_ascii_lowercase();
        ["max-age=", "stale-if-error="]
            .iter()
            .filter_map(|name| directive.strip_prefix(name))
            .all(|seconds| atoi(seconds).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::Dialect;

    fn read(query: &str, dialect: Dialect) -> Result<Consistency, String> {
        consistency(
            Query::parse(query).unwrap(),
            &[("", ""); 0],
            dialect.rules(),
        )
    }

    #[test]
    fn flags_count_by_their_presence() {
        assert_eq!(
            read("stale=false", Dialect::Consul0_7),
            Ok(Consistency::Stale)
        );
        assert_eq!(
            read("consistent", Dialect::Precise),
            Ok(Consistency::Consistent)
        );
        assert_eq!(read("", Dialect::Precise), Ok(Consistency::Default));
    }

    #[test]
    fn a_positive_max_stale_implies_stale_from_1_10_on() {
        assert_eq!(
            read("max_stale=1s", Dialect::Consul1_10),
            Ok(Consistency::Stale)
        );
        assert_eq!(
            read("max_stale=0s", Dialect::Consul1_10),
            Ok(Consistency::Default)
        );
        assert_eq!(
            read("max_stale=x", Dialect::Consul0_7),
            Ok(Consistency::Default)
        );
        let error = read("max_stale=x&wait=y", Dialect::Consul1_10).unwrap_err();
        assert_eq!(error, "Invalid max_stale value \"x\"");
        assert!(read("max_stale=1s&consistent", Dialect::Consul1_10).is_err());
    }

    #[test]
    fn the_conflict_is_told_before_the_wait_and_the_wait_before_the_index() {
        let all = "stale&consistent&wait=x&index=x";
        assert!(
            read(all, Dialect::Consul0_7)
                .unwrap_err()
                .starts_with("Cannot")
        );
        assert_eq!(
            read("wait=10&index=x", Dialect::Consul0_7).unwrap_err(),
            "Invalid wait time"
        );
        assert_eq!(
            read("wait=&index=-1", Dialect::Consul0_7).unwrap_err(),
            "Invalid index"
        );
    }

    #[test]
    fn cache_control_takes_whole_seconds() {
        assert!(is_cache_control("no-cache, MAX-AGE=30"));
        assert!(!is_cache_control("max-age=1s"));
        assert!(!is_cache_control("max-age=1, stale-if-error="));
    }
}
