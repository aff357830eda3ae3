//! Numbers as people read them.

/// `value` with three digits that count, and never as a power of ten.
pub(crate) fn short(value: f64) -> String {
    let n_decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        _ => 4,
    };
    format!("{value:.n_decimals$}")
}

/// A median with its interval: `52.1 (51.0 – 53.2)`.
pub(crate) fn with_interval(median: f64, low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => {
            format!("{} ({} – {})", short(median), short(low), short(high))
        }
        _ => short(median),
    }
}

/// A share as percent with one digit behind the point.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Bytes in megabytes, as a number.
pub(crate) fn megabytes(n_bytes: u64) -> f64 {
    n_bytes as f64 / 1e6
}

/// Days since 1970 of a time such as `2026-11-21T12:00:00Z`; `None` of anything else.
///
/// Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
pub(crate) fn days(measured_at: &str) -> Option<f64> {
    let bytes = measured_at.as_bytes();
    let is_shaped = bytes.len() == 20
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')]
            .iter()
            .all(|&(place, byte)| bytes[place] == byte);
    if !is_shaped {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = &bytes[from..to];
        let all_digits = digits.iter().all(u8::is_ascii_digit);
        all_digits.then(|| digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    // The year begins in March, so that the leap day is its last.
    let year = if month < 3 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let n_days = era * 146_097 + day_of_era - 719_468;
    Some(n_days as f64 + (hour * 3600 + minute * 60 + second) as f64 / 86_400.0)
}

/// The reverse of [`days`], as month and day, with the hour when `with_time`.
pub(crate) fn date(days: f64, with_time: bool) -> String {
    let minutes = (days * 1440.0).round() as i64;
    let (n_days, minute) = (minutes.div_euclid(1440) + 719_468, minutes.rem_euclid(1440));
    let day_of_era = n_days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    match with_time {
        true => format!("{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60),
        false => format!("{month:02}-{day:02}"),
    }
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
    fn times_become_days_and_back() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(days(text), expected, "{text}");
        check("1970-01-01T00:00:00Z", Some(0.0));
        check("2000-03-01T12:00:00Z", Some(11_017.5));
        check("2024-02-29T00:00:00Z", Some(19_782.0));
        check("2026-11-21T06:00:00Z", Some(20_778.25));
        for bad in
            ["", "2026-11-21", "2026-13-21T06:00:00Z", "2026-11-21T06:00:00+", "ü026-11-21T06:00Z"]
        {
            check(bad, None);
        }
        assert_eq!(date(20_778.25, true), "11-21 06:00");
        assert_eq!(date(19_782.0, false), "02-29");
        assert_eq!(date(20_454.0, false), "01-01");
    }
}
