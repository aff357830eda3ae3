//! Source to tokens, with whitespace control as the transformers library sets it: the line end
//! behind a tag and the indentation in front of one go (`trim_blocks`, `lstrip_blocks`).

use std::sync::Arc;

use super::Mistake;

/// The most tokens in one tag. The longest expressions in use have about 200.
const TOKENS_PER_TAG_MAX: usize = 500;

/// A token, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// From 1.
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Text(Arc<str>),
    TagBegin,
    TagEnd,
    PrintBegin,
    PrintEnd,
    Name(Arc<str>),
    Str(String),
    Int(i128),
    Float(f64),
    Operator(&'static str),
    End,
}

/// Longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

/// The tokens of a source; the last is [`Kind::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, Mistake> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, position: 0, line: 1, at_line_start: true, tokens: Vec::new() };
    while lexer.position < source.len() {
        lexer.part()?;
    }
    lexer.push(Kind::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    position: usize,
    line: usize,
    /// Whether what was read last ended with a line end.
    at_line_start: bool,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.position..]
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { line: self.line, kind });
    }

    fn advance(&mut self, n_bytes: usize) {
        let passed = &self.source[self.position..self.position + n_bytes];
        self.line += passed.bytes().filter(|&byte| byte == b'\n').count();
        self.at_line_start = passed.ends_with('\n');
        self.position += n_bytes;
    }

    fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { line: self.line, message: message.into() }
    }

    /// Text up to the next tag, and that tag.
    fn part(&mut self) -> Result<(), Mistake> {
        let rest = self.rest();
        let is_open = |at: &usize| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
        let Some(start) = rest.match_indices('{').map(|(at, _)| at).find(is_open) else {
            self.push(Kind::Text(rest.into()));
            self.advance(rest.len());
            return Ok(());
        };
        let kind = rest.as_bytes()[start + 1];
        let sign = rest.as_bytes().get(start + 2).copied().filter(|sign| b"-+".contains(sign));
        self.text_before(&rest[..start], sign, kind == b'{');
        self.advance(start + 2 + usize::from(sign.is_some()));
        match kind {
            b'#' => {
                let end = self.rest().find("#}");
                let end = end.ok_or_else(|| self.mistake("missing end of comment tag"))?;
                let sign = self.rest().as_bytes()[..end].last().copied();
                self.advance(end + 2);
                self.after_tag(sign);
            }
            b'%' if self.raw_begin() => self.raw()?,
            b'%' => {
                self.push(Kind::TagBegin);
                self.code("%}")?;
                self.push(Kind::TagEnd);
            }
            _ => {
                self.push(Kind::PrintBegin);
                self.code("}}")?;
                self.push(Kind::PrintEnd);
            }
        }
        Ok(())
    }

    /// The text before a tag, without what the tag takes away.
    fn text_before(&mut self, text: &str, sign: Option<u8>, is_print: bool) {
        let kept = match sign {
            Some(b'-') => text.trim_end(),
            Some(_) => text,
            None if is_print => text,
            None => {
                let line_start = text.rfind('\n').map_or(0, |at| at + 1);
                let is_first = line_start == 0 && !self.at_line_start;
                let is_indentation = text[line_start..].chars().all(char::is_whitespace);
                if is_indentation && !is_first { &text[..line_start] } else { text }
            }
        };
        if !kept.is_empty() {
            self.push(Kind::Text(kept.into()));
        }
    }

    /// Pass over what a tag takes away behind it.
    fn after_tag(&mut self, sign: Option<u8>) {
        let rest = self.rest();
        match sign {
            Some(b'-') => {
                let n_bytes = rest.len() - rest.trim_start().len();
                if n_bytes > 0 {
                    self.advance(n_bytes);
                }
            }
            Some(b'+') => {}
            _ if rest.starts_with('\n') => self.advance(1),
            _ => {}
        }
    }

    /// Whether this is `raw`, which is passed over then.
    fn raw_begin(&mut self) -> bool {
        let rest = self.rest();
        let Some(after) = rest.trim_start().strip_prefix("raw") else { return false };
        let after = after.trim_start();
        let is_stripped = after.starts_with("-%}");
        let Some(after) = after.strip_prefix("-%}").or_else(|| after.strip_prefix("%}")) else {
            return false;
        };
        let after = if is_stripped { after.trim_start() } else { after };
        self.advance(rest.len() - after.len());
        true
    }

    /// The text of a `raw` block, and its end.
    fn raw(&mut self) -> Result<(), Mistake> {
        let rest = self.rest();
        for (start, _) in rest.match_indices("{%") {
            let inner = &rest[start + 2..];
            let sign = inner.as_bytes().first().copied().filter(|sign| b"-+".contains(sign));
            let inner = &inner[usize::from(sign.is_some())..];
            let Some(after) = inner.trim_start().strip_prefix("endraw") else { continue };
            let after = after.trim_start();
            let end_sign = after.as_bytes().first().copied().filter(|sign| b"-+".contains(sign));
            let after = &after[usize::from(end_sign.is_some())..];
            let Some(after) = after.strip_prefix("%}") else { continue };
            self.text_before(&rest[..start], sign, false);
            self.advance(rest.len() - after.len());
            self.after_tag(end_sign);
            return Ok(());
        }
        Err(self.mistake("missing end of raw directive"))
    }

    /// The tokens of a tag up to `close`, and the whitespace that the tag takes away.
    fn code(&mut self, close: &str) -> Result<(), Mistake> {
        let n_before = self.tokens.len();
        let mut brackets: Vec<u8> = Vec::new();
        loop {
            let rest = self.rest();
            let n_space = rest.len() - rest.trim_start().len();
            if n_space > 0 {
                self.advance(n_space);
            }
            let rest = self.rest();
            if brackets.is_empty() {
                let sign = rest.as_bytes().first().copied();
                let sign = sign.filter(|sign| b"-+".contains(sign) && rest[1..].starts_with(close));
                if sign.is_some() || rest.starts_with(close) {
                    self.advance(2 + usize::from(sign.is_some()));
                    match sign {
                        None if close == "}}" => {}
                        _ => self.after_tag(sign),
                    }
                    return Ok(());
                }
            }
            if self.tokens.len() - n_before > TOKENS_PER_TAG_MAX {
                let message = format!("more than {TOKENS_PER_TAG_MAX} parts in one tag");
                return Err(self.mistake(message));
            }
            let Some(first) = rest.chars().next() else {
                return Err(self.mistake("unexpected end of template"));
            };
            match first {
                '"' | '\'' => self.string(first)?,
                '0'..='9' => self.number()?,
                _ if first.is_alphabetic() || first == '_' => {
                    let is_word = |c: char| c.is_alphanumeric() || c == '_';
                    let n_bytes = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    self.push(Kind::Name(rest[..n_bytes].into()));
                    self.advance(n_bytes);
                }
                _ => self.operator(&mut brackets)?,
            }
        }
    }

    fn operator(&mut self, brackets: &mut Vec<u8>) -> Result<(), Mistake> {
        let rest = self.rest();
        let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator))
        else {
            let symbol = rest.chars().next().unwrap_or_default();
            return Err(self.mistake(format!("unexpected char {symbol:?}")));
        };
        match operator {
            "(" => brackets.push(b')'),
            "[" => brackets.push(b']'),
            "{" => brackets.push(b'}'),
            ")" | "]" | "}" if brackets.pop() != Some(operator.as_bytes()[0]) => {
                return Err(self.mistake(format!("unexpected '{operator}'")));
            }
            _ => {}
        }
        self.push(Kind::Operator(operator));
        self.advance(operator.len());
        Ok(())
    }

    fn number(&mut self) -> Result<(), Mistake> {
        let rest = self.rest();
        let digits =
            |text: &str| text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'_').count();
        let radix = match rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => 16,
            Some("0o") => 8,
            Some("0b") => 2,
            _ => 10,
        };
        if radix != 10 {
            let n_bytes = 2 + rest[2..].bytes().take_while(|b| b.is_ascii_alphanumeric()).count();
            let number = i128::from_str_radix(&rest[2..n_bytes].replace('_', ""), radix);
            let number = number.map_err(|_| self.mistake("malformed number"))?;
            self.push(Kind::Int(number));
            self.advance(n_bytes);
            return Ok(());
        }
        let mut n_bytes = digits(rest);
        let mut is_float = false;
        let n_fraction = rest[n_bytes..].strip_prefix('.').map_or(0, digits);
        if n_fraction > 0 {
            is_float = true;
            n_bytes += 1 + n_fraction;
        }
        if rest[n_bytes..].starts_with(['e', 'E']) {
            let exponent = &rest[n_bytes + 1..];
            let n_sign = usize::from(exponent.starts_with(['+', '-']));
            let n_digits = digits(&exponent[n_sign..]);
            if n_digits > 0 {
                is_float = true;
                n_bytes += 1 + n_sign + n_digits;
            }
        }
        let text = rest[..n_bytes].replace('_', "");
        let malformed = || self.mistake("malformed number");
        let kind = if is_float {
            Kind::Float(text.parse().map_err(|_| malformed())?)
        } else {
            Kind::Int(text.parse().map_err(|_| malformed())?)
        };
        self.push(kind);
        self.advance(n_bytes);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), Mistake> {
        let rest = self.rest();
        let mut text = String::new();
        let mut symbols = rest.char_indices().skip(1);
        while let Some((at, symbol)) = symbols.next() {
            if symbol == quote {
                self.push(Kind::Str(text));
                self.advance(at + 1);
                return Ok(());
            }
            if symbol != '\\' {
                text.push(symbol);
                continue;
            }
            let Some((_, escaped)) = symbols.next() else { break };
            let n_hexadecimal = match escaped {
                'x' => 2,
                'u' => 4,
                'U' => 8,
                _ => 0,
            };
            if n_hexadecimal > 0 {
                let digits = symbols.by_ref().take(n_hexadecimal).map(|(_, digit)| digit);
                let digits: String = digits.collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                let symbol = code.filter(|_| digits.len() == n_hexadecimal);
                let symbol = symbol.and_then(char::from_u32);
                text.push(symbol.ok_or_else(|| self.mistake("malformed escape in a string"))?);
                continue;
            }
            match escaped {
                '\n' => {}
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'a' => text.push('\u{7}'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'v' => text.push('\u{b}'),
                '\\' | '\'' | '"' => text.push(escaped),
                '0'..='7' => {
                    let mut code = escaped.to_digit(8).unwrap_or(0);
                    for _ in 0..2 {
                        let mut ahead = symbols.clone();
                        let Some(digit) = ahead.next().and_then(|(_, c)| c.to_digit(8)) else {
                            break;
                        };
                        code = code * 8 + digit;
                        symbols = ahead;
                    }
                    text.extend(char::from_u32(code));
                }
                _ => text.extend(['\\', escaped]),
            }
        }
        Err(self.mistake("a string without an end"))
    }
}
