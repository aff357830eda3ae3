//! `striptags`: a text without markup, as markupsafe has it.

use super::super::Fail;
use super::super::value::Value;
use super::super::value::budget::{Budget, Out};

/// The names of characters that are known; others are an error, because there are two thousand.
const NAMES: [(&str, &str); 12] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", "\u{a0}"),
    ("copy", "©"),
    ("reg", "®"),
    ("hellip", "…"),
    ("ndash", "–"),
    ("mdash", "—"),
    ("euro", "€"),
];

/// A text without comments and tags, with single spaces, and with characters for their names.
pub(super) fn stripped(budget: &Budget, text: &str) -> Result<Value, Fail> {
    let _charge = budget.charge(2 * text.len())?;
    let mut rest = text.to_owned();
    for (open, close) in [("<!--", "-->"), ("<", ">")] {
        // What is left on both sides of a comment may be the beginning of another one.
        while let Some(start) = rest.find(open) {
            budget.read(rest.len())?;
            let Some(n_within) = rest[start..].find(close) else { break };
            rest.replace_range(start..start + n_within + close.len(), "");
        }
    }
    let is_space = |symbol: char| symbol.is_whitespace() || matches!(symbol, '\x1c'..='\x1f');
    let mut spaced = budget.out();
    for (idx, word) in rest.split(is_space).filter(|word| !word.is_empty()).enumerate() {
        if idx > 0 {
            spaced.push(" ")?;
        }
        spaced.push(word)?;
    }
    let mut out = budget.out();
    let mut rest = spaced.text();
    while let Some(at) = rest.find('&') {
        out.push(&rest[..at])?;
        rest = character(&rest[at + 1..], &mut out)?;
    }
    out.push(rest)?;
    out.into_value()
}

/// Write the character that is named behind an `&`; gives what follows.
fn character<'t>(text: &'t str, out: &mut Out) -> Result<&'t str, Fail> {
    let number = text.strip_prefix('#').and_then(|digits| match digits.strip_prefix(['x', 'X']) {
        Some(digits) => of_number(digits, 16),
        None => of_number(digits, 10),
    });
    if let Some((symbol, behind)) = number {
        out.push_char(symbol)?;
        return Ok(behind.strip_prefix(';').unwrap_or(behind));
    }
    let n_name = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (name, behind) = text.split_at(n_name);
    let Some(behind) = behind.strip_prefix(';').filter(|_| !name.is_empty()) else {
        out.push("&")?;
        return Ok(text);
    };
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, symbol)) => out.push(symbol)?,
        None => return Err(Fail::other(format!("striptags knows no character '&{name};'"))),
    }
    Ok(behind)
}

/// The character of a number at the beginning of `digits`, and what follows.
fn of_number(digits: &str, radix: u32) -> Option<(char, &str)> {
    let n_digits = digits.chars().take_while(|digit| digit.is_digit(radix)).count();
    let (digits, behind) = digits.split_at(n_digits);
    // What is too large a number is no character either.
    let code = u32::from_str_radix(digits, radix).ok().or((n_digits > 0).then_some(u32::MAX))?;
    let symbol = char::from_u32(code).filter(|symbol| *symbol != '\0');
    Some((symbol.unwrap_or(char::REPLACEMENT_CHARACTER), behind))
}
