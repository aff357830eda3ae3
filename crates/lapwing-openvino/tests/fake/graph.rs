//! What the fake must know of a graph: names and types of what goes in, length of the logits.

#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) inputs: Vec<Input>,
    pub(crate) n_vocab: Option<usize>,
    /// Of the text, as a blob's name depends on it.
    pub(crate) text_hash: u64,
}

#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) names: Vec<String>,
    /// As an IR writes it, such as `i64`.
    pub(crate) element: String,
}

impl Graph {
    pub(crate) fn read(xml: &str) -> Result<Graph, String> {
        if !xml.contains("<net ") || !xml.contains("</layers>") {
            return Err("Unable to read the model: it is no IR".to_owned());
        }
        let mut inputs = Vec::new();
        for layer in xml.split("<layer ").skip(1) {
            if attribute(layer, "type") == Some("Parameter") {
                let names = attribute(layer, "names").or(attribute(layer, "name"));
                let names = names.unwrap_or_default().split(',').map(str::to_owned).collect();
                let element = attribute(layer, "element_type").unwrap_or_default().to_owned();
                inputs.push(Input { names, element });
            }
        }
        Ok(Graph { inputs, n_vocab: n_vocab(xml), text_hash: hash(xml.as_bytes()) })
    }

    pub(crate) fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.names.iter().any(|known| known == name))
    }
}

/// The last size of the port that gives the logits, when it is fixed.
fn n_vocab(xml: &str) -> Option<usize> {
    let is_logits = |port: &&str| {
        let names = port.split('"').next().unwrap_or_default();
        names.split(',').any(|name| name == "logits")
    };
    let port = xml.split(" names=\"").skip(1).find(is_logits);
    let port = port.or_else(|| xml.split("type=\"Result\"").nth(1))?;
    let dims = port.split("</port>").next()?;
    let (_, last) = dims.rsplit_once("<dim>")?;
    last.split('<').next()?.parse().ok()
}

/// The first attribute of this name in `text`.
fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text
        .split_once(&format!(" {name}=\""))
        .or_else(|| text.strip_prefix(&format!("{name}=\"")).map(|value| ("", value)))?;
    value.split('"').next()
}

/// FNV-1a of 64 bits.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// One well mixed number from another (splitmix64).
pub(crate) fn mix(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
