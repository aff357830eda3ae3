use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::*;
use crate::record::{Energy, EnergySource};

fn options() -> ReportOptions {
    ReportOptions { title: "Records".into(), notes: Vec::new() }
}

fn many() -> Vec<Record> {
    let mut records = Vec::new();
    for run_idx in 0..6 {
        for (backend, n_threads) in
            [("openvino", 2), ("openvino", 1), ("onnxruntime", 2), ("llama.cpp", 2)]
        {
            records.extend(sample::run(backend, n_threads, run_idx));
        }
    }
    records
}

/// Every element of the page, with its attributes; fails unless the page is well-formed.
fn elements(page: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut reader = Reader::from_str(page);
    reader.config_mut().check_end_names = true;
    let mut elements = Vec::new();
    let mut depth = 0_usize;
    loop {
        let event = reader.read_event().expect("well-formed");
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                depth += usize::from(matches!(event, Event::Start(_)));
                let name = tag.name().as_ref().to_owned();
                let attributes = tag.attributes().map(|attribute| {
                    let attribute = attribute.expect("well-formed attributes");
                    let key = attribute.key.as_ref().to_owned();
                    (key, attribute.value.into_owned())
                });
                elements.push((name, attributes.collect()));
            }
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "every element ends");
    elements
}

fn check_page(records: &[Record]) -> String {
    let page = html(records, &options());
    let elements = elements(&page);
    let mut ids = BTreeSet::new();
    let mut last_heading = 0;
    for (name, attributes) in &elements {
        for load in ["src", "srcset", "action", "data", "xlink:href"] {
            assert!(!attributes.contains_key(load), "{name} {attributes:?}");
        }
        if let Some(target) = attributes.get("href") {
            assert!(target.starts_with('#') || target == "data:,", "{target}");
        }
        if let Some(id) = attributes.get("id") {
            assert!(ids.insert(id.clone()), "{id} twice");
        }
        assert!(!attributes.keys().any(|key| key.starts_with("on")), "{attributes:?}");
        if let Some(order) = name.strip_prefix('h').and_then(|order| order.parse::<u32>().ok()) {
            assert!(order <= last_heading + 1, "{name} after h{last_heading}");
            last_heading = order;
        }
    }
    for (_, attributes) in &elements {
        let targets = attributes.get("href").and_then(|href| href.strip_prefix('#'));
        for target in targets.into_iter().chain(attributes.get("aria-labelledby").map(|s| &**s)) {
            assert!(ids.contains(target), "nothing is called {target}");
        }
    }
    let count = |wanted: &str| elements.iter().filter(|(name, _)| name == wanted).count();
    assert_eq!(count("script"), 1);
    assert_eq!((count("figure"), count("table")), (count("figcaption"), count("caption")));
    for load in ["http://", "https://", "@import", "url(//"] {
        assert!(!page.contains(load), "{load}");
    }
    page
}

#[test]
fn a_page_is_well_formed_and_loads_nothing() {
    let sections = |page: &str| page.matches("<h2 ").count();
    assert!(check_page(&[]).contains("There are no records."));
    assert!(sections(&check_page(&[sample::decode(0)])) >= 7);
    check_page(&[sample::prefill(512)]);
    check_page(&[sample::start()]);
    let page = check_page(&many());
    assert_eq!(sections(&page), 12, "{page}");
    assert_eq!(page.matches("<figure>").count(), 12);
}

#[test]
fn equal_records_make_equal_pages_in_any_order() {
    let mut records = many();
    let page = html(&records, &options());
    assert_eq!(page, html(&records, &options()));
    records.reverse();
    let reversed = html(&records, &options());
    assert_eq!(page.len(), reversed.len());
}

