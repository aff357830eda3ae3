//! Mutations of XML: an attribute replaced, removed, doubled or exchanged, an element removed,
//! doubled or nested.

use std::ops::Range;

use super::NUMBERS;
use crate::mutate::SplitMix;

pub(super) fn mutate(bytes: &[u8], random: &mut SplitMix) -> Option<(Vec<u8>, String)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (span, new, told) = match random.below(8) {
        0 | 1 => of_element(text, random)?,
        _ => of_attribute(text, random)?,
    };
    let mut text = text.to_owned();
    text.replace_range(span, &new);
    Some((text.into_bytes(), told))
}

/// Where `name="value"` is, and where its value.
fn attributes(text: &str) -> Vec<(Range<usize>, Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(equals) = text[at..].find("=\"").map(|offset| at + offset) {
        let start = text[..equals].rfind([' ', '<', '"']).map_or(0, |before| before + 1);
        let value = equals + 2;
        let Some(end) = text[value..].find('"').map(|offset| value + offset) else { break };
        found.push((start..end + 1, value..end));
        at = end + 1;
    }
    found
}

fn of_attribute(text: &str, random: &mut SplitMix) -> Option<(Range<usize>, String, String)> {
    let attributes = attributes(text);
    let (whole, value) = attributes.get(random.below(attributes.len()))?.clone();
    let shown = &text[whole.clone()];
    Some(match random.below(8) {
        0 => (whole.clone(), String::new(), format!("{shown:.60} at {} removed", whole.start)),
        1 => {
            let told = format!("{shown:.60} at {} twice", whole.start);
            (whole.clone(), format!("{shown} {shown}"), told)
        }
        2 | 3 => {
            let other = &attributes[random.below(attributes.len())].1;
            let other = text[other.clone()].to_owned();
            let told = format!("{shown:.60} at {} gets {other:.40}", whole.start);
            (value, other, told)
        }
        _ => {
            let new = hostile_value(&text[value.clone()], random);
            let told = format!("{shown:.60} at {} gets {new:.40}", whole.start);
            (value, new, told)
        }
    })
}

fn hostile_value(value: &str, random: &mut SplitMix) -> String {
    let number = random.choose(NUMBERS);
    match random.below(6) {
        0 => String::new(),
        1 => format!("-{number}"),
        2 => value
            .rsplit_once(',')
            .map_or(format!("{number},{number}"), |(start, _)| format!("{start},{number}")),
        3 => random
            .choose(&["x", "f64", "u1", "string", "Broadcast", "Result", "?", "-1,-1", "..", "NaN"])
            .to_owned(),
        4 => "\u{1b}[31mred&#10;error: a lie".to_owned(),
        _ => number.to_string(),
    }
}

fn of_element(text: &str, random: &mut SplitMix) -> Option<(Range<usize>, String, String)> {
    let name = random.choose(&["layer", "edge", "port", "dim", "data", "input", "output"]);
    let starts: Vec<usize> =
        text.match_indices(&format!("<{name}")).map(|(start, _)| start).collect();
    let start = *starts.get(random.below(starts.len()))?;
    let close = format!("</{name}>");
    let own = text[start..].find('>').map(|offset| start + offset + 1)?;
    let end = match text[..own].ends_with("/>") {
        true => own,
        false => text[start..].find(&close).map(|offset| start + offset + close.len())?,
    };
    let element = &text[start..end];
    let told = |what: &str| format!("{name} at {start} {what}");
    Some(match random.below(4) {
        0 => (start..end, String::new(), told("removed")),
        1 => (start..end, element.repeat(2), told("twice")),
        2 => (start..start, format!("<{name}>").repeat(20_000), told("nested")),
        _ => {
            let dim = random.choose(NUMBERS);
            (start..end, format!("{element}<dim>{dim}</dim>"), told("followed by a dim"))
        }
    })
}
