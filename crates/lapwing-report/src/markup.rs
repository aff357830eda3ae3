//! HTML that is also well-formed XML, with everything that is told escaped.

/// A piece of a page. Only [`Markup::raw`] takes markup, and only from this program.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Markup {
    html: String,
}

impl Markup {
    /// Nothing yet.
    pub fn new() -> Markup {
        Markup::default()
    }

    /// Markup as it is; never anything that somebody else may have written.
    pub fn raw(&mut self, html: &str) -> &mut Markup {
        self.html.push_str(html);
        self
    }

    /// Text, escaped.
    pub fn text(&mut self, text: &str) -> &mut Markup {
        escape(text, &mut self.html);
        self
    }

    /// An element with attributes and what `inner` writes into it.
    pub fn element(
        &mut self,
        tag: &'static str,
        attributes: &[(&'static str, &str)],
        inner: impl FnOnce(&mut Markup),
    ) -> &mut Markup {
        self.open(tag, attributes);
        self.html.push('>');
        inner(self);
        self.raw("</").raw(tag).raw(">")
    }

    /// An element with nothing but text.
    pub fn leaf(&mut self, tag: &'static str, text: &str) -> &mut Markup {
        self.element(tag, &[], |inner| {
            inner.text(text);
        })
    }

    /// An element without an end tag.
    pub fn void(&mut self, tag: &'static str, attributes: &[(&'static str, &str)]) -> &mut Markup {
        self.open(tag, attributes);
        self.raw(" />")
    }

    /// Another piece behind this one.
    pub fn append(&mut self, other: &Markup) -> &mut Markup {
        self.raw(&other.html)
    }

    /// The markup as text.
    pub fn into_string(self) -> String {
        self.html
    }

    fn open(&mut self, tag: &'static str, attributes: &[(&'static str, &str)]) {
        self.raw("<").raw(tag);
        for (name, value) in attributes {
            self.raw(" ").raw(name).raw("=\"").text(value).raw("\"");
        }
    }
}

fn escape(text: &str, html: &mut String) {
    for character in printable(text).chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}

/// `text` with a replacement character for what is no text in XML or HTML, and for the marks that
/// turn the direction of text, which could make one name look like another.
pub fn printable(text: &str) -> String {
    let replaced = |character: char| match character {
        '\n' | '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        control if control.is_control() => '\u{fffd}',
        other => other,
    };
    text.chars().map(replaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let check = |text: &str, expected: &str| {
            let mut page = Markup::new();
            page.element("p", &[("title", text)], |inner| {
                inner.text(text);
            });
            assert_eq!(page.into_string(), format!("<p title=\"{expected}\">{expected}</p>"));
        };
        check("plain · ü", "plain · ü");
        check("<script>&'\"", "&lt;script&gt;&amp;&#39;&quot;");
        check("a\0b\x1b[1m\u{202e}c", "a\u{fffd}b\u{fffd}[1m\u{fffd}c");
    }
}
