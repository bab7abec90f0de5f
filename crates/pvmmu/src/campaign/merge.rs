//! `pvmmu merge`: the results of a campaign's shards as the one result of the whole run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Campaign, Command, Identity, Shard, weave};
use crate::cli::ReportFormat;
use crate::verdict::Verdict;
use crate::{conform, explore};

/// What to put together.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// What the shards of one campaign wrote, each by --shard I/N --format json: all N, in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder that the programs of differences are saved in
    #[arg(long, value_name = "FOLDER", default_value = "divergences")]
    save: PathBuf,
    /// How to print the result
    #[arg(long, default_value_t, value_enum)]
    format: ReportFormat,
}

/// Most shards that are named where some are missing.
const NAMED: usize = 10;

/// Why results are not those of one campaign's shards, all of them.
#[derive(Debug, thiserror::Error)]
enum MergeError {
    #[error("{file} is not the whole of a result: {reason}; let that shard write it again, with --format json")]
    Cut { file: String, reason: String },
    #[error("{file} is the result of a whole run: there is nothing to merge; run shards of it by --shard I/N")]
    Whole { file: String },
    #[error("{other} is of another campaign than {one}: {differ}")]
    Other { one: String, other: String, differ: String },
    #[error("{other} is shard {its}, and {one} is shard {ours}: the shards of one campaign are equally many")]
    Count { one: String, other: String, its: Shard, ours: Shard },
    #[error("{one} and {other} are both shard {shard}: leave one of them out")]
    Twice { one: String, other: String, shard: Shard },
    #[error("of {of} shards not all are there: missing {missing}; run what is missing, and name its file too")]
    Missing { of: u32, missing: String },
    #[error("{file} has not its share of the {total} that the campaign lists: let that shard run again")]
    Share { file: String, total: usize },
}

/// The results of all shards, in the order of their numbers.
pub(crate) struct Shards {
    /// The campaign, whole.
    pub(crate) campaign: Campaign,
    results: Vec<(String, Value)>,
    /// Where programs are saved.
    pub(crate) save: PathBuf,
    /// How the result is printed.
    pub(crate) format: ReportFormat,
}

/// Puts together, and renders what the whole run would have.
///
/// # Errors
/// A file cannot be read or is cut; not all shards of one campaign, each once.
pub(crate) fn run(args: &MergeArgs) -> Result<(String, Verdict)> {
    let shards = all(args)?;
    match shards.campaign.command {
        Command::Explore => explore::merged(&shards),
        Command::ExploreArch => explore::merged_arch(&shards),
        Command::Conform => conform::merged(&shards),
        Command::ConformCases => conform::merged_cases(&shards),
    }
}

impl Shards {
    /// The result of each shard.
    ///
    /// # Errors
    /// One that is none of this command.
    pub(crate) fn results<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let read = |(file, result): &(String, Value)| {
            let cut = |error: serde_json::Error| MergeError::Cut { file: file.clone(), reason: error.to_string() };
            Ok(serde_json::from_value(result.clone()).map_err(cut)?)
        };
        self.results.iter().map(read).collect()
    }

    /// A list of `total` that the shards dealt among them.
    ///
    /// # Errors
    /// One has not its share.
    pub(crate) fn weave<T>(&self, total: usize, parts: Vec<Vec<T>>) -> Result<Vec<T>> {
        let share = |place: usize| MergeError::Share { file: self.results[place].0.clone(), total };
        Ok(weave(total, parts).map_err(share)?)
    }

    /// The list of explorations, say, that is the campaign.
    ///
    /// # Errors
    /// One has not its share.
    pub(crate) fn list<T>(&self, parts: Vec<Vec<T>>) -> Result<Vec<T>> {
        self.weave(self.campaign.total.unwrap_or_default(), parts)
    }
}

/// What merging these files comes to.
#[cfg(test)]
pub(crate) fn of(files: Vec<PathBuf>, save: PathBuf, format: ReportFormat) -> Result<(String, Verdict)> {
    run(&MergeArgs { files, save, format })
}

/// A shard's result, as stored.
struct Stored {
    file: String,
    /// The whole campaign.
    campaign: Campaign,
    shard: Shard,
    result: Value,
}

fn read(path: &Path) -> Result<Stored> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| file.clone())?;
    let cut = |reason: String| MergeError::Cut { file: file.clone(), reason };
    let mut result: Value = serde_json::from_str(&text).map_err(|error| cut(error.to_string()))?;
    let campaign = result.get_mut("campaign").map(Value::take);
    let campaign = campaign.ok_or_else(|| cut("it names no `campaign`".into()))?;
    let mut campaign: Campaign = serde_json::from_value(campaign).map_err(|error| cut(error.to_string()))?;
    let shard = campaign.shard.take().ok_or_else(|| MergeError::Whole { file: file.clone() })?;
    Ok(Stored { file, campaign, shard, result })
}

/// All shards of one campaign.
fn all(args: &MergeArgs) -> Result<Shards> {
    let mut stored = args.files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
    for other in &stored[1..] {
        is_alike(&stored[0], other)?;
    }
    stored.sort_by_key(|stored| stored.shard.index());
    if let Some(twice) = stored.windows(2).find(|twice| twice[0].shard == twice[1].shard) {
        let (one, other, shard) = (twice[0].file.clone(), twice[1].file.clone(), twice[0].shard);
        return Err(MergeError::Twice { one, other, shard }.into());
    }
    let of = stored[0].shard.of();
    let is_there = |shard: &Shard| stored.iter().any(|stored| stored.shard == *shard);
    let missing: Vec<_> = Shard::all(of).filter(|shard| !is_there(shard)).map(|shard| shard.to_string()).collect();
    if !missing.is_empty() {
        let (named, more) = (missing.len().min(NAMED), missing.len().saturating_sub(NAMED));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(MergeError::Missing { of, missing: missing[..named].join(", ") + &more }.into());
    }
    let campaign = stored[0].campaign.clone();
    let results = stored.into_iter().map(|stored| (stored.file, stored.result)).collect();
    Ok(Shards { campaign, results, save: args.save.clone(), format: args.format })
}

/// That two are shards of one campaign.
fn is_alike(one: &Stored, other: &Stored) -> Result<()> {
    let names_of = || (one.file.clone(), other.file.clone());
    let (ours, its) = (one.campaign.identity()?, other.campaign.identity()?);
    let value = |identity: &Identity, name: &str| identity.get(name).map_or("not given".into(), Value::to_string);
    let names: BTreeSet<&String> = ours.keys().chain(its.keys()).collect();
    let differ = names.into_iter().filter(|name| ours.get(*name) != its.get(*name));
    let differ: Vec<_> =
        differ.map(|name| format!("{name} is {} there and {} here", value(&its, name), value(&ours, name))).collect();
    if !differ.is_empty() {
        let ((one, other), differ) = (names_of(), differ.join("; "));
        return Err(MergeError::Other { one, other, differ }.into());
    }
    if one.shard.of() != other.shard.of() {
        let ((one, other), ours, its) = (names_of(), one.shard, other.shard);
        return Err(MergeError::Count { one, other, its, ours }.into());
    }
    Ok(())
}
