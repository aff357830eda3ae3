//! Mutations of JSON: a value replaced, removed or given twice.

use serde_json::Value;

use super::NUMBERS;
use crate::mutate::SplitMix;

/// Stands for what serialising cannot write.
const MARK: &str = "@@mutated@@";

/// One value of a document.
pub(super) fn mutate(bytes: &[u8], random: &mut SplitMix) -> Option<(Vec<u8>, String)> {
    let mut root: Value = serde_json::from_slice(bytes).ok()?;
    let path = choose(&root, random);
    let (parent, key) = path.rsplit_once('/').unwrap_or_default();
    let key = key.replace("~1", "/").replace("~0", "~");
    let new = hostile_value(random);
    let short: String = new.chars().take(40).collect();
    let (raw, told) = match (random.below(4), root.pointer_mut(parent)?) {
        (0, Value::Object(object)) if !path.is_empty() => {
            object.shift_remove(&key);
            (String::new(), format!("{path} removed"))
        }
        (0, Value::Array(list)) if !path.is_empty() => {
            list.remove(key.parse().ok()?);
            (String::new(), format!("{path} removed"))
        }
        (1, Value::Object(object)) if !path.is_empty() => {
            let again =
                if random.one_in(2) { object[&key].clone() } else { Value::from(1_u64 << 40) };
            let told = format!("{path} again as {again:.40}");
            object.insert(MARK.to_owned(), again);
            (Value::from(key).to_string(), told)
        }
        _ => {
            *root.pointer_mut(&path)? = MARK.into();
            (new, format!("{path} becomes {short}"))
        }
    };
    let text = root.to_string().replacen(&format!("\"{MARK}\""), &raw, 1);
    Some((text.into_bytes(), told))
}

/// One value of one line.
pub(super) fn mutate_line(bytes: &[u8], random: &mut SplitMix) -> Option<(Vec<u8>, String)> {
    let mut lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let line_idx = random.below(lines.len());
    let (line, told) = match random.below(8) {
        0 => (Vec::new(), "removed".to_owned()),
        1 => (lines.get(line_idx)?.repeat(2), "twice".to_owned()),
        _ => {
            let (mut line, told) = mutate(lines.get(line_idx)?, random)?;
            line.push(b'\n');
            (line, told)
        }
    };
    lines[line_idx] = line;
    Some((lines.concat(), format!("line {}: {told}", line_idx + 1)))
}

/// One value of the header of a safetensors file.
pub(super) fn mutate_header(bytes: &[u8], random: &mut SplitMix) -> Option<(Vec<u8>, String)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (header, data) =
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (header, told) = mutate(header, random)?;
    let length = (header.len() as u64).to_le_bytes();
    Some(([&length[..], &header, data].concat(), told))
}

/// The JSON pointer of a value, mostly not far below the root.
fn choose(root: &Value, random: &mut SplitMix) -> String {
    let (mut at, mut path) = (root, String::new());
    while path.is_empty() || !random.one_in(4) {
        let (key, next) = match at {
            Value::Object(object) if !object.is_empty() => {
                let (key, next) = object.iter().nth(random.below(object.len())).expect("one");
                (key.replace('~', "~0").replace('/', "~1"), next)
            }
            Value::Array(list) if !list.is_empty() => {
                let item_idx = random.below(list.len());
                (item_idx.to_string(), &list[item_idx])
            }
            _ => break,
        };
        path = format!("{path}/{key}");
        at = next;
    }
    path
}

fn hostile_value(random: &mut SplitMix) -> String {
    match random.below(4) {
        0 | 1 => match random.below(3) {
            0 => format!("-{}", random.choose(NUMBERS)),
            _ => random.choose(NUMBERS).to_string(),
        },
        2 => random
            .choose(&[
                "null",
                "true",
                "[]",
                "{}",
                "NaN",
                "Infinity",
                "-Infinity",
                "1e308",
                "-1e308",
                "1e999",
                "0.5",
                "1e-40",
                "-0.0",
                "[[]]",
                "[1,2,3]",
                "[-1]",
                "{\"a\":1}",
            ])
            .to_owned(),
        _ => match random.below(8) {
            0 => "\"\"".to_owned(),
            1 => "\"../../etc/passwd\"".to_owned(),
            2 => r#""\u001b[31mred\u001b]0;title\u0007\r\nerror: a lie\nhint: another""#.to_owned(),
            3 => r#""\ud800""#.to_owned(),
            4 => r#""a\u0000b""#.to_owned(),
            5 => format!("\"{}\"", "long ".repeat(20_000)),
            6 => "[".repeat(20_000) + &"]".repeat(20_000),
            _ => r#""{{ 'a' * 60000000 }}""#.to_owned(),
        },
    }
}
