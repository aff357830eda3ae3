//! Schemas of wire types, by their names.

use utoipa::ToSchema;
use utoipa::openapi::{Ref, RefOr, Schema};

/// Schemas by their names.
pub(crate) type Schemas = Vec<(String, RefOr<Schema>)>;
/// A schema; what it names comes to the others.
pub(crate) type SchemaOf = fn(&mut Schemas) -> RefOr<Schema>;

/// A reference to the schema of `T`, which comes to the others with all that it names.
pub(crate) fn named<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name()).into()
}
