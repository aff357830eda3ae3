//! The daemon and whoever starts it: what it tells a service manager, and settings that change.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Daemon, chat};

/// A service manager, which hears.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Manager { folder, socket }
    }

    fn path(&self) -> String {
        self.folder.path().join("notify").display().to_string()
    }

    /// The next thing that is told, but for signs of life.
    fn hears(&self) -> String {
        loop {
            let told = self.hears_anything();
            if told != "WATCHDOG=1" {
                return told;
            }
        }
    }

    fn hears_anything(&self) -> String {
        let mut bytes = [0; 500];
        let n_bytes = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n_bytes].to_vec()).unwrap()
    }

    fn start(&self, settings: &str, variables: &[(&str, &str)]) -> Daemon {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), settings);
        let path = self.path();
        let daemon =
            Daemon::start_in(home, &[], &[&[("NOTIFY_SOCKET", &*path)], variables].concat());
        assert_eq!(self.hears(), "READY=1");
        assert_eq!(self.hears(), "STATUS=no model is loaded");
        daemon
    }

    /// Let `daemon` read these settings, and wait until it has.
    fn reload(&self, daemon: &Daemon, settings: &str) {
        write(daemon.home.path(), settings);
        daemon.signal(Signal::SIGHUP);
        let told = self.hears();
        assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
        assert_eq!(self.hears(), "READY=1");
    }
}

fn write(home: &Path, settings: &str) {
    std::fs::write(home.join("lapwing.toml"), settings).unwrap();
}

const LISTEN: &str = "listen = \"127.0.0.1:0\"";

#[test]
fn a_service_manager_hears_what_is_loaded_and_of_the_end() {
    let manager = Manager::new();
    let mut daemon = manager.start(&format!("[serve]\n{LISTEN}"), &[]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    assert_eq!(manager.hears(), "STATUS=loaded: fake");
    assert_eq!(daemon.chat("fake-2000", "a", 1).status, 200);
    assert_eq!(manager.hears(), "STATUS=2 models are loaded: fake, fake-2000");
    daemon.post("/v1/lapwing/models/unload", &json!({"model": "fake-2000"}));
    assert_eq!(manager.hears(), "STATUS=loaded: fake");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(manager.hears(), "STOPPING=1");
    assert!(daemon.child.wait().unwrap().success());
}

#[test]
fn it_lives_as_often_as_is_asked_and_no_more() {
    let manager = Manager::new();
    let _daemon = manager.start(&format!("[serve]\n{LISTEN}"), &[("WATCHDOG_USEC", "400000")]);
    manager.hears_anything();
    let begin = Instant::now();
    (0..5).for_each(|_| assert_eq!(manager.hears_anything(), "WATCHDOG=1"));
    let each = begin.elapsed() / 5;
    assert!((Duration::from_millis(150)..Duration::from_millis(390)).contains(&each), "{each:?}");

    let manager = Manager::new();
    let _daemon = manager.start(&format!("[serve]\n{LISTEN}"), &[]);
    manager.socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(manager.socket.recv(&mut [0; 9]).is_err(), "nobody asked");
}

#[test]
fn settings_are_read_again_without_an_end() {
    let manager = Manager::new();
    let daemon = manager.start(&format!("[serve]\n{LISTEN}\nhost = \"one.lan\"\nqueue = 64"), &[]);
    let status_as = |host: &str| daemon.ask("GET", "/v1/models", &[("Host", host)], "").status;
    let from = |origin: &str| {
        let body = chat("fake", "a", 1).to_string();
        daemon.ask("POST", "/v1/chat/completions", &[("Origin", origin)], &body).status
    };
    assert_eq!((status_as("one.lan"), status_as("two.lan")), (200, 421));
    assert_eq!(daemon.chat("gpt-4o-mini", "a", 1).status, 404);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    assert_eq!(manager.hears(), "STATUS=loaded: fake");

    manager.reload(&daemon, &format!(
        "[serve]\n{LISTEN}\nhost = \"two.lan\"\norigin = \"app://x\"\ndefault_model = \"fake\"\n\
         any_name = true\nkeep_alive = \"1h\"\n[serve.alias]\n\"gpt-4o-mini\" = \"fake\""
    ));
    assert!(!daemon.has_said("where to listen"), "{}", daemon.said.lock().unwrap());
    assert_eq!((status_as("one.lan"), status_as("two.lan")), (421, 200));
    assert_eq!((from("app://x"), from("app://y")), (200, 403));
    assert_eq!(daemon.chat("gpt-4o-mini", "a", 1).json()["model"], "gpt-4o-mini");
    assert_eq!(daemon.chat("any other", "a", 1).status, 200);
    let expires =
        daemon.get("/v1/lapwing/models").json()["models"][0]["loaded"]["expires_in_s"].clone();
    assert!(3500.0 < expires.as_f64().unwrap(), "{expires}");
    // It was not opened otherwise, so it was not opened again.
    assert_eq!(daemon.workers().len(), 1);
}

#[test]
fn a_key_is_taken_and_not_given_up_where_others_reach_the_daemon() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "secret").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let with_key = format!("key_file = {key:?}");

    let manager = Manager::new();
    let daemon = manager.start(&format!("[serve]\n{LISTEN}"), &[]);
    assert_eq!(daemon.get("/v1/models").status, 200);
    manager.reload(&daemon, &format!("[serve]\n{LISTEN}\n{with_key}"));
    assert_eq!(daemon.get("/v1/models").status, 401);
    manager.reload(&daemon, &format!("[serve]\n{LISTEN}"));
    assert_eq!(daemon.get("/v1/models").status, 200);

    let manager = Manager::new();
    let open = "listen = \"0.0.0.0:0\"";
    let daemon = manager.start(&format!("[serve]\n{open}\n{with_key}"), &[]);
    manager.reload(&daemon, &format!("[serve]\n{LISTEN}"));
    let said = "the settings stay as they were: cannot listen on 0.0.0.0:";
    daemon.until("it is told", || daemon.has_said(said));
}

