//! The messages of `onnx.proto` as far as Lapwing looks into them.
//!
//! Every field of the format is listed, so that encoding again loses nothing; what nobody reads or
//! edits stays encoded, as [`Bytes`] that point into the file. Attributes are such bytes too:
//! [`NodeProto::attribute`] decodes the one that is asked for.
//!
//! Source: `onnx.proto` of ONNX 1.20 (IR version 13), which says what the fields without a word here
//! are.
#![expect(missing_docs, reason = "the names are those of onnx.proto")]

use bytes::Bytes;
use prost::Message;

/// Messages, each field as `[number, kind] name: type`, all of them public.
macro_rules! messages {
    ($($(#[$of_message:meta])* $message:ident {
        $($(#[$of_field:meta])* [$number:tt, $($kind:tt)*] $field:ident: $type:ty;)*
    })*) => {$(
        $(#[$of_message])*
        #[derive(Clone, PartialEq, Message)]
        pub struct $message {$(
            $(#[$of_field])*
            #[prost($($kind)*, tag = $number)]
            pub $field: $type,
        )*}
    )*};
}

messages! {
    /// A whole model file.
    ModelProto {
        [1, int64, optional] ir_version: Option<i64>;
        /// Operator sets that the nodes are taken from.
        [8, message, repeated] opset_import: Vec<OperatorSetIdProto>;
        [2, string, optional] producer_name: Option<String>;
        [3, string, optional] producer_version: Option<String>;
        [4, string, optional] domain: Option<String>;
        [5, int64, optional] model_version: Option<i64>;
        [6, string, optional] doc_string: Option<String>;
        [7, message, optional] graph: Option<GraphProto>;
        [14, message, repeated] metadata_props: Vec<StringStringEntryProto>;
        [20, bytes = "bytes", repeated] training_info: Vec<Bytes>;
        [25, bytes = "bytes", repeated] functions: Vec<Bytes>;
        [26, bytes = "bytes", repeated] configuration: Vec<Bytes>;
    }

    /// One operator set.
    #[derive(Eq)]
    OperatorSetIdProto {
        /// Namespace; empty for the standard operators.
        [1, string, optional] domain: Option<String>;
        [2, int64, optional] version: Option<i64>;
    }

    /// A key and its value.
    #[derive(Eq)]
    StringStringEntryProto {
        [1, string, optional] key: Option<String>;
        [2, string, optional] value: Option<String>;
    }

    /// Nodes, weights, inputs and outputs.
    GraphProto {
        /// [`NodeProto`], encoded: operations, each after those it depends on.
        ///
        /// A graph of small nodes would take four times its file when decoded.
        [1, bytes = "bytes", repeated] node: Vec<Bytes>;
        [2, string, optional] name: Option<String>;
        [5, message, repeated] initializer: Vec<TensorProto>;
        [15, bytes = "bytes", repeated] sparse_initializer: Vec<Bytes>;
        [10, string, optional] doc_string: Option<String>;
        /// Inputs; old files list the initializers too.
        [11, message, repeated] input: Vec<ValueInfoProto>;
        [12, message, repeated] output: Vec<ValueInfoProto>;
        /// [`ValueInfoProto`] of values between nodes, encoded.
        [13, bytes = "bytes", repeated] value_info: Vec<Bytes>;
        [14, bytes = "bytes", repeated] quantization_annotation: Vec<Bytes>;
        [16, bytes = "bytes", repeated] metadata_props: Vec<Bytes>;
    }

    /// One operation.
    NodeProto {
        /// Names of the values read; empty where an optional one is left out.
        [1, string, repeated] input: Vec<String>;
        /// Names of the values written; empty where one is left out.
        [2, string, repeated] output: Vec<String>;
        [3, string, optional] name: Option<String>;
        [4, string, optional] op_type: Option<String>;
        /// The operator's namespace; empty for the standard ones.
        [7, string, optional] domain: Option<String>;
        /// Which overload of a function.
        [8, string, optional] overload: Option<String>;
        /// [`AttributeProto`], encoded; see [`NodeProto::attribute`].
        [5, bytes = "bytes", repeated] attributes: Vec<Bytes>;
        [6, string, optional] doc_string: Option<String>;
        [9, bytes = "bytes", repeated] metadata_props: Vec<Bytes>;
        [10, bytes = "bytes", repeated] device_configurations: Vec<Bytes>;
    }

    /// A named constant of a node.
    AttributeProto {
        [1, string, optional] name: Option<String>;
        /// Inside a function: the function's attribute that this one repeats.
        [21, string, optional] ref_attr_name: Option<String>;
        [13, string, optional] doc_string: Option<String>;
        /// Which field below is in use: `AttributeType` of the format.
        [20, int32, optional] r#type: Option<i32>;
        [2, float, optional] f: Option<f32>;
        [3, int64, optional] i: Option<i64>;
        /// UTF-8 text.
        [4, bytes = "bytes", optional] s: Option<Bytes>;
        [5, message, optional, boxed] t: Option<Box<TensorProto>>;
        /// A [`GraphProto`], encoded: the body of an `If`, `Loop` or `Scan`.
        [6, bytes = "bytes", optional] g: Option<Bytes>;
        [22, bytes = "bytes", optional] sparse_tensor: Option<Bytes>;
        [14, bytes = "bytes", optional] tp: Option<Bytes>;
        [7, float, repeated] floats: Vec<f32>;
        [8, int64, repeated] ints: Vec<i64>;
        /// UTF-8 texts.
        [9, bytes = "bytes", repeated] strings: Vec<Bytes>;
        [10, bytes = "bytes", repeated] tensors: Vec<Bytes>;
        [11, bytes = "bytes", repeated] graphs: Vec<Bytes>;
        [23, bytes = "bytes", repeated] sparse_tensors: Vec<Bytes>;
        [15, bytes = "bytes", repeated] type_protos: Vec<Bytes>;
    }

    /// A named constant tensor.
    TensorProto {
        /// Sizes, outermost first.
        [1, int64, repeated, packed = "false"] dims: Vec<i64>;
        /// Element type; see [`super::ElementType`].
        [2, int32, optional] data_type: Option<i32>;
        [3, bytes = "bytes", optional] segment: Option<Bytes>;
        /// Packed floats, encoded.
        [4, bytes = "bytes", repeated] float_data: Vec<Bytes>;
        /// Packed integers of at most 32 bits, encoded.
        [5, bytes = "bytes", repeated] int32_data: Vec<Bytes>;
        [6, bytes = "bytes", repeated] string_data: Vec<Bytes>;
        /// Packed 64-bit integers, encoded.
        [7, bytes = "bytes", repeated] int64_data: Vec<Bytes>;
        [8, string, optional] name: Option<String>;
        [12, string, optional] doc_string: Option<String>;
        /// The elements, little-endian, row-major.
        [9, bytes = "bytes", optional] raw_data: Option<Bytes>;
        /// `location`, `offset`, `length` of elements in another file.
        [13, message, repeated] external_data: Vec<StringStringEntryProto>;
        /// [`TensorProto::EXTERNAL`] when the elements are in another file.
        [14, int32, optional] data_location: Option<i32>;
        /// Packed doubles, encoded.
        [10, bytes = "bytes", repeated] double_data: Vec<Bytes>;
        /// Packed unsigned integers, encoded.
        [11, bytes = "bytes", repeated] uint64_data: Vec<Bytes>;
        [16, bytes = "bytes", repeated] metadata_props: Vec<Bytes>;
    }

    /// A named value and its type.
    ValueInfoProto {
        [1, string, optional] name: Option<String>;
        [2, message, optional, boxed] r#type: Option<Box<TypeProto>>;
        [3, string, optional] doc_string: Option<String>;
        [4, bytes = "bytes", repeated] metadata_props: Vec<Bytes>;
    }

    /// The type of a value: at most one of the fields but `denotation` is set.
    TypeProto {
        [1, message, optional] tensor_type: Option<TensorTypeProto>;
        [4, bytes = "bytes", optional] sequence_type: Option<Bytes>;
        [5, bytes = "bytes", optional] map_type: Option<Bytes>;
        /// What the value stands for.
        [6, string, optional] denotation: Option<String>;
        [7, bytes = "bytes", optional] opaque_type: Option<Bytes>;
        [8, bytes = "bytes", optional] sparse_tensor_type: Option<Bytes>;
        [9, bytes = "bytes", optional] optional_type: Option<Bytes>;
    }

    /// Element type and shape of a dense tensor.
    #[derive(Eq)]
    TensorTypeProto {
        /// Element type; see [`super::ElementType`].
        [1, int32, optional] elem_type: Option<i32>;
        /// Sizes; none when even the rank is unknown.
        [2, message, optional] shape: Option<TensorShapeProto>;
    }

    /// Sizes, outermost first.
    #[derive(Eq)]
    TensorShapeProto {
        /// One entry an axis.
        [1, message, repeated] dim: Vec<DimensionProto>;
    }

    /// One size: a number, a name, or unknown.
    #[derive(Eq)]
    DimensionProto {
        [1, int64, optional] dim_value: Option<i64>;
        [2, string, optional] dim_param: Option<String>;
        /// What the axis stands for.
        [3, string, optional] denotation: Option<String>;
    }
}
