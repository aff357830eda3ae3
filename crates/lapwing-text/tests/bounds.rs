//! No template takes more than 64 MB or 2 s, whatever it does within one expression.
//!
//! One test, so that the process's memory is that of one rendering after the other.

use std::path::Path;
use std::time::{Duration, Instant};

use lapwing_text::{ChatTemplate, LocalTime, Message, RenderError, RenderInput, SpecialTokens};

/// What a rendering may take on top of what the process had.
const BYTES_MAX: u64 = 64 << 20;

/// The deadline, and what a slow machine takes to notice it.
const TIME_MAX: Duration = Duration::from_millis(2500);

/// Expressions that multiply what they are given: `B` is a text of 8 MB, `L` a list of 100 000
/// numbers, `T` one of a thousand texts of 8 kB.
const EXPRESSIONS: &[&str] = &[
    // From the issue.
    "('a'*60000000).replace('a','b'*200)",
    "'{:>1000000000}'.format(1)",
    "'%.999999999f'|format(1.5)",
    "range(100000)|list|join('a'*100000)",
    // Operators.
    "'x' * 10000000000",
    "'x' * 170141183460469231731687303715884105727",
    "[1] * 10000000000",
    "(1, 2) * 1000000000",
    "B + B + B",
    "B ~ B ~ B ~ B",
    "L + L + L + L + L + L + L + L",
    "[B, B, B, B] | string",
    "B[::-1] + B[1:] + B[:-1]",
    "[L[1:], L[1:], L[1:], L[1:], L[1:], L[1:], L[1:], L[1:]]",
    "10 ** 100",
    "2 ** 1000000000",
    // Formats.
    "'%1000000000d' % 1",
    "'%-1000000000s' % 'x'",
    "'%*d' % (1000000000, 1)",
    "'%.*f' % (1000000000, 1.5)",
    "'%99999999999999999999d' % 1",
    "'{:{}}'.format('x', 1000000000)",
    "'{:.1000000000f}'.format(1.5)",
    "'{0}{0}{0}{0}'.format(B)",
    "('{0}' * 1000000).format(B)",
    "('%(a)s' * 1000000) % {'a': B}",
    "'{!r}'.format([B, B, B])",
    // Filters of texts.
    "B | replace('a', 'bb')",
    "B | replace('', 'b' * 100)",
    "B | indent('x' * 1000000, true)",
    "('\\n' * 1000000) | indent(1000000, blank=true)",
    "'x' | indent(1000000000, true)",
    "'x' | center(1000000000)",
    "(B | escape) ~ (B | escape) ~ ('<' * 8000000) | escape",
    "('é' * 8000000) | urlencode",
    "('ΐ' * 5000000) | upper",
    "('<' * 8000000) | e",
    "'x' | truncate(5, end=B, leeway=0)",
    "B | list",
    "B | batch(1) | list",
    "B | wordcount",
    "B | map('upper') | list",
    "B | sort | join",
    "B | unique | list",
    "B | groupby('x')",
    "(B ~ ' ') | title | capitalize | upper | lower | trim",
    // Filters of rows.
    "T | join(B)",
    "T | map('replace', 'a', 'bb') | list",
    "T | map('indent', 1000000) | list",
    "T | map('center', 1000000) | list",
    "T | map('list') | list",
    "T | map('string') | join ~ (T | join) ~ (T | join)",
    "L | slice(1000000000) | list",
    "range(10) | slice(1000000000) | list | length",
    "'' | slice(1000000000) | list | length",
    "[1] | batch(1000000000, 0) | list",
    "(L + L + L + L) | batch(1) | list | length",
    "(L + L + L + L) | batch(1) | map('list') | map('slice', 1) | map('list') | list | length",
    "(L + L + L + L) | groupby('x') | length",
    "(L + L + L) | map('string') | map('upper') | map('trim') | list | length",
    "('a ' * 8000000).split(' ') | map('list') | list | length",
    "(['a'] * 400000) | map(attribute='upper') | list | length",
    "(['a'] * 400000) | map('upper') | list | length",
    "([''] * 400000) | map('replace', 'a', 'b') | list | length",
    "([[]] * 400000) | map('reverse') | list | length",
    "([[]] * 400000) | map('sort') | map('unique') | list | length",
    "([{}] * 400000) | map('dictsort') | list | length",
    "([{}] * 400000) | map(attribute='copy') | list | length",
    "([[1, 2]] * 400000) | map('batch', 1) | map('list') | list | length",
    "([joiner] * 400000) | map('string') | list | length",
    "L | sum(start=[])",
    "L | map('string') | sort | unique | list | length",
    "(L | map('string') | list) | unique | list | length",
    "[L, L, L, L, L, L, L, L, L, L] | sum(start=[]) | length",
    "[[L] * 1000] * 1000 | string",
    "[[[L] * 1000] * 1000] * 1000 == [[[L] * 1000] * 1000] * 1000",
    "[[[L] * 1000] * 1000] * 1000 | tojson",
    "[[B] * 1000] | tojson",
    "[[[1] * 1000] * 1000] | tojson(indent=64)",
    "('\\u0001' * 8000000) | tojson",
    "('😀' * 4000000) | tojson(true)",
    "[1] * 100000 | tojson(separators=(B, B))",
    "{'a': B, 'b': B} | tojson",
    "{'a': B} | dictsort | string ~ B ~ B",
    "range(99999) | map('string') | join('x' * 1000)",
    "[range(99999), range(99999), range(99999), range(99999), range(99999), range(99999)] \
     | map('list') | list",
    // Methods.
    "B.replace('a', 'bb')",
    "B.replace('', 'b' * 100)",
    "B.join(T)",
    "B.join(B)",
    "B.split('a')",
    "(B.split('a') | list)[0]",
    "('a ' * 4000000).split()",
    "('a ' * 4000000).rsplit()",
    "('a\\n' * 4000000).splitlines()",
    "B.rsplit('a')",
    "B.center(1000000000)",
    "'x'.ljust(170141183460469231731687303715884105727)",
    "'x'.zfill(1000000000)",
    "('\\t' * 8000000).expandtabs(1000000)",
    "'\\t'.expandtabs(170141183460469231731687303715884105727)",
    "('ß' * 8000000).upper() ~ ('ß' * 8000000).casefold()",
    "B.partition('a') ~ B",
    "(B ~ 'b').count('ab') ~ B.find('b') ~ B.index('a')",
    "B.strip('x' * 1000000)",
    // Functions.
    "range(10000000000)",
    "range(170141183460469231731687303715884105727, -5, -1)",
    "[cycler(*range(900)), cycler(*range(900))] * 1000000",
    "dict(L | batch(2))",
    "dict((L | batch(2) | list) + (L | batch(2) | list))",
    "namespace(a=B, b=B ~ B, c=B ~ B)",
    "strftime_now('%c' * 10000000)",
    "raise_exception(B ~ B ~ B)",
    "lipsum(1000000)",
];

