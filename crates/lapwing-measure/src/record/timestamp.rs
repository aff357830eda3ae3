//! Times of day as records write them: UTC, RFC 3339, to the second.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::DateTime;

/// 1970-01-01T00:00:00.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A time as `2026-11-21T12:00:00Z`.
pub fn timestamp(time: SystemTime) -> String {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // A clock that was never set: the fraction of the second does not matter.
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    };
    format!("{}Z", EPOCH.saturating_add(SignedDuration::from_secs(seconds)))
}

/// The seconds from 1970 to a time written by [`timestamp`]; `None` when it is not one.
pub fn seconds_since_epoch(timestamp: &str) -> Option<i64> {
    let time: DateTime = timestamp.strip_suffix('Z')?.parse().ok()?;
    // The parser takes more than records hold.
    let is_ours = format!("{time}Z") == timestamp && time.subsec_nanosecond() == 0;
    is_ours.then(|| time.duration_since(EPOCH).as_secs())
}

/// Days from 1970 to a time such as `2026-11-21T12:00:00Z`; `None` of anything else.
pub(crate) fn days_since_epoch(timestamp: &str) -> Option<f64> {
    seconds_since_epoch(timestamp).map(|seconds| seconds as f64 / 86_400.0)
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
        /// The Gregorian calendar repeats itself after 400 years of this many days.
        const DAYS_A_CYCLE: u64 = 146_097;
        let mut expected = (1970, 1, 1);
        for n_days in 0..=DAYS_A_CYCLE {
            let (year, month, day) = expected;
            let text = timestamp(UNIX_EPOCH + Duration::from_secs(n_days * 86_400));
            assert_eq!(text, format!("{year:04}-{month:02}-{day:02}T00:00:00Z"));
            assert_eq!(seconds_since_epoch(&text), Some(n_days as i64 * 86_400));
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
    fn times_become_days() {
        let check = |text: &str, expected: Option<f64>| {
            assert_eq!(days_since_epoch(text), expected, "{text}");
        };
        check("1970-01-01T00:00:00Z", Some(0.0));
        check("2000-03-01T12:00:00Z", Some(11_017.5));
        check("2024-02-29T00:00:00Z", Some(19_782.0));
        check("2026-11-21T06:00:00Z", Some(20_778.25));
        for bad in
            ["", "2026-11-21", "2026-02-30T06:00:00Z", "2026-11-21T06:00:00+", "ü026-11-21T06:00Z"]
        {
            check(bad, None);
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
