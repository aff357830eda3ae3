//! Filters of texts.

use std::ops::Range;
use std::str::Chars;

use super::super::arguments::CallArgs;
use super::super::value::budget::{Budget, Out};
use super::super::value::{SeqKind, Value};
use super::super::{Fail, format, python_text};
use super::tags;

/// By how much a text may be longer than `truncate` wants it.
const LEEWAY: usize = 5;

pub(super) fn apply(
    budget: &Budget,
    name: &str,
    value: &Value,
    arguments: CallArgs,
) -> Result<Value, Fail> {
    if name == "urlencode" {
        let [] = arguments.bind(name, [])?;
        return url_encode(budget, value);
    }
    let soft = python_text::text_of(value, budget)?;
    let text = soft.as_str().unwrap_or_default();
    budget.read(text.len())?;
    budget.as_read(text, arguments, &|text, arguments| of_text(budget, name, text, arguments))
}

fn of_text(budget: &Budget, name: &str, text: &str, arguments: CallArgs) -> Result<Value, Fail> {
    match name {
        "format" => {
            let CallArgs { positional, named } = arguments;
            let given = if named.is_empty() {
                budget.collect(SeqKind::Tuple, positional)?
            } else {
                let named = named.iter().map(|(name, value)| (Value::from(name), value.clone()));
                super::super::value::Dict::made(budget, named.collect())?
            };
            format::percent(budget, text, &given)
        }
        "trim" => {
            let [symbols] = arguments.bind(name, ["chars"])?;
            let symbols = symbols.as_ref().and_then(Value::as_str);
            stripped(budget, text, symbols, (true, true))
        }
        "replace" => {
            let [old, new, count] = arguments.bind(name, ["old", "new", "count"])?;
            let (Some(old), Some(new)) = (old, new) else {
                return Err(Fail::other("replace needs two texts"));
            };
            let old = python_text::text_of(&old, budget)?;
            let new = python_text::text_of(&new, budget)?;
            let count = count.and_then(|count| count.as_int()).unwrap_or(-1);
            let (old, new) = (old.as_str().unwrap_or_default(), new.as_str().unwrap_or_default());
            replaced(budget, text, old, new, usize::try_from(count).ok())
        }
        "indent" => indent(budget, text, arguments),
        "truncate" => truncate(budget, text, arguments),
        "center" => {
            let [width] = arguments.bind(name, ["width"])?;
            let width = width.unwrap_or(Value::Int(80));
            let arguments = CallArgs { positional: vec![width], named: Vec::new() };
            justified(budget, text, "center", arguments)
        }
        _ => {
            let [] = arguments.bind(name, [])?;
            match name {
                "safe" => budget.text(text),
                "striptags" => tags::stripped(budget, text),
                "wordcount" => {
                    let is_word = |c: char| c.is_alphanumeric() || c == '_';
                    let words = text.split(|c| !is_word(c)).filter(|word| !word.is_empty());
                    Ok(words.count().into())
                }
                "escape" | "e" | "forceescape" => escape(budget, text),
                _ => recased(budget, text, name),
            }
        }
    }
}

/// A text with its letters in another case; `titlecase` is Python's `title`, `title` the filter.
pub(crate) fn recased(budget: &Budget, text: &str, how: &str) -> Result<Value, Fail> {
    let mut out = budget.out();
    budget.read(8 * text.len())?;
    // Whether a word begins here, or with `capitalize` the text.
    let mut at_start = true;
    for (at, symbol) in text.char_indices() {
        let is_upper = match how {
            "upper" => true,
            "swapcase" => symbol.is_lowercase(),
            "capitalize" | "title" | "titlecase" => at_start,
            _ => false,
        };
        if how == "upper" || is_upper {
            symbol.to_uppercase().try_for_each(|symbol| out.push_char(symbol))?;
        } else if symbol == 'Σ' && how != "swapcase" {
            // The only letter whose lower case depends on its neighbours.
            let is_final = text[..at].ends_with(char::is_alphabetic)
                && !text[at + symbol.len_utf8()..].starts_with(char::is_alphabetic);
            out.push(if is_final { "ς" } else { "σ" })?;
        } else if how == "casefold" && matches!(symbol, 'ß' | 'ẞ') {
            out.push("ss")?;
        } else {
            symbol.to_lowercase().try_for_each(|symbol| out.push_char(symbol))?;
        }
        at_start = match how {
            "titlecase" => !symbol.is_alphabetic(),
            "title" => symbol.is_whitespace() || "-({[<".contains(symbol),
            _ => false,
        };
    }
    out.into_value()
}