/// Whole templates that do so step by step.
const TEMPLATES: &[&str] = &[
    "{% macro m(x, n) %}{% if n %}{{ m(x ~ x, n-1) }}{% endif %}{% endmacro %}{{ m('aaaa', 40) }}",
    "{% macro m(x, n) %}{% if n %}{{ m([x, x], n-1) }}{% else %}{{ x | tojson }}{% endif %}\
     {% endmacro %}{{ m('aaaa', 30) }}",
    "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% else %}aaaaaaaa{% endif %}{% endmacro %}\
     {{ m(30) }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}\
     {{ ns.x == ns.x }}{{ ns.x | string }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}\
     {% set a = ns.x %}{% set ns.x = [1] %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}\
     {% endfor %}{{ a == ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = ns.x + [i] %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ ('a' * 100000).find('b') }}{% endfor %}",
    "{% for i in range(99999) %}{{ ('a' * 1000000) | length }}{% endfor %}",
    "{% set d = dict(range(99998) | batch(2)) %}{% for i in d %}{{ d[i] }}{% endfor %}",
    "{% for i in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "{% set x %}{% for i in range(99999) %}{{ 'a' * 10000 }}{% endfor %}{% endset %}",
    "{% filter replace('a', 'b' * 1000) %}{{ 'a' * 1000000 }}{% endfilter %}",
    "{% macro w() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call w() %}{% call w() %}{% call w() %}\
     {{ 'a' * 8000000 }}{% endcall %}{% endcall %}{% endcall %}",
    "{% macro m() %}{{ m(*varargs, **kwargs) }}{{ varargs }}{% endmacro %}{{ m(*range(900)) }}",
];

fn render(source: &str) -> Result<String, RenderError> {
    let source = ChatTemplate::from_source(source, SpecialTokens::default(), Path::new("test"));
    source.render(&RenderInput {
        messages: &[Message::new("user", "x")],
        tools: None,
        documents: None,
        add_generation_prompt: true,
        now: LocalTime::from_unix(0, 0),
        extra: &serde_json::Map::new(),
    })
}

/// The most memory that this process ever had, where the system tells.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

#[test]
fn no_expression_takes_more_than_64_mb_or_2_s() {
    render("{{ messages[0].content }}").unwrap();
    let before = peak_bytes();
    let check = |source: &str, what: &str| {
        let started = Instant::now();
        let result = render(source);
        let (elapsed, taken) = (started.elapsed(), peak_bytes() - before);
        assert!(elapsed < TIME_MAX, "{what}: {elapsed:?}");
        assert!(taken < BYTES_MAX, "{what}: {} MB", taken >> 20);
        match &result {
            Ok(text) => assert!(text.len() < 16 << 20, "{what}: {}", text.len()),
            Err(RenderError::Unbounded { .. } | RenderError::Raised { .. }) => {}
            Err(RenderError::Failed { .. }) => {}
            Err(other) => panic!("{what}: {other:?}"),
        }
        result
    };
    for expression in EXPRESSIONS {
        let source = format!(
            "{{% set B = 'a' * 8000000 %}}{{% set L = range(99999) | list %}}\
             {{% set T = ['a' * 8000] * 1000 %}}{{{{ {expression} }}}}"
        );
        let _ = check(&source, expression);
    }
    for template in TEMPLATES {
        let result = check(template, template);
        assert!(matches!(result, Err(RenderError::Unbounded { .. })), "{template}: {result:?}");
    }
}

#[test]
fn what_the_issue_lists_is_refused_by_name() {
    for expression in &EXPRESSIONS[..4] {
        let result = render(&format!("{{{{ {expression} }}}}"));
        assert!(matches!(result, Err(RenderError::Unbounded { .. })), "{expression}: {result:?}");
    }
}
