use std::fs;

use lapwing_formats::{ir, onnx};
use lapwing_model::ModelFolder;

use super::*;
use crate::gguf_file::small;
use crate::head_map::tests::map;
use crate::plan::Precision;
use crate::recipe::read_recipe;
use crate::shared::shared;

const STORIES: &str = "exports/stories260k-hf";
const TARGETS: [(Target, &str); 2] =
    [(Target::OpenVino, "openvino_model.xml"), (Target::Onnx, "genai_config.json")];

fn go_on(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_appears_whole_and_alone() {
    let Some(source) = shared(STORIES) else { return };
    for (target, file) in TARGETS {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("deep/out");
        let options = ExportOptions::new(Precision::F32);
        let mut n_heard = 0;
        let report = export(&source, target, &options, &out, &mut |progress: Progress<'_>| {
            assert!(progress.n_tensors_done < progress.n_tensors);
            n_heard += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(n_heard > 5, "{n_heard}");
        assert_eq!(report.folder, out);
        // The embedding and seven projections a layer; the head is the embedding.
        assert_eq!(report.tensors.len(), 1 + 5 * 7);
        assert!(report.tensors.iter().all(|tensor| tensor.relative_rms == 0.0));
        assert_eq!(names(&folder.path().join("deep")), ["out"]);
        assert!(out.join(file).is_file() && out.join("tokenizer.json").is_file());
    }
}

#[test]
fn a_stopped_export_leaves_nothing() {
    let Some(source) = shared(STORIES) else { return };
    for (target, _) in TARGETS {
        for n_tensors in [0, 3, 20] {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("out");
            let options = ExportOptions::new(Precision::F16);
            let stop = &mut |progress: Progress<'_>| match progress.n_tensors_done < n_tensors {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            };
            let error = export(&source, target, &options, &out, stop).unwrap_err();
            assert!(matches!(error, ExportError::Stopped), "{error}");
            assert_eq!(names(folder.path()), [""; 0]);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_checkpoint_that_is_written_to_meanwhile_gives_no_export() {
    let Some(original) = shared(STORIES) else { return };
    for (target, _) in TARGETS {
        let folder = tempfile::tempdir().unwrap();
        let (source, out) = (folder.path().join("source"), folder.path().join("out"));
        fs::create_dir(&source).unwrap();
        for name in names(&original) {
            fs::write(source.join(&name), fs::read(original.join(&name)).unwrap()).unwrap();
        }
        let weights = source.join("model.safetensors");
        let file = fs::File::options().write(true).open(&weights).unwrap();
        let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        file.set_modified(earlier).unwrap();
        let options = ExportOptions::new(Precision::F16);
        let write = &mut |progress: Progress<'_>| {
            if progress.n_tensors_done == 3 {
                std::os::unix::fs::FileExt::write_all_at(&file, &[1], 1 << 16).unwrap();
            }
            ControlFlow::Continue(())
        };
        let error = export(&source, target, &options, &out, write).unwrap_err();
        assert!(matches!(&error, ExportError::Changed(of) if of.path == weights), "{error}");
        assert_eq!(names(folder.path()), ["source"]);
    }
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name_at_every_precision() {
    let precisions = [
        Precision::F32,
        Precision::F16,
        Precision::Int8 { group_size: None, symmetric: true },
        Precision::Int4 { group_size: 16, symmetric: false },
    ];
    let tensors = [
        ("token_embd.weight", "model.embed_tokens.weight", &[6, 16][..]),
        ("output_norm.weight", "model.norm.weight", &[16]),
        ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", &[16, 24]),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (in_file, name, shape) in tensors {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut elements = vec![0.5; shape.iter().product()];
            elements[13] = bad;
            let source = small("llama").tensor(in_file, shape, &elements).write(folder.path());
            for (target, precision) in
                TARGETS.into_iter().flat_map(|(target, _)| precisions.map(|one| (target, one)))
            {
                let out = folder.path().join("out");
                let options = ExportOptions::new(precision);
                let error = export(&source, target, &options, &out, &mut go_on).unwrap_err();
                let expected =
                    format!("{name}: expected finite weights, found {bad} as element 13");
                assert_eq!(error.to_string(), expected, "{} {precision}", target.name());
                assert!(!out.exists());
            }
        }
    }
}

#[test]
fn what_is_there_is_kept_unless_it_is_an_export_to_overwrite() {
    let Some(source) = shared(STORIES) else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = |overwrite: bool| {
        let mut options = ExportOptions::new(Precision::F32);
        options.overwrite = overwrite;
        export(&source, Target::Onnx, &options, &out, &mut go_on)
    };
    fs::create_dir(&out).unwrap();
    run(false).unwrap();
    fs::write(out.join("mine.txt"), "a note").unwrap();
    let error = run(false).unwrap_err();
    assert!(matches!(error, ExportError::OutputExists { .. }), "{error}");
    assert!(out.join("mine.txt").is_file());
    run(true).unwrap();
    assert!(!out.join("mine.txt").exists());
    assert_eq!(names(folder.path()), ["out"]);

    fs::remove_file(out.join("genai_config.json")).unwrap();
    let error = run(true).unwrap_err();
    assert!(matches!(error, ExportError::NotAnExport { .. }), "{error}");
    assert!(out.join("model.onnx").is_file());

    fs::remove_dir_all(&out).unwrap();
    fs::write(&out, "a file").unwrap();
    let error = run(true).unwrap_err();
    assert!(matches!(error, ExportError::Write { .. }), "{error}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "a file");
}

#[test]
fn the_report_tells_what_a_target_could_not_store_as_asked() {
    let down = "model.layers.0.mlp.down_proj.weight";
    // Scale 1, minimum -0.5: zero lies between two codes.
    let mut block = [0x3c; 20];
    block[..4].copy_from_slice(&[0x00, 0x3c, 0x00, 0xb8]);
    let mut file = small("llama");
    file.u32("llama.feed_forward_length", 32)
        .tensor("blk.0.ffn_gate.weight", &[32, 16], &[0.5; 512])
        .tensor("blk.0.ffn_up.weight", &[32, 16], &[0.5; 512])
        .q4_1("blk.0.ffn_down.weight", &[16, 32], block);
    let folder = tempfile::tempdir().unwrap();
    let source = file.write(folder.path());
    let options = ExportOptions::new(Precision::Int4 { group_size: 32, symmetric: false });
    let run = |target, name: &str| {
        let out = folder.path().join(name);
        export(&source, target, &options, &out, &mut go_on).unwrap()
    };
    // Groups of 32 do not divide the 16 columns of all others.
    let report = run(Target::OpenVino, "ir");
    assert_eq!((report.n_other_precision(), report.n_lost_grids()), (6, 0));
    let up = report.tensors.iter().find(|tensor| tensor.name.contains("up_proj")).unwrap();
    let (asked, stored) = ("int4 group 32 asymmetric", "int8 per row asymmetric");
    assert_eq!((up.asked.as_str(), up.precision.as_str()), (asked, stored));
    assert!(report.tensors.iter().any(|tensor| tensor.name == down && tensor.kept_grid));

    let report = run(Target::Onnx, "onnx");
    assert_eq!((report.n_other_precision(), report.n_lost_grids()), (0, 1));
    let lost = report.tensors.iter().find(|tensor| tensor.lost_grid).unwrap();
    assert!(lost.name == down && !lost.kept_grid, "{lost:?}");
}

#[test]
fn mxfp4_is_kept_where_the_target_holds_it() {
    let down = "model.layers.0.mlp.down_proj.weight";
    let folder = tempfile::tempdir().unwrap();
    let source_of = |exponent: u8| {
        // Two blocks a row.
        let blocks = (0..32_u8).flat_map(|row| {
            let codes = (0..16_u8).map(move |idx| idx.wrapping_mul(37).wrapping_add(row));
            std::iter::once(exponent + row % 3).chain(codes)
        });
        let mut file = small("llama");
        file.u32("llama.feed_forward_length", 64)
            .tensor("blk.0.ffn_gate.weight", &[64, 16], &[0.5; 1024])
            .tensor("blk.0.ffn_up.weight", &[64, 16], &[0.5; 1024])
            .mxfp4("blk.0.ffn_down.weight", &[16, 64], blocks.collect());
        file.write(folder.path())
    };
    let stored_of = |exponent, target, precision| {
        let source = source_of(exponent);
        let options = ExportOptions { overwrite: true, ..ExportOptions::new(precision) };
        let out = folder.path().join("out");
        let report = export(&source, target, &options, &out, &mut go_on).unwrap();
        let n_lost = report.n_lost_grids();
        let down = report.tensors.into_iter().find(|tensor| tensor.name == down).unwrap();
        assert_eq!((&*down.source_dtype, n_lost), ("MXFP4", usize::from(down.lost_grid)));
        down
    };
    let stored = |target, precision| stored_of(119, target, precision);
    let int4 = |group_size| Precision::Int4 { group_size, symmetric: false };
    let kept = stored(Target::OpenVino, int4(32));
    assert_eq!(
        (&*kept.precision, kept.kept_grid, kept.relative_rms),
        ("mxfp4 group 32", true, 0.0)
    );
    let other = stored(Target::OpenVino, int4(16));
    assert!(!other.kept_grid && !other.lost_grid && other.relative_rms > 0.01, "{other:?}");
    let lost = stored(Target::Onnx, int4(32));
    assert!(!lost.kept_grid && lost.lost_grid && lost.relative_rms > 0.01, "{lost:?}");
    // Every element is a half of a whole number.
    let int8 = |group_size, symmetric| Precision::Int8 { group_size, symmetric };
    for target in [Target::OpenVino, Target::Onnx] {
        let exact = stored(target, int8(Some(32), true));
        assert!(exact.kept_grid && exact.relative_rms == 0.0, "{exact:?}");
        let rounded = stored(target, int8(None, true));
        assert!(!rounded.kept_grid && !rounded.lost_grid, "{rounded:?}");
        assert!(rounded.relative_rms > 0.0, "{rounded:?}");
        // Scales of 2^-25 and 2^-26 are beyond f16.
        let lost = stored_of(102, target, int8(Some(32), true));
        assert!(!lost.kept_grid && lost.lost_grid && lost.relative_rms > 0.0, "{lost:?}");
    }
}

#[test]
fn a_killed_export_is_swept_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let source = small("llama").write(folder.path());
    fs::create_dir(folder.path().join(".out.tmp-41-0")).unwrap();
    fs::create_dir(folder.path().join(".out.old-41-0")).unwrap();
    let out = folder.path().join("out");
    let options = ExportOptions::new(Precision::F32);
    export(&source, Target::Onnx, &options, &out, &mut go_on).unwrap();
    assert_eq!(names(folder.path()), ["model.gguf", "out"]);
}

#[test]
fn the_checkpoint_is_never_overwritten() {
    let Some(source) = shared(STORIES) else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in names(&source) {
        fs::write(folder.path().join(&name), fs::read(source.join(&name)).unwrap()).unwrap();
    }
    fs::write(folder.path().join("genai_config.json"), "{}").unwrap();
    let before = names(folder.path());
    let mut options = ExportOptions::new(Precision::F32);
    options.overwrite = true;
    let error = export(folder.path(), Target::Onnx, &options, folder.path(), &mut go_on);
    assert!(matches!(error.unwrap_err(), ExportError::NotAnExport { .. }));
    assert_eq!(names(folder.path()), before);
}

/// Both edits that backends make at load find the head of the folder at `out`.
fn check_edits(target: Target, out: &Path) {
    match target {
        Target::OpenVino => {
            let mut model = ir::IrModel::open(&out.join("openvino_model.xml")).unwrap();
            let sliced = ir::slice_before_head(&mut model).unwrap();
            assert!(matches!(sliced, ir::SliceEdit::Sliced { .. }), "{sliced:?}");
            let exposed = ir::expose_hidden(&mut model, ir::ElementType::F32).unwrap();
            assert!(matches!(exposed, ir::HiddenEdit::Exposed { .. }), "{exposed:?}");
        }
        Target::Onnx => {
            let mut model = onnx::OnnxModel::open(&out.join("model.onnx")).unwrap();
            let sliced = onnx::slice_before_head(&mut model, "logits").unwrap();
            assert!(matches!(sliced, onnx::SliceEdit::Inserted { .. }), "{sliced:?}");
            let exposed = onnx::expose_hidden(&mut model, "logits").unwrap();
            assert!(matches!(exposed, onnx::HiddenEdit::Exposed { .. }), "{exposed:?}");
        }
    }
}

#[test]
fn a_mapped_head_is_stored_apart_from_the_embedding() {
    let Some(source) = shared(STORIES) else { return };
    for (target, file) in TARGETS {
        for name in ["f32", "f16", "int8"] {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("out");
            let mut options = ExportOptions::new(Precision::named(name, None, false).unwrap());
            options.head_map = Some(map(64, 0.1));
            let mut n_heard = 0;
            let report = export(&source, target, &options, &out, &mut |progress: Progress<'_>| {
                assert!(progress.n_tensors_done < progress.n_tensors);
                n_heard += 1;
                ControlFlow::Continue(())
            });
            let tensors = report.unwrap().tensors;
            assert_eq!(tensors.len(), 1 + 5 * 7 + 1);
            let head = tensors.iter().find(|tensor| tensor.name == "lm_head.weight").unwrap();
            assert_eq!((&head.shape[..], head.kept_grid), (&[512, 64][..], false));
            check_edits(target, &out);
            assert_eq!(ModelFolder::open(&out, None).unwrap().architecture.n_vocab, 512);
            assert!(out.join(file).is_file());
            if let Ok(config) = fs::read(out.join("config.json")) {
                let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
                assert_eq!(config["tie_word_embeddings"], false);
            }
            let recipe = read_recipe(&out).unwrap().unwrap();
            assert_eq!(recipe.head_map_sha256, Some(map(64, 0.1).sha256()));
        }
    }
}

#[test]
fn a_recipe_tells_how_a_folder_was_made() {
    let Some(source) = shared(STORIES) else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut options = ExportOptions::new(Precision::named("int4", None, true).unwrap());
    options.per_tensor.insert("*.v_proj.*".to_owned(), Precision::F16);
    export(&source, Target::OpenVino, &options, &out, &mut go_on).unwrap();
    let recipe = read_recipe(&out).unwrap().unwrap();
    assert_eq!(recipe.lapwing_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(recipe.checkpoint_sha256.len(), 64);
    assert_eq!(recipe.target, Target::OpenVino);
    assert_eq!(recipe.weights, "int4 group 32 symmetric");
    assert_eq!((&*recipe.embedding, &*recipe.head), (&*recipe.head, "int8 per row symmetric"));
    assert_eq!(recipe.per_tensor["*.v_proj.*"], "f16");
    assert_eq!(recipe.head_map_sha256, None);
    let json = serde_json::to_value(recipe.body()).unwrap();
    assert_eq!(serde_json::from_value::<crate::BodyRecipe>(json).unwrap(), recipe.body());
    assert_eq!(read_recipe(folder.path()).unwrap(), None);
}

#[test]
fn a_map_is_folded_only_into_the_body_it_was_fitted_to() {
    let Some(source) = shared(STORIES) else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = |target, options: &ExportOptions, name: &str| {
        export(&source, target, options, &folder.path().join(name), &mut go_on)
    };
    let plain = ExportOptions::new(Precision::named("int8", None, true).unwrap());
    run(Target::Onnx, &plain, "plain").unwrap();
    let body = read_recipe(&folder.path().join("plain")).unwrap().unwrap().body();
    let mapped = crate::HeadMap { body: Some(body), ..map(64, 0.1) };
    let options = ExportOptions { head_map: Some(mapped.clone()), ..plain.clone() };
    run(Target::Onnx, &options, "mapped").unwrap();
    // The head itself may be another.
    let mut other_head = options.clone();
    other_head.per_tensor.insert("lm_head.weight".to_owned(), Precision::F16);
    run(Target::Onnx, &other_head, "other-head").unwrap();

    let refused = |target, options: &ExportOptions, expected: &[&str]| {
        let error = run(target, options, "refused").unwrap_err();
        assert!(matches!(error, ExportError::OtherBody { .. }), "{error}");
        for part in expected {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(!folder.path().join("refused").exists());
    };
    refused(Target::OpenVino, &options, &["target", "expected onnx", "found openvino"]);
    let mut other = ExportOptions { weights: Precision::F16, ..options.clone() };
    refused(Target::Onnx, &other, &["weights", "expected int8 per row symmetric", "found f16"]);
    other = ExportOptions { head: Precision::F32, ..options.clone() };
    refused(Target::Onnx, &other, &["embedding", "found f32"]);
    other = options.clone();
    other.per_tensor.insert("*.up_proj.*".to_owned(), Precision::F32);
    refused(Target::Onnx, &other, &["expected no exception", "found *.up_proj.*: f32"]);
    let mut body = mapped.body.clone().unwrap();
    body.checkpoint_sha256 = "0".repeat(64);
    other = ExportOptions {
        head_map: Some(crate::HeadMap { body: Some(body), ..mapped.clone() }),
        ..options.clone()
    };
    refused(Target::Onnx, &other, &["checkpoint", "expected 0000", "in this export"]);
    other = ExportOptions { head_map: Some(map(63, 0.1)), ..options };
    let error = run(Target::Onnx, &other, "refused").unwrap_err();
    assert!(matches!(error, ExportError::HeadMap { .. }), "{error}");
}

#[test]
fn an_export_for_an_npu_is_symmetric_and_says_so() {
    let Some(source) = shared(STORIES) else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let options = ExportOptions::for_npu(&Checkpoint::open(&source).unwrap().architecture);
    let report = export(&source, Target::OpenVino, &options, &out, &mut go_on).unwrap();
    assert_eq!(report.n_other_precision(), 0);
    // The model is 64 wide: no group of 128 fits.
    let recipe = read_recipe(&out).unwrap().unwrap();
    assert_eq!(recipe.weights, "int4 per row symmetric");
    assert_eq!((&*recipe.embedding, &*recipe.head), (&*recipe.head, "int8 per row symmetric"));
    let model = ir::IrModel::open(&out.join("openvino_model.xml")).unwrap();
    let notes = model.weight_compression().unwrap();
    assert_eq!((&*notes.mode, notes.group_size), ("int4_sym", Some(-1)));
    check_edits(Target::OpenVino, &out);
}
