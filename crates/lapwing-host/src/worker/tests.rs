use super::*;

const LIMITS: Limits = Limits { time: Duration::from_secs(60), n_bytes: Some(1 << 40) };

/// Ask a shell script in the place of a worker; gives what it said before the answer, too.
struct Asked {
    answer: Result<String, WorkerError>,
    before: Vec<String>,
    last_lines: Vec<String>,
}

fn ask(script: &str, limits: Limits) -> Asked {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let mut worker: Worker<'_, u32, String> =
        Worker::start(command, &|| false).expect("there is a shell");
    let mut before = Vec::new();
    let answer = worker.ask(&7, limits, &mut |said| before.push(said));
    Asked { answer, before, last_lines: worker.last_lines() }
}

/// A command that says something to the first request, as a line of its own.
fn say(is_last: bool, said: &str) -> String {
    format!("echo '{}'; ", line::said(1, is_last, &said).trim())
}

fn loss(asked: Asked) -> Loss {
    match asked.answer {
        Err(WorkerError::Lost(loss)) => loss,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_worker_says_is_found_in_whatever_libraries_print() {
    let right = say(true, "right");
    let check = |printed: &str| {
        let asked = ask(&format!("read request; {printed}{right}read request"), LIMITS);
        assert_eq!(asked.answer.unwrap(), "right", "{printed}");
    };
    check("");
    check("printf 'no end of line\\n'; ");
    check("printf '\\377\\376 no UTF-8\\n'; ");
    check("echo '{\"watching\":{}}'; ");
    check("echo lapwing-worker; echo 'lapwing-worker last x {}'; echo 'lapwing-worker{}'; ");
    check(&say(true, "of an earlier request").replace("last 1", "last 0"));
    // In the middle of a line that somebody else began.
    check("printf 'noise '; ");
    // Also when the library falls over its own feet at the end.
    assert_eq!(ask(&format!("{right}kill -SEGV $$"), LIMITS).answer.unwrap(), "right");
    // A compiler's log can be long.
    let long = "no such operation ".repeat(6000);
    assert!(ask(&say(true, &long), LIMITS).answer.unwrap() == long);
}

#[test]
fn what_is_said_before_the_answer_is_heard_in_order() {
    let script = [say(false, "a"), "echo noise >&2; ".into(), say(false, "b"), say(true, "c")];
    let asked = ask(&script.concat(), LIMITS);
    assert_eq!((asked.answer.unwrap().as_str(), asked.before), ("c", vec!["a".into(), "b".into()]));
}

#[test]
fn a_crash_is_told_with_the_last_lines() {
    let check = |end: &str, expected: &str| {
        let asked = ask(&format!("for i in $(seq 30); do echo line $i >&2; done; {end}"), LIMITS);
        assert_eq!(asked.last_lines.len(), N_LINES_KEPT);
        assert_eq!(asked.last_lines.last().map(String::as_str), Some("line 30"));
        let words = LastWords::of(asked.last_lines.clone()).unwrap().to_string();
        assert!(words.starts_with("the last it printed: line 11 | line 12"), "{words}");
        assert!(matches!(loss(asked), Loss::Ended { status, .. } if status == expected), "{end}");
    };
    check("kill -ABRT $$", "aborted (signal 6)");
    check("exit 3", "exit code 3");
    check("exit 0", "it said nothing of its outcome");
    check("kill -KILL $$", "killed, perhaps by the system for want of memory (signal 9)");
    let cut_off = loss(ask("printf 'lapwing-worker last 1 '; exit 3", LIMITS));
    assert!(matches!(cut_off, Loss::Ended { .. }), "{cut_off:?}");
}

#[test]
fn an_answer_of_another_version_is_told() {
    let asked = ask(&format!("{}read request", say(true, "x").replace("\"x\"", "{}")), LIMITS);
    assert!(matches!(asked.answer, Err(WorkerError::Version { .. })), "{:?}", asked.answer);
}

#[test]
fn a_flood_of_lines_neither_fills_the_memory_nor_hides_the_answer() {
    let script = format!("yes flood | head -n 300000 >&2; {}", say(true, "done"));
    assert_eq!(ask(&script, LIMITS).answer.unwrap(), "done");
    // Nor does it hide that time is over.
    let limits = Limits { time: Duration::from_millis(300), ..LIMITS };
    assert_eq!(loss(ask("yes flood", limits)), Loss::TimedOut { limit_s: 0 });
}

#[test]
fn a_worker_that_hangs_or_eats_memory_is_stopped() {
    let started = Instant::now();
    let limits = Limits { time: Duration::from_millis(300), ..LIMITS };
    for script in ["exec 1>&- 2>&-; sleep 60", "printf noise; read request; sleep 60"] {
        assert_eq!(loss(ask(script, limits)), Loss::TimedOut { limit_s: 0 });
    }
    // Any process takes more than a byte.
    let limits = Limits { n_bytes: Some(1), ..LIMITS };
    assert_eq!(loss(ask("sleep 60", limits)), Loss::TooMuchMemory { limit_bytes: 1 });
    assert!(started.elapsed() < Duration::from_secs(30), "nobody waits for its end");
}

#[test]
fn who_shall_stop_waits_no_longer() {
    let started = Instant::now();
    let is_stopped = || Duration::from_millis(200) < started.elapsed();
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 60"]);
    let mut worker: Worker<'_, u32, u32> = Worker::start(command, &is_stopped).unwrap();
    let found = worker.ask(&1, LIMITS, &mut |_| {});
    assert!(matches!(found, Err(WorkerError::Stopped)), "{found:?}");
    drop(worker);
    assert!(started.elapsed() < Duration::from_secs(30));
}
