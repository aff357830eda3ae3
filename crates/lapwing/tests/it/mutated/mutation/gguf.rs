//! Mutations of GGUF: one of the numbers of its header.

use super::NUMBERS;
use crate::mutate::SplitMix;

pub(super) fn mutate(bytes: &[u8], random: &mut SplitMix) -> Option<(Vec<u8>, String)> {
    let mut header = Header { bytes, at: 4, numbers: Vec::new() };
    header.read()?;
    let (at, width) = random.choose(&header.numbers);
    let number = random.choose(NUMBERS);
    let mut bytes = bytes.to_vec();
    bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    Some((bytes, format!("the {width} bytes at {at} become {number}")))
}

/// Walks over the header and remembers where its numbers are, and how wide.
struct Header<'a> {
    bytes: &'a [u8],
    at: usize,
    numbers: Vec<(usize, usize)>,
}

impl Header<'_> {
    fn read(&mut self) -> Option<()> {
        self.number(4)?;
        let (n_tensors, n_entries) = (self.number(8)?, self.number(8)?);
        for _ in 0..n_entries {
            self.string()?;
            let value_type = self.number(4)?;
            self.value(value_type)?;
        }
        for _ in 0..n_tensors {
            self.string()?;
            for _ in 0..self.number(4)? {
                self.number(8)?;
            }
            self.number(4)?;
            self.number(8)?;
        }
        Some(())
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        let bytes = self.bytes.get(self.at..self.at + width)?;
        self.numbers.push((self.at, width));
        self.at += width;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn string(&mut self) -> Option<()> {
        self.at += usize::try_from(self.number(8)?).ok()?;
        Some(())
    }

    fn value(&mut self, value_type: u64) -> Option<()> {
        match value_type {
            8 => self.string()?,
            9 => {
                let item_type = self.number(4)?;
                for _ in 0..self.number(8)? {
                    self.value(item_type)?;
                }
            }
            0 | 1 | 7 => drop(self.number(1)?),
            2 | 3 => drop(self.number(2)?),
            4..=6 => drop(self.number(4)?),
            _ => drop(self.number(8)?),
        }
        Some(())
    }
}
