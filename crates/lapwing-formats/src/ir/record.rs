//! What the index keeps of a layer and of a port: ids, and where they lie in the text.

/// Whether a port takes or gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Input,
    Output,
}

/// A layer, as the index keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerRecord {
    pub(super) id: u32,
    /// Where its opening tag begins.
    pub(super) start: u32,
    /// Where its `data` tag begins; the layer's own start when there is none.
    pub(super) data: u32,
    /// Its ports in `Index::ports`.
    pub(super) first_port: u32,
    pub(super) n_ports: u32,
}

/// A port, as the index keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortRecord {
    /// The id, with the top bit set for outputs.
    pub(super) key: u32,
    /// Where its tag begins.
    pub(super) start: u32,
}

pub(super) const OUTPUT_BIT: u32 = 1 << 31;

impl PortRecord {
    pub(super) fn side(self) -> Side {
        if self.key & OUTPUT_BIT == 0 { Side::Input } else { Side::Output }
    }
}
