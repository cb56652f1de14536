//! What the configuration says about collections: new ones, and how much is kept of the built-in ones.

use super::{Collection, Column, ColumnKind, Declaration, DeclarationError, Kind, Retention};
use crate::config::{CollectionConfig, CollectionKind, ColumnConfig, ColumnType};

/// All collections of a gateway: the built-in ones, each with the retention that the configuration may give it, and
/// the configured ones.
///
/// # Errors
/// Never for a configuration that was checked.
pub fn all(configs: &[CollectionConfig], builtin: Vec<Collection>) -> Result<Vec<Collection>, DeclarationError> {
    let mut all = Vec::with_capacity(builtin.len() + configs.len());
    for collection in builtin {
        let config = configs.iter().find(|config| config.kind.is_none() && config.name == collection.name());
        all.push(match config {
            Some(config) => {
                Collection::new(Declaration { retention: retention(config), ..collection.declaration().clone() })?
            }
            None => collection,
        });
    }
    for declaration in configs.iter().filter_map(declared) {
        all.push(Collection::new(declaration)?);
    }
    Ok(all)
}

/// The declaration of a new collection; `None` for an entry that speaks of a built-in one.
#[must_use]
pub fn declared(config: &CollectionConfig) -> Option<Declaration> {
    let kind = match config.kind? {
        CollectionKind::Append => Kind::Append { unique: config.unique.clone() },
        CollectionKind::Upsert => {
            Kind::Upsert { key: config.key.clone(), newest_by: config.newest_by.clone().unwrap_or_default() }
        }
        CollectionKind::Merge => Kind::Merge { key: config.key.clone() },
    };
    Some(Declaration {
        name: config.name.clone(),
        kind,
        columns: config.columns.iter().map(column).collect(),
        time: config.time.clone(),
        indexes: config.indexes.clone(),
        retention: retention(config),
    })
}

fn column(config: &ColumnConfig) -> Column {
    let kind = match config.kind {
        ColumnType::Text => ColumnKind::Text,
        ColumnType::Integer => ColumnKind::Integer,
        ColumnType::Real => ColumnKind::Real,
        ColumnType::Time => ColumnKind::Time,
    };
    Column { name: config.name.clone(), pointer: config.pointer.clone(), kind, required: config.required }
}

fn retention(config: &CollectionConfig) -> Retention {
    let kept = &config.retention;
    Retention {
        max_rows: kept.max_rows,
        max_age_ms: kept.max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        max_bytes: kept.max_bytes.map(|size| size.bytes()),
        share: config.share,
        max_document_bytes: Some(config.max_document.bytes()),
    }
}
