//! Values of Python and its like, as JSON.

use serde_json::Number;

/// Makes JSON of a value as it comes: names become strings, whatever quotes are used, and a comma
/// before a bracket is dropped.
#[derive(Debug, Default)]
pub(super) struct Literal {
    n_open: usize,
    /// The mark that ends the string.
    quote: Option<Quote>,
    is_escaped: bool,
    /// A number, a constant or a name.
    word: String,
    has_comma: bool,
}

/// What a string stands between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    /// A quotation mark; a backslash begins an escape.
    Mark(char),
    /// A marker; everything before the next one is text.
    Marker,
}

impl Literal {
    /// Whether what comes is text.
    pub(super) fn is_in_string(&self) -> bool {
        self.quote.is_some()
    }

    /// Brackets that are open.
    pub(super) fn n_open(&self) -> usize {
        self.n_open
    }

    /// A marker that stands for a quotation mark.
    pub(super) fn quote(&mut self, json: &mut String) {
        match self.quote {
            None => self.begin_string(Quote::Marker, json),
            Some(_) => self.end_string(json),
        }
    }

    /// One more character of the value. A closing bracket or a comma outside of all brackets is the
    /// caller's.
    pub(super) fn push(&mut self, symbol: char, json: &mut String) {
        match self.quote {
            Some(Quote::Mark(mark)) => self.in_string(symbol, mark, json),
            Some(Quote::Marker) => push_text(symbol, json),
            None => self.outside(symbol, json),
        }
    }

    /// The value is over.
    pub(super) fn finish(&mut self, json: &mut String) {
        self.end_word(json);
        self.has_comma = false;
    }

    fn outside(&mut self, symbol: char, json: &mut String) {
        match symbol {
            '"' | '\'' => self.begin_string(Quote::Mark(symbol), json),
            '{' | '[' | '(' => {
                self.begin(json);
                self.n_open += 1;
                json.push(if symbol == '{' { '{' } else { '[' });
            }
            '}' | ']' | ')' => {
                self.finish(json);
                self.n_open = self.n_open.saturating_sub(1);
                json.push(if symbol == '}' { '}' } else { ']' });
            }
            ',' => {
                self.end_word(json);
                self.has_comma = true;
            }
            ':' => {
                self.end_word(json);
                json.push(':');
            }
            _ if symbol.is_whitespace() => self.end_word(json),
            _ => self.word.push(symbol),
        }
    }

    fn begin(&mut self, json: &mut String) {
        self.end_word(json);
        if std::mem::take(&mut self.has_comma) {
            json.push(',');
        }
    }

    fn begin_string(&mut self, quote: Quote, json: &mut String) {
        self.begin(json);
        self.quote = Some(quote);
        json.push('"');
    }

    fn end_string(&mut self, json: &mut String) {
        self.quote = None;
        self.is_escaped = false;
        json.push('"');
    }

    fn in_string(&mut self, symbol: char, mark: char, json: &mut String) {
        match symbol {
            _ if std::mem::take(&mut self.is_escaped) => match symbol {
                // What Python and JSON write alike.
                'n' | 't' | 'r' | 'b' | 'f' | 'u' | '\\' | '"' => json.extend(['\\', symbol]),
                '\'' => json.push('\''),
                // The two digits that follow complete it.
                'x' => json.push_str("\\u00"),
                '\n' => {}
                // A backslash that escapes nothing is one.
                _ => {
                    json.push_str("\\\\");
                    push_text(symbol, json);
                }
            },
            '\\' => self.is_escaped = true,
            _ if symbol == mark => self.end_string(json),
            _ => push_text(symbol, json),
        }
    }

    fn end_word(&mut self, json: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        self.begin(json);
        match word.as_str() {
            "True" => json.push_str("true"),
            "False" => json.push_str("false"),
            "None" => json.push_str("null"),
            "true" | "false" | "null" => json.push_str(&word),
            _ => match number(&word) {
                Some(number) => json.push_str(&number),
                None => json.push_str(&serde_json::Value::from(word).to_string()),
            },
        }
    }
}

/// A number as JSON writes it, with all its digits; none of what Python takes for no number.
fn number(word: &str) -> Option<String> {
    let is_json = |word: &str| serde_json::from_str::<Number>(word).is_ok();
    if is_json(word) {
        return Some(word.to_owned());
    }
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let lower = digits.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            let digits = without_underscores(digits.strip_prefix('_').unwrap_or(digits), radix)?;
            return Some(format!("{sign}{}", u128::from_str_radix(&digits, radix).ok()?));
        }
    }
    // Digits are needed on one side of a point only.
    let (mantissa, exponent) = match lower.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (&*lower, None),
    };
    let part = |digits: &str| match digits {
        "" => Some("0".to_owned()),
        digits => without_underscores(digits, 10),
    };
    let mut json = match mantissa.split_once('.') {
        Some(("", "")) => return None,
        Some((whole, share)) => format!("{sign}{}.{}", part(whole)?, part(share)?),
        None => format!("{sign}{}", without_underscores(mantissa, 10)?),
    };
    if let Some(exponent) = exponent {
        let (sign, digits) = exponent.split_at(exponent.starts_with(['+', '-']).into());
        json.push_str(&format!("e{sign}{}", without_underscores(digits, 10)?));
    }
    is_json(&json).then_some(json)
}

/// Digits without the underscores that may stand between two of them.
fn without_underscores(digits: &str, radix: u32) -> Option<String> {
    let is_run = |run: &str| !run.is_empty() && run.chars().all(|digit| digit.is_digit(radix));
    digits.split('_').all(is_run).then(|| digits.replace('_', ""))
}

/// A character of a string.
fn push_text(symbol: char, json: &mut String) {
    match symbol {
        '"' | '\\' => json.extend(['\\', symbol]),
        '\n' => json.push_str("\\n"),
        '\r' => json.push_str("\\r"),
        '\t' => json.push_str("\\t"),
        '\0'..='\x1f' => json.push_str(&format!("\\u{:04x}", u32::from(symbol))),
        _ => json.push(symbol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_python_are_numbers() {
        let check = |word: &str, expected: Option<&str>| {
            assert_eq!(number(word).as_deref(), expected, "{word}");
        };
        for word in ["0", "-7", "1.5e-3", "123456789012345678901234567890"] {
            check(word, Some(word));
        }
        check("1_000", Some("1000"));
        check("-1_000_000", Some("-1000000"));
        check("+5", Some("5"));
        check("0x10", Some("16"));
        check("0xFF_ff", Some("65535"));
        check("-0b101", Some("-5"));
        check("0O17", Some("15"));
        check("0x_1", Some("1"));
        check(".5", Some("0.5"));
        check("-5.", Some("-5.0"));
        check("1_0.0_1E1_0", Some("10.01e10"));
        check("1.e+5", Some("1.0e+5"));
        for word in [
            "007",
            "1__0",
            "_1",
            "1_",
            "0x",
            "0xg",
            "0b2",
            "0x1.8",
            ".",
            "e5",
            "1e",
            "--1",
            "1-2",
            "1j",
            "1e999",
            "2024-01-02",
            "1.2.3",
            "0x100000000000000000000000000000000",
            "inf",
            "",
        ] {
            check(word, None);
        }
    }
}
