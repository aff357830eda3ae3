//! Profiles: what is written is read again, and nothing else is.

use std::sync::Arc;

use lapwing_logits::profile::{
    Array, Arrays, BandFinding, ChangeInterval, CorrectionProfile, CorrectionRecipe, Diagnostics,
    GainsRecipe, Gate, GateRules, HeadMapRecipe, PROFILE_BYTES_MAX, ProfiledModel, ProfiledText,
    ReadProfileError, RepetitionFinding, ReversionRecipe, SCHEMA_VERSION, SIDECAR_BYTES_MAX,
    Sidecar, SmoothingRecipe, TextFinding, TextRole, Verdict,
};
use lapwing_logits::{Gains, Gauge, Levels, Rescale, Scope, Smoothing};
use serde_json::{Value, json};

const RULES: GateRules = GateRules {
    confidence: 0.95,
    min_gain_nats: 0.01,
    min_divergence_share: 0.02,
    allow_one_domain: false,
};

const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn model(name: &str) -> ProfiledModel {
    ProfiledModel {
        name: name.to_owned(),
        sha256: SHA256.to_owned(),
        backend: "ort".to_owned(),
        device: "CPU".to_owned(),
        precision: "int4-g32".to_owned(),
        n_vocab: 4,
    }
}

fn profile(sidecar: &[u8]) -> CorrectionProfile {
    let interval = ChangeInterval { mean: -0.25, low: -0.375, high: -0.125 };
    CorrectionProfile {
        schema_version: SCHEMA_VERSION,
        model: model("smollm2"),
        reference: Some(model("smollm2-f32")),
        texts: vec![ProfiledText {
            role: TextRole::HeldOut,
            name: "wiki.txt".to_owned(),
            sha256: SHA256.to_owned(),
            n_bytes: 4096,
            n_tokens: 1024,
        }],
        seed: 7,
        estimator: "maximum-likelihood".to_owned(),
        diagnostics: diagnostics(),
        candidates: vec![Verdict {
            name: "offset".to_owned(),
            texts: vec![TextFinding {
                text: "wiki.txt".to_owned(),
                role: TextRole::HeldOut,
                n_positions: 1023,
                nll_change: interval,
                kl_change: Some(interval),
                rare_nll_change: Some(interval),
                rare_probability_change: None,
            }],
            repetition: Some(RepetitionFinding { share_off: 0.125, share_on: 0.25 }),
            helps: true,
            reason: "less KL on both texts".to_owned(),
        }],
        gate: Gate {
            open: true,
            chosen: Some("offset".to_owned()),
            reason: "it helps".to_owned(),
            rules: RULES,
        },
        correction: CorrectionRecipe {
            offset: Some("offset".to_owned()),
            smoothing: Some(SmoothingRecipe {
                gains: GainsRecipe::Each("gains".to_owned()),
                scope: Scope::TopK { n_tracked_max: 1024 },
                gauge: Gauge::LogSumExp,
                reversion: Some(ReversionRecipe { coefficient: 0.6, levels: "levels".to_owned() }),
                rescale: Rescale::TopVariance { n_top: 64 },
            }),
        },
        head_map: Some(HeadMapRecipe {
            n_hidden: 2,
            matrix: "head_map.matrix".to_owned(),
            bias: "head_map.bias".to_owned(),
            ridge: 0.5,
            body_recipe: Some(json!({"checkpoint_sha256": SHA256, "target": "onnx"})),
        }),
        sidecar: Some(Sidecar {
            file: "smollm2.CPU.correction.safetensors".to_owned(),
            sha256: SHA256.to_owned(),
            n_bytes: sidecar.len() as u64,
        }),
    }
}

fn diagnostics() -> Diagnostics {
    Diagnostics {
        n_positions: 1024,
        n_windows: 2,
        frozen_share: 0.75,
        bands: vec![BandFinding {
            n_tokens: 4,
            mean_logit: -1.5,
            increment_autocovariances: [2.0, -0.5, 0.125],
            coefficient: Some(0.5),
            state_variance: None,
            noise_variance: Some(0.5),
            gain: 0.875,
        }],
    }
}

