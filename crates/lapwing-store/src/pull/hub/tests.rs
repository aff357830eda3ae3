//! Hubs that are slow, silent, endless, busy or wrong.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::options::{HubOptions, Origin, Pointers, Proxies, StoreOptions, Token, Variant};
use crate::{Caller, Notice, PullError, PullRequest, Pulled, pull};

use super::HubError;

#[path = "../../../tests/support/hub.rs"]
mod server;

use server::{COMMIT, Hub, HubFile, Manners};

const PATIENCE: Duration = Duration::from_millis(300);
/// Of three ranges.
const LARGE_BYTES: usize = (4 << 20) + 12_345;
const LARGE: &str = "openvino_model.bin";
/// What git calls the one small file.
const XML_BLOB: &str = "87fe356e71c85f6bb040383e9309e5e013cd7b89";

/// A hub, and a home of one's own.
struct World {
    hub: Hub,
    home: tempfile::TempDir,
    options: StoreOptions,
    notices: RefCell<Vec<Notice>>,
}

fn large_bytes() -> Vec<u8> {
    (0..LARGE_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn files() -> Vec<HubFile> {
    vec![
        HubFile::of_model("openvino_model.xml"),
        HubFile { is_large: true, ..HubFile::of_model("config.json") },
        HubFile { path: LARGE, bytes: large_bytes(), is_large: true },
    ]
}

fn world(manners: Manners) -> World {
    let hub = Hub::start(files(), manners);
    let home = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        models: home.path().join("models"),
        catalog_file: home.path().join("catalog.toml"),
        natives: home.path().join("natives"),
        pointers: Pointers::default(),
        pip: None,
        hub: HubOptions {
            endpoint: Some(hub.endpoint.clone()),
            token: None,
            token_files: Vec::new(),
            proxies: Proxies::default(),
            patience: PATIENCE,
            cache: Some(home.path().join("cache")),
            is_offline: false,
        },
    };
    World { hub, home, options, notices: RefCell::default() }
}

impl World {
    fn pull_until(&self, is_stopped: &dyn Fn() -> bool) -> Result<Pulled, HubError> {
        self.pull_variant_until(None, is_stopped)
    }

    fn pull_variant(&self, variant: &str) -> Result<Pulled, HubError> {
        self.pull_variant_until(Some(Variant::asked(variant)), &|| false)
    }

    fn pull_variant_until(
        &self,
        variant: Option<Variant>,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Pulled, HubError> {
        let request = PullRequest {
            name: "org/repo".into(),
            store_name: None,
            variant,
            link: false,
            force: false,
        };
        let tell = |notice| self.notices.borrow_mut().push(notice);
        match pull(&request, &self.options, Caller { tell: &tell, is_stopped }) {
            Ok(pulled) => Ok(pulled),
            Err(PullError::Hub(error)) => Err(error),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[track_caller]
    fn arrives_whole(&self) {
        let pulled = self.pull_until(&|| false).unwrap();
        assert!(std::fs::read(pulled.path.join(LARGE)).unwrap() == large_bytes());
    }

    #[track_caller]
    fn fails_with(&self, part: &str) -> HubError {
        let error = self.pull_until(&|| false).unwrap_err();
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
        error
    }

    fn partial(&self) -> std::path::PathBuf {
        let staging = self.home.path().join("models/.partial/org--repo").join(COMMIT);
        staging.join(format!("{LARGE}.partial"))
    }

    fn files_without_hash(&self) -> Vec<String> {
        let notices = self.notices.borrow();
        let paths = notices.iter().filter_map(|notice| match notice {
            Notice::NoHash { path, .. } => Some(path.clone()),
            _ => None,
        });
        paths.collect()
    }
}

#[test]
fn a_server_without_ranges_sends_a_file_once() {
    let world = world(Manners { without_ranges: true, ..Manners::default() });
    world.arrives_whole();
    let ranges: Vec<_> = world.hub.downloads(LARGE).iter().map(|asked| asked.range).collect();
    // It was not known before.
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert_eq!(ranges[1], None);
}

#[test]
fn a_server_without_ranges_that_breaks_off_is_gone_on_with() {
    let without_ranges = Manners { without_ranges: true, ..Manners::default() };
    let world = world(Manners { cut_at: Some(3 << 20), ..without_ranges.clone() });
    world.fails_with("broke off after 3145728 of");
    assert_eq!(world.partial().metadata().unwrap().len(), 3 << 20);
    world.hub.behave(without_ranges);
    world.arrives_whole();
}

#[test]
fn answers_without_an_end_are_given_up() {
    let manners = Manners { endless: Some("/api/models/org/repo"), ..Manners::default() };
    world(manners).fails_with("it sends more than 67108864 bytes without an end");
    let manners = Manners { endless: Some(LARGE), ..Manners::default() };
    world(manners).fails_with("where 1048576 were asked for");
}

#[test]
fn lengths_that_make_no_sense_are_not_waited_for() {
    let manners = Manners { claimed_length: Some(1_000_000_000_000), ..Manners::default() };
    world(manners.clone()).fails_with("it sends 1000000000000 bytes of");
    world(Manners { without_ranges: true, ..manners }).fails_with("it sends 1000000000000 bytes");
    // Their sum is more than a number holds.
    let world = world(Manners { listed_size: Some(u64::MAX), ..Manners::default() });
    if lapwing_files::disk::free_bytes(world.home.path()).is_some() {
        assert!(matches!(world.fails_with("no room"), HubError::NoRoom(_)));
    }
}

#[test]
fn silence_and_trickles_are_given_up() {
    let silent = world(Manners { silent: Some("/api/"), ..Manners::default() });
    let error = silent.fails_with("no more than 0 bytes in 0.3 s");
    assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
    assert_eq!(silent.hub.requests().len(), 4);
    let silent = world(Manners { silent: Some(LARGE), ..Manners::default() });
    assert!(matches!(silent.fails_with("0 bytes in 0.3 s"), HubError::BrokenOff { .. }));
    world(Manners { trickling: Some("/api/"), ..Manners::default() }).fails_with("in 0.3 s");
    world(Manners { trickling: Some(LARGE), ..Manners::default() }).fails_with("in 0.3 s");
}

#[test]
fn a_silent_hub_does_not_keep_anybody_from_stopping() {
    let mut world = world(Manners { silent: Some("/api/"), ..Manners::default() });
    world.options.hub.patience = Duration::from_secs(60);
    let started = Instant::now();
    let stop = || Duration::from_millis(300) < started.elapsed();
    assert!(matches!(world.pull_until(&stop), Err(HubError::Interrupted)));
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_list_without_an_end_is_given_up() {
    let next_part = Some(format!("/api/models/org/repo/tree/{COMMIT}?cursor=1"));
    let world = world(Manners { next_part, ..Manners::default() });
    world.fails_with("its list has more than 200 parts");
}

#[test]
fn a_list_in_parts_is_read_to_its_end() {
    world(Manners { in_two_parts: true, ..Manners::default() }).arrives_whole();
}

#[test]
fn the_rest_of_a_list_is_read_from_no_other_host() {
    let other = Hub::start(Vec::new(), Manners::default());
    let next_part = Some(format!("{}/api/models/org/repo/tree/x", other.endpoint));
    let mut world = world(Manners { next_part, ..Manners::default() });
    let origin = Origin::Environment("HF_TOKEN");
    world.options.hub.token = Some(Token { text: "hf_secret".into(), origin });
    world.fails_with("it wants the rest of its list to be read from another host");
    assert!(other.requests().is_empty());
}

#[test]
fn a_list_without_hashes_is_told() {
    let without = Manners { without_hashes: true, ..Manners::default() };
    let told = world(without.clone());
    told.arrives_whole();
    // The large one's comes with the file itself.
    assert_eq!(told.files_without_hash(), ["openvino_model.xml"]);

    let damaged = world(Manners { claimed_hash: Some("ab".repeat(32)), ..without });
    assert!(matches!(damaged.fails_with("is damaged"), HubError::Checksum { .. }));
    let git_hash = Some(XML_BLOB);
    let listed = world(Manners { git_hash, ..Manners::default() });
    listed.arrives_whole();
    assert!(listed.files_without_hash().is_empty());
}

#[test]
fn the_hash_of_the_list_decides_where_a_mirror_tells_none() {
    // Sent on to where the files are, and without that.
    for is_sent_on in [true, false] {
        let world = world(Manners { as_mirror: true, ..Manners::default() });
        let elsewhere = Hub::start(files(), Manners { as_mirror: true, ..Manners::default() });
        let redirect_to = is_sent_on.then(|| elsewhere.endpoint.clone());
        world.hub.behave(Manners { as_mirror: true, redirect_to, ..Manners::default() });
        world.arrives_whole();
        assert!(world.hub.requests().iter().all(|asked| !asked.path.contains("xet-read-token")));
        let claimed_hash = Some("ab".repeat(32));
        let damaged = Manners { as_mirror: true, claimed_hash, ..Manners::default() };
        world.hub.behave(damaged);
        std::fs::remove_dir_all(&world.options.models).unwrap();
        assert!(matches!(world.fails_with("is damaged"), HubError::Checksum { .. }));
    }
}

#[test]
fn what_is_staged_is_taken_only_with_the_right_hash() {
    let world = world(Manners { cut_at: Some(3 << 20), ..Manners::default() });
    world.fails_with("broke off");
    // Of the right length, and with something else in it.
    let staged = world.partial().with_extension("");
    std::fs::rename(world.partial(), &staged).unwrap();
    std::fs::write(&staged, vec![b'x'; LARGE_BYTES]).unwrap();
    world.hub.behave(Manners::default());
    world.arrives_whole();
}

#[test]
fn files_that_are_called_alike_in_several_folders_are_not_mixed_up() {
    const NAME: &str = "model.onnx.data";
    let build = |folder: &str, digit: u8| -> Vec<HubFile> {
        let file = |name: &str| -> &'static str { format!("{folder}/{name}").leak() };
        let config =
            br#"{"model": {"vocab_size": 8, "context_length": 8, "eos_token_id": 1, "decoder":
            {"num_attention_heads": 1, "hidden_size": 8, "num_hidden_layers": 1}}}"#;
        vec![
            HubFile { path: file("genai_config.json"), bytes: config.into(), is_large: false },
            HubFile::of_model(file("config.json")),
            HubFile::of_model(file("model.onnx")),
            HubFile { path: file(NAME), bytes: vec![digit; 4096], is_large: true },
            HubFile { path: file("notes.txt"), bytes: vec![b'x'; 8192], is_large: false },
        ]
    };
    let [cpu, cuda] = ["cpu-int4", "cuda-int4"];
    for without_hashes in [false, true] {
        let mut files = build(cpu, b'1');
        files.extend(build(cuda, b'2'));
        let mut world = world(Manners::default());
        // It breaks off, or the file behind it.
        for cut_at in [3000, 6000] {
            let manners = Manners { without_hashes, as_mirror: true, ..Manners::default() };
            world.hub =
                Hub::start(files.clone(), Manners { cut_at: Some(cut_at), ..manners.clone() });
            world.options.hub.endpoint = Some(world.hub.endpoint.clone());
            world.pull_variant(cpu).unwrap_err();
            world.hub.behave(manners);
            let pulled = world.pull_variant(cuda).unwrap();
            assert!(std::fs::read(pulled.path.join(NAME)).unwrap() == vec![b'2'; 4096]);
            std::fs::remove_dir_all(&world.options.models).unwrap();
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn only_files_of_one_file_system_are_linked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    std::fs::write(&file, "a").unwrap();
    assert!(super::can_be_linked(&file, &folder.path().join("not/there/yet")));
    assert!(!super::can_be_linked(&file, std::path::Path::new("/proc/self")));
    assert!(!super::can_be_linked(&folder.path().join("absent"), folder.path()));
}

#[test]
fn a_busy_hub_is_asked_again() {
    let world = world(Manners { n_busy: 2, ..Manners::default() });
    world.arrives_whole();
}

#[test]
fn redirects_without_an_end_are_given_up() {
    // To itself: the store below it sends on as well.
    let there = world(Manners::default());
    let redirect_to = Some(there.hub.endpoint.clone());
    there.hub.behave(Manners { redirect_to, ..Manners::default() });
    there.fails_with("it sends on more than 5 times");
    let redirect_to = Some("file:///etc".to_owned());
    there.hub.behave(Manners { redirect_to, ..Manners::default() });
    there.fails_with("it sends on to an address of file:, which is refused");
}

#[test]
fn tokens_are_trimmed_and_checked() {
    let manners = Manners { token: Some("hf_secret"), ..Manners::default() };
    let origin = || Origin::Environment("HF_TOKEN");
    let mut world = world(manners);
    world.options.hub.token = Some(Token { text: "two words\n".into(), origin: origin() });
    let error = world.fails_with("environment variable HF_TOKEN holds no token");
    assert!(!error.to_string().contains("two"), "{error}");
    assert!(world.hub.requests().is_empty());

    world.options.hub.token = Some(Token { text: " hf_secret\r\n".into(), origin: origin() });
    world.arrives_whole();

    // The first file that holds one.
    world.options.hub.token = Some(Token { text: "\n".into(), origin: origin() });
    let files = ["absent", "empty", "token"].map(|name| world.home.path().join(name));
    std::fs::write(&files[1], "\n").unwrap();
    std::fs::write(&files[2], "hf_secret\n").unwrap();
    world.options.hub.token_files = files.into();
    std::fs::remove_dir_all(&world.options.models).unwrap();
    world.arrives_whole();
}

#[test]
fn a_proxy_is_used_but_for_hosts_that_need_none() {
    let proxy = Hub::start(Vec::new(), Manners::default());
    let mut direct = world(Manners::default());
    direct.options.hub.proxies.http = Some(proxy.endpoint.clone());
    direct.options.hub.proxies.no_proxy = Some("10.0.0.1, 127.0.0.1".into());
    direct.arrives_whole();
    assert!(proxy.requests().is_empty());

    // The pretended proxy has everything itself.
    let mut world = world(Manners::default());
    world.options.hub.proxies.http = Some(world.hub.endpoint.clone());
    world.options.hub.endpoint = Some("http://hub.invalid".into());
    world.arrives_whole();
    let is_tunnel = |asked: &server::Request| asked.method == "CONNECT";
    let tunnels: Vec<_> = world.hub.requests().into_iter().filter(is_tunnel).collect();
    assert!(!tunnels.is_empty() && tunnels.iter().all(|asked| asked.path == "hub.invalid:80"));
}
