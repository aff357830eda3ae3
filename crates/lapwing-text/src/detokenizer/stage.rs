//! The decoder of a `tokenizer.json` as a chain of stages that each work on a stream.
//!
//! Up to a `Fuse` or `ByteLevel` a stage sees whole pieces, one per token. After one of them the
//! text is a single piece that arrives in parts.

use std::sync::Arc;

use tokenizers::Decoder as _;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::strip::Strip;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;

use crate::guard::guarded;

/// One step of a decoder, with what it has to remember between two tokens.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// No decoder at all: pieces are words.
    JoinWithSpaces { at_start: bool },
    /// `Metaspace`: the replacement character is a space, but nothing in the first piece.
    Metaspace { replacement: char, strips_first: bool, at_start: bool },
    /// Pieces are looked at alone; `after_first` when the first is treated differently.
    PieceByPiece { decoder: Arc<DecoderWrapper>, after_first: Option<bool> },
    /// `BPEDecoder`: a suffix is a space, but nothing in the last piece, which is held back.
    Suffix { suffix: Arc<str>, held: Option<String> },
    /// `ByteFallback`: `<0xNN>`, of which those wait that may still become a code point; all of a
    /// run where a later stage looks at it as one piece.
    ByteFallback { run: Vec<u8>, is_piece: bool },
    /// `ByteLevel`: every character stands for a byte.
    ByteLevel { pending: Vec<u8> },
    /// `Strip` on each piece.
    StripPieces { strip: Strip },
    /// `Strip` on the fused text: `n_start` characters may still go, `n_held` trailing ones wait.
    StripText { strip: Strip, n_start: usize, n_held: usize },
    /// A decoder that needs everything before it can say anything.
    HoldAll { decoder: Arc<DecoderWrapper>, is_fused: bool, pieces: Vec<String> },
}

/// The stages of a decoder, at the start of a text.
pub(crate) fn plan(decoder: Option<&DecoderWrapper>) -> Vec<Stage> {
    let Some(decoder) = decoder else { return vec![Stage::JoinWithSpaces { at_start: true }] };
    let mut stages = Vec::new();
    let mut is_fused = false;
    extend_plan(decoder, &mut stages, &mut is_fused);
    let mut looks_at_pieces = false;
    for stage in stages.iter_mut().rev() {
        match stage {
            Stage::ByteFallback { is_piece, .. } => *is_piece = looks_at_pieces,
            Stage::StripText { .. } | Stage::HoldAll { is_fused: true, .. } => {}
            _ => looks_at_pieces = true,
        }
    }
    stages
}

fn extend_plan(decoder: &DecoderWrapper, stages: &mut Vec<Stage>, is_fused: &mut bool) {
    let stage = match decoder {
        DecoderWrapper::Sequence(sequence) => {
            for decoder in sequence.get_decoders() {
                extend_plan(decoder, stages, is_fused);
            }
            return;
        }
        DecoderWrapper::Fuse(_) => {
            *is_fused = true;
            return;
        }
        DecoderWrapper::Strip(strip) if *is_fused => {
            Stage::StripText { n_start: strip.start, n_held: 0, strip: strip.clone() }
        }
        _ if *is_fused => Stage::HoldAll {
            decoder: Arc::new(decoder.clone()),
            is_fused: true,
            pieces: Vec::new(),
        },
        DecoderWrapper::Strip(strip) => Stage::StripPieces { strip: strip.clone() },
        DecoderWrapper::ByteFallback(_) => Stage::ByteFallback { run: Vec::new(), is_piece: false },
        DecoderWrapper::ByteLevel(_) => {
            *is_fused = true;
            Stage::ByteLevel { pending: Vec::new() }
        }
        DecoderWrapper::Metaspace(metaspace) => Stage::Metaspace {
            replacement: metaspace.get_replacement(),
            strips_first: metaspace.prepend_scheme != PrependScheme::Never,
            at_start: true,
        },
        DecoderWrapper::BPE(bpe) => {
            Stage::Suffix { suffix: bpe.suffix.as_str().into(), held: None }
        }
        DecoderWrapper::Replace(_) => {
            Stage::PieceByPiece { decoder: Arc::new(decoder.clone()), after_first: None }
        }
        DecoderWrapper::WordPiece(_) => {
            Stage::PieceByPiece { decoder: Arc::new(decoder.clone()), after_first: Some(false) }
        }
        DecoderWrapper::CTC(_) => Stage::HoldAll {
            decoder: Arc::new(decoder.clone()),
            is_fused: false,
            pieces: Vec::new(),
        },
    };
    stages.push(stage);
}