fn arrays() -> Arrays {
    let mut arrays = Arrays::default();
    arrays.insert("offset", Array::vector([0.5, -0.25, 0.0, 1e-30].into()));
    arrays.insert("gains", Array::vector([1.0, 0.5, 0.0, 0.25].into()));
    arrays.insert("levels", Array::vector([0.0, -8.0, 3.0, 4.0].into()));
    let matrix: Arc<[f32]> = [1.0, 0.125, 0.0, 1.0].into();
    arrays.insert("head_map.matrix", Array { shape: vec![2, 2], values: matrix });
    arrays.insert("head_map.bias", Array::vector([0.0, -1.0].into()));
    arrays
}

#[test]
fn what_is_written_is_read() {
    let sidecar = arrays().to_bytes().expect("arrays");
    let written = profile(&sidecar);
    let read = CorrectionProfile::parse(&written.to_json().expect("json")).expect("a profile");
    assert_eq!(read, written);
    let arrays = read.arrays(Some(&sidecar)).expect("a sidecar");
    assert_eq!(arrays, self::arrays());
    assert_eq!(arrays.to_bytes().expect("arrays"), sidecar);

    let correction = read.correction(&arrays).expect("arrays fit").expect("a correction");
    assert_eq!(correction.n_vocab(), 4);
    assert_eq!(correction.offset(), Some(&[0.5, -0.25, 0.0, 1e-30][..]));
    let expected = Smoothing {
        gains: Gains::Each([1.0, 0.5, 0.0, 0.25].into()),
        scope: Scope::TopK { n_tracked_max: 1024 },
        gauge: Gauge::LogSumExp,
        reversion: Some(Levels { coefficient: 0.6, levels: [0.0, -8.0, 3.0, 4.0].into() }),
        rescale: Rescale::TopVariance { n_top: 64 },
    };
    assert_eq!(correction.smoothing(), Some(&expected));
    let head_map = read.head_map(&arrays).expect("arrays fit").expect("a map");
    assert_eq!((head_map.n_hidden, &head_map.matrix[..]), (2, &[1.0, 0.125, 0.0, 1.0][..]));
    assert_eq!(head_map.bias[..], [0.0, -1.0]);
}

#[test]
fn the_json_is_as_documented() {
    let json = profile(&[]).to_json().expect("json");
    let json: Value = serde_json::from_slice(&json).expect("json");
    let smoothing = json!({
        "gains": {"each": "gains"},
        "scope": {"top_k": {"n_tracked_max": 1024}},
        "gauge": "log_sum_exp",
        "reversion": {"coefficient": 0.6, "levels": "levels"},
        "rescale": {"top_variance": {"n_top": 64}},
    });
    assert_eq!(json["correction"], json!({"offset": "offset", "smoothing": smoothing}));
    assert_eq!(json["texts"][0]["role"], "held_out");
    let rules = json!({
        "confidence": 0.95,
        "min_gain_nats": 0.01,
        "min_divergence_share": 0.02,
        "allow_one_domain": false,
    });
    let gate = json!({"open": true, "chosen": "offset", "reason": "it helps", "rules": rules});
    assert_eq!(json["gate"], gate);
    let text = &json["candidates"][0]["texts"][0];
    assert_eq!(text["rare_nll_change"], text["nll_change"]);
    assert_eq!(text["rare_probability_change"], Value::Null);
}

#[test]
fn a_profile_without_arrays() {
    let mut nothing = profile(&[]);
    nothing.sidecar = None;
    nothing.head_map = None;
    nothing.reference = None;
    let reason = "nothing helps".to_owned();
    nothing.gate = Gate { open: false, chosen: None, reason, rules: RULES };
    nothing.correction = CorrectionRecipe { offset: None, smoothing: None };
    let read = CorrectionProfile::parse(&nothing.to_json().expect("json")).expect("a profile");
    assert_eq!(read, nothing);
    let arrays = read.arrays(None).expect("no sidecar");
    assert!(read.correction(&arrays).expect("nothing to find").is_none());
    assert!(read.head_map(&arrays).expect("nothing to find").is_none());
    let unasked = read.arrays(Some(&[0; 9])).expect_err("no sidecar is expected");
    assert_eq!(unasked.to_string(), "a sidecar of 9 bytes: expected 0");
}

