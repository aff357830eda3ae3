//! Template source before the engine sees it: transparent `generation` blocks, and probes that
//! bound the work.
//!
//! A probe is an `if` that is never true: it prints nothing, and takes over the whitespace
//! control of the tag before it. `{% for … -%}` becomes
//! `{% for … -%}{% if 80 is step %}{% endif -%}`, where 80 is the length of the body. The
//! templates' line numbers stay as they are.

use std::ops::Range;

/// The test that counts one step into a loop or macro; its subject is the length of the body.
pub(super) const STEP_TEST: &str = "lapwing_step";

/// The test that looks at the value of a variable after it was set.
pub(super) const STORE_TEST: &str = "lapwing_store";

/// The most names, literals and operators in one tag, and the most `elif` tags: the engine's parser
/// recurses into them. The longest expressions in use have about 200.
const PARTS_MAX: usize = 500;

/// What opens each kind of code in a template, and what closes it.
const COMMENT: (&str, &str) = ("{#", "#}");
const EXPRESSION: (&str, &str) = ("{{", "}}");
const TAG: (&str, &str) = ("{%", "%}");
/// What they all begin with.
const BRACE: char = '{';

/// A tag that the engine could not parse on a small stack.
#[derive(Debug, thiserror::Error)]
#[error("more than {PARTS_MAX} {what}")]
pub(super) struct TooComplex {
    pub(super) line: usize,
    what: &'static str,
}

/// One `{% … %}`.
struct Tag<'a> {
    /// From the opening brace to behind the closing one.
    range: Range<usize>,
    /// Where `name` is.
    name_range: Range<usize>,
    name: &'a str,
    /// What follows the name, without whitespace control.
    rest: &'a str,
    /// The closing delimiter, with whitespace control.
    close: &'a str,
}

/// A replacement of a part of the source.
struct Edit {
    range: Range<usize>,
    text: String,
}

/// The source that is compiled for `source`. One that is cut off inside a tag stays as it is from
/// there on: the engine says what is wrong with it.
///
/// # Errors
///
/// When a tag has more parts than any template needs.
pub(super) fn prepare(source: &str) -> Result<String, TooComplex> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut open_bodies: Vec<(usize, usize, &str)> = Vec::new();
    let mut n_elif = 0;
    let mut tags = Tags { source, position: 0, complex_at: None };
    for tag in &mut tags {
        let end = tag.range.end;
        match tag.name {
            "generation" => {
                edits.push(Edit { range: tag.name_range, text: "if true".to_owned() });
            }
            "elif" => {
                n_elif += 1;
                if n_elif > PARTS_MAX {
                    return Err(TooComplex { line: line(source, end), what: "`elif` tags" });
                }
            }
            "endgeneration" => {
                edits.push(Edit { range: tag.name_range, text: "endif".to_owned() });
            }
            "for" | "macro" | "call" | "block" => {
                open_bodies.push((edits.len(), end, tag.close));
                edits.push(Edit { range: end..end, text: String::new() });
            }
            "endfor" | "endmacro" | "endcall" | "endblock" => {
                if let Some((edit_idx, start, close)) = open_bodies.pop() {
                    let n_bytes = tag.range.start - start;
                    edits[edit_idx].text = probe(&n_bytes.to_string(), STEP_TEST, close);
                }
            }
            "set" => {
                if let Some(target) = set_target(tag.rest) {
                    let text = probe(&format!("({target})"), STORE_TEST, tag.close);
                    edits.push(Edit { range: end..end, text });
                }
            }
            _ => {}
        }
    }
    match tags.complex_at {
        Some(position) => {
            Err(TooComplex { line: line(source, position), what: "parts in one tag" })
        }
        None => Ok(apply(source, &edits)),
    }
}

fn line(source: &str, position: usize) -> usize {
    1 + source[..position].matches('\n').count()
}

fn probe(subject: &str, test: &str, close: &str) -> String {
    let (open, shut) = TAG;
    format!("{open} if {subject} is {test} {shut}{open} endif {close}")
}

/// The variable of `set variable = …`; none for the form with a body.
fn set_target(rest: &str) -> Option<&str> {
    let (target, _) = rest.split_once('=')?;
    let target = target.trim();
    let is_name = |c: char| c.is_alphanumeric() || "_., \t\n()".contains(c);
    (!target.is_empty() && target.chars().all(is_name)).then_some(target)
}