impl Stage {
    /// What is certain after one more piece (or, when fused, one more part). A piece `is_added`
    /// when it was added to the vocabulary as text.
    pub(crate) fn push(&mut self, piece: String, is_added: bool) -> Vec<String> {
        match self {
            Self::JoinWithSpaces { at_start } => {
                let separator = if std::mem::take(at_start) { "" } else { " " };
                vec![format!("{separator}{piece}")]
            }
            Self::Metaspace { replacement, strips_first, at_start } => {
                let space = if std::mem::take(at_start) && *strips_first { "" } else { " " };
                vec![piece.replace(*replacement, space)]
            }
            Self::PieceByPiece { decoder, after_first } => {
                vec![decode_alone(decoder, piece, after_first)]
            }
            Self::Suffix { suffix, held } => {
                held.replace(piece).map(|piece| piece.replace(&**suffix, " ")).into_iter().collect()
            }
            Self::ByteFallback { run, is_piece } => match byte_of(&piece) {
                Some(byte) => {
                    run.push(byte);
                    if *is_piece {
                        return Vec::new();
                    }
                    text_of_run(run, false).into_iter().collect()
                }
                None => text_of_run(run, true).into_iter().chain([piece]).collect(),
            },
            Self::ByteLevel { pending } => vec![push_byte_level(pending, &piece, is_added)],
            Self::StripPieces { strip } => vec![strip_piece(strip, &piece)],
            Self::StripText { strip, n_start, n_held } => {
                vec![strip_part(strip, n_start, n_held, &piece)]
            }
            Self::HoldAll { is_fused, pieces, .. } => {
                match pieces.last_mut() {
                    Some(text) if *is_fused => text.push_str(&piece),
                    _ => pieces.push(piece),
                }
                Vec::new()
            }
        }
    }

    /// What was held back, now that nothing more comes.
    pub(crate) fn flush(&mut self) -> Vec<String> {
        match self {
            Self::Suffix { suffix, held } => {
                held.take().map(|piece| piece.replace(&**suffix, "")).into_iter().collect()
            }
            Self::ByteFallback { run, .. } => text_of_run(run, true).into_iter().collect(),
            Self::ByteLevel { pending } => {
                vec![String::from_utf8_lossy(&std::mem::take(pending)).into_owned()]
            }
            Self::HoldAll { decoder, pieces, .. } => {
                let pieces = std::mem::take(pieces);
                if pieces.is_empty() {
                    return pieces;
                }
                let decoded = guarded(|| decoder.decode_chain(pieces.clone()));
                decoded.unwrap_or(pieces)
            }
            Self::JoinWithSpaces { .. }
            | Self::Metaspace { .. }
            | Self::PieceByPiece { .. }
            | Self::StripPieces { .. }
            | Self::StripText { .. } => Vec::new(),
        }
    }
}

/// The bytes that a piece adds in the midst of a text; `None` where they hang on what comes before or
/// behind it.
pub(crate) fn bytes_within(stages: &[Stage], piece: String, is_added: bool) -> Option<Vec<u8>> {
    let mut text = piece;
    for stage in stages {
        text = match stage {
            Stage::JoinWithSpaces { .. } => format!(" {text}"),
            Stage::Metaspace { replacement, .. } => text.replace(*replacement, " "),
            Stage::PieceByPiece { decoder, after_first } => {
                decode_alone(decoder, text, &mut after_first.map(|_| true))
            }
            Stage::Suffix { suffix, .. } => text.replace(&**suffix, " "),
            Stage::ByteFallback { .. } => match byte_of(&text) {
                Some(byte) => return Some(vec![byte]),
                None => text,
            },
            Stage::ByteLevel { .. } if is_added => text,
            Stage::ByteLevel { .. } => {
                match text.chars().map(byte_of_symbol).collect::<Option<Vec<u8>>>() {
                    Some(bytes) => return Some(bytes),
                    None => text,
                }
            }
            Stage::StripPieces { strip } => strip_piece(strip, &text),
            Stage::StripText { strip, .. } if strip.stop == 0 => text,
            Stage::StripText { .. } | Stage::HoldAll { .. } => return None,
        };
    }
    Some(text.into_bytes())
}

