//! The variables that a template reads and does not define itself: what it can be given.
//!
//! Names are followed in the order of the source, as the interpreter's scopes have them. Where that
//! does not decide it (a name that only one branch sets, a macro before the name that it uses) a
//! name counts as read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::access;
use super::tree::{Arguments, Expr, For, MacroDef, Node, Statement, Target};

/// The names that `body` reads before it has set them.
pub(super) fn read(body: &[Node]) -> BTreeSet<Arc<str>> {
    let mut reader = Reader::default();
    reader.body(body);
    reader.read.retain(|name| access::native(name).is_none());
    reader.read
}

#[derive(Default)]
struct Reader {
    read: BTreeSet<Arc<str>>,
    /// How many scopes hold a name.
    set: HashMap<Arc<str>, usize>,
    /// The names in `set`, in the order in which they came.
    log: Vec<Arc<str>>,
}

impl Reader {
    fn name(&mut self, name: &Arc<str>) {
        if !self.set.contains_key(name) {
            self.read.insert(name.clone());
        }
    }

    fn set(&mut self, name: &Arc<str>) {
        *self.set.entry(name.clone()).or_default() += 1;
        self.log.push(name.clone());
    }

    /// What is set within `walk` is not set behind it; gives those names.
    fn scoped(&mut self, walk: impl FnOnce(&mut Self)) -> BTreeSet<Arc<str>> {
        let n_before = self.log.len();
        walk(self);
        let within: BTreeSet<Arc<str>> = self
            .log
            .drain(n_before..)
            .inspect(|name| {
                if let Some(count) = self.set.get_mut(name) {
                    *count -= 1;
                    if *count == 0 {
                        self.set.remove(name);
                    }
                }
            })
            .collect();
        within
    }

    fn body(&mut self, body: &[Node]) {
        body.iter().for_each(|node| self.statement(&node.statement));
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Text(_) | Statement::Break | Statement::Continue | Statement::NoOther(_) => {
            }
            Statement::Print(printed) => self.expr(printed),
            Statement::For(looped) => self.looped(looped),
            Statement::If { branches, otherwise } => {
                let mut in_all = None;
                for (condition, body) in branches {
                    self.expr(condition);
                    let in_one = self.scoped(|this| this.body(body));
                    in_all = Some(common(in_all, in_one));
                }
                let in_one = self.scoped(|this| this.body(otherwise));
                common(in_all, in_one).iter().for_each(|name| self.set(name));
            }
            Statement::Set(target, value) => {
                self.expr(value);
                self.target(target);
            }
            Statement::SetBody(target, filtered, body) => {
                self.scoped(|this| this.body(body));
                self.expr(filtered);
                self.target(target);
            }
            Statement::With(pairs, body) => {
                self.scoped(|this| {
                    pairs.iter().for_each(|(_, value)| this.expr(value));
                    pairs.iter().for_each(|(target, _)| this.target(target));
                    this.body(body);
                });
            }
            Statement::Macro(defined) => {
                self.set(&defined.name);
                self.defined(defined);
            }
            Statement::Call(defined, called) => {
                self.expr(called);
                self.defined(defined);
            }
            Statement::Filter(filtered, body) => {
                self.scoped(|this| this.body(body));
                self.expr(filtered);
            }
            Statement::Scope(body) => {
                self.scoped(|this| this.body(body));
            }
        }
    }

    fn looped(&mut self, looped: &For) {
        self.expr(&looped.iterable);
        self.scoped(|this| {
            this.target(&looped.target);
            this.set(&"loop".into());
            looped.condition.iter().for_each(|condition| this.expr(condition));
            this.body(&looped.body);
        });
        self.scoped(|this| this.body(&looped.otherwise));
    }

    fn defined(&mut self, defined: &MacroDef) {
        let defaults = defined.parameters.iter().filter_map(|(_, default)| default.as_ref());
        defaults.for_each(|default| self.expr(default));
        self.scoped(|this| {
            ["caller", "varargs", "kwargs"].iter().for_each(|&name| this.set(&name.into()));
            defined.parameters.iter().for_each(|(name, _)| this.set(name));
            this.body(&defined.body);
        });
    }

    fn target(&mut self, target: &Target) {
        match target {
            Target::Name(name) => self.set(name),
            Target::Tuple(targets) => targets.iter().for_each(|target| self.target(target)),
            Target::Field(namespace, _) => self.name(namespace),
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Const(_) | Expr::Body => {}
            Expr::Name(name) => self.name(name),
            Expr::List(items) | Expr::Tuple(items) | Expr::Concat(items) => self.exprs(items),
            Expr::Dict(entries) => entries.iter().for_each(|(key, value)| {
                self.expr(key);
                self.expr(value);
            }),
            Expr::Attribute(of, _) | Expr::Not(of) | Expr::Negative(of) | Expr::Positive(of) => {
                self.expr(of);
            }
            Expr::Item(left, right)
            | Expr::Binary(_, left, right)
            | Expr::And(left, right)
            | Expr::Or(left, right) => {
                self.expr(left);
                self.expr(right);
            }
            Expr::Slice(of, ends) => {
                self.expr(of);
                self.exprs(ends.iter().flatten());
            }
            Expr::Call(of, arguments)
            | Expr::Filter(of, _, arguments)
            | Expr::Test(of, _, arguments) => {
                self.expr(of);
                self.arguments(arguments);
            }
            Expr::Compare(first, others) => {
                self.expr(first);
                self.exprs(others.iter().map(|(_, other)| other));
            }
            Expr::If(value, condition, otherwise) => {
                self.expr(condition);
                self.expr(value);
                self.exprs(otherwise.iter().map(|otherwise| &**otherwise));
            }
        }
    }

    fn exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) {
        exprs.into_iter().for_each(|expr| self.expr(expr));
    }

    fn arguments(&mut self, arguments: &Arguments) {
        let Arguments { positional, named, more, more_named } = arguments;
        self.exprs(positional);
        self.exprs(named.iter().map(|(_, value)| value));
        self.exprs(more.iter().chain(more_named));
    }
}

