//! A campaign: one run in shards, each of which may run anywhere, and what they found put together again.
//!
//! A shard does its part of what the whole run does, no more: shards have nothing in common and leave nothing out.
//! Every result in JSON names its [`Campaign`], and `pvmmu merge` puts together what is of one.

pub(crate) mod merge;
mod shard;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use shard::{Shard, weave};

/// A command that can be shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    /// `pvmmu explore`.
    Explore,
    /// `pvmmu explore --arch`.
    ExploreArch,
    /// `pvmmu conform`, random programs.
    Conform,
    /// `pvmmu conform --cases`.
    ConformCases,
}

/// Values by name.
type Identity = BTreeMap<String, Value>;

/// What a run is, whoever does which part of it, and which part this is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Campaign {
    /// The command.
    pub(crate) command: Command,
    /// Of this program.
    version: String,
    /// What determines random choices.
    pub(crate) seed: Option<u64>,
    /// Every option that decides what is done, as given.
    pub(crate) options: BTreeMap<String, Value>,
    /// How many the whole is of what is listed, where shards deal out a list.
    pub(crate) total: Option<usize>,
    /// `None`: the whole.
    pub(crate) shard: Option<Shard>,
}

impl Campaign {
    /// This version's. `options` is an object; what is null in it was not given.
    ///
    /// # Errors
    /// What cannot be written as JSON.
    pub(crate) fn new(
        command: Command,
        seed: Option<u64>,
        options: impl Serialize,
        shard: Option<Shard>,
    ) -> Result<Self> {
        let mut options: BTreeMap<String, Value> = serde_json::from_value(serde_json::to_value(options)?)?;
        options.retain(|_, value| !value.is_null());
        Ok(Self { command, version: env!("CARGO_PKG_VERSION").into(), seed, options, total: None, shard })
    }

    /// One that lists as many.
    pub(crate) fn of(self, total: usize) -> Self {
        Self { total: Some(total), ..self }
    }

    /// A result in JSON, which is an object, as this campaign's.
    ///
    /// # Errors
    /// What cannot be written as JSON.
    pub(crate) fn json(&self, mut result: Value) -> Result<String> {
        result["campaign"] = serde_json::to_value(self)?;
        Ok(format!("{result:#}\n"))
    }

    /// What tells this campaign from others, by name.
    fn identity(&self) -> Result<Identity> {
        let Self { command, version, seed, options, total, shard: _ } = self;
        let own = [
            ("command", serde_json::to_value(command)?),
            ("version", version.clone().into()),
            ("seed", (*seed).into()),
            ("total", (*total).into()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        Ok(own.chain(options.iter().map(|(name, value)| (format!("--{name}"), value.clone()))).collect())
    }
}
