//! What there is in the store, as far as those who ask for models need to know.

use std::fs::Metadata;
use std::path::Path;
use std::time::UNIX_EPOCH;

use lapwing_backend::Device;
use lapwing_files::checksum;
use lapwing_host::describe::{Description, describe};
use lapwing_host::model_files::ModelFiles;
use lapwing_host::offers::{Offer, name_of, offers};
use lapwing_host::text::ReplyFormat;
use lapwing_host::{Host, TextSide, open_folder, with_causes};
use lapwing_store::{Store, StoreError, StoredModel, Variant, resolve_model};
use serde_json::Value;

use crate::message::{Abilities, Library, Listing, OfferedDevice};
use crate::served::abilities;

/// Everything in the store, by name.
pub(crate) fn list(store: &Store) -> Result<Vec<Listing>, StoreError> {
    Ok(store.list()?.iter().map(listing).collect())
}

fn listing(model: &StoredModel) -> Listing {
    let mut listing = Listing {
        name: model.name.clone(),
        n_bytes: model.size_bytes,
        modified_s: 0,
        digest: String::new(),
        kind: model.kind.name().to_owned(),
        family: String::new(),
        n_parameters: None,
        quantisation: String::new(),
        n_positions_max: None,
        can: Abilities::default(),
        template: None,
        licence: model.licence.clone(),
        unusable: None,
    };
    match describe(&model.path, None) {
        Ok(description) => fill(&mut listing, &model.path, &description),
        Err(error) => listing.unusable = Some(with_causes(&error)),
    }
    (listing.modified_s, listing.digest) = stamp(&model.path);
    listing
}

/// What the libraries offer; one that is missing says so.
pub(crate) fn libraries(host: &Host) -> Vec<Library> {
    let offers = offers(host).into_iter();
    let library = |Offer { backend, version, outcome, .. }: Offer| {
        let device = |device: Device| {
            let name = name_of(&device).unwrap_or_default();
            OfferedDevice { kind: device.kind.to_string(), id: device.id, name }
        };
        let (devices, unusable) = match outcome {
            Ok(devices) => (devices.into_iter().map(device).collect(), None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        Library { backend: backend.to_owned(), version, devices, unusable }
    };
    offers.map(library).collect()
}

/// The SHA-256 of a model's files, and their bytes: what tells it from others of the same name.
pub(crate) fn hash(
    host: &Host,
    model: &str,
    variant: Option<&str>,
) -> Result<(String, u64), Box<dyn std::error::Error>> {
    #[cfg(any(test, feature = "fakes"))]
    if crate::fake::named(model, lapwing_host::backend::DeviceRequest::Auto).is_some() {
        return Ok((checksum::sha256_bytes(model.as_bytes()), 0));
    }
    let path = resolve_model(model, &host.store)?;
    let folder = open_folder(&path, variant.map(Variant::asked).as_ref())?;
    let files = ModelFiles::of(&folder)?;
    Ok((files.sha256(&|| false)?, files.n_bytes()))
}

fn fill(listing: &mut Listing, path: &Path, description: &Description) {
    let number = |name: &str| description.facts.get(name).and_then(Value::as_u64);
    listing.n_positions_max = number("context").and_then(|n| usize::try_from(n).ok());
    let family = description.facts.get("architecture").and_then(Value::as_str);
    listing.family = family.unwrap_or_default().to_owned();
    listing.quantisation =
        description.quantisation.first().map(|part| part.dtype.clone()).unwrap_or_default();
    let of = |shape: &[u64]| shape.iter().fold(1_u64, |n, &length| n.saturating_mul(length));
    let own = description.tensors.iter().filter(|tensor| tensor.same_as.is_none());
    listing.n_parameters = Some(own.map(|tensor| of(&tensor.shape)).fold(0, u64::saturating_add));
    listing.kind = description.kind.clone();
    listing.template = description.chat_template.clone();
    if matches!(&*listing.kind, "gguf" | "safetensors" | "onnx") {
        listing.unusable = Some("it is a checkpoint: `lapwing export` makes it run".to_owned());
        return;
    }
    match TextSide::open(path) {
        Ok(_) if description.embeds => {
            listing.can = Abilities { embeds: true, ..Abilities::default() };
        }
        Ok(side) => {
            let reply = ReplyFormat::detect(side.template.as_ref(), &side.tokenizer);
            listing.can = abilities(side.template.as_ref(), &reply);
        }
        Err(error) => listing.unusable = Some(with_causes(&error)),
    }
}

/// When the model was changed last, and what its files are told by.
fn stamp(path: &Path) -> (u64, String) {
    let mut files: Vec<(String, Metadata)> = Vec::new();
    let of = |path: &Path| std::fs::metadata(path).ok();
    match std::fs::read_dir(path) {
        Ok(entries) => {
            let entries = entries.filter_map(Result::ok);
            let named = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into();
            files.extend(
                entries.filter_map(|entry| Some((named(&entry.path()), of(&entry.path())?))),
            );
        }
        Err(_) => files.extend(of(path).map(|metadata| (String::new(), metadata))),
    }
    files.sort_by(|left, right| left.0.cmp(&right.0));
    let seconds = |metadata: &Metadata| {
        let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    };
    let newest = files.iter().filter_map(|(_, metadata)| seconds(metadata)).max();
    let lines = files.iter().map(|(name, metadata)| {
        format!("{name} {} {}\n", metadata.len(), seconds(metadata).unwrap_or(0))
    });
    (newest.unwrap_or(0), checksum::sha256_bytes(lines.collect::<String>().as_bytes()))
}
