//! Mutations of protobuf messages: a field replaced, removed, doubled or exchanged, with the
//! lengths around it put right.

use super::NUMBERS;
use crate::mutate::SplitMix;

/// A deeper message is bytes.
const DEPTH_MAX: usize = 8;

#[derive(Clone)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

pub(super) fn mutate(bytes: &[u8], random: &mut SplitMix) -> Option<(Vec<u8>, String)> {
    let mut root = message(bytes, DEPTH_MAX).filter(|fields| !fields.is_empty())?;
    let mut path = String::new();
    let mut fields = &mut root;
    loop {
        let field_idx = random.below(fields.len());
        path = format!("{path}/{}[{field_idx}]", fields[field_idx].number);
        let inner = matches!(&fields[field_idx].value, Value::Message(inner) if !inner.is_empty());
        if inner && !random.one_in(8) {
            let Value::Message(next) = &mut fields[field_idx].value else { return None };
            fields = next;
            continue;
        }
        let told = change(fields, field_idx, random);
        return Some((encode(&root), format!("{path} {told}")));
    }
}

fn change(fields: &mut Vec<Field>, field_idx: usize, random: &mut SplitMix) -> String {
    match random.below(6) {
        0 => {
            fields.remove(field_idx);
            "removed".to_owned()
        }
        1 => {
            let again = fields[field_idx].clone();
            fields.push(again);
            "twice".to_owned()
        }
        2 => {
            let other_idx = random.below(fields.len());
            fields[field_idx].value = fields[other_idx].value.clone();
            format!("gets the value of {other_idx}")
        }
        _ => {
            let number = random.choose(NUMBERS);
            let field = &mut fields[field_idx];
            field.value = match &field.value {
                Value::Varint(_) => Value::Varint(number),
                Value::Fixed64(_) => Value::Fixed64(number.to_le_bytes()),
                Value::Fixed32(_) => Value::Fixed32(f32::NAN.to_le_bytes()),
                Value::Bytes(_) | Value::Message(_) => {
                    let texts: [&[u8]; 5] =
                        [b"", b"x", b"\x1b[31mred\nerror: a lie", b"\xff\xfe", b"../../etc/passwd"];
                    Value::Bytes(random.choose(&texts).to_vec())
                }
            };
            format!("becomes {number}, or a text")
        }
    }
}

/// The fields, where the bytes are a message to their end.
fn message(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(*take(&mut bytes, 8)?.first_chunk()?),
            2 => {
                let n_bytes = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = take(&mut bytes, n_bytes)?;
                let is_text = inner.iter().all(|byte| byte.is_ascii_graphic());
                match depth.checked_sub(1).filter(|_| !is_text).map(|depth| message(inner, depth)) {
                    Some(Some(fields)) => Value::Message(fields),
                    _ => Value::Bytes(inner.to_vec()),
                }
            }
            5 => Value::Fixed32(*take(&mut bytes, 4)?.first_chunk()?),
            _ => return None,
        };
        let number = Some(tag >> 3).filter(|number| (1..1000).contains(number))?;
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], n_bytes: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(n_bytes)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field { number, value } in fields {
        let mut put = |wire_type: u64, content: &[u8]| {
            put_varint(&mut bytes, number << 3 | wire_type);
            if wire_type == 2 {
                put_varint(&mut bytes, content.len() as u64);
            }
            bytes.extend(content);
        };
        match value {
            Value::Varint(value) => {
                let mut content = Vec::new();
                put_varint(&mut content, *value);
                put(0, &content);
            }
            Value::Fixed64(content) => put(1, content),
            Value::Fixed32(content) => put(5, content),
            Value::Bytes(content) => put(2, content),
            Value::Message(inner) => put(2, &encode(inner)),
        }
    }
    bytes
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while 0x80 <= value {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
