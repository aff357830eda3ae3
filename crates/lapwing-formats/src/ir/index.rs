//! Where everything lies in the text of an IR, found and checked in one pass.
//!
//! The index holds numbers only, a few for each layer, port and edge, so that it stays smaller than
//! the text. Names, sizes and attributes are read from the text when they are asked for.

use super::cursor::{Cursor, Fault, Tag};
use super::layer::{Port, check_attributes};
use super::record::{LayerRecord, OUTPUT_BIT, PortRecord, Side};

/// Which output feeds which input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// Id of the layer that gives.
    pub from_layer: u32,
    /// Id of its output port.
    pub from_port: u32,
    /// Id of the layer that takes.
    pub to_layer: u32,
    /// Id of its input port.
    pub to_port: u32,
}

/// The whole index.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// In the order of the text.
    pub(super) layers: Vec<LayerRecord>,
    /// Indices into `layers`, by id.
    by_id: Vec<u32>,
    /// Layer by layer; inputs before outputs, by id.
    ports: Vec<PortRecord>,
    /// By `(to_layer, to_port)`.
    pub(super) edges: Vec<Edge>,
    /// Where `</layers>` begins.
    pub(super) layers_end: usize,
    /// Where the `edges` tag begins.
    pub(super) edges_start: usize,
    /// Where `</edges>` begins.
    pub(super) edges_end: usize,
    /// Where the model's own `rt_info` begins.
    pub(super) rt_info: Option<usize>,
}

/// The shortest texts of a layer, a port and an edge: they bound how many there can be.
const LAYER_LEN_MIN: usize = r#"<layer id="" name="" type=""/>"#.len();
const PORT_LEN_MIN: usize = r#"<port id="0"/>"#.len();
const EDGE_LEN_MIN: usize =
    r#"<edge from-layer="0" from-port="0" to-layer="0" to-port="0"/>"#.len();

impl Index {
    /// Read and check `text`, whose constants lie in a BIN of `n_bin_bytes`.
    pub(super) fn build(text: &str, n_bin_bytes: u64) -> Result<Index, Fault> {
        let capacity =
            |tag: &str, len_min: usize| text.matches(tag).take(text.len() / len_min).count();
        let mut index = Index {
            layers: Vec::with_capacity(capacity("<layer", LAYER_LEN_MIN)),
            by_id: Vec::new(),
            ports: Vec::with_capacity(capacity("<port", PORT_LEN_MIN)),
            edges: Vec::with_capacity(capacity("<edge", EDGE_LEN_MIN)),
            layers_end: 0,
            edges_start: 0,
            edges_end: 0,
            rt_info: None,
        };
        if u32::try_from(text.len()).is_err() {
            return Err(Fault::new(0, "at most 4 GiB of XML", &text.len().to_string()));
        }
        index.read_net(text, n_bin_bytes)?;
        index.sort_layers()?;
        index.sort_and_check_edges()?;
        Ok(index)
    }

    /// The layer with this id.
    pub(super) fn layer(&self, id: u32) -> Option<LayerRecord> {
        let record = |&layer_idx: &u32| self.layers[layer_idx as usize];
        let found = self.by_id.binary_search_by_key(&id, |layer_idx| record(layer_idx).id);
        found.ok().map(|at| record(&self.by_id[at]))
    }

    /// The ports of a layer, inputs before outputs, by id.
    pub(super) fn ports(&self, layer: LayerRecord) -> &[PortRecord] {
        let first = layer.first_port as usize;
        &self.ports[first..first + layer.n_ports as usize]
    }

    /// One port of a layer.
    pub(super) fn port(&self, layer: LayerRecord, side: Side, id: u32) -> Option<PortRecord> {
        let key = match side {
            _ if id >= OUTPUT_BIT => return None,
            Side::Input => id,
            Side::Output => id | OUTPUT_BIT,
        };
        let ports = self.ports(layer);
        ports.binary_search_by_key(&key, |port| port.key).ok().map(|at| ports[at])
    }

