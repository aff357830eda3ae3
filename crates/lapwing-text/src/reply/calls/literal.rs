//! Values of Python and its like, as JSON.

/// Makes JSON of a value as it comes: names become strings, whatever quotes are used, and a comma
/// before a bracket is dropped.
#[derive(Debug, Default)]
pub(super) struct Literal {
    n_open: usize,
    /// The mark that ends the string.
    quote: Option<Quote>,
    is_escaped: bool,
    /// A number, a constant or a name.
    word: String,
    has_comma: bool,
}

/// What a string stands between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    /// A quotation mark; a backslash begins an escape.
    Mark(char),
    /// A marker; everything before the next one is text.
    Marker,
}

impl Literal {
    /// Whether what comes is text.
    pub(super) fn is_in_string(&self) -> bool {
        self.quote.is_some()
    }

    /// Brackets that are open.
    pub(super) fn n_open(&self) -> usize {
        self.n_open
    }

    /// A marker that stands for a quotation mark.
    pub(super) fn quote(&mut self, json: &mut String) {
        match self.quote {
            None => self.begin_string(Quote::Marker, json),
            Some(_) => self.end_string(json),
        }
    }

    /// One more character of the value. A closing bracket or a comma outside of all brackets is the
    /// caller's.
    pub(super) fn push(&mut self, symbol: char, json: &mut String) {
        match self.quote {
            Some(Quote::Mark(mark)) => self.in_string(symbol, mark, json),
            Some(Quote::Marker) => push_text(symbol, json),
            None => self.outside(symbol, json),
        }
    }

    /// The value is over.
    pub(super) fn finish(&mut self, json: &mut String) {
        self.end_word(json);
        self.has_comma = false;
    }

    fn outside(&mut self, symbol: char, json: &mut String) {
        match symbol {
            '"' | '\'' => self.begin_string(Quote::Mark(symbol), json),
            '{' | '[' | '(' => {
                self.begin(json);
                self.n_open += 1;
                json.push(if symbol == '{' { '{' } else { '[' });
            }
            '}' | ']' | ')' => {
                self.finish(json);
                self.n_open = self.n_open.saturating_sub(1);
                json.push(if symbol == '}' { '}' } else { ']' });
            }
            ',' => {
                self.end_word(json);
                self.has_comma = true;
            }
            ':' => {
                self.end_word(json);
                json.push(':');
            }
            _ if symbol.is_whitespace() => self.end_word(json),
            _ => self.word.push(symbol),
        }
    }

    fn begin(&mut self, json: &mut String) {
        self.end_word(json);
        if std::mem::take(&mut self.has_comma) {
            json.push(',');
        }
    }

    fn begin_string(&mut self, quote: Quote, json: &mut String) {
        self.begin(json);
        self.quote = Some(quote);
        json.push('"');
    }

    fn end_string(&mut self, json: &mut String) {
        self.quote = None;
        self.is_escaped = false;
        json.push('"');
    }

    fn in_string(&mut self, symbol: char, mark: char, json: &mut String) {
        match symbol {
            _ if std::mem::take(&mut self.is_escaped) => match symbol {
                // What Python and JSON write alike.
                'n' | 't' | 'r' | 'b' | 'f' | 'u' | '\\' | '"' => json.extend(['\\', symbol]),
                '\'' => json.push('\''),
                // The two digits that follow complete it.
                'x' => json.push_str("\\u00"),
                '\n' => {}
                // A backslash that escapes nothing is one.
                _ => {
                    json.push_str("\\\\");
                    push_text(symbol, json);
                }
            },
            '\\' => self.is_escaped = true,
            _ if symbol == mark => self.end_string(json),
            _ => push_text(symbol, json),
        }
    }

    fn end_word(&mut self, json: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        self.begin(json);
        let is_number = || serde_json::from_str::<serde_json::Number>(&word).is_ok();
        match word.as_str() {
            "True" => json.push_str("true"),
            "False" => json.push_str("false"),
            "None" => json.push_str("null"),
            "true" | "false" | "null" => json.push_str(&word),
            _ if is_number() => json.push_str(&word),
            _ => json.push_str(&serde_json::Value::from(word).to_string()),
        }
    }
}

/// A character of a string.
fn push_text(symbol: char, json: &mut String) {
    match symbol {
        '"' | '\\' => json.extend(['\\', symbol]),
        '\n' => json.push_str("\\n"),
        '\r' => json.push_str("\\r"),
        '\t' => json.push_str("\\t"),
        '\0'..='\x1f' => json.push_str(&format!("\\u{:04x}", u32::from(symbol))),
        _ => json.push(symbol),
    }
}
