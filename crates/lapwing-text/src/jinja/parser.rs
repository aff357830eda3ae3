//! Tokens to a tree: the statements. Expressions are in [`expressions`].

mod expressions;
mod postfix;

use std::sync::Arc;

use super::Mistake;
use super::lexer::{Kind, Token};
use super::tree::{Body, Expr, For, MacroDef, Node, Statement, Target};

/// How deep a source may be nested, tags and brackets together: the parser recurses.
const DEPTH_MAX: usize = 100;

/// The most `elif` of one `if`.
const BRANCHES_MAX: usize = 500;

/// A template that was read.
pub(super) struct Parsed {
    pub(super) body: Body,
    pub(super) probes: Vec<Arc<str>>,
}

/// Read a whole template.
pub(super) fn parse(tokens: Vec<Token>) -> Result<Parsed, Mistake> {
    let mut parser =
        Parser { tokens, position: 0, depth: 0, n_loops: 0, names: Vec::new(), probes: Vec::new() };
    let body = parser.body(&[])?;
    Ok(Parsed { body, probes: parser.probes })
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
    depth: usize,
    /// Loops around this place, within the macro that it is in.
    n_loops: usize,
    /// For each macro around this place, which of the special names it uses.
    names: Vec<Special>,
    /// Constants that texts are compared with or searched for.
    probes: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Default)]
struct Special {
    varargs: bool,
    kwargs: bool,
}

impl Parser {
    fn kind(&self) -> &Kind {
        &self.tokens[self.position].kind
    }

    fn line(&self) -> usize {
        self.tokens[self.position].line
    }

    /// Take the present token.
    fn next(&mut self) -> Kind {
        let kind = self.kind().clone();
        if kind != Kind::End {
            self.position += 1;
        }
        kind
    }

    fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { line: self.line(), message: message.into() }
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, Mistake> {
        let got = match self.kind() {
            Kind::Text(_) => "text",
            Kind::TagBegin => "'{%'",
            Kind::TagEnd | Kind::PrintEnd => "the end of the tag",
            Kind::PrintBegin => "'{{'",
            Kind::Name(name) => &format!("'{name}'"),
            Kind::Str(_) => "a string",
            Kind::Int(_) | Kind::Float(_) => "a number",
            Kind::Operator(operator) => &format!("'{operator}'"),
            Kind::End => "the end of the template",
        };
        Err(self.mistake(format!("expected {wanted}, got {got}")))
    }

    fn at_operator(&self, operator: &str) -> bool {
        matches!(self.kind(), Kind::Operator(present) if *present == operator)
    }

    fn skip_operator(&mut self, operator: &str) -> bool {
        let is_there = self.at_operator(operator);
        self.position += usize::from(is_there);
        is_there
    }

    fn expect_operator(&mut self, operator: &str) -> Result<(), Mistake> {
        if self.skip_operator(operator) {
            Ok(())
        } else {
            self.unexpected(&format!("'{operator}'"))
        }
    }

    fn at_name(&self, name: &str) -> bool {
        matches!(self.kind(), Kind::Name(present) if **present == *name)
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let is_there = self.at_name(name);
        self.position += usize::from(is_there);
        is_there
    }