#[test]
fn what_records_say_is_only_text() {
    let evil = "<script>alert(1)</script>\"'&\u{202e}\0]]>";
    let mut records = many();
    for (idx, record) in records.iter_mut().enumerate() {
        let text = format!("{evil}{}", idx % 3);
        record.run_id = text.clone();
        record.host = text.clone();
        record.measured_at = text.clone();
        record.program.name = text.clone();
        record.program.version = Some(text.clone());
        record.program.git_revision = Some(text.clone());
        record.test.name = text.clone();
        let configuration = &mut record.configuration;
        configuration.model = text.clone();
        configuration.model_sha256 = text.clone();
        configuration.backend = text.clone();
        configuration.device_used = Some(text.clone());
        configuration.device_name = Some(text.clone());
        configuration.precision = text.clone();
        configuration.settings.insert(text.clone(), text.clone());
        record.conditions.cpu_model = Some(text.clone());
        record.conditions.governor = Some(text.clone());
        record.conditions.library_versions = Some(BTreeMap::from([(text.clone(), text.clone())]));
        record.nulls.insert(text.clone(), text.clone());
        record.energy = Some(Energy {
            source: EnergySource::Rapl,
            sensors: vec![text],
            measured_s: 1.0,
            total_energy_j: 2.0,
            idle_power_w: Some(0.5),
            energy_j: Some(1.5),
            n_tokens: 128,
            joules_per_token: Some(0.01),
        });
    }
    let page = check_page(&records);
    assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert"));
    assert!(!page.contains('\0') && !page.contains('\u{202e}'));
    let options = ReportOptions { title: evil.into(), notes: vec![evil.into()] };
    elements(&html(&records, &options));
    let text = markdown(&records, &options);
    assert!(!text.contains("<script") && !text.contains('\0'), "{text}");
}

#[test]
fn numbers_without_sense_do_no_harm() {
    for value in [f64::MAX, f64::MIN, 5e-324, -0.0, 0.0, 1e300] {
        let mut records = many();
        for record in &mut records {
            if let Some(latency) = &mut record.latency {
                latency.samples_ms = vec![value; 3];
                latency.tokens_per_s.median = value;
                latency.tokens_per_s.high = Some(value);
                if let Some(between) = &mut latency.inter_token_ms {
                    between.p50 = value;
                    between.histogram.edges_ms = vec![value, -value, value];
                }
            }
            if let Some(start) = &mut record.start {
                start.compile_cold_ms = Some(value);
            }
            if let Some(step) = &mut record.step_us {
                step.inference = Some(value);
                step.total = value;
            }
            record.memory.peak_rss_bytes = Some(u64::MAX);
            record.test.n_prompt_tokens = usize::MAX;
            record.test.n_depth_tokens = usize::MAX;
        }
        check_page(&records);
        assert!(!csv(&records).is_empty());
        assert!(!markdown(&records, &options()).is_empty());
    }
}

#[test]
fn use_stands_apart_from_measurements() {
    let measured = many();
    let with_use = [measured.clone(), vec![sample::in_use(7), sample::in_use(8)]].concat();
    let page = check_page(&with_use);
    assert!(page.contains("In use") && page.contains("Answers in use"));
    assert_eq!(csv(&with_use), csv(&measured));
    let tables = |records: &[Record]| markdown(records, &options());
    let (plain, text) = (tables(&measured), tables(&with_use));
    let table = |text: &str| {
        let parts = text.split("\n\n").skip(2).map(|part| part.trim().to_owned());
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>()
    };
    let (plain, text) = (table(&plain), table(&text));
    assert_eq!(text[..plain.len()], plain[..], "tables of measurements stay as they are");
    assert_eq!(text.len(), plain.len() + 1);
    assert!(text[plain.len()].contains("| 2026-11-09T12:02:00Z |"), "{}", text[plain.len()]);
    // Alone they make a page, too.
    let page = check_page(&[sample::in_use(1)]);
    assert!(page.contains("In use") && !page.contains("Best of"), "{page}");
}

#[test]
fn markdown_is_a_summary_and_a_table() {
    let text = markdown(&many(), &options());
    assert!(text.starts_with("## Records\n\n- Models: smollm2-135m-instruct\n"), "{text}");
    let rules = text.lines().filter(|line| line.starts_with("| ---")).count();
    assert_eq!(rules, 2, "{text}");
    // Configurations times the tests that are timed.
    assert_eq!(
        text.lines().filter(|line| line.contains("| pp") || line.contains("| tg")).count(),
        4 * 6 + 4
    );
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| Configuration"));
    let n_columns = columns(lines.next().unwrap());
    assert!(lines.take_while(|line| !line.is_empty()).all(|line| columns(line) == n_columns));
}

#[test]
#[ignore = "writes pages to look at"]
fn pages_to_look_at() {
    let folder = std::env::temp_dir().join("lapwing-report");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let options = ReportOptions { title: "Profiles of laptop".into(), notes: Vec::new() };
    write("many.html", html(&many(), &options));
    write("one.html", html(&sample::run("openvino", 2, 1), &options));
    write("empty.html", html(&[], &options));
    write("many.md", markdown(&many(), &options));
    let lines: Vec<String> =
        many().iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    write("many.jsonl", lines.join("\n") + "\n");
}
