//! Tokens to expressions, with jinja2's precedence.

use std::sync::Arc;

use super::super::Mistake;
use super::super::lexer::Kind;
use super::super::tree::{Arguments, Binary, Comparison, Const, Expr};
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

    fn primary(&mut self) -> Result<Expr, Mistake> {
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
    fn list(&mut self, close: &str) -> Result<Vec<Expr>, Mistake> {
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

    fn postfix(&mut self, value: Expr) -> Result<Expr, Mistake> {
        let mut value = value;
        loop {
            if self.skip_operator(".") {
                value = match self.next() {
                    Kind::Name(name) => Expr::Attribute(Box::new(value), name),
                    Kind::Int(index) => {
                        let index = Expr::Const(Const::Int(index));
                        Expr::Item(Box::new(value), Box::new(index))
                    }
                    _ => {
                        self.position -= 1;
                        return self.unexpected("a name or a number");
                    }
                };
            } else if self.skip_operator("[") {
                value = self.subscript(value)?;
            } else if self.at_operator("(") {
                value = self.call(value)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn call(&mut self, function: Expr) -> Result<Expr, Mistake> {
        let arguments = self.arguments()?;
        if let Expr::Attribute(..) = function {
            arguments.positional.iter().for_each(|probe| note_probe(&mut self.probes, probe));
        }
        Ok(Expr::Call(Box::new(function), Box::new(arguments)))
    }

    fn subscript(&mut self, value: Expr) -> Result<Expr, Mistake> {
        let mut bounds = [None, None, None];
        let mut n_colons = 0;
        loop {
            if self.skip_operator(":") {
                n_colons += 1;
                if n_colons > 2 {
                    return Err(self.mistake("a slice has at most three parts"));
                }
            } else if self.skip_operator("]") {
                break;
            } else if bounds[n_colons].is_none() {
                bounds[n_colons] = Some(self.expression()?);
                if n_colons == 0 && self.at_operator(",") {
                    let first = bounds[0].take().into_iter();
                    self.position += 1;
                    let items = first.chain(self.list("]")?).collect();
                    return Ok(Expr::Item(Box::new(value), Box::new(Expr::Tuple(items))));
                }
            } else {
                return self.unexpected("']'");
            }
        }
        match bounds {
            [Some(index), None, None] if n_colons == 0 => {
                Ok(Expr::Item(Box::new(value), Box::new(index)))
            }
            _ if n_colons == 0 => self.unexpected("an index"),
            bounds => Ok(Expr::Slice(Box::new(value), Box::new(bounds))),
        }
    }

    fn arguments(&mut self) -> Result<Arguments, Mistake> {
        self.expect_operator("(")?;
        let mut arguments = Arguments::default();
        let mut is_first = true;
        while !self.skip_operator(")") {
            if !std::mem::take(&mut is_first) {
                self.expect_operator(",")?;
                if self.skip_operator(")") {
                    break;
                }
            }
            if self.skip_operator("**") {
                arguments.more_named = Some(self.expression()?);
            } else if self.skip_operator("*") {
                arguments.more = Some(self.expression()?);
            } else if let (Kind::Name(name), true) = (self.kind().clone(), self.is_next("=")) {
                self.position += 2;
                arguments.named.push((name, self.expression()?));
            } else if arguments.named.is_empty() && arguments.more_named.is_none() {
                arguments.positional.push(self.expression()?);
            } else {
                return Err(self.mistake("a positional argument behind a named one"));
            }
        }
        Ok(arguments)
    }

    fn is_next(&self, operator: &str) -> bool {
        let next = self.tokens.get(self.position + 1).map(|token| &token.kind);
        matches!(next, Some(Kind::Operator(present)) if *present == operator)
    }

    fn filters_and_tests(&mut self, value: Expr) -> Result<Expr, Mistake> {
        let mut value = value;
        loop {
            if self.at_operator("|") {
                value = self.filters_over(value)?;
            } else if self.skip_name("is") {
                value = self.test(value)?;
            } else if self.at_operator("(") {
                value = self.call(value)?;
            } else {
                return Ok(value);
            }
        }
    }

    /// `| a | b(…)` over `value`.
    pub(super) fn filters_over(&mut self, value: Expr) -> Result<Expr, Mistake> {
        let mut value = value;
        while self.skip_operator("|") {
            value = self.filter(value)?;
        }
        Ok(value)
    }

    /// `a | b(…)` over a body.
    pub(super) fn filters_of_body(&mut self) -> Result<Expr, Mistake> {
        let first = self.filter(Expr::Body)?;
        self.filters_over(first)
    }

    fn filter(&mut self, value: Expr) -> Result<Expr, Mistake> {
        let name = self.dotted_name()?;
        let arguments =
            if self.at_operator("(") { self.arguments()? } else { Arguments::default() };
        arguments.positional.iter().for_each(|probe| note_probe(&mut self.probes, probe));
        Ok(Expr::Filter(Box::new(value), name, Box::new(arguments)))
    }

    fn test(&mut self, value: Expr) -> Result<Expr, Mistake> {
        let is_negated = self.skip_name("not");
        let name = self.dotted_name()?;
        let takes_argument = match self.kind() {
            Kind::Name(name) => !["else", "or", "and", "is", "if", "not", "in"].contains(&&**name),
            Kind::Str(_) | Kind::Int(_) | Kind::Float(_) => true,
            Kind::Operator(operator) => ["[", "{"].contains(operator),
            _ => false,
        };
        let arguments = if self.at_operator("(") {
            self.arguments()?
        } else if takes_argument {
            let argument = self.primary()?;
            let positional = vec![self.postfix(argument)?];
            Arguments { positional, ..Arguments::default() }
        } else {
            Arguments::default()
        };
        let test = Expr::Test(Box::new(value), name, Box::new(arguments));
        Ok(if is_negated { Expr::Not(Box::new(test)) } else { test })
    }

    fn dotted_name(&mut self) -> Result<Arc<str>, Mistake> {
        let mut name = self.name()?;
        while self.skip_operator(".") {
            name = format!("{name}.{}", self.name()?).into();
        }
        Ok(name)
    }
}

/// Keep what a text may be compared with or searched for.
fn note_probe(probes: &mut Vec<Arc<str>>, operand: &Expr) {
    match operand {
        Expr::Const(Const::Str(text)) if !text.is_empty() => probes.push(text.clone()),
        Expr::List(items) | Expr::Tuple(items) => {
            items.iter().for_each(|item| note_probe(probes, item));
        }
        _ => {}
    }
}
