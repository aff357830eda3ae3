//! What stands behind a value: attributes, indices, calls, filters, tests.

use std::sync::Arc;

use super::super::Mistake;
use super::super::lexer::Kind;
use super::super::tree::{Arguments, Const, Expr};
use super::Parser;
use super::expressions::note_probe;

impl Parser {
    pub(super) fn postfix(&mut self, value: Expr) -> Result<Expr, Mistake> {
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

    pub(super) fn filters_and_tests(&mut self, value: Expr) -> Result<Expr, Mistake> {
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