    /// The edges into one layer, by input port.
    pub(super) fn edges_into(&self, layer_id: u32) -> &[Edge] {
        let start = self.edges.partition_point(|edge| edge.to_layer < layer_id);
        let end = self.edges.partition_point(|edge| edge.to_layer <= layer_id);
        &self.edges[start..end]
    }

    fn read_net(&mut self, text: &str, n_bin_bytes: u64) -> Result<(), Fault> {
        let mut cursor = Cursor::at(text, 0);
        let net = loop {
            match cursor.next()? {
                super::cursor::Token::Open(tag) => break tag,
                super::cursor::Token::Text(part) if part.trim().is_empty() => {}
                _ => return Err(Fault::new(cursor.position(), "a net element", "none")),
            }
        };
        if net.name() != "net" || net.is_empty {
            return Err(Fault::new(net.start, "a net element", net.name()));
        }
        let version: u32 = net.number("version")?;
        if !(10..=11).contains(&version) {
            return Err(Fault::new(net.start, "IR version 10 or 11", &version.to_string()));
        }
        let (mut has_layers, mut has_edges) = (false, false);
        while let Ok(tag) = cursor.child()? {
            match tag.name() {
                "layers" if !has_layers && !tag.is_empty => {
                    has_layers = true;
                    self.read_layers(&mut cursor, n_bin_bytes)?;
                }
                "edges" if !has_edges && !tag.is_empty => {
                    has_edges = true;
                    self.edges_start = tag.start;
                    self.read_edges(&mut cursor)?;
                }
                "layers" | "edges" => {
                    return Err(Fault::new(tag.start, "layers and edges once", tag.name()));
                }
                "rt_info" => {
                    self.rt_info = Some(tag.start);
                    cursor.skip(&tag, &mut |inner| inner.attributes().map(drop))?;
                }
                _ => cursor.skip(&tag, &mut |inner| inner.attributes().map(drop))?,
            }
        }
        match has_layers && has_edges {
            true => Ok(()),
            false => Err(Fault::new(cursor.position(), "layers and edges", "neither or one")),
        }
    }

    fn read_layers(&mut self, cursor: &mut Cursor<'_>, n_bin_bytes: u64) -> Result<(), Fault> {
        loop {
            match cursor.child()? {
                Ok(tag) if tag.name() == "layer" => {
                    let named = |fault: Fault| match tag.attribute("name") {
                        Ok(Some(name)) => fault.in_layer(&name),
                        _ => fault,
                    };
                    self.read_layer(&tag, cursor, n_bin_bytes).map_err(named)?;
                }
                Ok(tag) => return Err(Fault::new(tag.start, "a layer element", tag.name())),
                Err(end) => {
                    self.layers_end = end;
                    return Ok(());
                }
            }
        }
    }

    fn read_layer(
        &mut self,
        tag: &Tag<'_>,
        cursor: &mut Cursor<'_>,
        n_bin_bytes: u64,
    ) -> Result<(), Fault> {
        let id: u32 = tag.number("id")?;
        let first_port = self.ports.len();
        let mut data = *tag;
        tag.required("name")?;
        let kind = tag.required("type")?;
        while let Some(child) = cursor.child_of(tag)? {
            match child.name() {
                "data" if data.start == tag.start => {
                    data = child;
                    check_attributes(&child, Some(&kind), n_bin_bytes)?;
                    cursor.skip(&child, &mut |inner| inner.attributes().map(drop))?;
                }
                "data" => return Err(Fault::new(child.start, "one data element", "two")),
                "input" => self.read_ports(&child, cursor, Side::Input)?,
                "output" => self.read_ports(&child, cursor, Side::Output)?,
                // Bodies of loops hold constants too; their layers have ids of their own.
                _ => cursor.skip(&child, &mut |inner| match inner.name() {
                    "data" => check_attributes(inner, None, n_bin_bytes),
                    _ => inner.attributes().map(drop),
                })?,
            }
        }
        if data.start == tag.start && matches!(&*kind, "Const" | "Parameter") {
            return Err(Fault::new(tag.start, "a data element", "none"));
        }
        let ports = &mut self.ports[first_port..];
        ports.sort_unstable_by_key(|port| port.key);
        if ports.windows(2).any(|pair| pair[0].key == pair[1].key) {
            return Err(Fault::new(tag.start, "distinct port ids", "one twice"));
        }
        let narrow = |value: usize| u32::try_from(value).expect("the text is below 4 GiB");
        self.layers.push(LayerRecord {
            id,
            start: narrow(tag.start),
            data: narrow(data.start),
            first_port: narrow(first_port),
            n_ports: narrow(self.ports.len() - first_port),
        });
        Ok(())
    }

