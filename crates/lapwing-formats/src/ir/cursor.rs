//! A walk over XML text that tells where each tag lies and refuses what no IR contains.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::Event;
use quick_xml::events::attributes::Attributes;

/// Elements nested deeper than this are refused.
const DEPTH_MAX: usize = 128;
/// A tag with more attributes than this is refused.
const N_ATTRIBUTES_MAX: usize = 256;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) layer: Option<String>,
    pub(super) expected: String,
    pub(super) found: String,
}

impl Fault {
    pub(super) fn new(offset: usize, expected: impl Into<String>, found: &str) -> Fault {
        Fault { offset, layer: None, expected: expected.into(), found: excerpt(found) }
    }

    /// The same fault, inside the layer with this name.
    pub(super) fn in_layer(mut self, name: &str) -> Fault {
        self.layer.get_or_insert_with(|| excerpt(name));
        self
    }
}

/// Hostile text is shortened before it goes into a message.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// One opening tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag<'a> {
    /// Where its `<` lies.
    pub(super) start: usize,
    /// Whether it is `<closed/>` at once.
    pub(super) is_empty: bool,
    /// What lies between the angle brackets, without the slash.
    content: &'a str,
}

impl<'a> Tag<'a> {
    pub(super) fn name(&self) -> &'a str {
        let end = self.content.find(|c: char| c.is_ascii_whitespace());
        &self.content[..end.unwrap_or(self.content.len())]
    }

    /// The attributes in order, unescaped.
    ///
    /// # Errors
    ///
    /// When one is malformed, repeated, uses an entity that XML does not predefine, or there are
    /// very many.
    pub(super) fn attributes(&self) -> Result<Vec<(&'a str, Cow<'a, str>)>, Fault> {
        let mut found = Vec::new();
        for attribute in Attributes::new(self.content, self.name().len()) {
            let fault = |why: &dyn ToString| {
                Fault::new(self.start, "well-formed attributes", &why.to_string())
            };
            let attribute = attribute.map_err(|why| fault(&why))?;
            if found.len() == N_ATTRIBUTES_MAX {
                return Err(fault(&"too many attributes"));
            }
            let value = match attribute.value {
                Cow::Borrowed(raw) => {
                    quick_xml::escape::unescape(raw).map_err(|why| fault(&why))?
                }
                Cow::Owned(raw) => {
                    let value = quick_xml::escape::unescape(&raw).map_err(|why| fault(&why))?;
                    Cow::Owned(value.into_owned())
                }
            };
            found.push((attribute.key.0, value));
        }
        Ok(found)
    }

    /// The value of one attribute.
    ///
    /// # Errors
    ///
    /// As for [`Tag::attributes`].
    pub(super) fn attribute(&self, key: &str) -> Result<Option<Cow<'a, str>>, Fault> {
        let attributes = self.attributes()?;
        Ok(attributes.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value))
    }

    /// The value of an attribute that must be there.
    ///
    /// # Errors
    ///
    /// When it is not there, or as for [`Tag::attributes`].
    pub(super) fn required(&self, key: &str) -> Result<Cow<'a, str>, Fault> {
        self.attribute(key)?
            .ok_or_else(|| Fault::new(self.start, format!("an attribute {key}"), self.content))
    }

    /// The value of an attribute that must be a number.
    ///
    /// # Errors
    ///
    /// When it is absent or no number.
    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T, Fault> {
        let value = self.required(key)?;
        value.parse().map_err(|_| Fault::new(self.start, format!("a number as {key}"), &value))
    }
}

