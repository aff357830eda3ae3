//! What the store is told, out of variables that others made and keys of the settings file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lapwing_store::{
    HubOptions, Origin, PATIENCE, PipChoice, Pointer, Pointers, Proxies, StoreOptions, Token,
};

use super::file::OwnKeys;
use crate::env;
use crate::home::Home;

/// Environment and settings file, in this order.
pub(super) struct Sources<'a> {
    pub(super) lookup: &'a dyn Fn(&str) -> Option<OsString>,
    pub(super) path: &'a Path,
}

impl Sources<'_> {
    /// Where things are kept, and how their sources are reached.
    pub(super) fn options(&self, home: &Home, own: OwnKeys) -> StoreOptions {
        let onnxruntime = self.pointer(&[env::ORT_DYLIB_PATH], "onnxruntime", own.onnxruntime);
        let variables = [env::OPENVINO_INSTALL_DIR, env::INTEL_OPENVINO_DIR];
        let openvino = self.pointer(&variables, "openvino", own.openvino);
        let pip = (self.lookup)(env::LAPWING_PYTHON).map(PipChoice::Python);
        let pip_in_file = own.pip.map(|words| PipChoice::Command(words.into_vec()));
        StoreOptions {
            models: home.models(),
            catalog_file: home.catalog_file(),
            natives: home.natives(),
            pointers: Pointers { onnxruntime, openvino },
            pip: pip.or(pip_in_file),
            hub: self.hub(own.hub),
        }
    }

    fn hub(&self, in_file: Option<String>) -> HubOptions {
        let first = |names: &[&str]| names.iter().find_map(|name| self.text(name));
        let path = |name: &str| (self.lookup)(name).map(PathBuf::from);
        let hf_home = path(env::HF_HOME)
            .or_else(|| path(env::XDG_CACHE_HOME).map(|cache| cache.join("huggingface")))
            .or_else(|| path(env::HOME).map(|home| home.join(".cache/huggingface")));
        let token_files = path(env::HF_TOKEN_PATH).into_iter();
        let token_files = token_files.chain(hf_home.as_ref().map(|folder| folder.join("token")));
        let origin = Origin::Environment(env::HF_TOKEN);
        let token = self.text(env::HF_TOKEN).map(|text| Token { text, origin });
        let is_without = self.text(env::HF_HUB_DISABLE_IMPLICIT_TOKEN).is_some();
        HubOptions {
            endpoint: self.text(env::HF_ENDPOINT).or(in_file),
            token: token.filter(|_| !is_without),
            token_files: token_files.filter(|_| !is_without).collect(),
            proxies: Proxies {
                http: first(&env::HTTP_PROXIES),
                https: first(&env::HTTPS_PROXIES),
                no_proxy: first(&env::NO_PROXIES),
            },
            patience: PATIENCE,
            cache: path(env::HF_HUB_CACHE).or(hf_home.map(|folder| folder.join("hub"))),
            is_offline: self.text(env::HF_HUB_OFFLINE).is_some_and(|text| is_true(&text)),
        }
    }

    fn text(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable).map(|value| value.to_string_lossy().into_owned())
    }

    fn pointer(
        &self,
        variables: &[&'static str],
        key: &'static str,
        in_file: Option<PathBuf>,
    ) -> Option<Pointer> {
        let from_environment = variables.iter().find_map(|variable| {
            let path = PathBuf::from((self.lookup)(variable)?);
            Some(Pointer { path, origin: Origin::Environment(variable) })
        });
        from_environment.or_else(|| {
            let origin = Origin::File { path: self.path.to_path_buf(), key };
            in_file.map(|path| Pointer { path, origin })
        })
    }
}

/// As Hugging Face's own tools read a switch.
fn is_true(text: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&&*text.to_ascii_lowercase())
}
