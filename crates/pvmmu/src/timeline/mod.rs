//! What happened on each vCPU in the course of a run: regions, context switches, what was queued, hypercalls.
//!
//! Whoever follows a run tells it moment by moment, none before the one told last. A region belongs to its task: it is
//! drawn on the vCPU the task runs on, and stops there while the task does not run. The same timeline is drawn on a page
//! and written for ui.perfetto.dev.

mod recorded;

use std::collections::HashMap;

use serde_json::{Value, json};

pub(crate) use recorded::Recorder;

/// Slices and changes of a queue that are kept of one vCPU. What comes after is counted, not drawn.
const LIMIT: usize = 200_000;

/// What a slice stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A task in a lazy region.
    Region,
    /// A context switch: a moment.
    Switch,
    /// A hypercall: a moment.
    Hypercall,
    /// A task that runs.
    Task,
    /// A step of whoever runs.
    Step,
}

#[derive(Debug)]
struct Slice {
    kind: Kind,
    from: u64,
    to: u64,
    name: String,
}

#[derive(Debug, Default)]
struct Vcpu {
    slices: Vec<Slice>,
    depth: Vec<(u64, u64)>,
}

/// A region that is open.
#[derive(Debug)]
struct Open {
    depth: u32,
    /// Where its task runs, and since when, if it does.
    running: Option<(usize, u64)>,
}

/// Something that was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When.
    pub(crate) at: u64,
    /// On which vCPU, if on one.
    pub(crate) vcpu: Option<usize>,
    /// What.
    pub(crate) text: String,
}

/// The course of one run.
#[derive(Debug)]
pub(crate) struct Timeline {
    name: String,
    /// What one step in time is.
    unit: &'static str,
    /// Microseconds that it is shown as where time is a clock's.
    tick: u64,
    vcpus: Vec<Vcpu>,
    open: HashMap<String, Open>,
    marks: Vec<Mark>,
    end: u64,
    left_out: u64,
}

impl Timeline {
    /// An empty one. `unit` is what one step in time is, such as a line of the trace, and `tick` how many microseconds that
    /// is shown as.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, tick: u64) -> Self {
        let (vcpus, open, marks) = (Vec::new(), HashMap::new(), Vec::new());
        Self { name: name.into(), unit, tick, vcpus, open, marks, end: 0, left_out: 0 }
    }

    /// Says what it is of.
    pub(crate) fn rename(&mut self, name: String) {
        self.name = name;
    }

    /// What it is of.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What was told of and is not kept.
    pub(crate) const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// A task enters a region, or one more in it.
    pub(crate) fn enter(&mut self, vcpu: usize, task: String, at: u64) {
        let open = self.open.entry(task).or_insert(Open { depth: 0, running: Some((vcpu, at)) });
        open.depth += 1;
    }

    /// The task leaves the region it entered last. Without one, nothing is drawn.
    pub(crate) fn leave(&mut self, task: &str, at: u64) {
        let Some(open) = self.open.get_mut(task) else { return };
        open.depth -= 1;
        if open.depth == 0 {
            let running = open.running;
            self.open.remove(task);
            self.draw_region(task, running, at);
        }
    }

    /// Whether the task is in a region.
    pub(crate) fn is_in_region(&self, task: &str) -> bool {
        self.open.contains_key(task)
    }

    /// The vCPU turns from one task to another.
    pub(crate) fn switch(&mut self, vcpu: usize, from: &str, to: &str, at: u64) {
        if let Some(open) = self.open.get_mut(from) {
            let running = open.running.take();
            self.draw_region(from, running, at);
        }
        if let Some(open) = self.open.get_mut(to) {
            open.running = Some((vcpu, at));
        }
        self.draw(vcpu, Slice { kind: Kind::Switch, from: at, to: at, name: format!("{from} to {to}") });
    }

    /// A hypercall is made.
    pub(crate) fn hypercall(&mut self, vcpu: usize, at: u64, name: String) {
        self.draw(vcpu, Slice { kind: Kind::Hypercall, from: at, to: at, name });
    }

    /// A task has run from one moment to another.
    pub(crate) fn ran(&mut self, vcpu: usize, from: u64, to: u64, task: String) {
        self.draw(vcpu, Slice { kind: Kind::Task, from, to, name: task });
    }

    /// Something is done, until the next moment.
    pub(crate) fn step(&mut self, vcpu: usize, at: u64, name: String) {
        self.draw(vcpu, Slice { kind: Kind::Step, from: at, to: at + 1, name });
    }

    /// So many operations wait on the vCPU now.
    pub(crate) fn queued(&mut self, vcpu: usize, at: u64, operations: u64) {
        self.end = self.end.max(at);
        let was = self.vcpu(vcpu).depth.last().map_or(0, |(_, depth)| *depth);
        if was == operations {
        } else if self.vcpu(vcpu).depth.len() < LIMIT {
            self.vcpu(vcpu).depth.push((at, operations));
        } else {
            self.left_out += 1;
        }
    }

    /// Something was found.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.end = self.end.max(mark.at);
        self.marks.push(mark);
    }

    /// The run is over: what is open ends here.
    pub(crate) fn finish(&mut self, at: u64) {
        self.end = self.end.max(at);
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_by(|one, other| one.0.cmp(&other.0));
        for (task, Open { running, .. }) in open {
            self.draw_region(&task, running, at);
        }
    }

    fn draw_region(&mut self, task: &str, running: Option<(usize, u64)>, to: u64) {
        if let Some((vcpu, from)) = running {
            self.draw(vcpu, Slice { kind: Kind::Region, from, to, name: task.into() });
        }
    }

    fn draw(&mut self, vcpu: usize, slice: Slice) {
        self.end = self.end.max(slice.to);
        let slices = &mut self.vcpu(vcpu).slices;
        if slices.len() < LIMIT {
            slices.push(slice);
        } else {
            self.left_out += 1;
        }
    }

    fn vcpu(&mut self, vcpu: usize) -> &mut Vcpu {
        if self.vcpus.len() <= vcpu {
            self.vcpus.resize_with(vcpu + 1, Vcpu::default);
        }
        &mut self.vcpus[vcpu]
    }

    /// For the script of a page: flat lists of numbers, times as differences, names once each.
    pub(crate) fn data(&self) -> Value {
        let mut names = Names::default();
        let vcpus: Vec<Value> = self.vcpus.iter().map(|vcpu| vcpu.data(&mut names)).collect();
        let marks: Vec<Value> = self.marks.iter().map(|mark| json!([mark.at, mark.vcpu, mark.text])).collect();
        json!({
            "name": self.name, "unit": self.unit, "end": self.end, "vcpus": vcpus, "names": names.list, "marks": marks,
        })
    }
}

