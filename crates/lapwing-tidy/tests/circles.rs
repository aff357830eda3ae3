//! No circles among the modules of a crate: what two modules need of each other is a third one.
//!
//! Read from the text: every path of the code that begins with `crate`, `super`, `self` or a child
//! module leads to the longest module that it names. A child may use what is its parent's, so an
//! arrow to a module's own ancestors does not count; what an item is re-exported from does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module, as its path from the crate's root.
type Module = Vec<String>;
/// Who uses whom.
type Arrows = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn modules_form_no_circles() {
    let mut wrong = Vec::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<_> = fs::read_dir(crates).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let circles = circles(&arrows(&modules(&folder.join("src"))));
        wrong.extend(circles.iter().map(|circle| format!("{name}: {circle}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The text of every module, without its tests and comments.
fn modules(src: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    let mut folders = vec![src.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("the folder can be listed").path();
            let relative = path.strip_prefix(src).expect("below the sources").with_extension("");
            let module: Module = relative.iter().map(|s| s.to_string_lossy().into()).collect();
            let last = module.last().map_or("", String::as_str);
            if last == "tests" || module == ["bin"] {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let is_root = module == ["lib"] || module == ["main"];
                let module = if is_root { Module::new() } else { module };
                modules.insert(module, code(&fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    modules
}

fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn arrows(modules: &BTreeMap<Module, String>) -> Arrows {
    let is_module = |path: &[String]| modules.contains_key(path);
    let of = |from: &Module, text: &String| {
        let paths = paths(text).into_iter().filter_map(|path| leads_to(from, &path, &is_module));
        paths.filter(|to| !from.starts_with(to)).collect()
    };
    modules.iter().map(|(from, text)| (from.clone(), of(from, text))).collect()
}

/// The module that a path in `from` leads to.
fn leads_to(from: &Module, path: &[&str], is_module: &dyn Fn(&[String]) -> bool) -> Option<Module> {
    let mut at = from.clone();
    let mut rest = path;
    while let [first, tail @ ..] = rest
        && ["crate", "super", "self"].contains(first)
    {
        match *first {
            "crate" => at.clear(),
            "super" => drop(at.pop()),
            _ => {}
        }
        rest = tail;
    }
    let begins_here = rest.len() < path.len();
    for (idx, segment) in rest.iter().enumerate() {
        at.push((*segment).to_owned());
        if !is_module(&at) {
            at.pop();
            return (begins_here || idx > 0).then_some(at);
        }
    }
    Some(at)
}

/// All paths of at least two names, those in the braces of `use` spelled out.
fn paths(text: &str) -> Vec<Vec<&str>> {
    let tokens = tokens(text);
    let (mut paths, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let is_inside = at > 0 && ["::", "."].contains(&tokens[at - 1]);
        match is_name(tokens[at]) && !is_inside {
            true => at = read_path(&tokens, at, &[], &mut paths),
            false => at += 1,
        }
    }
    paths.retain(|path| path.len() > 1);
    paths
}

/// Read the path at `at`, which goes on from `prefix`; returns where it ends.
fn read_path<'a>(
    tokens: &[&'a str],
    mut at: usize,
    prefix: &[&'a str],
    paths: &mut Vec<Vec<&'a str>>,
) -> usize {
    let token = |at: usize| tokens.get(at).copied().unwrap_or_default();
    let mut path = prefix.to_vec();
    while is_name(token(at)) {
        path.push(token(at));
        at += 1;
        if token(at) != "::" {
            break;
        }
        at += 1;
    }
    if token(at) == "{" && token(at - 1) == "::" {
        at += 1;
        while !["}", ""].contains(&token(at)) {
            let end = read_path(tokens, at, &path, paths);
            at = end.max(at + 1);
        }
        return at + 1;
    }
    paths.push(path);
    at
}

fn tokens(text: &str) -> Vec<&str> {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let n_bytes = match first {
            c if is_of_name(c) => rest.find(|c| !is_of_name(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        let (token, tail) = rest.split_at(n_bytes);
        if !token.trim().is_empty() {
            tokens.push(token);
        }
        rest = tail;
    }
    tokens
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Every set of modules that lead to each other, with the arrows between them.
fn circles(arrows: &Arrows) -> Vec<String> {
    let reached: BTreeMap<_, _> = arrows.keys().map(|from| (from, reached(arrows, from))).collect();
    let mut circles = BTreeSet::new();
    for from in arrows.keys().filter(|from| reached[from].contains(*from)) {
        let is_in = |to: &&Module| reached[from].contains(*to) && reached[to].contains(from);
        let circle: BTreeSet<_> = arrows.keys().filter(is_in).collect();
        let told = circle.iter().map(|from| {
            let to = arrows[*from].iter().filter(|to| circle.contains(to));
            let to: Vec<String> = to.map(|to| to.join("::")).collect();
            format!("{} -> {}", from.join("::"), to.join(", "))
        });
        circles.insert(told.collect::<Vec<_>>().join("; "));
    }
    circles.into_iter().collect()
}

fn reached(arrows: &Arrows, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = arrows[from].iter().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module.clone()) {
            next.extend(&arrows[module]);
        }
    }
    reached
}

#[test]
fn a_circle_is_found_and_a_child_that_uses_its_parent_is_none() {
    let check = |files: &[(&str, &str)], expected: &[&str]| {
        let module = |name: &str| name.split("::").map(str::to_owned).collect::<Module>();
        let files = files.iter().map(|(name, text)| (module(name), code(text)));
        assert_eq!(circles(&arrows(&files.collect())), expected);
    };
    check(&[("a", "use crate::b::B;"), ("b", "use super::{c, d::D};"), ("c", ""), ("d", "")], &[]);
    check(
        &[("a", "use crate::{c, b::{B, BB}};"), ("b", "fn f() { super::a::f(); }"), ("c", "")],
        &["a -> b; b -> a"],
    );
    check(&[("a", "mod b;\nuse b::B;"), ("a::b", "use super::A; use crate::a::f;")], &[]);
    check(
        &[("a", "mod b;\nuse b::B;"), ("a::b", "use crate::c::C;"), ("c", "use crate::a::b;")],
        &["a::b -> c; c -> a::b"],
    );
    check(
        &[
            ("a", "// crate::b::B\n#[cfg(test)]\nmod tests { use crate::b; }"),
            ("b", "crate::a::f()"),
        ],
        &[],
    );
    check(&[("a", "let b = a.b::<u8>(); self::g(b)"), ("b", "a::f()")], &[]);
}
