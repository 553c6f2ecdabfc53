//! Points in time as token files write them. A crate for it would bring four more into
//! the core, or refuse the last day of the year 9999, which stands for "never".

/// The seconds since 1970 of an RFC 3339 time, as Consul writes
/// `ExpirationTime`. Fractions are dropped; a time before 1970 is 1970.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let &[year, month, day] = numbers(date, '-', &[4, 2, 2])?.as_slice() else {
        return None;
    };
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(at);
    let time = match time.split_once('.') {
        Some((time, fraction)) if is_number(fraction) => time,
        Some(_) => return None,
        None => time,
    };
    let &[hour, minute, second] = numbers(time, ':', &[2, 2, 2])?.as_slice() else {
        return None;
    };
    let valid = (1..=12).contains(&month)
        && (1..=days_in(month, year)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(u64::try_from(seconds - offset(zone)?).unwrap_or(0))
}

/// The seconds by which a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'Z' | b'z' => return (zone.len() == 1).then_some(0),
        b'+' => 1,
        _ => -1,
    };
    let &[hours, minutes] = numbers(&zone[1..], ':', &[2, 2])?.as_slice() else {
        return None;
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// Numbers with just so many digits each.
fn numbers(text: &str, separator: char, digits: &[usize]) -> Option<Vec<i64>> {
    let parts: Vec<_> = text.split(separator).collect();
    if parts.len() != digits.len() {
        return None;
    }
    std::iter::zip(parts, digits)
        .map(|(part, digits)| {
            let fits = part.len() == *digits && is_number(part);
            fits.then(|| part.parse().ok()).flatten()
        })
        .collect()
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in(month: i64, year: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days from 1970 to a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Leap days up to the end of a year; 719,162 days lie before 1970.
    let last = year - 1;
    let before = last * 365 + last.div_euclid(4) - last.div_euclid(100) + last.div_euclid(400);
    let in_year: i64 = (1..month).map(|month| days_in(month, year)).sum();
    before + in_year + day - 1 - 719_162
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59Z", 0),
            ("1970-01-01T00:00:00-00:01", 60),
            ("2000-02-29T12:00:00z", 951_825_600),
            ("2000-03-01 00:00:00Z", 951_868_800),
            ("2018-10-24T12:25:06.921933-04:00", 1_540_398_306),
            ("2028-02-29T00:00:00Z", 1_835_395_200),
            ("2038-01-19T03:14:08Z", 2_147_483_648),
            ("2100-03-01T00:00:00+05:30", 4_107_522_600),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2030-01-01",
            "2030-01-01T00:00:00",
            "2030-1-01T00:00:00Z",
            "2030-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2030-13-01T00:00:00Z",
            "2030-00-01T00:00:00Z",
            "2030-01-00T00:00:00Z",
            "2030-01-01T24:00:00Z",
            "2030-01-01T00:60:00Z",
            "2030-01-01T00:00:60Z",
            "2030-01-01T00:00:00.Z",
            "2030-01-01T00:00:00Zx",
            "2030-01-01T00:00:00+5:00",
            "2030-01-01T00:00:00+24:00",
            "2030-01-01T00:00:00+00:60",
            "+030-01-01T00:00:00Z",
            "2030-01-01T00:00:00\u{661}Z",
            "2030-01-01T00:00:00é",
            "tomorrow",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