/// The names that are in both; all of `one` where there was nothing before.
fn common(all: Option<BTreeSet<Arc<str>>>, one: BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
    match all {
        Some(all) => all.intersection(&one).cloned().collect(),
        None => one,
    }
}

#[cfg(test)]
mod tests {
    use crate::jinja::Template;

    #[test]
    fn what_a_template_reads_and_does_not_set() {
        let check = |source: &str, expected: &[&str]| {
            let template = Template::parse(source).expect(source);
            let read: Vec<String> = template.reads().iter().map(|name| name.to_string()).collect();
            assert_eq!(read, expected, "{source}");
        };
        check("plain", &[]);
        check("{{ a }}{{ b.c[d] }}{{ x[e:f:g] }}", &["a", "b", "d", "e", "f", "g", "x"]);
        check(
            "{% if enable_thinking is defined and not enable_thinking %}x{% endif %}",
            &["enable_thinking"],
        );
        check("{% set thinking = thinking | default(true) %}{{ thinking }}", &["thinking"]);
        check("{% set thinking = true %}{{ thinking }}", &[]);
        check("{% if not x is defined %}{% set x = 1 %}{% endif %}{{ x }}", &["x"]);
        // Set in every branch, or not in all of them.
        check("{% if a %}{% set x = 1 %}{% else %}{% set x = 2 %}{% endif %}{{ x }}", &["a"]);
        check("{% if a %}{% set x = 1 %}{% elif b %}{% endif %}{{ x }}", &["a", "b", "x"]);
        // Loops and macros have scopes of their own.
        check(
            "{% for m in messages if m.role != r %}{{ m }}{{ loop.index }}{% endfor %}{{ m }}",
            &["m", "messages", "r"],
        );
        check(
            "{% for k, v in d.items() %}{% set x = k %}{% else %}{{ v }}{% endfor %}{{ x }}",
            &["d", "v", "x"],
        );
        check(
            "{% macro m(a, b=c) %}{{ a ~ b ~ e }}{{ kwargs }}{% endmacro %}{{ m(1) }}{{ a }}",
            &["a", "c", "e"],
        );
        check("{% set ns = namespace(x=y) %}{% set ns.x = z %}{{ ns.x }}", &["y", "z"]);
        check("{% set ns.x = 1 %}", &["ns"]);
        check("{{ range(n) }}{{ raise_exception('no') }}{{ strftime_now('%Y') }}", &["n"]);
        check(
            "{{ (a if b else c) ~ [d, (e,), {f: g}] }}{{ -h + (not i) }}",
            &["a", "b", "c", "d", "e", "f", "g", "h", "i"],
        );
        check(
            "{{ a | replace(b, c) }}{{ x is sameas(y) }}{{ 1 < l <= m in n }}",
            &["a", "b", "c", "l", "m", "n", "x", "y"],
        );
        check("{% filter replace(a, 'b') %}{{ c }}{% endfilter %}", &["a", "c"]);
        check(
            "{% set x | replace(a, 'b') %}{{ c }}{% set d = 1 %}{% endset %}{{ x ~ d }}",
            &["a", "c", "d"],
        );
        check("{% with a = b %}{{ a }}{% endwith %}{{ a }}", &["a", "b"]);
        check(
            "{% call(x) f(y) %}{{ x ~ z }}{% endcall %}{{ g(*h, **i) }}",
            &["f", "g", "h", "i", "y", "z"],
        );
    }

    #[test]
    fn many_branches_are_walked_once() {
        let branches = "{% if a %}{% set x = a %}{% else %}{% set y = a %}{% endif %}".repeat(3000);
        let template = Template::parse(&branches).expect("it is one");
        assert_eq!(template.reads().len(), 1);
    }
}
