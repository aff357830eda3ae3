//! Points in time as RFC 3339 writes them, and durations as Ollama counts them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_A_DAY: u64 = 86_400;

/// A point in time in UTC: `2026-12-01T10:05:58.120000000Z`. What lies before 1970 becomes its begin.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / SECONDS_A_DAY, since.as_secs() % SECONDS_A_DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The Gregorian date of a day, counted from 1970-01-01. Years are taken to begin in March, so that
/// the day that not every year has is the last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = days + DAYS_FROM_MARCH_OF_YEAR_0;
    let (era, day) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    // Leap days of 4 and 400 years are taken out, those that 100 years lack put in.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31 and 30 days in turn, but for July and August: 153 in five.
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let is_next_year = 10 <= month;
    let month = if is_next_year { month - 9 } else { month + 3 };
    (era * 400 + year + u64::from(is_next_year), month, day_of_month)
}

/// Whole nanoseconds.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole nanoseconds of a measured time.
pub(super) fn nanos_of_ms(ms: f64) -> u64 {
    // What is no number becomes 0.
    (ms * 1e6).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_have_their_date_and_a_zone() {
        let check = |seconds: u64, expected: &str| {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        };
        check(0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_399, "2000-02-28T23:59:59.000000000Z");
        check(951_782_400, "2000-02-29T00:00:00.000000000Z");
        check(951_868_800, "2000-03-01T00:00:00.000000000Z");
        check(1_767_225_599, "2025-12-31T23:59:59.000000000Z");
        check(1_796_119_558, "2026-12-01T10:05:58.000000000Z");
        // 2100 is no leap year.
        check(4_107_542_400, "2100-03-01T00:00:00.000000000Z");
        check(4_107_456_000, "2100-02-28T00:00:00.000000000Z");
        let nanos = UNIX_EPOCH + Duration::from_nanos(7);
        assert_eq!(rfc3339(nanos), "1970-01-01T00:00:00.000000007Z");
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), rfc3339(UNIX_EPOCH));
    }

    #[test]
    fn durations_are_whole_nanoseconds() {
        assert_eq!(nanos(Duration::from_micros(3)), 3000);
        assert_eq!(nanos(Duration::MAX), u64::MAX);
        assert_eq!(nanos_of_ms(1.5), 1_500_000);
        assert_eq!(nanos_of_ms(f64::NAN), 0);
    }
}
