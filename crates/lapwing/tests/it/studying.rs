//! `lapwing lab falsify`: the study of a small model, its record, its page, and going on.

use serde_json::Value;

use crate::evaluating::Lab;
use crate::files_below;

const MODEL: &str = "stories260k-ov-int4";

#[test]
fn a_study_records_every_part_and_goes_on_where_it_was_broken_off() {
    let Some(lab) = Lab::new() else { return };
    let (model, reference) = (lab.export(MODEL), lab.export("stories260k-ov-fp32"));
    let (text, other) =
        (lab.text("wikitext2-test.raw", 40_000), lab.text("war-and-peace-head.txt", 20_000));
    let passages = lab.data("lambada-1000.jsonl");
    let out = lab.lapwing.path("study");
    let line = [
        "lab",
        "falsify",
        "--reference",
        &reference,
        "--text",
        &text,
        "--other-text",
        &other,
        "--windows",
        "56",
        "--window",
        "64",
        "--lambada",
        &passages,
        "--passages",
        "3",
        "--out",
        out.to_str().unwrap(),
        "--model",
        &model,
    ];
    // The second model is not there: the first one is kept.
    // The study's former name is still taken.
    let former = [&["eval"], &line[1..], &["--model", "no-such-model"]].concat();
    let missing = lab.run(&former).expect_code(1);
    assert!(missing.stderr.contains("no-such-model"), "{}", missing.stderr);
    assert!(!out.join("study.json").exists());
    // What is kept is kept for the same rules of the gate.
    let cache = lab.lapwing.path("cache/eval");
    let kept = std::fs::read_to_string(cache.join(&files_below(&cache)[0])).unwrap();
    let key: Value = serde_json::from_str(kept.lines().next().unwrap()).unwrap();
    let gate = &key["key"]["gate"];
    assert_eq!((&gate["min_gain_nats"], &gate["confidence"]), (&0.01.into(), &0.95.into()));
    let twice = lab.run(&[&line[..], &["--model", &model]].concat()).expect_code(2);
    twice.expect_says(&["is the same model as", "hint: name every model"]);
    let resumed = lab.run(&[&line[..], &["--json"]].concat()).expect_code(0);
    assert!(resumed.stderr.contains("1 were finished by an earlier run"), "{}", resumed.stderr);
    let told: Value = serde_json::from_str(&resumed.stdout).unwrap();
    assert_eq!(files_below(&out), ["study.html", "study.json"]);
    // Nothing is left to go on from.
    assert!(files_below(&lab.lapwing.path("cache/eval")).is_empty());

    let record: Value =
        serde_json::from_slice(&std::fs::read(out.join("study.json")).unwrap()).unwrap();
    assert_eq!(told, record);
    is_complete(&record["study"]["subjects"][0]);
    let page = std::fs::read_to_string(out.join("study.html")).unwrap();
    assert!(page.contains(MODEL) && page.matches("<figure>").count() == 4, "{page}");
}

fn is_complete(subject: &Value) {
    assert_eq!(subject["name"], MODEL);
    let conditions = subject["conditions"].as_array().unwrap();
    let find = |name: &str| {
        let found = conditions.iter().find(|condition| condition["name"] == name);
        found.unwrap_or_else(|| panic!("no condition {name}"))
    };
    let at_home = |name: &str| find(name)["scores"][0].clone();
    let perplexity = |name: &str| at_home(name)["perplexity"].as_f64().unwrap();
    assert_eq!(conditions[0]["name"], "raw");
    // A gain of 1 changes nothing, to the last bit.
    assert_eq!(at_home("one gain 1"), at_home("raw"));
    // What is made again from the same gains scores the same.
    let default = "kls, maximum likelihood, 16 bands";
    assert_eq!(perplexity("default, R x 1"), perplexity(default));
    // A frozen filter is far worse than none, and noise only pushes further that way.
    assert!(2.0 * perplexity("raw") < perplexity("one gain 0"));
    assert!(perplexity("default, R x 0.25") != perplexity("default, R x 4"));
    // Both domains for candidates, the home domain for ablations.
    assert_eq!(find(default)["scores"].as_array().unwrap().len(), 2);
    assert_eq!(find("default, inverted gains")["scores"].as_array().unwrap().len(), 1);
    let ids: Vec<&Value> =
        subject["hypotheses"].as_array().unwrap().iter().map(|claim| &claim["id"]).collect();
    assert_eq!(ids, ["H1", "H2", "H3"]);
    for claim in subject["hypotheses"].as_array().unwrap() {
        let (low, high) = (&claim["interval"]["low"], &claim["interval"]["high"]);
        let expected = match (low.as_f64().unwrap(), high.as_f64().unwrap()) {
            (_, high) if high < 0.0 => "refuted",
            (low, _) if low <= 0.0 => "undecided",
            _ => continue,
        };
        // H2 can be refuted by the likelihood, which is another interval.
        assert!(claim["finding"] == expected || claim["id"] == "H2", "{claim}");
    }
    assert_eq!(subject["speeds"][0]["ratio"], 1.0);
    assert_eq!(subject["full_precision"].as_array().unwrap().len(), 2);
    let accuracies = subject["accuracies"].as_array().unwrap();
    assert_eq!(
        (&accuracies[0]["name"], &accuracies[1]["name"]),
        (&"full precision".into(), &"raw".into())
    );
    assert_eq!(accuracies[0]["n_items"], 3);
}
