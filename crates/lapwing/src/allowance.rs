//! What a container allows, in words.

use lapwing_files::Allowance;

use crate::printer::human_bytes;

/// `0.5 processors and 600.0 MB of memory`; `None` where nothing is limited.
pub fn told(allowance: &Allowance) -> Option<String> {
    let Allowance { n_cpus, memory_bytes } = *allowance;
    let processors = n_cpus.map(|n_cpus| match n_cpus {
        1.0 => "1 processor".to_owned(),
        n_cpus => format!("{} processors", (n_cpus * 100.0).round() / 100.0),
    });
    let memory = memory_bytes.map(|n_bytes| format!("{} of memory", human_bytes(n_bytes)));
    processors.into_iter().chain(memory).reduce(|first, second| format!("{first} and {second}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_limited_is_told() {
        let check = |n_cpus, memory_bytes, expected: Option<&str>| {
            assert_eq!(told(&Allowance { n_cpus, memory_bytes }).as_deref(), expected);
        };
        check(None, None, None);
        check(Some(1.0), None, Some("1 processor"));
        check(None, Some(600_000_000), Some("600.0 MB of memory"));
        check(Some(0.5), Some(600_000_000), Some("0.5 processors and 600.0 MB of memory"));
    }
}