#[test]
fn wrong_settings_change_nothing_and_are_told() {
    let manager = Manager::new();
    let daemon = manager.start(&format!("[serve]\n{LISTEN}\nhost = \"one.lan\""), &[]);
    let status = || daemon.ask("GET", "/v1/models", &[("Host", "one.lan")], "").status;
    for (wrong, said) in [
        ("[serve", "is wrong"),
        ("[serve]\nhosts = 1", "unknown field `serve.hosts`"),
        ("[serve]\nqueue = \"much\"", "key `serve.queue` of "),
        ("[serve]\nkey_file = \"/nowhere\"", "cannot read the key in /nowhere"),
        ("[serve]\nany_name = true", "there is none"),
    ] {
        manager.reload(&daemon, wrong);
        daemon.until("it is told", || daemon.has_said(said));
        assert_eq!(status(), 200, "{wrong}");
    }
    manager.reload(&daemon, &format!("[serve]\n{LISTEN}"));
    assert_eq!(status(), 421);
}

#[test]
fn what_cannot_change_is_told() {
    let manager = Manager::new();
    let daemon = manager.start(&format!("[serve]\n{LISTEN}"), &[]);
    manager.reload(&daemon, "[serve]\nlisten = \"127.0.0.1:1\"");
    daemon.until("it is told", || daemon.has_said("where to listen is not changed"));
    assert_eq!(daemon.get("/v1/models").status, 200);
}

