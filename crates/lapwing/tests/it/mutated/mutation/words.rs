//! Mutations of texts: something put in, a line removed or doubled, a number replaced.

use super::NUMBERS;
use crate::mutate::SplitMix;

pub(super) const TEMPLATE: &[&str] = &[
    "{{ ('a' * 60000000).replace('a', 'b' * 200) }}",
    "{% macro m(x, n) %}{{ m(x ~ x, n - 1) if n else x }}{% endmacro %}{{ m('ab', 40) }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ '%.999999999f'|format(1) }}",
    "{{ range(100000)|list|join(range(1000)|join) }}",
    "{{ messages[::0] }}",
    "{% for a in range(1000000000) %}{% endfor %}",
    "{{ raise_exception('\u{1b}[31mred\nerror: a lie\nhint: another') }}",
    "{{ 1 // 0 }}",
    "{% if %}",
    "{{ messages|tojson(indent=1000000000) }}",
    "{{ 9223372036854775807 + 1 }}",
    "{{ -9223372036854775808 // -1 }}",
    "{{ 2 ** 1000000 }}",
    "{{ ((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))) }}",
    "\u{1b}[31m",
    "\0",
];

pub(super) const SETTING: &[&str] = &[
    "threads = 9223372036854775807\n",
    "threads = \"\\u001b[31mred\\nerror: a lie\"\n",
    "context = -1\n",
    "[a]\n[a]\n",
    "a = {a={a={a={}}}}\n",
    "device = \"npu.99999999999999999999\"\n",
    "pip = []\n",
    "hub = \"\\u0000\"\n",
    "\"a\\u001b[31m\\nerror: a lie\" = 1\n",
    "\0",
];

pub(super) const TEXT: &[&str] =
    &["\0", "\u{1b}[31mred\nerror: a lie\n", "\u{feff}", "\u{202e}", "\r\n\r", "<|im_end|>", "{{"];

/// With one of `pieces`, or in another way.
pub(super) fn mutate(
    bytes: &[u8],
    pieces: &[&str],
    random: &mut SplitMix,
) -> Option<(Vec<u8>, String)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let line_idx = random.below(lines.len());
    let line = *lines.get(line_idx)?;
    let (new, told) = match random.below(8) {
        0 => (Vec::new(), "removed".to_owned()),
        1 => (line.repeat(2).into_bytes(), "twice".to_owned()),
        2 => {
            let number = random.choose(NUMBERS);
            let digits: Vec<&str> = line.split(|symbol: char| symbol.is_ascii_digit()).collect();
            (digits.join(&number.to_string()).into_bytes(), format!("numbers become {number}"))
        }
        3 => (line.repeat(1 + (1 << 20) / line.len().max(1)).into_bytes(), "1 MB of it".to_owned()),
        4 => ([line.as_bytes(), b"\xff\xfe\xc3"].concat(), "not UTF-8".to_owned()),
        _ => {
            let piece = random.choose(pieces);
            let starts: Vec<usize> = line.char_indices().map(|(start, _)| start).collect();
            let (before, after) = line.split_at(random.choose(&starts));
            (format!("{before}{piece}{after}").into_bytes(), format!("with {piece:?}"))
        }
    };
    let before = lines[..line_idx].concat().into_bytes();
    let after = lines[line_idx + 1..].concat().into_bytes();
    Some(([before, new, after].concat(), format!("line {}: {told}", line_idx + 1)))
}