fn apply(source: &str, edits: &[Edit]) -> String {
    let mut text = String::with_capacity(source.len() + 64 * edits.len());
    let mut n_copied = 0;
    for edit in edits {
        text.push_str(&source[n_copied..edit.range.start]);
        text.push_str(&edit.text);
        n_copied = edit.range.end;
    }
    text.push_str(&source[n_copied..]);
    text
}

/// The block tags of a source, in order, up to a tag that is too complex.
struct Tags<'a> {
    source: &'a str,
    position: usize,
    complex_at: Option<usize>,
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        loop {
            let rest = &self.source[self.position..];
            let start = self.position + rest.find(BRACE)?;
            let rest = &self.source[start..];
            if rest.starts_with(COMMENT.0) {
                self.position = start + rest.find(COMMENT.1)? + 2;
            } else if rest.starts_with(EXPRESSION.0) {
                self.position = self.end_of_code(start + 2, EXPRESSION.1)?;
            } else if rest.starts_with(TAG.0) {
                let tag = self.tag(start)?;
                self.position = match tag.name {
                    "raw" => end_of_raw(self.source, tag.range.end)?,
                    _ => tag.range.end,
                };
                return Some(tag);
            } else {
                self.position = start + 1;
            }
        }
    }
}

impl<'a> Tags<'a> {
    fn tag(&mut self, start: usize) -> Option<Tag<'a>> {
        let end = self.end_of_code(start + 2, TAG.1)?;
        let inner = &self.source[start + 2..end - 2];
        let close_len = if inner.ends_with(['-', '+']) { 3 } else { 2 };
        let inner = &self.source[start + 2..(end - close_len).max(start + 2)];
        let code = inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start();
        let name_len = code.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (name, rest) = code.split_at(name_len.unwrap_or(code.len()));
        let name_start = start + 2 + inner.len() - code.len();
        Some(Tag {
            range: start..end,
            name_range: name_start..name_start + name.len(),
            name,
            rest,
            close: &self.source[end - close_len..end],
        })
    }

    /// Behind the first `close` from `start` on that is outside of strings and brackets.
    fn end_of_code(&mut self, start: usize, close: &str) -> Option<usize> {
        let bytes = self.source.as_bytes();
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
        let mut idx = start;
        let mut depth = 0_isize;
        let mut n_parts = 0;
        while idx < bytes.len() {
            if depth == 0 && bytes[idx..].starts_with(close.as_bytes()) {
                return Some(idx + close.len());
            }
            let is_same_word = idx > start && is_word(bytes[idx]) && is_word(bytes[idx - 1]);
            if !bytes[idx].is_ascii_whitespace() && !is_same_word {
                n_parts += 1;
            }
            if n_parts > PARTS_MAX {
                self.complex_at = Some(start);
                return None;
            }
            match bytes[idx] {
                quote @ (b'"' | b'\'') => {
                    idx += 1;
                    while *bytes.get(idx)? != quote {
                        idx += if bytes[idx] == b'\\' { 2 } else { 1 };
                    }
                }
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth -= 1,
                _ => {}
            }
            idx += 1;
        }
        None
    }
}

/// Behind the `endraw` tag that closes a `raw` block.
fn end_of_raw(source: &str, position: usize) -> Option<usize> {
    let mut position = position;
    loop {
        let start = position + source[position..].find(TAG.0)? + 2;
        let code = &source[start..];
        let code = code.strip_prefix(['-', '+']).unwrap_or(code).trim_start();
        if code.starts_with("endraw") {
            return Some(start + source[start..].find(TAG.1)? + 2);
        }
        position = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_becomes_if_and_bodies_get_probes() {
        let check = |input: &str, expected: &str| assert_eq!(prepare(input).unwrap(), expected);
        check("{%- generation -%} x {%endgeneration%}", "{%- if true -%} x {%endif%}");
        check(
            "{% for a in b -%}\nx{% endfor %}",
            "{% for a in b -%}{% if 2 is lapwing_step %}{% endif -%}\nx{% endfor %}",
        );
        check(
            "{% set a.b = c == 1 %}",
            "{% set a.b = c == 1 %}{% if (a.b) is lapwing_store %}{% endif %}",
        );
        for unchanged in [
            "{% set a %}x{% endset %}",
            "{# {% for a in b %} #}",
            "{{ '{% for a in b %}' }}{{ {'a': {'b': 1}} }}",
            "{% raw %}{% for a in b %}{%- endraw -%}",
            "{% if \"a\\\" %} \" == 'é' %}{% endif %}",
            "{% for a in b",
            "{% endfor %}",
            "{%-%}{%%}{",
            "{{ '\\",
        ] {
            check(unchanged, unchanged);
        }
    }
}
