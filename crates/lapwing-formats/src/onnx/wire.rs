//! Walking over the fields of an encoded message without decoding it.

/// The next field's number and, when it is length-delimited, its bytes. None at the end and where
/// the message is malformed.
pub(super) fn next_field<'a>(message: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = varint(message)?;
    let n_skipped = match key & 7 {
        0 => {
            varint(message)?;
            0
        }
        1 => 8,
        5 => 4,
        2 => {
            let n_bytes = usize::try_from(varint(message)?).ok()?;
            let (payload, rest) = message.split_at_checked(n_bytes)?;
            *message = rest;
            return Some((key >> 3, Some(payload)));
        }
        _ => return None,
    };
    *message = message.get(n_skipped..)?;
    Some((key >> 3, None))
}

pub(super) fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The payloads of the length-delimited fields numbered `tag`, in order.
pub(super) fn payloads(mut message: &[u8], tag: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || next_field(&mut message))
        .filter_map(move |(found, payload)| payload.filter(|_| found == tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_wire_type() {
        let mut message: &[u8] = &[
            0x08, 0x96, 0x01, // 1: varint 150
            0x15, 1, 2, 3, 4, // 2: four bytes
            0x19, 1, 2, 3, 4, 5, 6, 7, 8, // 3: eight bytes
            0x22, 2, b'h', b'i', // 4: two bytes of text
        ];
        assert_eq!(next_field(&mut message), Some((1, None)));
        assert_eq!(next_field(&mut message), Some((2, None)));
        assert_eq!(next_field(&mut message), Some((3, None)));
        assert_eq!(next_field(&mut message), Some((4, Some(&b"hi"[..]))));
        assert_eq!(next_field(&mut message), None);
    }

    #[test]
    fn malformed_ends_the_walk() {
        for mut message in [&[0x22, 9, 1][..], &[0x15, 1], &[0x0b], &[0xff; 11], &[0x08]] {
            assert_eq!(next_field(&mut message), None, "{message:?}");
        }
    }

    #[test]
    fn payloads_by_number() {
        let message = [0x22, 1, b'a', 0x2a, 1, b'b', 0x22, 1, b'c'];
        assert_eq!(payloads(&message, 4).collect::<Vec<_>>(), [b"a", b"c"]);
    }
}
