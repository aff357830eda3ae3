use std::collections::HashMap;

use clap::Parser;
use lapwing_store::{Origin, PipChoice};

use super::*;

struct World {
    folder: tempfile::TempDir,
    environment: HashMap<&'static str, OsString>,
}

fn world(file: &str, environment: &[(&'static str, &str)]) -> World {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lapwing.toml"), file).unwrap();
    let mut environment: HashMap<_, _> =
        environment.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
    environment.insert(env::LAPWING_HOME, folder.path().into());
    World { folder, environment }
}

fn resolve(world: &World, line: &str) -> Result<Settings, ResolveSettingsError> {
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
    Settings::resolve_with(&cli, &|name| world.environment.get(name).cloned())
}

const RUN: &str = "lapwing run --model m";

#[test]
fn flag_then_environment_then_file_then_constant() {
    let check = |file: &str, environment: &[(&'static str, &str)], line: &str, expected: &str| {
        let settings = resolve(&world(file, environment), line).unwrap();
        assert_eq!(settings.options.device.to_string(), expected, "{file} {environment:?} {line}");
    };
    let in_file = "device = \"npu\"";
    let in_environment = [("LAPWING_DEVICE", "gpu")];
    let flag = "lapwing run --model m --device cpu";
    check("", &[], RUN, "auto");
    check(in_file, &[], RUN, "npu");
    check(in_file, &in_environment, RUN, "gpu");
    check(in_file, &in_environment, flag, "cpu");
    check(in_file, &[("LAPWING_DEVICE", "")], RUN, "npu");
}

#[test]
fn wrong_values_say_where_they_are() {
    let check = |file: &str, environment: &[(&'static str, &str)], expected: &str| {
        let error = anyhow::Error::from(resolve(&world(file, environment), RUN).unwrap_err());
        let text = format!("{error:#}");
        assert!(text.contains(expected), "{text} does not say {expected}");
    };
    check("", &[("LAPWING_THREADS", "0")], "environment variable LAPWING_THREADS");
    check("", &[("LAPWING_BACKEND", "tpu")], "found \"tpu\"");
    check("threads = -3", &[], "key `threads` of ");
    // Also what happens to be within the words of what was expected.
    check("trial_mb = \"a\"", &[], "found \"a\"");
    check("", &[("LAPWING_THREADS", "number")], "found \"number\"");
    check("threads = 99999", &[], "expected at most ");
    check("threads = 99999", &[], "processor");
    check("", &[("LAPWING_THREADS", "5000000000")], "environment variable LAPWING_THREADS");
    check("", &[("LAPWING_THREADS", "5000000000")], "processor");
    check("[property]\nINFERENCE_NUM_THREADS = 99999", &[], "expected at most ");
    check("threads = [1, 2]", &[], "expected one value, found \"1, 2\"");
    check("trial_mb = 0", &[], "key `trial_mb` of ");
    check("", &[("LAPWING_DEVICE", "tpu")], "LAPWING_DEVICE: unknown device `tpu`: expected auto");
    check("treads = 3", &[], "unknown field `treads`");
    check("pip = 5", &[], "expected a command: a text, or a list of texts");
    check("device = ", &[], "lapwing.toml is wrong");
    let former = "[recommendations.m]\ndevice = \"gpu\"";
    check(former, &[], "lapwing.toml is wrong: `recommendations` is no longer read");
}

#[test]
fn a_named_settings_file_must_exist() {
    let world = world("", &[(env::LAPWING_CONFIG, "/nowhere/lapwing.toml")]);
    let error = resolve(&world, RUN).unwrap_err();
    assert!(matches!(error, ResolveSettingsError::File(ReadSettingsError::Read { .. })));
}

#[test]
fn a_settings_file_from_windows() {
    let settings = resolve(&world("\u{feff}device = \"npu\"\r\n", &[]), RUN).unwrap();
    assert_eq!(settings.options.device.to_string(), "npu");
    let world = world("", &[]);
    std::fs::write(world.folder.path().join("lapwing.toml"), b"\xff\xfed\0").unwrap();
    let error = anyhow::Error::from(resolve(&world, RUN).unwrap_err());
    assert!(format!("{error:#}").ends_with("UTF-16, not UTF-8"), "{error:#}");
    assert!(crate::hint::for_error(&error, None).unwrap().contains("iconv -f UTF-16 "));
}

#[test]
fn a_property_is_said_once_for_each_key() {
    let check = |file: &str, environment: &[(&'static str, &str)], more: &str, expected: &str| {
        let settings = resolve(&world(file, environment), &format!("{RUN} {more}")).unwrap();
        assert_eq!(format!("{:?}", settings.options.properties), expected);
    };
    let file = "[property]\nA = 1\nB = \"x=y\"";
    check("", &[], "", "{}");
    check(file, &[], "", r#"{"A": "1", "B": "x=y"}"#);
    check("property = [\"A=1\", \"C=2\"]", &[], "--property A=3", r#"{"A": "3", "C": "2"}"#);
    check(file, &[("LAPWING_PROPERTY", "C=2")], "--property D=", r#"{"C": "2", "D": ""}"#);
    let error = resolve(&world("property = \"A\"", &[]), RUN).unwrap_err().to_string();
    assert!(error.contains("key `property` of ") && error.contains("KEY=VALUE"), "{error}");
}

#[test]
fn only_the_flag_insists_on_a_variant() {
    let check = |environment: &[(&'static str, &str)], line: &str, name: &str, is_default| {
        let settings = resolve(&world("variant = \"q8\"", environment), line).unwrap();
        let expected = Variant { name: name.into(), is_default };
        assert_eq!(settings.variant, Some(expected), "{environment:?} {line}");
    };
    let variable = [("LAPWING_VARIANT", "q4")];
    check(&[], RUN, "q8", true);
    check(&variable, RUN, "q4", true);
    check(&variable, "lapwing run --model m --variant fp16", "fp16", false);
}

#[test]
fn pointers_to_runtimes() {
    let file = "onnxruntime = \"/file/ort\"\nopenvino = \"/file/ov\"";
    let from_file = resolve(&world(file, &[]), RUN).unwrap().host.store.pointers;
    assert_eq!(from_file.onnxruntime.unwrap().path, Path::new("/file/ort"));

    let environment =
        [(env::INTEL_OPENVINO_DIR, "/intel"), (env::OPENVINO_INSTALL_DIR, "/install")];
    let openvino = resolve(&world(file, &environment), RUN).unwrap().host.store.pointers;
    let openvino = openvino.openvino.unwrap();
    assert_eq!(openvino.path, Path::new("/install"));
    assert_eq!(openvino.origin, Origin::Environment(env::OPENVINO_INSTALL_DIR));
}

#[test]
fn pip_as_word_or_words() {
    let check = |file: &str, expected: PipChoice| {
        assert_eq!(resolve(&world(file, &[]), RUN).unwrap().host.store.pip, Some(expected));
    };
    check("pip = \"pip3\"", PipChoice::Command(vec!["pip3".into()]));
    check("pip = [\"py\", \"-m\", \"pip\"]", {
        PipChoice::Command(vec!["py".into(), "-m".into(), "pip".into()])
    });
}

#[test]
fn the_file_in_the_home_folder_is_reported() {
    let world = world("", &[]);
    let expected = world.folder.path().join("lapwing.toml");
    assert_eq!(resolve(&world, RUN).unwrap().file, Some(expected));
}

#[test]
fn only_the_process_that_is_meant_minds_the_watchdog() {
    let check = |environment: &[(&'static str, &str)], expected: Option<Option<u64>>| {
        let manager = resolve(&world("", environment), RUN).unwrap().manager;
        let watchdog = manager.map(|manager| manager.watchdog.map(|time| time.as_secs()));
        assert_eq!(watchdog, expected, "{environment:?}");
    };
    let (socket, usec) = ((env::NOTIFY_SOCKET, "/s"), (env::WATCHDOG_USEC, "3000000"));
    let this = std::process::id().to_string();
    check(&[], None);
    check(&[usec], None);
    check(&[socket], Some(None));
    check(&[socket, usec], Some(Some(3)));
    check(&[socket, usec, (env::WATCHDOG_PID, &this)], Some(Some(3)));
    check(&[socket, usec, (env::WATCHDOG_PID, "1")], Some(None));
    check(&[socket, (env::WATCHDOG_USEC, "x")], Some(None));
}

#[test]
fn what_the_daemon_does_may_stand_everywhere() {
    const SERVE: &str = "lapwing serve";
    let check = |file: &str, environment: &[(&'static str, &str)], line: &str, expected: usize| {
        let settings = resolve(&world(file, environment), line).unwrap();
        assert_eq!(settings.serving.queue, Some(expected), "{file} {environment:?} {line}");
    };
    let in_file = "[serve]\nqueue = 1";
    let in_environment = [("LAPWING_SERVE_QUEUE", "2")];
    check(in_file, &[], SERVE, 1);
    check(in_file, &in_environment, SERVE, 2);
    check(in_file, &in_environment, "lapwing serve --queue 3", 3);
    check(in_file, &[("LAPWING_QUEUE", "9")], SERVE, 1);
    let file = "[serve]\nlisten = [\"127.0.0.1:1\", \"[::1]:2\"]\nno_port = true\nparallel = 2\n\
                keep_alive = \"1h\"\norigin = \"app://x\"\n[serve.alias]\na = \"b\"";
    let settings = resolve(&world(file, &[]), "lapwing serve --alias a=c --alias d=e").unwrap();
    let serving = settings.serving;
    assert_eq!(serving.listen.len(), 2);
    assert_eq!((serving.no_port, serving.parallel.unwrap().get()), (Some(true), 2));
    assert_eq!(serving.keep_alive.unwrap().0, Some(Duration::from_secs(3600)));
    let alias = |name: &str, model: &str| (name.to_owned(), model.to_owned());
    assert_eq!(serving.alias, [alias("a", "b"), alias("a", "c"), alias("d", "e")]);
    let environment = [("LAPWING_SERVE_LISTEN", "127.0.0.1:3")];
    let listen = resolve(&world(file, &environment), SERVE).unwrap().serving.listen;
    assert_eq!(listen, ["127.0.0.1:3".parse().unwrap()]);
    let environment = [("LAPWING_SERVE_ORIGIN", "app://a,app://b")];
    let origins = resolve(&world(file, &environment), SERVE).unwrap().serving.origin;
    assert_eq!(origins, ["app://a", "app://b"]);

    let wrong = |file: &str, environment: &[(&'static str, &str)], expected: &str| {
        let error = anyhow::Error::from(resolve(&world(file, environment), SERVE).unwrap_err());
        let text = format!("{error:#}");
        assert!(text.contains(expected), "{text} does not say {expected}");
    };
    wrong("[serve]\nqueeu = 1", &[], "unknown field `serve.queeu`, expected serve.listen, ");
    wrong("[serve]\nkeep_alive = \"soon\"", &[], "key `serve.keep_alive` of ");
    wrong("[serve]\nparallel = 0", &[], "key `serve.parallel` of ");
    wrong("serve = 3", &[], "lapwing.toml is wrong");
    wrong(
        "",
        &[("LAPWING_SERVE_KEEP_ALIVE", "x")],
        "environment variable LAPWING_SERVE_KEEP_ALIVE",
    );
    wrong("", &[("LAPWING_SERVE_NO_PORT", "x")], "environment variable LAPWING_SERVE_NO_PORT");
    wrong("", &[("LAPWING_SERVE_LISTEN", "here")], "environment variable LAPWING_SERVE_LISTEN");
}
