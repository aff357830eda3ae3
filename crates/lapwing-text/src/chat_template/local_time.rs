//! A wall-clock time, formatted as C's `strftime` does.

use std::fmt::Write as _;

const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const SECONDS_PER_DAY: i64 = 86_400;

/// A time as the clock on the user's wall shows it, in the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    days: i64,
    second_of_day: i64,
}

struct Date {
    year: i64,
    month_idx: usize,
    day: i64,
    day_of_year: i64,
    weekday_idx: usize,
}

impl LocalTime {
    /// The time `unix_seconds` after 1970-01-01T00:00:00Z where clocks are `utc_offset_seconds`
    /// ahead of UTC. Times more than ten million years away are clamped.
    pub fn from_unix(unix_seconds: i64, utc_offset_seconds: i32) -> Self {
        let bound = 10_000_000 * 366 * SECONDS_PER_DAY;
        let seconds = unix_seconds.clamp(-bound, bound) + i64::from(utc_offset_seconds);
        Self {
            days: seconds.div_euclid(SECONDS_PER_DAY),
            second_of_day: seconds.rem_euclid(SECONDS_PER_DAY),
        }
    }

    /// The text of `format` in the C locale, with the flags `-`, `_`, `0` and `^` of the GNU C
    /// library. The time has no zone: `%z` and `%Z` are empty. Unknown directives stay as they are.
    pub fn format(&self, format: &str) -> String {
        let mut text = String::with_capacity(format.len() + 16);
        let mut rest = format;
        while let Some(percent_idx) = rest.find('%') {
            text.push_str(&rest[..percent_idx]);
            let directive = &rest[percent_idx..];
            let mut symbols = directive[1..].chars();
            let first = symbols.next();
            let flag = first.filter(|flag| matches!(flag, '-' | '_' | '0' | '^'));
            let letter = if flag.is_some() { symbols.next() } else { first };
            let n_bytes = directive.len() - symbols.as_str().len();
            match letter.and_then(|letter| self.field(letter)) {
                Some(field) => field.write(flag, &mut text),
                None => text.push_str(&directive[..n_bytes]),
            }
            rest = symbols.as_str();
        }
        text.push_str(rest);
        text
    }

    fn field(&self, letter: char) -> Option<Field> {
        let date = self.date();
        let (hour, minute) = (self.second_of_day / 3600, self.second_of_day / 60 % 60);
        let second = self.second_of_day % 60;
        let hour_of_12 = (hour + 11) % 12 + 1;
        let number = |value, width| Field::Number { value, width, pad: '0' };
        let spaced = |value| Field::Number { value, width: 2, pad: ' ' };
        Some(match letter {
            'Y' => number(date.year, 1),
            'C' => number(date.year.div_euclid(100), 2),
            'y' => number(date.year.rem_euclid(100), 2),
            'm' => number(date.month_idx as i64 + 1, 2),
            'B' => Field::Text(MONTHS[date.month_idx].to_owned()),
            'b' | 'h' => Field::Text(MONTHS[date.month_idx][..3].to_owned()),
            'd' => number(date.day, 2),
            'e' => spaced(date.day),
            'j' => number(date.day_of_year, 3),
            'A' => Field::Text(WEEKDAYS[date.weekday_idx].to_owned()),
            'a' => Field::Text(WEEKDAYS[date.weekday_idx][..3].to_owned()),
            'w' => number(date.weekday_idx as i64, 1),
            'u' => number((date.weekday_idx as i64 + 6) % 7 + 1, 1),
            'H' => number(hour, 2),
            'k' => spaced(hour),
            'I' => number(hour_of_12, 2),
            'l' => spaced(hour_of_12),
            'M' => number(minute, 2),
            'S' => number(second, 2),
            'f' => number(0, 6),
            'p' => Field::Text(if hour < 12 { "AM" } else { "PM" }.to_owned()),
            'P' => Field::Text(if hour < 12 { "am" } else { "pm" }.to_owned()),
            'D' | 'x' => Field::Text(self.format("%m/%d/%y")),
            'F' => Field::Text(self.format("%Y-%m-%d")),
            'T' | 'X' => Field::Text(self.format("%H:%M:%S")),
            'R' => Field::Text(self.format("%H:%M")),
            'r' => Field::Text(self.format("%I:%M:%S %p")),
            'c' => Field::Text(self.format("%a %b %e %H:%M:%S %Y")),
            'z' | 'Z' => Field::Text(String::new()),
            'n' => Field::Text("\n".to_owned()),
            't' => Field::Text("\t".to_owned()),
            '%' => Field::Text("%".to_owned()),
            _ => return None,
        })
    }

    /// Walks whole years and months: plain, and a date is formatted once per prompt.
    fn date(&self) -> Date {
        // 400 Gregorian years have 146 097 days, a whole number of weeks.
        let cycle = self.days.div_euclid(146_097);
        let mut days = self.days.rem_euclid(146_097);
        let mut year = 1970 + 400 * cycle;
        while days >= days_in_year(year) {
            days -= days_in_year(year);
            year += 1;
        }
        let day_of_year = days + 1;
        let mut month_idx = 0;
        while days >= days_in_month(year, month_idx) {
            days -= days_in_month(year, month_idx);
            month_idx += 1;
        }
        // 1970-01-01 was a Thursday.
        let weekday_idx = (self.days + 4).rem_euclid(7) as usize;
        Date { year, month_idx, day: days + 1, day_of_year, weekday_idx }
    }
}

enum Field {
    Text(String),
    Number { value: i64, width: usize, pad: char },
}

impl Field {
    fn write(self, flag: Option<char>, text: &mut String) {
        let written = match (self, flag) {
            (Self::Text(field), Some('^')) => {
                text.push_str(&field.to_uppercase());
                Ok(())
            }
            (Self::Text(field), _) => {
                text.push_str(&field);
                Ok(())
            }
            (Self::Number { value, .. }, Some('-')) => write!(text, "{value}"),
            (Self::Number { value, width, pad }, flag) => {
                let pads_with_zero = match flag {
                    Some('_') => false,
                    Some('0') => true,
                    _ => pad == '0',
                };
                if pads_with_zero {
                    write!(text, "{value:0width$}")
                } else {
                    write!(text, "{value:width$}")
                }
            }
        };
        written.expect("a string takes all text");
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: i64, month_idx: usize) -> i64 {
    match month_idx {
        1 if is_leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
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
