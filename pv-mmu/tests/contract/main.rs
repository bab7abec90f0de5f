//! The contract, rule by rule and scenario by scenario, on hypervisors that can refuse.

mod interleaving;
mod kernel;
mod model;
mod properties;
mod random;
mod regressions;
mod rewrite;
mod scenarios;
mod tables;
mod world;
