//! `lapwing service`: what is written for systemd, and what is not touched.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A user with programs of their own that play systemd's, and write down what they are asked.
struct User {
    folder: tempfile::TempDir,
    /// Where the daemon is to listen: nobody does.
    address: String,
}

impl User {
    fn new() -> User {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        let user = User { folder: tempfile::tempdir().unwrap(), address };
        std::fs::create_dir(user.folder.path().join("bin")).unwrap();
        user
    }

    /// One whose systemd is of this version, and can make namespaces or not.
    fn with_systemd(version: &str, has_namespaces: bool) -> User {
        let user = User::new();
        let asked = user.folder.path().join("asked");
        user.program("systemctl", &format!(
            "echo \"$@\" >> {asked:?}\ncase \"$*\" in *Version*) echo {version};; *status*) exit 3;; esac"
        ));
        user.program("systemd-run", if has_namespaces { "exit 0" } else { "exit 226" });
        user.program("journalctl", &format!("echo journal \"$@\" >> {asked:?}"));
        user
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.folder.path().join("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn service(&self, arguments: &str) -> Output {
        let folder = self.folder.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        command.arg("service").args(arguments.split_whitespace()).env_clear();
        command.env("HOME", folder).env("PATH", folder.join("bin"));
        command.env("LAPWING_SERVE_LISTEN", &self.address);
        command.output().unwrap()
    }

    fn succeeds(&self, arguments: &str) -> String {
        let output = self.service(arguments);
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        text(&output.stdout) + &text(&output.stderr)
    }

    fn fails(&self, arguments: &str) -> String {
        let output = self.service(arguments);
        assert!(!output.status.success(), "{arguments}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn units(&self) -> [PathBuf; 2] {
        let folder = self.folder.path().join(".config/systemd/user");
        ["lapwing.socket", "lapwing.service"].map(|name| folder.join(name))
    }

    fn asked(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("asked")).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn units_are_written_started_and_removed() {
    let user = User::with_systemd("255.4-1", true);
    let said = user.succeeds("install --memory-high 8G");
    let [socket, service] = user.units();
    assert!(said.contains(&format!("wrote {}", service.display())), "{said}");
    assert!(said.contains(&format!("systemd listens on http://{}", user.address)), "{said}");
    let asked = user.asked();
    assert!(
        asked.ends_with("--user daemon-reload\n--user enable --now lapwing.socket\n"),
        "{asked}"
    );

    let service_text = read(&service);
    let data = user.folder.path().join(".local/share/lapwing");
    for line in [
        "Type=notify-reload",
        &format!("ExecStart=\"{}\" \"serve\"", env!("CARGO_BIN_EXE_lapwing")),
        &format!("Environment=\"LAPWING_SERVE_LISTEN={}\"", user.address),
        "MemoryHigh=8G",
        "PrivateUsers=yes",
        &format!("ReadWritePaths=\"{}\"", data.display()),
    ] {
        assert!(service_text.lines().any(|found| found == line), "{line} in\n{service_text}");
    }
    assert!(!service_text.contains("MemoryMax") && !service_text.contains("ExecReload"));
    // A folder of its own at the place of /tmp would hide this home.
    assert!(!service_text.contains("PrivateTmp"), "{service_text}");
    let socket_text = read(&socket);
    for line in [
        &format!("ListenStream={}", user.address),
        &format!("ListenStream={}", data.join("daemon/socket").display()),
        "SocketMode=0600",
        "DirectoryMode=0700",
    ] {
        assert!(socket_text.lines().any(|found| found == line), "{line} in\n{socket_text}");
    }
    assert!(data.is_dir());

    user.succeeds("status");
    assert!(user.asked().ends_with("--user --no-pager status lapwing.socket lapwing.service\n"));
    user.succeeds("logs --lines 7");
    assert!(user.asked().ends_with("--user-unit lapwing.service -n 7\n"), "{}", user.asked());

    user.succeeds("install");
    assert!(!read(&service).contains("MemoryHigh"), "it is written anew");
    let said = user.succeeds("uninstall");
    assert!(said.contains(&format!("removed {}", socket.display())), "{said}");
    let asked = user.asked();
    let ended = "--user disable --now lapwing.socket lapwing.service\n--user daemon-reload\n";
    assert!(asked.ends_with(ended), "{asked}");
    assert!(!socket.exists() && !service.exists());
    assert!(user.fails("uninstall").contains("hint: `lapwing service install` installs it"));
}

#[test]
fn what_somebody_changed_is_not_touched() {
    let user = User::with_systemd("252", true);
    user.succeeds("install");
    let [_, service] = user.units();
    std::fs::write(&service, read(&service) + "MemoryMax=1G\n").unwrap();
    let changed = read(&service);
    for command in ["install", "uninstall"] {
        let said = user.fails(command);
        assert!(said.contains("lapwing.service was changed") && said.contains("--force"), "{said}");
        assert_eq!(read(&service), changed);
    }
    user.succeeds("install --force");
    assert!(!read(&service).contains("MemoryMax=1G"));
    std::fs::write(&service, "[Service]\n").unwrap();
    user.succeeds("uninstall --force");
    assert!(!service.exists());
}

#[test]
fn older_systemds_and_those_without_namespaces_get_what_they_know() {
    let user = User::with_systemd("252.39-1~deb12u2", false);
    let said = user.succeeds("install");
    assert!(said.contains("can make no user namespaces here"), "{said}");
    let [_, service] = user.units();
    let text = read(&service);
    assert!(text.contains("Type=notify\nExecReload=/bin/kill -HUP $MAINPID\n"), "{text}");
    for absent in
        ["PrivateUsers", "Protect", "PrivateNetwork", "CapabilityBoundingSet", "ReadWrite"]
    {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
    assert!(text.contains("SystemCallFilter=@system-service"), "{text}");
    let user = User::with_systemd("252", true);
    assert!(!user.succeeds("install --no-namespaces").contains("can make no user"));
    assert!(!read(&user.units()[1]).contains("PrivateUsers"));
}

#[test]
fn an_address_that_is_taken_is_told_before_anything_is_written() {
    let user = User::with_systemd("255", true);
    let _taken = std::net::TcpListener::bind(&user.address).unwrap();
    let said = user.fails("install");
    assert!(said.contains(&format!("cannot listen on {}", user.address)), "{said}");
    assert!(!user.units()[0].exists() && !user.units()[1].exists());
}

#[test]
fn without_systemd_units_are_shown_and_nothing_is_written() {
    let user = User::new();
    let shown = user.succeeds("install --dry-run");
    assert!(shown.contains("lapwing.socket\n# Written by `lapwing service install`"), "{shown}");
    assert!(shown.contains("PrivateUsers=yes"), "{shown}");
    assert!(!user.succeeds("install --dry-run --no-namespaces").contains("PrivateUsers"));
    let said = user.fails("install");
    assert!(said.contains("cannot run systemctl: this system has no systemd"), "{said}");
    assert!(said.contains("--dry-run"), "{said}");
    assert!(!user.units()[0].exists());
    assert!(user.fails("logs").contains("cannot run journalctl"));
    assert!(user.fails("status").contains("no service is installed"));

    let plist = user.succeeds("install --dry-run --for launchd");
    assert!(plist.contains("<string>serve</string>") && plist.contains("RunAtLoad"), "{plist}");
    let task = user.succeeds("install --dry-run --for windows");
    assert!(task.contains("<LogonTrigger>") && task.contains("serve"), "{task}");
    assert_eq!(user.service("install --for launchd").status.code(), Some(2));
}

/// systemd's own check of both variants, as it is installed here.
#[test]
fn systemd_finds_nothing_wrong_with_units() {
    let version = Command::new("systemd-analyze").arg("--version").output();
    let Ok(version) = version else {
        return eprintln!("skipped: no systemd-analyze is installed");
    };
    let version = text(&version.stdout).split_whitespace().nth(1).unwrap().to_owned();
    for has_namespaces in [true, false] {
        let user = User::with_systemd(&version, has_namespaces);
        user.succeeds("install --memory-high 8G --memory-max 80%");
        let [socket, service] = user.units();
        let mut verify = Command::new("systemd-analyze");
        verify.args(["--user", "verify"]).args([&socket, &service]);
        verify.env("XDG_RUNTIME_DIR", user.folder.path()).env("HOME", user.folder.path());
        let output = verify.output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success() && !said.contains("lapwing"), "{said}");
    }
}
