//! Tokens to expressions, with jinja2's precedence.

use std::sync::Arc;

use super::super::Mistake;
use super::super::lexer::Kind;
use super::super::tree::{Binary, Comparison, Const, Expr};
use super::Parser;

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr, Mistake> {
        self.nested(Self::conditional)
    }

    /// One expression, or several with commas between them; `ends` are names behind the last.
    pub(super) fn tuple(&mut self, takes_if: bool, ends: &[&str]) -> Result<Expr, Mistake> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = matches!(self.kind(), Kind::TagEnd | Kind::PrintEnd | Kind::End)
                || self.at_operator(")")
                || ends.iter().any(|end| self.at_name(end));
            if at_end && !items.is_empty() {
                break;
            }
            items.push(if takes_if { self.expression()? } else { self.nested(Self::or)? });
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(item) if !is_tuple => Ok(item),
            last => Ok(Expr::Tuple(items.into_iter().chain(last).collect())),
        }
    }

    fn conditional(&mut self) -> Result<Expr, Mistake> {
        let mut value = self.or()?;
        while self.skip_name("if") {
            let condition = self.or()?;
            let otherwise =
                if self.skip_name("else") { Some(Box::new(self.expression()?)) } else { None };
            value = Expr::If(Box::new(value), Box::new(condition), otherwise);
        }
        Ok(value)
    }

    fn or(&mut self) -> Result<Expr, Mistake> {
        let mut left = self.and()?;
        while self.skip_name("or") {
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, Mistake> {
        let mut left = self.not()?;
        while self.skip_name("and") {
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Mistake> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, Mistake> {
        let first = self.sum()?;
        let mut others = Vec::new();
        loop {
            let comparison = match self.kind() {
                Kind::Operator("==") => Comparison::Equal,
                Kind::Operator("!=") => Comparison::NotEqual,
                Kind::Operator("<") => Comparison::Less,
                Kind::Operator("<=") => Comparison::LessOrEqual,
                Kind::Operator(">") => Comparison::Greater,
                Kind::Operator(">=") => Comparison::GreaterOrEqual,
                Kind::Name(name) if &**name == "in" => Comparison::In,
                Kind::Name(name) if &**name == "not" && self.is_next_name("in") => {
                    self.position += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.position += 1;
            others.push((comparison, self.sum()?));
        }
        if others.is_empty() {
            return Ok(first);
        }
        std::iter::once(&first).chain(others.iter().map(|(_, other)| other)).for_each(|operand| {
            note_probe(&mut self.probes, operand);
        });
        Ok(Expr::Compare(Box::new(first), others))
    }

    fn is_next_name(&self, name: &str) -> bool {
        let next = self.tokens.get(self.position + 1).map(|token| &token.kind);
        matches!(next, Some(Kind::Name(present)) if **present == *name)
    }

    fn sum(&mut self) -> Result<Expr, Mistake> {
        let mut left = self.concat()?;
        loop {
            let operator = match self.kind() {
                Kind::Operator("+") => Binary::Add,
                Kind::Operator("-") => Binary::Subtract,
                _ => return Ok(left),
            };
            self.position += 1;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.concat()?));
        }
    }

    fn concat(&mut self) -> Result<Expr, Mistake> {
        let first = self.product()?;
        if !self.at_operator("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_operator("~") {
            parts.push(self.product()?);
        }
        Ok(Expr::Concat(parts))
    }

    fn product(&mut self) -> Result<Expr, Mistake> {
        let mut left = self.power()?;
        loop {
            let operator = match self.kind() {
                Kind::Operator("*") => Binary::Multiply,
                Kind::Operator("/") => Binary::Divide,
                Kind::Operator("//") => Binary::FloorDivide,
                Kind::Operator("%") => Binary::Remainder,
                _ => return Ok(left),
            };
            self.position += 1;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.power()?));
        }
    }

    fn power(&mut self) -> Result<Expr, Mistake> {
        let mut left = self.unary(true)?;
        while self.skip_operator("**") {
            left = Expr::Binary(Binary::Power, Box::new(left), Box::new(self.unary(true)?));
        }
        Ok(left)
    }

    fn unary(&mut self, takes_filters: bool) -> Result<Expr, Mistake> {
        let value = if self.skip_operator("-") {
            Expr::Negative(Box::new(self.nested(|parser| parser.unary(false))?))
        } else if self.skip_operator("+") {
            Expr::Positive(Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if takes_filters { self.filters_and_tests(value) } else { Ok(value) }
    }

    pub(super) fn primary(&mut self) -> Result<Expr, Mistake> {
        let token = self.kind().clone();
        self.position += usize::from(token != Kind::End);
        Ok(match token {
            Kind::Name(name) => match &*name {
                "true" | "True" => Expr::Const(Const::Bool(true)),
                "false" | "False" => Expr::Const(Const::Bool(false)),
                "none" | "None" => Expr::Const(Const::None),
                _ => {
                    if let Some(used) = self.names.last_mut() {
                        used.varargs |= &*name == "varargs";
                        used.kwargs |= &*name == "kwargs";
                    }
                    Expr::Name(name)
                }
            },
            Kind::Str(mut text) => {
                while let Kind::Str(more) = self.kind() {
                    text.push_str(more);
                    self.position += 1;
                }
                Expr::Const(Const::Str(text.into()))
            }
            Kind::Int(number) => Expr::Const(Const::Int(number)),
            Kind::Float(number) => Expr::Const(Const::Float(number)),
            Kind::Operator("(") => {
                if self.skip_operator(")") {
                    return Ok(Expr::Tuple(Vec::new()));
                }
                let inner = self.tuple(true, &[])?;
                self.expect_operator(")")?;
                inner
            }
            Kind::Operator("[") => Expr::List(self.list("]")?),
            Kind::Operator("{") => self.dict()?,
            _ => {
                self.position -= usize::from(token != Kind::End);
                return self.unexpected("an expression");
            }
        })
    }

    /// Expressions up to `close` and over it.
    pub(super) fn list(&mut self, close: &str) -> Result<Vec<Expr>, Mistake> {
        let mut items = Vec::new();
        while !self.skip_operator(close) {
            if !items.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator(close) {
                    break;
                }
            }
            items.push(self.expression()?);
        }
        Ok(items)
    }

    fn dict(&mut self) -> Result<Expr, Mistake> {
        let mut entries = Vec::new();
        while !self.skip_operator("}") {
            if !entries.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator("}") {
                    break;
                }
            }
            let key = self.expression()?;
            self.expect_operator(":")?;
            entries.push((key, self.expression()?));
        }
        Ok(Expr::Dict(entries))
    }
}

/// Keep what a text may be compared with or searched for.
pub(super) fn note_probe(probes: &mut Vec<Arc<str>>, operand: &Expr) {
    match operand {
        Expr::Const(Const::Str(text)) if !text.is_empty() => probes.push(text.clone()),
        Expr::List(items) | Expr::Tuple(items) => {
            items.iter().for_each(|item| note_probe(probes, item));
        }
        _ => {}
    }
}
