//! Campaigns as their user meets them: shards, and `pvmmu merge`. Those with real Xen: `ci/campaign.sh`.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn pvmmu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pvmmu")).args(args).output().expect("it starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// A result, without what depends on how fast it went and on how many boots it took.
fn comparable(bytes: &[u8]) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.retain(|name, _| !name.contains("second") && name != "boots" && name != "unsteady");
                object.values_mut().for_each(strip);
            }
            Value::Array(array) => array.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(bytes).expect("JSON");
    strip(&mut value);
    value
}

/// The shards of a run, as files.
struct Shards {
    folder: TempDir,
    files: Vec<PathBuf>,
}

impl Shards {
    fn run(args: &[&str], of: u32) -> Self {
        let folder = TempDir::new().expect("a folder");
        let shard = |index| {
            let output = pvmmu(&[args, &["--format", "json", "--shard", &format!("{index}/{of}")]].concat());
            assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output.stderr));
            let file = folder.path().join(format!("{index}.json"));
            std::fs::write(&file, output.stdout).expect("written");
            file
        };
        let files = (1..=of).map(shard).collect();
        Self { folder, files }
    }

    /// The files of these places, merged.
    fn merge(&self, places: &[usize], more: &[&str]) -> Output {
        let path = |place: &usize| self.files[*place].to_str().expect("a path");
        let files: Vec<&str> = places.iter().map(path).collect();
        let save = self.folder.path().join("saved");
        pvmmu(&[&["merge", "--save", save.to_str().expect("a path")], &*files, more].concat())
    }
}

/// All shards, in any order, come to what the whole comes to, in as good a text.
fn adds_up(args: &[&str], of: u32) {
    let shards = Shards::run(args, of);
    let places: Vec<usize> = (0..of as usize).rev().collect();
    let merged = shards.merge(&places, &["--format", "json"]);
    let whole = pvmmu(&[args, &["--format", "json"]].concat());
    assert_eq!(merged.status.code(), whole.status.code(), "{args:?}: {}", text(&merged.stderr));
    assert_eq!(comparable(&merged.stdout), comparable(&whole.stdout), "{args:?}");
    let case = |output: &Output| text(&output.stdout).matches("<testcase").count();
    let [merged, whole] =
        [shards.merge(&places, &["--format", "junit"]), pvmmu(&[args, &["--format", "junit"]].concat())];
    assert!(case(&merged) > 1 && case(&merged) == case(&whole), "{args:?}: {}", text(&merged.stderr));
    let merged = shards.merge(&places, &[]);
    assert!(text(&merged.stdout).lines().count() > 1, "{args:?}: {}", text(&merged.stderr));
}

#[test]
fn explorations_in_shards_are_the_whole() {
    adds_up(&["explore", "B13a", "--policy", "all"], 3);
    adds_up(&["explore", "S60", "--cut", "--deviations", "0"], 5);
    adds_up(&["explore", "S29", "--policy", "all", "--seed", "7", "--ways", "50"], 2);
    adds_up(&["explore", "--arch", "all", "S29", "--deviations", "1"], 4);
}