/// Names by their numbers.
#[derive(Default)]
struct Names<'n> {
    list: Vec<&'n str>,
    numbers: HashMap<&'n str, usize>,
}

impl<'n> Names<'n> {
    fn number(&mut self, name: &'n str) -> usize {
        *self.numbers.entry(name).or_insert_with(|| {
            self.list.push(name);
            self.list.len() - 1
        })
    }
}

impl Vcpu {
    fn data<'n>(&'n self, names: &mut Names<'n>) -> Value {
        let of = |kind: Kind| self.slices.iter().filter(move |slice| slice.kind == kind);
        let mut flat = |kind| {
            let mut last = 0;
            let numbers = of(kind).flat_map(|slice| {
                // Regions end in the order they are told, so one may begin before the last did.
                let difference = slice.from as i64 - last;
                last = slice.from as i64;
                [difference, (slice.to - slice.from) as i64, names.number(&slice.name) as i64]
            });
            numbers.collect::<Vec<i64>>()
        };
        let (regions, switches) = (flat(Kind::Region), flat(Kind::Switch));
        let (hypercalls, tasks, steps) = (flat(Kind::Hypercall), flat(Kind::Task), flat(Kind::Step));
        let mut last = 0;
        let depth = self.depth.iter().flat_map(|(at, operations)| {
            let difference = at - last;
            last = *at;
            [difference, *operations]
        });
        json!({
            "regions": regions, "switches": switches, "hypercalls": hypercalls, "tasks": tasks,
            "steps": steps,
            "depth": depth.collect::<Vec<u64>>(),
        })
    }
}

/// Timelines in the JSON form of trace events, for ui.perfetto.dev: a process for each, a thread and a counter for each
/// vCPU.
pub(crate) fn perfetto<'t>(timelines: impl IntoIterator<Item = &'t Timeline>) -> String {
    let events = timelines.into_iter().zip(1..).flat_map(|(timeline, process)| timeline.trace_events(process));
    json!({ "traceEvents": events.collect::<Vec<Value>>() }).to_string()
}

