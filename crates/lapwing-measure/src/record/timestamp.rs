//! Times of day as records write them: UTC, RFC 3339, to the second.

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const SECONDS_A_DAY: i64 = 24 * 60 * 60;
/// The Gregorian calendar repeats itself after 400 years of this many days.
const DAYS_A_CYCLE: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;

/// A time as `2026-11-21T12:00:00Z`.
pub fn timestamp(time: SystemTime) -> String {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // A clock that was never set: the fraction of the second does not matter.
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    };
    let (year, month, day) = civil_date(seconds.div_euclid(SECONDS_A_DAY));
    let second = seconds.rem_euclid(SECONDS_A_DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The seconds from 1970 to a time written by [`timestamp`]; `None` when it is not one.
pub fn seconds_since_epoch(timestamp: &str) -> Option<i64> {
    let bytes = timestamp.as_bytes();
    let shape = b"0000-00-00T00:00:00Z";
    let has_shape = |(byte, expected): (&u8, &u8)| match expected {
        b'0' => byte.is_ascii_digit(),
        _ => byte == expected,
    };
    if bytes.len() != shape.len() || !bytes.iter().zip(shape).all(has_shape) {
        return None;
    }
    let number = |from: usize, to: usize| timestamp.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_time = hour < 24 && minute < 60 && second < 60;
    let n_days = days_since_epoch(year, month, day);
    // A day that the month does not have comes back as one of the next month.
    let is_date = (1..=12).contains(&month) && civil_date(n_days) == (year, month, day);
    (is_time && is_date).then_some(n_days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second)
}

// Both count in years that begin in March: the leap day is then the last of a year, and the days
// before a month follow from its number alone.

/// Year, month and day of the day that is so many days after 1970-01-01.
pub(crate) fn civil_date(days_since_epoch: i64) -> (i64, i64, i64) {
    let days = days_since_epoch + DAYS_TO_EPOCH;
    let cycle = days.div_euclid(DAYS_A_CYCLE);
    let day_of_cycle = days.rem_euclid(DAYS_A_CYCLE);
    // Take out the leap days before, and what is left has 365 days a year.
    let leap_days = day_of_cycle / 1460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - days_before_year(year_of_cycle);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - days_before_month(month_from_march) + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year_from_march = year - i64::from(month <= 2);
    let month_from_march = (month + 9).rem_euclid(12);
    let cycle = year_from_march.div_euclid(400);
    let days = days_before_year(year_from_march.rem_euclid(400))
        + days_before_month(month_from_march)
        + day
        - 1;
    cycle * DAYS_A_CYCLE + days - DAYS_TO_EPOCH
}

/// Of a cycle that begins with a year whose leap day comes at its very end.
fn days_before_year(year_of_cycle: i64) -> i64 {
    365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100
}

/// From March on, months have 31 30 31 30 31 days, and again.
fn days_before_month(month_from_march: i64) -> i64 {
    (153 * month_from_march + 2) / 5
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_times() {
        let check = |seconds: i64, expected: &str| {
            let offset = Duration::from_secs(seconds.unsigned_abs());
            let time = if seconds < 0 { UNIX_EPOCH - offset } else { UNIX_EPOCH + offset };
            assert_eq!(timestamp(time), expected);
            assert_eq!(seconds_since_epoch(expected), Some(seconds), "{expected}");
        };
        // From `date -u -d @N +%FT%TZ`.
        check(0, "1970-01-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(951_868_800, "2000-03-01T00:00:00Z");
        check(1_709_251_199, "2024-02-29T23:59:59Z");
        check(1_795_262_400, "2026-11-21T12:00:00Z");
        check(4_107_542_399, "2100-02-28T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(253_402_300_799, "9999-12-31T23:59:59Z");
    }

    #[test]
    fn every_day_of_a_cycle_follows_the_one_before() {
        let mut expected = (1970, 1, 1);
        for n_days in 0..=DAYS_A_CYCLE {
            assert_eq!(civil_date(n_days), expected);
            assert_eq!(days_since_epoch(expected.0, expected.1, expected.2), n_days);
            let (year, month, day) = expected;
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let n_days_in_month = match month {
                2 if is_leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == n_days_in_month => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let check = |text: &str| assert_eq!(seconds_since_epoch(text), None, "{text}");
        check("");
        check("2026-11-21");
        check("2026-11-21 12:00:00Z");
        check("2026-11-21T12:00:00+01:00");
        check("2026-11-21T12:00:00.5Z");
        check("2026-02-29T12:00:00Z");
        check("2026-13-01T12:00:00Z");
        check("2026-00-01T12:00:00Z");
        check("2026-11-00T12:00:00Z");
        check("2026-11-31T12:00:00Z");
        check("2026-11-21T24:00:00Z");
        check("2026-11-21T12:60:00Z");
        check("2026-11-21T12:00:60Z");
        check("+026-11-21T12:00:00Z");
        check("２２26-11-21T12:00Z");
    }
}
