//! The names of filters.

/// The filters that there are.
pub(super) const KNOWN: [&str; 48] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
];

/// Those of jinja2 that are not there.
pub(super) const MISSING: [&str; 6] =
    ["filesizeformat", "pprint", "random", "urlize", "wordwrap", "xmlattr"];

/// Whether there is a filter of that name.
pub(in crate::jinja) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}
