//! The contract, rule by rule and scenario by scenario, on hypervisors that can refuse.

mod counting;
mod interfaces;
mod interleaving;
mod kernel;
mod merging;
mod model;
mod properties;
mod random;
mod regressions;
mod rewrite;
mod scenarios;
mod settling;
mod small;
mod tables;
mod unnoticed;
mod world;
