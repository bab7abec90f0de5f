//! probe
use guest_model::{Policy, catalogue, text};
use std::time::Instant;
fn main() {
    let only = std::env::args().nth(1);
    for e in catalogue() {
        let policies = [Policy::PvMmu].into_iter().chain(e.had.map(|(p, _)| p));
        for p in policies {
            if only.as_ref().is_some_and(|o| o != e.scenario.name) {
                continue;
            }
            let t = Instant::now();
            let out = p.explore(&e.scenario, |_| t.elapsed().as_secs() < 60);
            print!(
                "{:8} {:16} {:8} states {:7} ways {:5.1}s complete {} ",
                e.scenario.name,
                p.name(),
                out.seen.states,
                out.seen.schedules,
                t.elapsed().as_secs_f64(),
                out.complete
            );
            match out.fault {
                Some(f) => {
                    println!(
                        "FOUND {} {} {} want {:?}",
                        f.found.rule().map_or("?".into(), |r| r.to_string()),
                        f.schedule,
                        f.found,
                        if p == Policy::PvMmu { None } else { e.had.map(|h| h.1) }
                    );
                    if only.is_some() {
                        println!("{}", text(&f.moments, e.scenario.tasks()));
                    }
                }
                None => println!("clean"),
            }
        }
    }
}