/// `text` with `new` for `old`, up to `n_max` times.
pub(crate) fn replaced(
    budget: &Budget,
    text: &str,
    old: &str,
    new: &str,
    n_max: Option<usize>,
) -> Result<Value, Fail> {
    let mut out = budget.out();
    let (plain, old) = (budget.plain(text)?, budget.plain(old)?);
    // A character of the plain text stands where the same one of the marked text does.
    let mut given = text.chars();
    let mut n_copied = 0;
    for (at, part) in plain.match_indices(&*old).take(n_max.unwrap_or(usize::MAX)) {
        copy(&mut given, plain[n_copied..at].chars().count(), &mut out)?;
        out.push(new)?;
        given.by_ref().take(part.chars().count()).for_each(drop);
        n_copied = at + part.len();
    }
    out.push(given.as_str())?;
    out.into_value()
}

/// Write the next `n_chars` of `given`.
fn copy(given: &mut Chars<'_>, n_chars: usize, out: &mut Out) -> Result<(), Fail> {
    let rest = given.as_str();
    given.by_ref().take(n_chars).for_each(drop);
    out.push(&rest[..rest.len() - given.as_str().len()])
}

/// `text` without `symbols` at its ends; those of whitespace when `None`.
pub(crate) fn stripped(
    budget: &Budget,
    text: &str,
    symbols: Option<&str>,
    (at_start, at_end): (bool, bool),
) -> Result<Value, Fail> {
    let symbols: Option<Vec<char>> = symbols.map(|symbols| symbols.chars().take(1000).collect());
    let is_stripped = |symbol: char| match &symbols {
        Some(symbols) => symbols.contains(&symbol),
        None => symbol.is_whitespace() || matches!(symbol, '\x1c'..='\x1f'),
    };
    let text = if at_start { text.trim_start_matches(is_stripped) } else { text };
    budget.text(if at_end { text.trim_end_matches(is_stripped) } else { text })
}

/// The lines of a text, each with the place behind its end.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (Range<usize>, usize)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &text[start..];
        if rest.is_empty() {
            return None;
        }
        let is_end = |c: char| matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let n_line = rest.find(is_end).unwrap_or(rest.len());
        let behind = &rest[n_line..];
        let n_end = match behind.strip_prefix("\r\n") {
            Some(_) => 2,
            None => behind.chars().next().map_or(0, char::len_utf8),
        };
        let line = start..start + n_line;
        start += n_line + n_end;
        Some((line, start))
    })
}

/// A text filled up to a width: Python's `center`, `ljust`, `rjust` and `zfill`.
pub(crate) fn justified(
    budget: &Budget,
    text: &str,
    method: &str,
    arguments: CallArgs,
) -> Result<Value, Fail> {
    let [width, fill] = arguments.bind(method, ["width", "fillchar"])?;
    let width = width.and_then(|width| width.as_int());
    let width = width.ok_or_else(|| Fail::other(format!("{method}() needs a width")))?;
    let fill = match (&fill, method) {
        (_, "zfill") => '0',
        (None, _) => ' ',
        (Some(fill), _) => {
            let mut symbols = fill.as_str().unwrap_or_default().chars();
            match (symbols.next(), symbols.next()) {
                (Some(fill), None) => fill,
                _ => return Err(Fail::other("the fill is one character")),
            }
        }
    };
    let n_chars = text.chars().count();
    let n_fill = (width - n_chars as i128).max(0);
    let n_fill =
        usize::try_from(n_fill).map_err(|_| Fail::memory(format_args!("{n_fill} characters")))?;
    let n_before = match method {
        "ljust" => 0,
        "center" => n_fill / 2 + (n_fill & usize::try_from(width).unwrap_or(0) & 1),
        _ => n_fill,
    };
    let mut out = budget.out();
    let n_sign = usize::from(method == "zfill" && text.starts_with(['+', '-']));
    out.push(&text[..n_sign])?;
    out.fill(fill, n_before)?;
    out.push(&text[n_sign..])?;
    out.fill(fill, n_fill - n_before)?;
    out.into_value()
}