/// The next piece of text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token<'a> {
    Open(Tag<'a>),
    /// A closing tag, and where its `<` lies.
    Close(usize),
    Text(&'a str),
    End,
}

/// Reads tokens from some place in a text on.
pub(super) struct Cursor<'a> {
    reader: Reader<&'a [u8]>,
    text: &'a str,
    base: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// Start at byte `start` of `text`, which must be a character boundary.
    pub(super) fn at(text: &'a str, start: usize) -> Cursor<'a> {
        Cursor { reader: Reader::from_str(&text[start..]), text, base: start, depth: 0 }
    }

    /// Where the next token begins.
    pub(super) fn position(&self) -> usize {
        let position = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX);
        self.base.saturating_add(position).min(self.text.len())
    }

    /// The next token; comments and declarations are passed over.
    ///
    /// # Errors
    ///
    /// When the text is not well-formed, nests too deep, or declares a document type (which could
    /// define entities).
    pub(super) fn next(&mut self) -> Result<Token<'a>, Fault> {
        loop {
            let start = self.position();
            let event = self.reader.read_event();
            let event =
                event.map_err(|why| Fault::new(start, "well-formed XML", &why.to_string()))?;
            let is_empty = matches!(event, Event::Empty(_));
            match event {
                Event::Start(_) | Event::Empty(_) => return self.open(start, is_empty),
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Token::Close(start));
                }
                // An entity between tags stays unexpanded: no IR has text that matters there.
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                    return Ok(Token::Text(&self.text[start..self.position()]));
                }
                Event::Eof => return Ok(Token::End),
                Event::DocType(_) => {
                    return Err(Fault::new(start, "no document type", "<!DOCTYPE"));
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }

    fn open(&mut self, start: usize, is_empty: bool) -> Result<Token<'a>, Fault> {
        let raw = &self.text[start..self.position()];
        let content = raw.strip_prefix('<').and_then(|raw| raw.strip_suffix('>'));
        let content = match (content, is_empty) {
            (Some(content), true) => content.strip_suffix('/'),
            (content, _) => content,
        };
        let content = content.ok_or_else(|| Fault::new(start, "a tag", raw))?;
        if !is_empty {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(Fault::new(start, "shallower nesting", content));
            }
        }
        Ok(Token::Open(Tag { start, is_empty, content }))
    }

    /// The next child of the element whose opening tag was read last, or none at its end, and
    /// then where its closing tag begins. Text between children is passed over.
    ///
    /// # Errors
    ///
    /// As for [`Cursor::next`], and when the text ends too early.
    pub(super) fn child(&mut self) -> Result<Result<Tag<'a>, usize>, Fault> {
        loop {
            match self.next()? {
                Token::Open(tag) => return Ok(Ok(tag)),
                Token::Close(start) => return Ok(Err(start)),
                Token::Text(_) => {}
                Token::End => {
                    return Err(Fault::new(self.position(), "a closing tag", "the end"));
                }
            }
        }
    }

    /// The next child of the element that `parent` opened, none at its end.
    ///
    /// # Errors
    ///
    /// As for [`Cursor::child`].
    pub(super) fn child_of(&mut self, parent: &Tag<'_>) -> Result<Option<Tag<'a>>, Fault> {
        if parent.is_empty { Ok(None) } else { Ok(self.child()?.ok()) }
    }

    /// Pass over the rest of the element that `tag` opened; `visit` sees each tag inside.
    ///
    /// # Errors
    ///
    /// As for [`Cursor::child`], or what `visit` returns.
    pub(super) fn skip(
        &mut self,
        tag: &Tag<'a>,
        visit: &mut dyn FnMut(&Tag<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut n_open = usize::from(!tag.is_empty);
        while n_open > 0 {
            match self.child()? {
                Ok(inner) => {
                    visit(&inner)?;
                    n_open += usize::from(!inner.is_empty);
                }
                Err(_) => n_open -= 1,
            }
        }
        Ok(())
    }

    /// The text of the element that `tag` opened, which must hold nothing else.
    ///
    /// # Errors
    ///
    /// When another element lies inside, or as for [`Cursor::next`].
    pub(super) fn text_of(&mut self, tag: &Tag<'a>) -> Result<&'a str, Fault> {
        let mut text = "";
        if tag.is_empty {
            return Ok(text);
        }
        loop {
            match self.next()? {
                Token::Text(part) if text.is_empty() => text = part,
                Token::Text(part) => {
                    return Err(Fault::new(self.position(), "one piece of text", part));
                }
                Token::Close(_) => return Ok(text),
                Token::Open(inner) => {
                    return Err(Fault::new(inner.start, "only text", inner.content));
                }
                Token::End => {
                    return Err(Fault::new(self.position(), "a closing tag", "the end"));
                }
            }
        }
    }
}
