//! A wall-clock time, formatted as C's `strftime` does.

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A time as the clock on the user's wall shows it, in the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime(DateTime);

impl LocalTime {
    /// The time `unix_seconds` after 1970-01-01T00:00:00Z where clocks are `utc_offset_seconds`
    /// ahead of UTC. Times beyond the years -9999 and 9999 are clamped.
    pub fn from_unix(unix_seconds: i64, utc_offset_seconds: i32) -> Self {
        let seconds = unix_seconds.saturating_add(utc_offset_seconds.into());
        Self(EPOCH.saturating_add(SignedDuration::from_secs(seconds)))
    }

    /// The text of `format` in the C locale, with the flags `-`, `_`, `0` and `^` of the GNU C
    /// library. The time has no zone: `%z` and `%Z` are empty. Unknown directives stay as they are.
    pub fn format(&self, format: &str) -> String {
        // Lenient: no directive of a template ends the program.
        let config = Config::new().custom(PosixCustom::new()).lenient(true);
        let format = without_zone(format);
        let text = BrokenDownTime::from(self.0).to_string_with_config(&config, &format);
        text.unwrap_or(format)
    }
}

/// `format` with nothing for the zone, and the fraction of a second as Python writes it.
fn without_zone(format: &str) -> String {
    let mut text = String::with_capacity(format.len());
    let mut symbols = format.chars();
    while let Some(symbol) = symbols.next() {
        match (symbol, symbols.as_str().chars().next()) {
            ('%', Some('z' | 'Z')) => {}
            ('%', Some('f')) => text.push_str("000000"),
            ('%', Some(letter)) => text.extend(['%', letter]),
            _ => {
                text.push(symbol);
                continue;
            }
        }
        symbols.next();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_strftime() {
        let check = |unix_seconds, utc_offset_seconds, format, expected: &str| {
            let time = LocalTime::from_unix(unix_seconds, utc_offset_seconds);
            assert_eq!(time.format(format), expected, "{format}");
        };
        // Expected texts are those of Python's datetime on Linux.
        check(1_721_952_000, 0, "%d %b %Y", "26 Jul 2024");
        check(1_721_952_000, -3600, "%Y-%m-%d %H:%M:%S", "2024-07-25 23:00:00");
        check(951_782_400, 0, "%A, %B %-d, %Y (%j)", "Tuesday, February 29, 2000 (060)");
        check(-1, 0, "%a %e %b %y %I:%M %p", "Wed 31 Dec 69 11:59 PM");
        check(0, 0, "%F %T|%_d|%^a|%u%w|%%|%z%Z|%Q|%", "1970-01-01 00:00:00| 1|THU|44|%||%Q|%");
        check(
            1_735_689_600,
            0,
            "%c|%x|%X|%D",
            "Wed Jan  1 00:00:00 2025|01/01/25|00:00:00|01/01/25",
        );
        check(4_107_542_400, 0, "%F é %-", "2100-03-01 é %-");
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        for seconds in [i64::MIN, i64::MAX] {
            assert!(!LocalTime::from_unix(seconds, i32::MAX).format("%c").is_empty());
        }
    }
}