fn indent(budget: &Budget, text: &str, arguments: CallArgs) -> Result<Value, Fail> {
    let [width, first, blank] = arguments.bind("indent", ["width", "first", "blank"])?;
    let is_true = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let (first, blank) = (is_true(first), is_true(blank));
    let indentation = match width {
        Some(width @ Value::Str(_)) => width,
        width => {
            let width = width.map_or(Some(4), |width| width.as_int());
            let width = width.ok_or_else(|| Fail::other("width is a number or a text"))?;
            let mut spaces = budget.out();
            let n_spaces = usize::try_from(width.max(0))
                .map_err(|_| Fail::memory(format_args!("{width} spaces")))?;
            spaces.fill(' ', n_spaces)?;
            spaces.into_value()?
        }
    };
    let indentation = indentation.as_str().unwrap_or_default();
    let mut out = budget.out();
    if first {
        out.push(indentation)?;
    }
    // jinja2 appends a line end before it splits, so that one at the end stays.
    let mut source = budget.out();
    source.push(text)?;
    source.push("\n")?;
    for (idx, (line, _)) in lines(source.text()).enumerate() {
        if idx > 0 {
            out.push("\n")?;
            if blank || !line.is_empty() {
                out.push(indentation)?;
            }
        }
        out.push(&source.text()[line])?;
    }
    out.into_value()
}

fn truncate(budget: &Budget, text: &str, arguments: CallArgs) -> Result<Value, Fail> {
    let [length, kill_words, end, leeway] =
        arguments.bind("truncate", ["length", "killwords", "end", "leeway"])?;
    let size = |value: Option<Value>, default: usize| {
        let size = value.and_then(|value| value.as_int());
        size.map_or(default, |size| usize::try_from(size).unwrap_or(0))
    };
    let (length, leeway) = (size(length, 255), size(leeway, LEEWAY));
    let end = end.unwrap_or_else(|| Value::from("..."));
    let end = end.as_str().unwrap_or_default();
    let kept = length.checked_sub(end.chars().count());
    let kept = kept.ok_or_else(|| Fail::other("expected a length of at least that of the end"))?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return budget.text(text);
    }
    let cut = text.char_indices().nth(kept).map_or(text, |(at, _)| &text[..at]);
    let is_cut_short = kill_words.is_some_and(|kill_words| kill_words.is_true());
    let cut = if is_cut_short { cut } else { cut.rsplit_once(' ').map_or(cut, |(head, _)| head) };
    let mut out = budget.out();
    out.push(cut)?;
    out.push(end)?;
    out.into_value()
}

fn escape(budget: &Budget, text: &str) -> Result<Value, Fail> {
    let mut out = budget.out();
    for symbol in text.chars() {
        match symbol {
            '&' => out.push("&amp;")?,
            '<' => out.push("&lt;")?,
            '>' => out.push("&gt;")?,
            '\'' => out.push("&#39;")?,
            '"' => out.push("&#34;")?,
            _ => out.push_char(symbol)?,
        }
    }
    out.into_value()
}

/// A text for an URL's path, or keys and values for its query.
fn url_encode(budget: &Budget, value: &Value) -> Result<Value, Fail> {
    let mut out = budget.out();
    let pairs = match value {
        Value::Dict(_) => super::entries(budget, value, SeqKind::List)?,
        Value::Seq(_) => value.clone(),
        _ => {
            let text = python_text::text_of(value, budget)?;
            quote(text.as_str().unwrap_or_default(), false, &mut out)?;
            return out.into_value();
        }
    };
    for (idx, pair) in pairs.iterate(budget)?.items.iter().enumerate() {
        if idx > 0 {
            out.push("&")?;
        }
        for (idx, part) in pair.iterate(budget)?.items.iter().take(2).enumerate() {
            if idx > 0 {
                out.push("=")?;
            }
            let part = python_text::text_of(part, budget)?;
            quote(part.as_str().unwrap_or_default(), true, &mut out)?;
        }
    }
    out.into_value()
}

fn quote(text: &str, is_query: bool, out: &mut Out) -> Result<(), Fail> {
    let text = out.budget().plain(text)?.into_owned();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push_char(char::from(byte))?;
            }
            b'/' if !is_query => out.push("/")?,
            b' ' if is_query => out.push("+")?,
            _ => out.push(&format!("%{byte:02X}"))?,
        }
    }
    Ok(())
}