/// Error and cause of a profile in which the value at `pointer` is another one.
fn refused(pointer: &str, value: Value) -> String {
    let json = profile(&[]).to_json().expect("json");
    let mut json: Value = serde_json::from_slice(&json).expect("json");
    *json.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    let json = serde_json::to_vec(&json).expect("json");
    with_cause(&CorrectionProfile::parse(&json).expect_err(pointer))
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_cause(source)),
        None => error.to_string(),
    }
}

#[test]
fn profiles_that_are_none_are_refused() {
    let check = |pointer: &str, value: Value, expected: &str| {
        let found = refused(pointer, value);
        assert!(found.starts_with(expected), "{pointer}: {found}");
    };
    check("/schema_version", json!(2), "a correction profile of schema version 2: expected 3");
    check("/schema_version", json!(u64::MAX), "a correction profile of schema version 18446");
    check("/schema_version", json!("1"), "not a correction profile: invalid type");
    check("/seed", json!(null), "not a correction profile: invalid type: null, expected u64");
    check("/gate", json!({"open": false}), "not a correction profile: missing field `reason`");
    check("/model/n_vocab", json!(-1), "not a correction profile: invalid value");
    check("/model/n_vocab", json!(0), "n_vocab in the correction profile is \"0\": expected at");
    check("/texts/0/role", json!("x"), "not a correction profile: unknown variant `x`");
    check("/diagnostics/frozen_share", json!(null), "not a correction profile: invalid type: null");
    let sha256 = |expected: &'static str| {
        move |pointer: &str, value: &str| {
            check(pointer, json!(value), expected);
        }
    };
    let of_model = sha256("sha256 of a model in the correction profile is");
    of_model("/model/sha256", "abc");
    of_model("/reference/sha256", &SHA256.to_uppercase());
    sha256("sha256 of a text in")("/texts/0/sha256", &format!("{SHA256}0"));
    sha256("sha256 of the sidecar in")("/sidecar/sha256", "");
    check("/head_map/body_recipe", json!("x"), "body_recipe of the head map in");
    for file in ["", "../x", "/etc/x", "a/b", "a\\b", ".x", "c:x", "a\0b"] {
        check("/sidecar/file", json!(file), "file of the sidecar in the correction profile is");
    }
    // Three arrays of four numbers, a map of two by two and its constant, and the header.
    let most = 4 * (3 * 4 + 2 * 2 + 2) + 4096 + 8;
    let too_long = "n_bytes of the sidecar in the correction profile is";
    check("/sidecar/n_bytes", json!(most + 1), too_long);
    check("/sidecar/n_bytes", json!(u64::MAX), too_long);
    check("/sidecar/n_bytes", json!(most), "the correction profile was changed");
    let chosen = "chosen of the gate in the correction profile is";
    check("/gate/chosen", json!("another"), chosen);
    check("/gate/chosen", json!(null), chosen);
    let unknown = json!({"offset": null, "smoothing": null, "ofset": "x"});
    check("/correction", unknown, "not a correction profile: unknown field `ofset`");
    let scope = "/correction/smoothing/scope";
    check(scope, json!({"top_k": {"n_tracked_max": 2, "k": 1}}), "not a correction profile: unk");
    check(scope, json!({"top_k": {}}), "not a correction profile: missing field `n_tracked_max`");
    check(scope, json!("half"), "not a correction profile: unknown variant `half`");
}

