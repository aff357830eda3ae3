//! Numbers as people read them.

use jiff::SignedDuration;
use jiff::civil::DateTime;

/// `value` with three digits that count, and never as a power of ten.
pub fn short(value: f64) -> String {
    let n_decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        _ => 4,
    };
    format!("{value:.n_decimals$}")
}

/// Both ends of an interval, each as `shown`: `51.0–53.2`.
pub fn interval(low: f64, high: f64, shown: impl Fn(f64) -> String) -> String {
    format!("{}–{}", shown(low), shown(high))
}

/// A median with its interval: `52.1 (51.0–53.2)`.
pub fn with_interval(median: f64, low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!("{} ({})", short(median), interval(low, high, short)),
        _ => short(median),
    }
}

/// A share as percent with one digit behind the point.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Bytes in megabytes, as a number.
pub fn megabytes(n_bytes: u64) -> f64 {
    n_bytes as f64 / 1e6
}

/// The day that is so many days after 1970-01-01, as month and day, with the hour when `with_time`.
pub fn date(days: f64, with_time: bool) -> String {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let minutes = (days * 1440.0).round() as i64;
    let time = EPOCH.saturating_add(SignedDuration::from_secs(minutes.saturating_mul(60)));
    time.strftime(if with_time { "%m-%d %H:%M" } else { "%m-%d" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let check = |value: f64, expected: &str| assert_eq!(short(value), expected);
        check(1234.56, "1235");
        check(123.4, "123");
        check(52.08, "52.1");
        check(5.0, "5.00");
        check(0.1234, "0.123");
        check(0.012, "0.0120");
        check(0.0, "0.0000");
        check(-52.08, "-52.1");
    }

    #[test]
    fn intervals_are_told_by_their_ends() {
        assert_eq!(with_interval(52.08, Some(51.0), Some(53.21)), "52.1 (51.0–53.2)");
        assert_eq!(with_interval(52.08, None, Some(53.21)), "52.1");
        assert_eq!(interval(-0.02, 0.005, |end| format!("{end:+.3}")), "-0.020–+0.005");
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(date(20_778.25, true), "11-21 06:00");
        assert_eq!(date(19_782.0, false), "02-29");
        assert_eq!(date(20_454.0, false), "01-01");
    }
}