impl Timeline {
    fn trace_events(&self, process: u32) -> Vec<Value> {
        let title = json!({ "ph": "M", "name": "process_name", "pid": process, "args": { "name": self.name } });
        let vcpus =
            self.vcpus.iter().enumerate().flat_map(|(number, vcpu)| vcpu.trace_events(process, number, self.tick));
        let marks = self.marks.iter().map(|mark| {
            let (scope, ts) = (if mark.vcpu.is_some() { "t" } else { "p" }, mark.at * self.tick);
            json!({ "ph": "i", "name": mark.text, "cat": "found", "s": scope, "pid": process, "tid": mark.vcpu.unwrap_or(0), "ts": ts })
        });
        [title].into_iter().chain(vcpus).chain(marks).collect()
    }
}

impl Vcpu {
    fn trace_events(&self, process: u32, number: usize, tick: u64) -> Vec<Value> {
        let name = json!({ "ph": "M", "name": "thread_name", "pid": process, "tid": number, "args": { "name": format!("vcpu {number}") } });
        let slices = self.slices.iter().map(|slice| {
            let (kind, ts) = (slice.kind.name(), slice.from * tick);
            match slice.kind {
                Kind::Region | Kind::Task | Kind::Step => json!({
                    "ph": "X", "name": slice.name, "cat": kind, "pid": process, "tid": number, "ts": ts,
                    "dur": ((slice.to - slice.from) * tick).max(1),
                }),
                Kind::Switch | Kind::Hypercall => json!({
                    "ph": "i", "name": slice.name, "cat": kind, "s": "t", "pid": process, "tid": number, "ts": ts,
                }),
            }
        });
        let counts = self.depth.iter().map(|(at, operations)| {
            json!({
                "ph": "C", "name": format!("queued on vcpu {number}"), "pid": process, "ts": at * tick,
                "args": { "operations": operations },
            })
        });
        [name].into_iter().chain(slices).chain(counts).collect()
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Switch => "context switch",
            Self::Hypercall => "hypercall",
            Self::Task => "task",
            Self::Step => "step",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Timeline {
        Timeline::new("a run", "line", 10)
    }

    #[test]
    fn a_region_goes_with_its_task() {
        let mut line = line();
        line.enter(0, "task 1".into(), 10);
        line.enter(0, "task 1".into(), 11);
        line.switch(0, "task 1", "task 2", 20);
        line.switch(1, "task 3", "task 1", 30);
        line.leave("task 1", 35);
        line.leave("task 1", 40);
        line.leave("task 1", 50);
        let data = line.data();
        assert_eq!(data["names"], json!(["task 1", "task 1 to task 2", "task 3 to task 1"]));
        assert_eq!(data["vcpus"][0]["regions"], json!([10, 10, 0]), "from 10, for 10 lines");
        assert_eq!(
            data["vcpus"][1]["regions"],
            json!([30, 10, 0]),
            "an inner leave ends nothing, one too many neither"
        );
        assert_eq!(data["vcpus"][1]["switches"], json!([30, 0, 2]));
    }

    #[test]
    fn what_is_open_ends_with_the_run() {
        let mut line = line();
        line.enter(0, "task 1".into(), 10);
        line.finish(90);
        assert_eq!(line.data()["vcpus"][0]["regions"], json!([10, 80, 0]));
        assert_eq!(line.data()["end"], 90);
    }

    #[test]
    fn a_queue_is_noted_when_it_changes() {
        let mut line = line();
        for (at, operations) in [(5, 0), (7, 1), (9, 1), (12, 0)] {
            line.queued(0, at, operations);
        }
        assert_eq!(line.data()["vcpus"][0]["depth"], json!([7, 1, 5, 0]));
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut line = line();
        (0..LIMIT as u64 + 3).for_each(|at| line.hypercall(0, at, "leave".into()));
        assert_eq!(line.left_out(), 3);
    }

    #[test]
    fn trace_events_have_a_thread_and_a_counter_for_each_vcpu() {
        let mut line = line();
        line.enter(0, "task 1".into(), 1);
        line.queued(0, 2, 4);
        line.hypercall(0, 3, "leave".into());
        line.leave("task 1", 3);
        line.mark(Mark { at: 3, vcpu: Some(0), text: "R2".into() });
        let trace: Value = serde_json::from_str(&perfetto([&line])).expect("JSON");
        let kinds: Vec<_> = trace["traceEvents"].as_array().expect("events").iter().map(|event| &event["ph"]).collect();
        assert_eq!(kinds, ["M", "M", "i", "X", "C", "i"]);
        let region = &trace["traceEvents"][3];
        assert_eq!((&region["ts"], &region["dur"], &region["name"]), (&json!(10), &json!(20), &json!("task 1")));
    }
}