    fn name(&mut self) -> Result<Arc<str>, Mistake> {
        match self.kind() {
            Kind::Name(name) => {
                let name = name.clone();
                self.position += 1;
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn expect(&mut self, kind: Kind, wanted: &str) -> Result<(), Mistake> {
        if *self.kind() == kind {
            self.position += 1;
            return Ok(());
        }
        self.unexpected(wanted)
    }

    /// Do something one level deeper.
    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        if self.depth == DEPTH_MAX {
            return Err(self.mistake(format!("nested more than {DEPTH_MAX} levels deep")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Statements up to a tag that is one of `ends`, which is the present token then.
    fn body(&mut self, ends: &[&str]) -> Result<Body, Mistake> {
        let mut body = Body::new();
        loop {
            let line = self.line();
            let statement = match self.next() {
                Kind::Text(text) => Statement::Text(text),
                Kind::PrintBegin => {
                    let printed = self.tuple(true, &[])?;
                    self.expect(Kind::PrintEnd, "'}}'")?;
                    Statement::Print(printed)
                }
                Kind::TagBegin => {
                    if ends.iter().any(|end| self.at_name(end)) {
                        return Ok(body);
                    }
                    match self.nested(Self::tag)? {
                        Some(statement) => statement,
                        None => continue,
                    }
                }
                _ if ends.is_empty() => return Ok(body),
                _ => return self.unexpected(&format!("'{}'", ends.join("' or '"))),
            };
            body.push(Node { line, statement });
        }
    }

    fn tag_end(&mut self) -> Result<(), Mistake> {
        self.expect(Kind::TagEnd, "'%}'")
    }

    /// Statements up to the tag `end` and over it.
    fn body_to(&mut self, end: &str) -> Result<Body, Mistake> {
        self.tag_end()?;
        let body = self.body(&[end])?;
        self.position += 1;
        Ok(body)
    }

    /// A tag behind its opening; `None` for one that says nothing.
    fn tag(&mut self) -> Result<Option<Statement>, Mistake> {
        let name = self.name()?;
        let statement = match &*name {
            "for" => self.for_tag()?,
            "if" => self.if_tag()?,
            "set" => self.set_tag()?,
            "with" => self.with_tag()?,
            "macro" => {
                let name = self.name()?;
                Statement::Macro(self.macro_rest(name, "endmacro")?.0)
            }
            "call" => {
                let (def, call) = self.macro_rest("caller".into(), "endcall")?;
                Statement::Call(def, call.unwrap_or(Expr::Body))
            }
            "filter" => {
                let filters = self.filters_of_body()?;
                Statement::Filter(filters, self.body_to("endfilter")?)
            }
            "generation" => Statement::Scope(self.body_to("endgeneration")?),
            "autoescape" => {
                self.expression()?;
                Statement::Scope(self.body_to("endautoescape")?)
            }
            "block" => {
                self.name()?;
                while self.skip_name("scoped") || self.skip_name("required") {}
                let body = self.body_to("endblock")?;
                if let Kind::Name(_) = self.kind() {
                    self.position += 1;
                }
                Statement::Scope(body)
            }
            "print" => {
                let mut printed = vec![self.expression()?];
                while self.skip_operator(",") {
                    printed.push(self.expression()?);
                }
                Statement::Print(Expr::Concat(printed))
            }
            "break" | "continue" if self.n_loops == 0 => {
                return Err(self.mistake(format!("'{name}' outside of a loop")));
            }
            "break" => Statement::Break,
            "continue" => Statement::Continue,
            "include" | "import" | "from" | "extends" => {
                while !matches!(self.kind(), Kind::TagEnd | Kind::End) {
                    self.position += 1;
                }
                Statement::NoOther(name)
            }
            _ => return Err(self.mistake(format!("unknown tag '{name}'"))),
        };
        self.tag_end()?;
        Ok(Some(statement))
    }

    fn for_tag(&mut self) -> Result<Statement, Mistake> {
        let target = self.target(&["in"], false)?;
        if !self.skip_name("in") {
            return self.unexpected("'in'");
        }
        let iterable = self.tuple(false, &["recursive"])?;
        let condition = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let is_recursive = self.skip_name("recursive");
        self.tag_end()?;
        self.n_loops += 1;
        let body = self.body(&["else", "endfor"])?;
        self.n_loops -= 1;
        let otherwise = if self.skip_name("else") {
            self.body_to("endfor")?
        } else {
            self.position += 1;
            Body::new()
        };
        let parsed = For { target, iterable, condition, is_recursive, body, otherwise };
        Ok(Statement::For(Arc::new(parsed)))
    }

    fn if_tag(&mut self) -> Result<Statement, Mistake> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(false, &[])?;
            self.tag_end()?;
            let body = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            if branches.len() > BRANCHES_MAX {
                return Err(self.mistake(format!("more than {BRANCHES_MAX} `elif` tags")));
            }
            if self.skip_name("elif") {
                continue;
            }
            let otherwise = if self.skip_name("else") {
                self.body_to("endif")?
            } else {
                self.position += 1;
                Body::new()
            };
            return Ok(Statement::If { branches, otherwise });
        }
    }

    fn set_tag(&mut self) -> Result<Statement, Mistake> {
        let target = self.target(&[], true)?;
        if self.skip_operator("=") {
            return Ok(Statement::Set(target, self.tuple(true, &[])?));
        }
        let filters = self.filters_over(Expr::Body)?;
        Ok(Statement::SetBody(target, filters, self.body_to("endset")?))
    }

    fn with_tag(&mut self) -> Result<Statement, Mistake> {
        let mut assignments = Vec::new();
        while *self.kind() != Kind::TagEnd {
            if !assignments.is_empty() {
                self.expect_operator(",")?;
            }
            let target = self.target(&[], false)?;
            self.expect_operator("=")?;
            assignments.push((target, self.expression()?));
        }
        Ok(Statement::With(assignments, self.body_to("endwith")?))
    }

    /// Parameters, for `call` what is called, and the body.
    fn macro_rest(
        &mut self,
        name: Arc<str>,
        end: &str,
    ) -> Result<(Arc<MacroDef>, Option<Expr>), Mistake> {
        let is_call = end == "endcall";
        let mut parameters = Vec::new();
        if !is_call || self.at_operator("(") {
            self.expect_operator("(")?;
            while !self.at_operator(")") {
                if !parameters.is_empty() {
                    self.expect_operator(",")?;
                }
                let name = self.name()?;
                let default = if self.skip_operator("=") { Some(self.expression()?) } else { None };
                parameters.push((name, default));
            }
            self.expect_operator(")")?;
        }
        let call = if is_call { Some(self.expression()?) } else { None };
        if !matches!(call, None | Some(Expr::Call(..))) {
            return Err(self.mistake("expected a call"));
        }
        self.names.push(Special::default());
        let n_loops = std::mem::take(&mut self.n_loops);
        let body = self.body_to(end)?;
        self.n_loops = n_loops;
        let used = self.names.pop().unwrap_or_default();
        let (takes_varargs, takes_kwargs) = (used.varargs, used.kwargs);
        let def = MacroDef { name, parameters, body, takes_varargs, takes_kwargs };
        Ok((Arc::new(def), call))
    }

    /// A target of an assignment, up to one of the names `ends`.
    fn target(&mut self, ends: &[&str], may_be_field: bool) -> Result<Target, Mistake> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = ends.iter().any(|end| self.at_name(end)) || self.at_operator("=");
            if !targets.is_empty() && (at_end || self.at_operator(")")) {
                break;
            }
            if self.skip_operator("(") {
                targets.push(self.nested(|parser| parser.target(&[], false))?);
                self.expect_operator(")")?;
            } else {
                let name = self.name()?;
                targets.push(if may_be_field && self.skip_operator(".") {
                    Target::Field(name, self.name()?)
                } else {
                    Target::Name(name)
                });
            }
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match targets.pop() {
            Some(target) if !is_tuple => Ok(target),
            last => Ok(Target::Tuple(targets.into_iter().chain(last).collect())),
        }
    }
}
