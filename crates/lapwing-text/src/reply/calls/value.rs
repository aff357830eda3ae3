//! Where a JSON value ends.

/// Follows one JSON value, or what is meant as one, to its end.
#[derive(Debug, Default)]
pub(super) struct ValueScan {
    n_open: usize,
    in_string: bool,
    is_escaped: bool,
    is_begun: bool,
}

/// Where a character stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// In the value.
    Within,
    /// It is the value's last.
    Last,
    /// Behind the value, and no part of it.
    Beyond,
}

impl ValueScan {
    pub(super) fn push(&mut self, symbol: char) -> Reach {
        self.is_begun = true;
        if self.in_string {
            match symbol {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => self.is_escaped = true,
                '"' => {
                    self.in_string = false;
                    return self.reach();
                }
                _ => {}
            }
            return Reach::Within;
        }
        match symbol {
            '"' => self.in_string = true,
            '{' | '[' => self.n_open += 1,
            '}' | ']' if self.n_open == 0 => return Reach::Beyond,
            '}' | ']' => {
                self.n_open -= 1;
                return self.reach();
            }
            ',' if self.n_open == 0 => return Reach::Beyond,
            _ if self.n_open == 0 && symbol.is_whitespace() => return Reach::Beyond,
            _ => {}
        }
        Reach::Within
    }

    /// Whether what comes next is text.
    pub(super) fn is_in_string(&self) -> bool {
        self.in_string
    }

    /// Whether anything of the value came.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    fn reach(&self) -> Reach {
        if self.n_open == 0 { Reach::Last } else { Reach::Within }
    }
}
