//! probe
use std::sync::Arc; use std::time::Instant;
use guest_model::{Bounds, Handler, Profile, Program, Scenario, Step, explore, text};
fn main() {
    let length: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let dev: u8 = std::env::args().nth(2).unwrap().parse().unwrap();
    let irq: u8 = std::env::args().nth(3).unwrap().parse().unwrap();
    let alphabet = vec![Step::Enter, Step::Leave, Step::Set(0), Step::Set(1), Step::FlushTlb, Step::Sync];
    let any = Program::Any { alphabet, length };
    let mut s = Scenario::new("S60", "all", Profile::Strict, vec![any.clone(), any]);
    s.handlers = vec![Handler::Set(0)];
    s.bounds = Bounds { preemptions: 2, interrupts: irq, migrations: 1, hypervisor: 2, deviations: dev, choices: 2000 };
    let t = Instant::now();
    let out = explore(&Arc::new(s.clone()), |seen| { if seen.schedules % (1<<16) == 0 { eprintln!("{} states {} schedules {:.0}/s", seen.states, seen.schedules, seen.states as f64 / t.elapsed().as_secs_f64()); } true });
    println!("{:?} complete {} in {:.2}s: {:.0} states/s", out.seen, out.complete, t.elapsed().as_secs_f64(), out.seen.states as f64 / t.elapsed().as_secs_f64());
    if let Some(f) = out.fault { println!("{}\n{}\n{}", f.found, f.schedule, text(&f.moments, 2)); }
}