    fn read_ports(
        &mut self,
        parent: &Tag<'_>,
        cursor: &mut Cursor<'_>,
        side: Side,
    ) -> Result<(), Fault> {
        while let Some(tag) = cursor.child_of(parent)? {
            if tag.name() != "port" {
                return Err(Fault::new(tag.start, "a port element", tag.name()));
            }
            let port = Port::read(&tag, cursor)?;
            if port.id >= OUTPUT_BIT {
                return Err(Fault::new(tag.start, "a small port id", &port.id.to_string()));
            }
            let bit = if side == Side::Output { OUTPUT_BIT } else { 0 };
            let start = u32::try_from(tag.start).expect("the text is below 4 GiB");
            self.ports.push(PortRecord { key: port.id | bit, start });
        }
        Ok(())
    }

    fn read_edges(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        loop {
            match cursor.child()? {
                Ok(tag) if tag.name() == "edge" => {
                    self.edges.push(Edge {
                        from_layer: tag.number("from-layer")?,
                        from_port: tag.number("from-port")?,
                        to_layer: tag.number("to-layer")?,
                        to_port: tag.number("to-port")?,
                    });
                    cursor.skip(&tag, &mut |inner| inner.attributes().map(drop))?;
                }
                Ok(tag) => return Err(Fault::new(tag.start, "an edge element", tag.name())),
                Err(end) => {
                    self.edges_end = end;
                    return Ok(());
                }
            }
        }
    }

    fn sort_layers(&mut self) -> Result<(), Fault> {
        let n_layers = u32::try_from(self.layers.len()).expect("the text is below 4 GiB");
        self.by_id = (0..n_layers).collect();
        let layers = &self.layers;
        self.by_id.sort_unstable_by_key(|&layer_idx| layers[layer_idx as usize].id);
        let ids = self.by_id.iter().map(|&layer_idx| layers[layer_idx as usize]);
        match ids.clone().zip(ids.skip(1)).find(|(a, b)| a.id == b.id) {
            Some((a, b)) => {
                let at = a.start.max(b.start) as usize;
                Err(Fault::new(at, "distinct layer ids", &format!("{} twice", a.id)))
            }
            None => Ok(()),
        }
    }

    /// Every edge joins ports that exist, and no input is fed twice.
    fn sort_and_check_edges(&mut self) -> Result<(), Fault> {
        self.edges.sort_unstable_by_key(|edge| (edge.to_layer, edge.to_port));
        let fault = |edge: &Edge, expected: &str| {
            let Edge { from_layer, from_port, to_layer, to_port } = edge;
            let found = format!("{from_layer}:{from_port} -> {to_layer}:{to_port}");
            Fault::new(self.edges_end, expected, &found)
        };
        for edge in &self.edges {
            let has = |layer, side, port| {
                self.layer(layer).is_some_and(|layer| self.port(layer, side, port).is_some())
            };
            if !has(edge.from_layer, Side::Output, edge.from_port) {
                return Err(fault(edge, "an edge from a port that exists"));
            }
            if !has(edge.to_layer, Side::Input, edge.to_port) {
                return Err(fault(edge, "an edge to a port that exists"));
            }
        }
        let target = |edge: &Edge| (edge.to_layer, edge.to_port);
        match self.edges.windows(2).find(|pair| target(&pair[0]) == target(&pair[1])) {
            Some(pair) => Err(fault(&pair[1], "one edge into each input")),
            None => Ok(()),
        }
    }
}
