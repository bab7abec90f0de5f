//! A way as a trace that ui.perfetto.dev opens: a track for each vCPU with what runs there, and a counter
//! for what it has queued. One moment is a millisecond.

use guest_model::{Moment, who};
use serde_json::{Value, json};

/// The trace, in the JSON form of trace events.
pub(super) fn trace(moments: &[Moment], tasks: usize) -> String {
    let vcpus = moments.first().map_or(0, |moment| moment.queues.len());
    let names = (0..vcpus).map(|vcpu| {
        json!({ "ph": "M", "name": "thread_name", "pid": 1, "tid": vcpu, "args": { "name": format!("vcpu {vcpu}") } })
    });
    let events = moments.iter().enumerate().flat_map(|(number, moment)| at(number * 1000, moment, tasks));
    json!({ "traceEvents": names.chain(events).collect::<Vec<Value>>() }).to_string()
}

fn at(time: usize, moment: &Moment, tasks: usize) -> Vec<Value> {
    let queue = moment.queues.get(moment.vcpu).map(|queue| queue.join(" ")).unwrap_or_default();
    let step = json!({
        "ph": "X", "name": format!("{}: {}", who(moment.fiber, tasks), moment.text), "pid": 1, "tid": moment.vcpu,
        "ts": time, "dur": 1000, "args": { "queue": queue },
    });
    let counter = |(vcpu, queue): (usize, &Vec<String>)| json!({ "ph": "C", "name": format!("queued on vcpu {vcpu}"), "pid": 1, "ts": time, "args": { "operations": queue.len() } });
    [step].into_iter().chain(moment.queues.iter().enumerate().map(counter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_a_slice_and_a_count_of_each_queue() {
        let moment = Moment { vcpu: 1, fiber: 0, text: "asks a=1".into(), queues: vec![vec![], vec!["a=1".into()]] };
        let trace: Value = serde_json::from_str(&trace(&[moment.clone(), moment], 2)).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("events");
        assert_eq!(events.len(), 2 + 2 * 3);
        let slice = events.iter().rfind(|event| event["ph"] == "X").expect("a slice");
        assert_eq!(
            (&slice["name"], &slice["ts"], &slice["args"]["queue"]),
            (&json!("T0: asks a=1"), &json!(1000), &json!("a=1"))
        );
    }
}
