//! Go's `time.RFC3339Nano`, in UTC.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Formats a time with as many digits of the second as it has, none if it is
/// whole. A time before 1970 is written as the beginning of 1970.
pub(crate) fn rfc3339_nano(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let mut text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    if since.subsec_nanos() > 0 {
        let _ = write!(text, ".{:09}", since.subsec_nanos());
        text.truncate(text.trim_end_matches('0').len());
    }
    text.push('Z');
    text
}

/// Rounds half a second up, as Go's `Round(time.Second)`.
pub(crate) fn round_to_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let up = u64::from(since.subsec_nanos() >= 500_000_000);
    UNIX_EPOCH + Duration::from_secs(since.as_secs() + up)
}

/// Year, month and day of a day counted from 1970, by Howard Hinnant's
/// `civil_from_days`: years begin in March, so that the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, nanoseconds: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(rfc3339_nano(at(0, 0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339_nano(at(951_782_400, 0)), "2000-02-29T00:00:00Z");
        assert_eq!(
            rfc3339_nano(at(1_795_450_509, 347_133_090)),
            "2026-11-23T16:15:09.34713309Z"
        );
        assert_eq!(
            rfc3339_nano(at(4_107_542_399, 1)),
            "2100-02-28T23:59:59.000000001Z"
        );
        assert_eq!(rfc3339_nano(at(4_107_542_400, 0)), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn half_a_second_rounds_up() {
        assert_eq!(round_to_seconds(at(1, 500_000_000)), at(2, 0));
        assert_eq!(round_to_seconds(at(1, 499_999_999)), at(1, 0));
    }
}
