//! Python's two ways to fill a text: `'%s' % x` and `'{}'.format(x)`.

mod numbers;

use super::arguments::CallArgs;
use super::value::budget::{Budget, Out};
use super::value::{SeqKind, Value};
use super::{Fail, access, python_text};
use numbers::write_number;

/// How one value is laid out.
#[derive(Clone, Default)]
struct Layout {
    fill: Option<char>,
    /// `<`, `>`, `^` or `=`.
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    conversion: Option<char>,
}

/// `text % value`.
pub(super) fn percent(budget: &Budget, text: &str, value: &Value) -> Result<Value, Fail> {
    let mut out = budget.out();
    let given: Vec<Value> = match value {
        Value::Seq(seq) if seq.kind == SeqKind::Tuple => seq.items.clone(),
        other => vec![other.clone()],
    };
    let is_single = !matches!(value, Value::Seq(seq) if seq.kind == SeqKind::Tuple);
    let mut given_left = given.iter();
    let mut is_named = false;
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push(&rest[..at])?;
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push("%")?;
            rest = after;
            continue;
        }
        let mut named = None;
        if let Some(after) = rest.strip_prefix('(') {
            let (name, after) =
                after.split_once(')').ok_or_else(|| Fail::other("incomplete format key"))?;
            named = Some(access::item(value, &budget.text(name)?, budget)?);
            is_named = true;
            rest = after;
        }
        let layout = percent_layout(&mut rest, &mut given_left)?;
        let value = match named {
            Some(value) => value,
            None => next_given(&mut given_left)?,
        };
        percent_value(budget, &value, layout, &mut out)?;
    }
    out.push(rest)?;
    let is_filled =
        is_named || given_left.next().is_none() || (is_single && matches!(value, Value::Dict(_)));
    if !is_filled {
        return Err(Fail::other("not all arguments converted during string formatting"));
    }
    out.into_value()
}

fn next_given(given: &mut std::slice::Iter<'_, Value>) -> Result<Value, Fail> {
    given.next().cloned().ok_or_else(|| Fail::other("not enough arguments for format string"))
}

fn percent_layout(
    rest: &mut &str,
    given: &mut std::slice::Iter<'_, Value>,
) -> Result<Layout, Fail> {
    let mut layout = Layout { align: Some('>'), ..Layout::default() };
    while let Some(flag) = rest.chars().next().filter(|flag| "#0- +".contains(*flag)) {
        match flag {
            '#' => layout.alternate = true,
            '-' => layout.align = Some('<'),
            '0' if layout.align != Some('<') => {
                layout.fill = Some('0');
                layout.align = Some('=');
            }
            '0' => {}
            sign => layout.sign = Some(sign),
        }
        *rest = &rest[1..];
    }
    layout.width = percent_number(rest, given)?.unwrap_or(0);
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        layout.precision = Some(percent_number(rest, given)?.unwrap_or(0));
    }
    while let Some(after) = rest.strip_prefix(['h', 'l', 'L']) {
        *rest = after;
    }
    let conversion = rest.chars().next();
    let conversion = conversion.ok_or_else(|| Fail::other("incomplete format"))?;
    *rest = &rest[conversion.len_utf8()..];
    layout.conversion = Some(conversion);
    Ok(layout)
}

fn percent_number(
    rest: &mut &str,
    given: &mut std::slice::Iter<'_, Value>,
) -> Result<Option<usize>, Fail> {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        let number = next_given(given)?.as_int();
        let number = number.ok_or_else(|| Fail::other("* wants int"))?;
        return Ok(Some(usize::try_from(number).map_err(|_| too_wide(&number.to_string()))?));
    }
    number(rest)
}

fn too_wide(digits: &str) -> Fail {
    let found = match digits.len() {
        0..=40 => digits.to_owned(),
        n_digits => format!("a number of {n_digits} digits"),
    };
    Fail::bound("the width of a field", usize::MAX, found)
}

/// A number at the beginning of `rest`, which is passed over.
fn number(rest: &mut &str) -> Result<Option<usize>, Fail> {
    let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at(n_digits);
    *rest = after;
    match digits {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| too_wide(digits)),
    }
}