/// What is found keeps its schedule, which goes the way again, in a part of S60 too.
#[test]
fn a_fault_found_by_a_shard_is_in_the_whole_with_its_schedule() {
    let args = ["explore", "S60", "--cut", "--nested", "--deviations", "1", "--policy", "linux-7.0"];
    let shards = Shards::run(&args, 2);
    let merged = shards.merge(&[0, 1], &["--format", "json"]);
    assert_eq!(merged.status.code(), Some(1), "{}", text(&merged.stderr));
    let value = comparable(&merged.stdout);
    let found: Vec<&Value> = value["scenarios"]
        .as_array()
        .expect("scenarios")
        .iter()
        .filter_map(|scenario| scenario["violations"].get(0))
        .collect();
    assert!(found.len() > 10, "{value}");
    let schedule = found[0]["schedule"].as_str().expect("a schedule");
    // The command that is printed goes the way again, as it stands.
    let printed = text(&shards.merge(&[1, 0], &[]).stdout).to_owned();
    let command = format!("pvmmu explore S60 --nested --policy linux-7.0 --schedule {schedule}\n");
    assert!(printed.contains(&command), "{printed}");
    let again = pvmmu(&command.split_whitespace().skip(1).collect::<Vec<_>>());
    let (again, finding) = (text(&again.stdout), found[0]["finding"].as_str().expect("a finding"));
    assert!(again.contains(&format!("broken: {finding}")), "{again}");
    assert!(printed.contains("that begin E E\n"), "{printed}");
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let shards = Shards::run(&["explore", "S29", "--policy", "all"], 3);
    let others = Shards::run(&["explore", "S29", "--policy", "all", "--deviations", "1"], 3);
    let seeds = Shards::run(&["explore", "S29", "--policy", "all", "--seed", "1", "--ways", "5"], 3);
    let halves = Shards::run(&["explore", "S29", "--policy", "all"], 2);
    let file = |name: &str, change: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(&shards.files[1]).expect("readable");
        let file = shards.folder.path().join(name);
        std::fs::write(&file, change(text)).expect("written");
        file
    };
    let version = concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\"");
    let [cut, older, fewer, none, many, misnumbered, whole] = [
        file("cut", &|text| text[..text.len() / 2].into()),
        file("older", &|text| text.replace(version, "\"version\": \"0.0.9\"")),
        file("fewer", &|text| {
            let mut value: Value = serde_json::from_str(&text).expect("JSON");
            value["scenarios"].as_array_mut().expect("scenarios").pop();
            value.to_string()
        }),
        file("none", &|_| "{}".into()),
        file("many", &|text| text.replace("2/3", "2/90")),
        file("misnumbered", &|text| text.replace("2/3", "4/3")),
        file("whole", &|text| text.replace("\"shard\": \"2/3\"", "\"shard\": null")),
    ];
    let [one, two, three] = [&shards.files[0], &shards.files[1], &shards.files[2]];
    let all: [(&[&PathBuf], &str); 12] = [
        (&[one, three], "of 3 shards not all are there: missing 2/3"),
        (&[one, two, three, two], "are both shard 2/3"),
        (&[one, &others.files[1], three], "--deviations is 1 there and not given here"),
        (&[one, &seeds.files[1], three], "seed is 1 there and null here"),
        (&[one, &older, three], "version is \"0.0.9\" there and"),
        (&[&halves.files[0], two, three], "2.json is shard 2/3, and"),
        (&[one, &cut, three], "cut is not the whole of a result: EOF while parsing"),
        (&[one, &fewer, three], "fewer has not its share"),
        (&[one, &none, three], "it names no `campaign`"),
        (&[one, &misnumbered, three], "`4/3` is no shard"),
        (&[&many], "missing 1/90, 3/90, 4/90, 5/90, 6/90, 7/90, 8/90, 9/90, 10/90, 11/90 and 79 more"),
        (&[&whole], "is the result of a whole run"),
    ];
    for (files, part) in all {
        let files: Vec<&str> = files.iter().map(|file| file.to_str().expect("a path")).collect();
        let output = pvmmu(&[&["merge"], &*files].concat());
        let message = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{part}: {message}");
        assert!(message.contains(part), "{part}: {message}");
    }
    let drawn = shards.merge(&[0, 1, 2], &["--format", "html"]);
    assert!(text(&drawn.stderr).contains("only their schedules are kept"), "{}", text(&drawn.stderr));
    assert_eq!((drawn.status.code(), drawn.stdout.len()), (Some(2), 0));
    assert_eq!(pvmmu(&["merge", "no-such-file"]).status.code(), Some(2));
    assert_eq!(pvmmu(&["merge"]).status.code(), Some(2));
}

#[test]
fn what_cannot_be_shared_out_says_so() {
    for (args, part) in [
        (&["explore", "--all", "--shard", "5/4"][..], "expected I/N"),
        (&["explore", "--all", "--shard", "0/4"], "1 <= I <= N"),
        (&["explore", "--shard", "1/4"], "say what to explore"),
        (&["explore", "S60", "--shard", "1/4"], "divide S60 by --cut"),
        (&["explore", "S29", "--cut"], "only S60 can be cut"),
        (&["explore", "S29", "--schedule", "0", "--shard", "1/1"], "cannot be used with"),
        (&["conform", "--shard", "1/2"], "the same --seed"),
        (&["conform", "--program", "x", "--shard", "1/2"], "cannot be used with"),
        (&["conform", "--seed", "1", "--shard", "1/0"], "expected I/N"),
    ] {
        let output = pvmmu(args);
        let message = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}: {message}");
        assert!(message.contains(part), "{args:?}: {message}");
    }
}