#[test]
fn bytes_that_are_no_profile_are_refused() {
    let json = profile(&[]).to_json().expect("json");
    for n_bytes in 0..json.len() - 2 {
        let error = CorrectionProfile::parse(&json[..n_bytes]).expect_err("cut off");
        assert!(matches!(error, ReadProfileError::Json { .. }), "{n_bytes}: {error}");
    }
    let nested = "[".repeat(100_000);
    let error = CorrectionProfile::parse(nested.as_bytes()).expect_err("nested");
    assert!(matches!(error, ReadProfileError::Json { .. }), "{error}");
    let long = vec![b' '; PROFILE_BYTES_MAX + 1];
    let error = CorrectionProfile::parse(&long).expect_err("long");
    assert_eq!(
        error.to_string(),
        "a correction profile of 1048577 bytes: expected at most 1048576"
    );
    // A later version may have another form: it is told as a version all the same.
    let error = CorrectionProfile::parse(br#"{"schema_version": 9, "new": []}"#);
    let error = error.expect_err("another version");
    assert_eq!(error.to_string(), "a correction profile of schema version 9: expected 3");
}

#[test]
fn a_profile_that_was_edited_is_refused() {
    let changed = "the correction profile was changed after it was written: expected sha256 ";
    let check = |pointer: &str, value: Value| {
        let found = refused(pointer, value);
        assert!(found.starts_with(changed), "{pointer}: {found}");
    };
    check("/correction/offset", json!(null));
    check("/correction/smoothing/gains", json!({"one": 0.5}));
    check("/correction/smoothing/reversion/coefficient", json!(0.61));
    check("/gate/reason", json!("it helped"));
    check("/head_map/body_recipe/target", json!("openvino"));
    check("/model/precision", json!("fast"));
    check("/sha256", json!(SHA256));
    let found = refused("/sha256", json!("abc"));
    assert!(found.starts_with("sha256 in the correction profile is \"abc\""), "{found}");

    let json = profile(&[]).to_json().expect("json");
    let mut value: Value = serde_json::from_slice(&json).expect("json");
    // How it is laid out does not matter, and another field is not overlooked.
    let compact = serde_json::to_vec(&value).expect("json");
    assert_eq!(CorrectionProfile::parse(&compact).expect("a profile"), profile(&[]));
    value["ofset"] = json!(1);
    let error = CorrectionProfile::parse(&serde_json::to_vec(&value).expect("json"));
    let found = with_cause(&error.expect_err("an unknown field"));
    assert!(found.starts_with("not a correction profile: unknown field `ofset`"), "{found}");
    let fields = value.as_object_mut().expect("an object");
    fields.retain(|name, _| !["ofset", "sha256"].contains(&name.as_str()));
    let error = CorrectionProfile::parse(&serde_json::to_vec(&value).expect("json"));
    let found = with_cause(&error.expect_err("no checksum"));
    assert!(found.starts_with("not a correction profile: missing field `sha256`"), "{found}");
}

#[test]
fn numbers_that_json_cannot_hold_are_not_written() {
    let mut written = profile(&[]);
    written.diagnostics.frozen_share = f64::NAN;
    let error = with_cause(&written.to_json().expect_err("NaN"));
    assert!(error.starts_with("the correction profile would not be read again: not a"), "{error}");
    let mut arrays = Arrays::default();
    arrays.insert("x", Array { shape: vec![3], values: [0.0; 2].into() });
    let error = with_cause(&arrays.to_bytes().expect_err("two of three"));
    assert!(error.starts_with("cannot write the arrays of the correction profile: "), "{error}");
    arrays.insert("x".repeat(5000), Array::vector([0.0; 2].into()));
    arrays.insert("x", Array::vector([0.0; 2].into()));
    let error = with_cause(&arrays.to_bytes().expect_err("a long name"));
    assert!(error.contains("expected at most 4096"), "{error}");
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let check = |name: &str, array: Option<Array>, expected: &str| {
        let profile = profile(&[]);
        let mut arrays = Arrays::default();
        for kept in self::arrays().names().filter(|&kept| kept != name) {
            arrays.insert(kept, self::arrays().get(kept).expect("a name").clone());
        }
        if let Some(array) = array {
            arrays.insert(name, array);
        }
        let error = match profile.correction(&arrays) {
            Ok(_) => profile.head_map(&arrays).map(|_| ()).expect_err(expected),
            Err(error) => error,
        };
        assert_eq!(with_cause(&error), expected);
    };
    check("offset", None, "array \"offset\" is not in the sidecar");
    check("gains", None, "array \"gains\" is not in the sidecar");
    check("levels", None, "array \"levels\" is not in the sidecar");
    check("head_map.bias", None, "array \"head_map.bias\" is not in the sidecar");
    check(
        "gains",
        Some(Array::vector([0.5; 5].into())),
        "array \"gains\" in the sidecar has shape [5]: expected [4]",
    );
    check(
        "head_map.matrix",
        Some(Array::vector([0.5; 4].into())),
        "array \"head_map.matrix\" in the sidecar has shape [4]: expected [2, 2]",
    );
    check(
        "offset",
        Some(Array::vector([0.0, 0.0, f32::NAN, f32::INFINITY].into())),
        "array \"offset\" in the sidecar holds NaN at 2: expected finite numbers",
    );
    check(
        "gains",
        Some(Array::vector([0.0, 0.0, 1.5, 0.0].into())),
        "the correction profile describes no correction: \
         the correction's gains hold 1.5 at token 2: expected 0 to 1",
    );
}

#[test]
fn a_vocabulary_that_no_model_has_is_refused_before_it_is_allocated() {
    let mut profile = profile(&[]);
    profile.model.n_vocab = usize::MAX;
    profile.correction.offset = None;
    profile.correction.smoothing.as_mut().expect("one").gains = GainsRecipe::One(0.5);
    profile.correction.smoothing.as_mut().expect("one").reversion = None;
    let error = profile.correction(&arrays()).expect_err("no such vocabulary");
    assert!(matches!(error, ReadProfileError::Correction { .. }), "{error}");
}

#[test]
fn no_profile_asks_for_more_than_any_sidecar_has() {
    let check = |n_bytes: u64, is_taken: bool| {
        let mut profile = profile(&[]);
        profile.model.n_vocab = usize::MAX;
        profile.head_map.as_mut().expect("one").n_hidden = usize::MAX;
        profile.sidecar.as_mut().expect("one").n_bytes = n_bytes;
        assert_eq!(profile.to_json().is_ok(), is_taken, "{n_bytes}");
    };
    check(SIDECAR_BYTES_MAX, true);
    check(SIDECAR_BYTES_MAX + 1, false);
}

#[test]
fn sidecars_that_are_none_are_refused() {
    let bytes = arrays().to_bytes().expect("arrays");
    let n_bytes = bytes.len();
    for n_kept in 0..n_bytes {
        match Arrays::parse(&bytes[..n_kept]).expect_err("cut off") {
            ReadProfileError::SidecarLength { expected, found } => {
                assert_eq!(found, n_kept as u64);
                assert!(found < expected && expected <= n_bytes as u64, "{found} {expected}");
            }
            error => panic!("{n_kept}: {error}"),
        }
    }
    let check = |bytes: &[u8], expected: &str| {
        let error = with_cause(&Arrays::parse(bytes).expect_err(expected));
        assert!(error.starts_with(expected), "{error}");
    };
    let longer = [&bytes[..], &[0]].concat();
    check(&longer, &format!("a sidecar of {} bytes: expected {n_bytes}", n_bytes + 1));
    let profile = profile(&bytes);
    let error = profile.arrays(Some(&bytes[1..])).expect_err("cut off");
    let expected = format!("a sidecar of {} bytes: expected {n_bytes}", n_bytes - 1);
    assert_eq!(error.to_string(), expected);
    let error = profile.arrays(None).expect_err("left away");
    assert_eq!(error.to_string(), format!("a sidecar of 0 bytes: expected {n_bytes}"));

    let with_header = |header: &str, n_data: usize| {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &vec![0; n_data]].concat()
    };
    check(&u64::MAX.to_le_bytes(), "a sidecar with a header of 18446744073709551615 bytes");
    check(&with_header("no json", 0), "the sidecar is not safetensors: expected ");
    check(
        &with_header(r#"{"x":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#, 4),
        "array \"x\" in the sidecar is of type F16: expected F32",
    );
    for tensor in [
        // A shape of other length, a gap, an overflow, an end before the start.
        r#""shape":[2],"data_offsets":[0,4]"#,
        r#""shape":[1],"data_offsets":[4,8]"#,
        r#""shape":[4294967296,4294967296],"data_offsets":[0,4]"#,
        r#""shape":[1],"data_offsets":[0,18446744073709551615]"#,
        r#""shape":[1],"data_offsets":[4,0]"#,
    ] {
        let header = format!(r#"{{"x":{{"dtype":"F32",{tensor}}}}}"#);
        check(&with_header(&header, 8), "the sidecar is not safetensors: ");
    }
}