fn percent_value(
    budget: &Budget,
    value: &Value,
    layout: Layout,
    out: &mut Out,
) -> Result<(), Fail> {
    let mut layout = layout;
    match layout.conversion {
        Some(conversion @ ('s' | 'r' | 'a')) => {
            let mut text = budget.out();
            if conversion == 's' {
                python_text::write_str(value, &mut text)?;
            } else {
                python_text::write_repr(value, &mut text)?;
            }
            layout.conversion = Some('s');
            if layout.align == Some('=') {
                (layout.align, layout.fill) = (Some('>'), None);
            }
            write_text(text.text(), &layout, '>', out)
        }
        Some('c') => {
            let symbol = match value {
                Value::Str(text) if text.chars().count() == 1 => text.to_string(),
                other => {
                    let code = other.as_int().and_then(|code| u32::try_from(code).ok());
                    let symbol = code.and_then(char::from_u32);
                    symbol.ok_or_else(|| Fail::other("%c requires int or char"))?.to_string()
                }
            };
            write_text(&symbol, &Layout { precision: None, ..layout }, '>', out)
        }
        Some('d' | 'i' | 'u') => {
            let number = match (value.as_int(), value) {
                (Some(number), _) => number,
                (None, Value::Float(number)) if number.is_finite() => number.trunc() as i128,
                _ => return Err(Fail::other("%d format: a real number is required")),
            };
            layout.conversion = Some('d');
            write_number(&Value::Int(number), &layout, out)
        }
        Some('x' | 'X' | 'o' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G') => {
            write_number(value, &layout, out)
        }
        other => {
            Err(Fail::other(format!("unsupported format character {:?}", other.unwrap_or(' '))))
        }
    }
}

/// `text.format(…)`.
pub(super) fn braces(budget: &Budget, text: &str, arguments: CallArgs) -> Result<Value, Fail> {
    let mut out = budget.out();
    let mut filler = Filler { budget, arguments: &arguments, n_automatic: 0, n_numbered: 0 };
    filler.fill(text, &mut out, 0)?;
    out.into_value()
}

struct Filler<'a> {
    budget: &'a Budget,
    arguments: &'a CallArgs,
    n_automatic: usize,
    n_numbered: usize,
}

impl Filler<'_> {
    fn fill(&mut self, text: &str, out: &mut Out, level: usize) -> Result<(), Fail> {
        if level > 2 {
            return Err(Fail::other("Max string recursion exceeded"));
        }
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            out.push(&rest[..at])?;
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                out.push(brace)?;
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(Fail::other("Single '}' encountered in format string"));
            }
            let mut depth = 1;
            let end = rest.find(|symbol| {
                depth += i32::from(symbol == '{') - i32::from(symbol == '}');
                depth == 0
            });
            let end = end.ok_or_else(|| Fail::other("expected '}' before end of string"))?;
            self.field(&rest[..end], out, level)?;
            rest = &rest[end + 1..];
        }
        out.push(rest)
    }

    fn field(&mut self, field: &str, out: &mut Out, level: usize) -> Result<(), Fail> {
        let (field, spec) = field.split_once(':').unwrap_or((field, ""));
        let (field, conversion) = match field.split_once('!') {
            Some((field, conversion)) => (field, Some(conversion)),
            None => (field, None),
        };
        let value = self.value(field)?;
        let mut filled = self.budget.out();
        self.fill(spec, &mut filled, level + 1)?;
        let value = match conversion {
            None => value,
            Some("s") => python_text::text_of(&value, self.budget)?,
            Some("r" | "a") => {
                let mut text = self.budget.out();
                python_text::write_repr(&value, &mut text)?;
                text.into_value()?
            }
            Some(_) => return Err(Fail::other("unknown conversion specifier")),
        };
        let spec = filled.text();
        if spec.is_empty() {
            return python_text::write_str(&value, out);
        }
        let layout = layout(spec)?;
        match &value {
            Value::Str(text) => write_text(text, &layout, '<', out),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => write_number(&value, &layout, out),
            other => {
                let message = format!("unsupported format string for {}", other.type_name());
                Err(Fail::other(message))
            }
        }
    }

    /// What `0`, `name`, `0.attribute[item]` or nothing stands for.
    fn value(&mut self, field: &str) -> Result<Value, Fail> {
        let end = field.find(['.', '[']).unwrap_or(field.len());
        let (first, mut rest) = field.split_at(end);
        let mut value = if first.is_empty() {
            let value = self.arguments.positional.get(self.n_automatic).cloned();
            self.n_automatic += 1;
            value
        } else if let Ok(idx) = first.parse::<usize>() {
            self.n_numbered += 1;
            self.arguments.positional.get(idx).cloned()
        } else {
            let named = self.arguments.named.iter().find(|(name, _)| **name == *first);
            named.map(|(_, value)| value.clone())
        };
        if self.n_automatic.min(self.n_numbered) > 0 {
            return Err(Fail::other("cannot mix automatic and manual field numbering"));
        }
        while !rest.is_empty() {
            let present = value.unwrap_or(Value::Undefined(None));
            value = Some(if let Some(after) = rest.strip_prefix('[') {
                let (index, after) =
                    after.split_once(']').ok_or_else(|| Fail::other("Missing ']' in format"))?;
                rest = after;
                let number = index.parse().map(Value::Int);
                let index = number.or_else(|_| self.budget.text(index))?;
                access::item(&present, &index, self.budget)?
            } else {
                let after = rest.strip_prefix('.').unwrap_or(rest);
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                if name.is_empty() {
                    return Err(Fail::other("Empty attribute in format string"));
                }
                rest = after;
                access::attribute(&present, &name.into(), self.budget)?
            });
        }
        value.ok_or_else(|| Fail::other("Replacement index out of range"))
    }
}