#[test]
fn a_model_is_opened_as_settings_say_once_nobody_uses_it() {
    let manager = Manager::new();
    let daemon = manager.start(&format!("[serve]\n{LISTEN}"), &[]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    assert_eq!(manager.hears(), "STATUS=loaded: fake");
    let former = daemon.workers();
    // An answer that is being made goes on in the process that it began in.
    let slow = chat("fake-20000", "a", 100).to_string();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| daemon.ask("POST", "/v1/chat/completions", &[], &slow).json());
        assert_eq!(manager.hears(), "STATUS=2 models are loaded: fake, fake-20000");
        manager.reload(&daemon, &format!("context = 300\n[serve]\n{LISTEN}\nmemory_mb = 1"));
        // The idle one does not fit any more.
        assert_eq!(manager.hears(), "STATUS=loaded: fake-20000");
        manager.reload(&daemon, &format!("context = 300\n[serve]\n{LISTEN}"));
        let answer = answer.join().unwrap();
        assert_eq!(answer["usage"]["completion_tokens"], 100, "{answer}");
    });
    let props = || daemon.get("/v1/lapwing/models").json()["models"].clone();
    let outdated = |name: &str| {
        let models = props();
        let of = models.as_array().unwrap().iter().find(|model| model["name"] == name).cloned();
        of.unwrap()["loaded"]["is_outdated"].clone()
    };
    assert_eq!(outdated("fake-20000"), true);
    assert_eq!(daemon.chat("fake-20000", "a", 1).status, 200);
    assert_eq!(outdated("fake-20000"), false);
    assert!(!daemon.workers().iter().any(|worker| former.contains(worker)));
}

#[test]
fn without_a_service_manager_a_closed_terminal_ends_it() {
    let mut daemon = Daemon::start(&[]);
    daemon.signal(Signal::SIGHUP);
    assert!(daemon.child.wait().unwrap().success());
}

/// A daemon that is given these sockets, each a port or a path.
fn activated(home: tempfile::TempDir, sockets: &[std::os::fd::BorrowedFd<'_>]) -> Daemon {
    use std::os::fd::AsRawFd as _;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    for socket in sockets {
        fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    }
    // They are numbered one after the other here, as a service manager gives them from 3 on.
    let first = sockets[0].as_raw_fd();
    for (idx, socket) in sockets.iter().enumerate() {
        assert_eq!(socket.as_raw_fd(), first + i32::try_from(idx).unwrap());
    }
    let (n, first) = (sockets.len().to_string(), first.to_string());
    Daemon::start_in(home, &[], &[("LISTEN_FDS", &n), ("LISTEN_FDS_FIRST_FD", &first)])
}

/// The sockets that a process has open.
fn sockets_of(pid: u32) -> Vec<String> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    links
        .map(|link| link.display().to_string())
        .filter(|link| link.starts_with("socket:"))
        .collect()
}

#[test]
fn sockets_of_a_service_manager_are_taken_and_not_handed_on() {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("daemon");
    std::fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    let path = folder.join("socket");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let address = port.local_addr().unwrap();
    write(home.path(), &format!("[serve]\nlisten = \"{address}\""));
    let mut daemon = activated(home, &[port.as_fd(), socket.as_fd()]);
    assert_eq!(daemon.address, address.to_string());
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    assert!(daemon.says(&["ps"]).contains("fake"));

    let of = |fd: std::os::fd::BorrowedFd<'_>| {
        use std::os::fd::AsRawFd as _;
        let link = std::fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        format!("socket:[{}]", link.ino())
    };
    let [worker] = daemon.workers()[..] else { panic!("{:?}", daemon.workers()) };
    for handed in [of(port.as_fd()), of(socket.as_fd())] {
        assert!(sockets_of(daemon.child.id()).contains(&handed), "{handed}");
        assert!(!sockets_of(worker).contains(&handed), "{handed}");
    }
    let variables = std::fs::read(format!("/proc/{worker}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&variables).contains("LISTEN_FDS="));

    daemon.signal(Signal::SIGTERM);
    assert!(daemon.child.wait().unwrap().success());
    // Whoever made it takes it away.
    assert!(path.exists());
}

#[test]
fn sockets_that_others_could_use_are_not_taken() {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::PermissionsExt as _;
    let refused = |socket: std::os::fd::BorrowedFd<'_>, expected: &str| {
        let mut daemon = activated(tempfile::tempdir().unwrap(), &[socket]);
        assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
        daemon.until(expected, || daemon.has_said(expected));
    };
    let everywhere = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    refused(everywhere.as_fd(), "there is no key");
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("socket");
    let shared = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    refused(shared.as_fd(), "it is not for this user alone");
    let datagrams = UnixDatagram::bind(folder.path().join("datagrams")).unwrap();
    refused(datagrams.as_fd(), "takes no connections");
}
