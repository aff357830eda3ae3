use std::sync::Arc;

use super::value::budget::Budget;
use super::value::marks::Marks;
use super::value::{Dict, Value};
use super::{Fail, Template};
use crate::LocalTime;

fn render(source: &str) -> Result<String, (usize, Fail)> {
    let message = Dict::given([("content".into(), "a<b>c".into())]);
    let variables = vec![(Arc::from("m"), message)];
    let template = Template::parse(source).unwrap();
    template.render(variables, LocalTime::from_unix(0, 0), &Budget::new(Marks::default()))
}

#[test]
fn line_ends_of_a_template_are_made_one() {
    let check = |source: &str, expected: &str| assert_eq!(render(source).unwrap(), expected);
    check("a\r\nb\rc\n", "a\nb\nc");
    check("{% if 1 %}\r\nx\r\n  {% endif %}\r\ny\r\n", "x\ny");
    check("{{ 'a\r\nb' }}", "a\nb");
    check("a\n\n", "a\n");
}

#[test]
fn white_space_goes_as_jinja2_lets_it_go() {
    // Expected texts are those of jinja2 3.1 with trim_blocks and lstrip_blocks.
    let check = |source: &str, expected: &str| assert_eq!(render(source).unwrap(), expected);
    check("a\n  {% if 1 %}\n  b\n  {% endif %}\nc", "a\n  b\nc");
    check("a  {% if 1 %} b {% endif %} c", "a   b  c");
    check("  {{ 1 }}\n  {{ 2 }}\n", "  1\n  2");
    check("a\n  {#- c -#}\n  b", "ab");
    check("a\n  {# c #}\n  b", "a\n  b");
    check("a\n  {%+ if 1 %}\n b{% endif +%}\nc", "a\n   b\nc");
    check("{% if 1 -%}\n\n  a\n\n  {%- endif %}\nb", "ab");
    check("{% raw %}\n {{ x }}\n {% endraw %}\nb", "\n {{ x }}\nb");
    check("a {{- ' b ' -}} c", "a b c");
    check("{% for i in [1, 2] %}\n{{ i }}\n{% endfor %}\n", "1\n2\n");
    check("{% for i in [1, 2] %}{{ i }}\n    {% endfor %}", "1\n2\n");
    check("{% set x = 1 %}\n\n{% set y = 2 %}\n{{ x }}{{ y }}", "\n12");
}

#[test]
fn what_a_template_looks_for_is_known() {
    let template = Template::parse(
        "{% if '</think>' in m.content %}{{ m.content.split('<a>')[0] | replace('<b>', '') }}{% endif %}\
         {% if m.role == '<c>' %}{{ '<d>' + m.content }}{% endif %}",
    )
    .unwrap();
    for text in ["</think>", "<a>", "<b>", "<c>"] {
        assert!(template.looks_for(text), "{text}");
    }
    assert!(!template.looks_for("<d>"));
}

#[test]
fn a_budget_is_of_what_lives() {
    // Two hundred megabytes in all, a few at a time.
    let source = "{% for i in range(100) %}{% set x = 'a' * 2000000 %}{% endfor %}done";
    assert_eq!(render(source).unwrap(), "done");
    let kept = "{% set ns = namespace(x=[]) %}{% for i in range(100) %}\
                {% set ns.x = ns.x + ['a' * 2000000] %}{% endfor %}";
    assert!(matches!(render(kept), Err((1, Fail::Bound(exceeded))) if exceeded.bound == "memory"));
}

#[test]
fn nothing_of_a_rendering_is_left_behind() {
    let budget = Budget::new(Marks::default());
    let before = format!("{budget:?}");
    let source = "{% macro a(n) %}{% if n %}{{ a(n - 1) }}{% endif %}{% endmacro %}{{ a(9) }}\
                  {% set ns = namespace(m=a) %}{% set c = cycler(1, [2]) %}\
                  {% for i in [1, [2]] recursive %}{% set l = [loop, i, c, ns] %}{% endfor %}";
    let template = Template::parse(source).unwrap();
    template.render(Vec::new(), LocalTime::from_unix(0, 0), &budget).unwrap();
    let n_bytes = |text: &str| text.split("work").next().map(str::to_owned);
    assert_eq!(n_bytes(&format!("{budget:?}")), n_bytes(&before));
}

#[test]
fn a_given_value_costs_nothing() {
    let long = Value::from(&*"x".repeat(100 << 20));
    let template = Template::parse("{{ long | length }}{{ long[:3] }}").unwrap();
    let variables = vec![(Arc::from("long"), long)];
    let text =
        template.render(variables, LocalTime::from_unix(0, 0), &Budget::new(Marks::default()));
    assert_eq!(text.unwrap(), "104857600xxx");
}