/// `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
fn layout(spec: &str) -> Result<Layout, Fail> {
    let mut layout = Layout::default();
    let mut rest = spec;
    let is_align = |symbol: &char| "<>^=".contains(*symbol);
    let mut symbols = rest.chars();
    let (first, second) = (symbols.next(), symbols.next());
    if let (Some(fill), Some(align)) = (first, second.filter(is_align)) {
        layout.fill = Some(fill);
        layout.align = Some(align);
        rest = &rest[fill.len_utf8() + 1..];
    } else if let Some(align) = first.filter(is_align) {
        layout.align = Some(align);
        rest = &rest[1..];
    }
    if let Some(sign) = rest.chars().next().filter(|sign| "+- ".contains(*sign)) {
        layout.sign = Some(sign);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('#') {
        layout.alternate = true;
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('0') {
        rest = after;
        layout.fill.get_or_insert('0');
        layout.align.get_or_insert('=');
    }
    layout.width = number(&mut rest)?.unwrap_or(0);
    if let Some(after) = rest.strip_prefix([',', '_']) {
        layout.grouping = rest.chars().next();
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        layout.precision = number(&mut rest)?;
    }
    layout.conversion = rest.chars().next();
    if rest.chars().count() > 1 {
        return Err(Fail::other("Invalid format specifier"));
    }
    Ok(layout)
}

fn write_text(text: &str, layout: &Layout, align: char, out: &mut Out) -> Result<(), Fail> {
    let is_known = matches!(layout.conversion, None | Some('s' | 'c'));
    if !is_known || layout.align == Some('=') && layout.fill != Some('0') {
        return Err(Fail::other("unknown format code for a text"));
    }
    let end = layout.precision.and_then(|n_chars| text.char_indices().nth(n_chars));
    let text = &text[..end.map_or(text.len(), |(at, _)| at)];
    let align = layout.align.filter(|align| *align != '=').unwrap_or(align);
    pad("", text, layout, align, out)
}

fn pad(sign: &str, text: &str, layout: &Layout, align: char, out: &mut Out) -> Result<(), Fail> {
    let n_pad = layout.width.saturating_sub(sign.len() + text.chars().count());
    let fill = layout.fill.unwrap_or(' ');
    let (n_before, n_between, n_after) = match align {
        '<' => (0, 0, n_pad),
        '^' => (n_pad / 2, 0, n_pad - n_pad / 2),
        '=' => (0, n_pad, 0),
        _ => (n_pad, 0, 0),
    };
    out.fill(fill, n_before)?;
    out.push(sign)?;
    out.fill(fill, n_between)?;
    out.push(text)?;
    out.fill(fill, n_after)
}