/// Decode one piece; a first piece in front of it shows the decoder that it is not the first.
fn decode_alone(decoder: &DecoderWrapper, piece: String, after_first: &mut Option<bool>) -> String {
    let is_later = after_first.is_some_and(|is_later| is_later);
    if let Some(is_later) = after_first {
        *is_later = true;
    }
    let pieces = if is_later { vec![String::new(), piece.clone()] } else { vec![piece.clone()] };
    let decoded = guarded(|| decoder.decode_chain(pieces));
    decoded.ok().and_then(|mut pieces| pieces.pop()).unwrap_or(piece)
}

/// The byte that a piece such as `<0xE6>` stands for.
fn byte_of(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// What is certain of a run of bytes: code points that are complete, and one U+FFFD for each byte
/// that is part of none.
fn text_of_run(run: &mut Vec<u8>, is_over: bool) -> Option<String> {
    let mut text = String::new();
    let mut n_done = 0;
    for chunk in run.utf8_chunks() {
        text.push_str(chunk.valid());
        n_done += chunk.valid().len();
        let invalid = chunk.invalid();
        let at_end = n_done + invalid.len() == run.len();
        if at_end && !is_over && may_be_completed(invalid) {
            break;
        }
        text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, invalid.len()));
        n_done += invalid.len();
    }
    run.drain(..n_done);
    (!text.is_empty()).then_some(text)
}

/// Append a byte-level piece and take out all code points that are complete or cannot become so.
fn push_byte_level(pending: &mut Vec<u8>, piece: &str, is_added: bool) -> String {
    let n_pending = pending.len();
    for symbol in piece.chars() {
        match byte_of_symbol(symbol).filter(|_| !is_added) {
            Some(byte) => pending.push(byte),
            None => {
                // One foreign character, and the whole piece is plain text.
                pending.truncate(n_pending);
                pending.extend_from_slice(piece.as_bytes());
                break;
            }
        }
    }
    let mut text = String::new();
    let mut n_done = 0;
    for chunk in pending.utf8_chunks() {
        text.push_str(chunk.valid());
        n_done += chunk.valid().len();
        let invalid = chunk.invalid();
        let at_end = n_done + invalid.len() == pending.len();
        if invalid.is_empty() || (at_end && may_be_completed(invalid)) {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        n_done += invalid.len();
    }
    pending.drain(..n_done);
    text
}

/// Whether bytes at the end of a text are the beginning of a code point.
fn may_be_completed(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The byte behind a character of the byte-level alphabet.
///
/// Printable bytes of Latin-1 stand for themselves; the 68 others are, in order, the characters
/// from U+0100 on. Source: the byte encoder of GPT-2.
fn byte_of_symbol(symbol: char) -> Option<u8> {
    let code = u32::from(symbol);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Strip a whole piece; characters stripped from the start are not there for the end.
fn strip_piece(strip: &Strip, piece: &str) -> String {
    let n_start = piece.chars().take(strip.start).take_while(|&c| c == strip.content).count();
    let rest: Vec<char> = piece.chars().skip(n_start).collect();
    let n_stop = rest.iter().rev().take(strip.stop).take_while(|&&c| c == strip.content).count();
    rest[..rest.len() - n_stop].iter().collect()
}

/// Strip a part of the fused text; trailing characters wait until others follow.
fn strip_part(strip: &Strip, n_start: &mut usize, n_held: &mut usize, part: &str) -> String {
    let mut text = String::new();
    for symbol in part.chars() {
        if symbol == strip.content && *n_start > 0 {
            *n_start -= 1;
        } else if symbol == strip.content {
            *n_start = 0;
            if *n_held < strip.stop {
                *n_held += 1;
            } else {
                text.push(symbol);
            }
        } else {
            *n_start = 0;
            text.extend(std::iter::repeat_n(strip.content, std::mem::take(n_held)));
            text.push(symbol);
        }
    }
    text
}
