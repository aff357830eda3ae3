//! Numbers, as Python's formats write them.

use super::super::value::Value;
use super::super::value::budget::Out;
use super::super::{Fail, python_text};
use super::{Layout, pad};

/// The most digits behind a point that are written.
const PRECISION_MAX: usize = 1000;

/// Write a number as its layout says.
pub(super) fn write_number(value: &Value, layout: &Layout, out: &mut Out) -> Result<(), Fail> {
    let precision = layout.precision.unwrap_or(6);
    if precision > PRECISION_MAX {
        let limit = format_args!("{PRECISION_MAX} digits");
        return Err(Fail::bound("the precision of a number", limit, precision));
    }
    let whole = value.as_int();
    let (is_negative, digits) = match (layout.conversion, whole) {
        (None | Some('d'), Some(number)) => (number < 0, number.unsigned_abs().to_string()),
        (Some('x'), Some(number)) => (number < 0, format!("{:x}", number.unsigned_abs())),
        (Some('X'), Some(number)) => (number < 0, format!("{:X}", number.unsigned_abs())),
        (Some('o'), Some(number)) => (number < 0, format!("{:o}", number.unsigned_abs())),
        (Some('b'), Some(number)) => (number < 0, format!("{:b}", number.unsigned_abs())),
        (conversion, _) => {
            let number = value.as_float();
            let number = number.ok_or_else(|| Fail::other("a number is required"))?;
            let digits = float_digits(number.abs(), conversion, layout.precision)?;
            (number.is_sign_negative() && !number.is_nan(), digits)
        }
    };
    let prefix = match (layout.alternate, layout.conversion) {
        (true, Some('x')) => "0x",
        (true, Some('X')) => "0X",
        (true, Some('o')) => "0o",
        (true, Some('b')) => "0b",
        _ => "",
    };
    let sign = match (is_negative, layout.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let digits = match layout.grouping {
        Some(separator) => grouped(&digits, separator),
        None => digits,
    };
    pad(&format!("{sign}{prefix}"), &digits, layout, layout.align.unwrap_or('>'), out)
}

/// The digits of a number that is not negative.
fn float_digits(
    number: f64,
    conversion: Option<char>,
    precision: Option<usize>,
) -> Result<String, Fail> {
    if !number.is_finite() {
        return Ok(if number.is_nan() { "nan" } else { "inf" }.to_owned());
    }
    let n_digits = precision.unwrap_or(6);
    Ok(match (conversion, precision) {
        (None, None) => python_text::float(number),
        (Some('f' | 'F'), _) => format!("{number:.n_digits$}"),
        (Some('%'), _) => format!("{:.n_digits$}%", number * 100.0),
        (Some('e'), _) => exponential(number, n_digits),
        (Some('E'), _) => exponential(number, n_digits).to_uppercase(),
        (Some('g' | 'n') | None, _) => general(number, n_digits),
        (Some('G'), _) => general(number, n_digits).to_uppercase(),
        _ => return Err(Fail::other("unknown format code for a number")),
    })
}

fn exponential(number: f64, n_digits: usize) -> String {
    let text = format!("{number:.n_digits$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn general(number: f64, n_digits: usize) -> String {
    let n_digits = n_digits.max(1);
    let scientific = exponential(number, n_digits - 1);
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok());
    let exponent: i32 = exponent.unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= n_digits as i32 {
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "+00"));
        return format!("{}e{exponent}", trimmed(digits));
    }
    let n_behind = (n_digits as i32 - 1 - exponent).max(0) as usize;
    trimmed(&format!("{number:.n_behind$}"))
}

/// `1234567.5` as `1,234,567.5`.
fn grouped(digits: &str, separator: char) -> String {
    let n_whole = digits.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(n_whole);
    let mut text = String::new();
    for (idx, digit) in whole.chars().enumerate() {
        if idx > 0 && (n_whole - idx) % 3 == 0 {
            text.push(separator);
        }
        text.push(digit);
    }
    text + rest
}
