//! What processes use of processor and memory.

use zipnet_tests::process::Process;

use super::{say, site::Site};

/// What one has used until now.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    resident: f64,
    seconds: f64,
}

/// What all have used until now: the servers, the aggregators, the clients.
pub struct Use {
    servers: Vec<Used>,
    aggregators: Vec<Used>,
    clients: Used,
}

/// What a kind of process takes, in the mean of those of its kind.
pub struct Taken {
    pub name: String,
    /// Of the processor in a round, in milliseconds.
    pub time: f64,
    /// Bytes; none of the clients, who are this process.
    pub resident: Option<f64>,
    /// Of these, since nobody had come.
    pub grown: f64,
    /// Processes of the kind.
    pub of: usize,
}

impl Use {
    pub fn of(site: &Site) -> Self {
        let servers = site.cluster.servers.iter();
        Self {
            servers: servers.map(|server| used(&server.process)).collect(),
            aggregators: site.aggregators().map(used).collect(),
            clients: Used {
                resident: 0.0,
                seconds: seconds("self"),
            },
        }
    }

    /// By kind, from `self` on over so many rounds, with the processes as they were when
    /// they were `empty`. The aggregator of the rounds is the one with number `root`.
    pub fn until(&self, after: &Self, empty: &Self, root: usize, rounds: usize) -> Vec<Taken> {
        let all = |uses: &Self| -> Vec<Used> {
            let all = uses.servers.iter().chain(&uses.aggregators);
            all.copied().chain([uses.clients]).collect()
        };
        let (empty, before, after) = (all(empty), all(self), all(after));
        let servers = self.servers.len();
        let end = servers + self.aggregators.len();
        let leaves = (servers..end).filter(|at| *at != servers + root);
        let kinds = [
            ("server", (0..servers).collect()),
            ("aggregator", vec![servers + root]),
            ("leaf", leaves.collect()),
            ("clients", vec![end]),
        ];
        let kinds = kinds.into_iter().filter(|(_, who)| !who.is_empty());
        let taken = kinds.map(|(kind, who): (&str, Vec<usize>)| {
            let mean = |value: &dyn Fn(usize) -> f64| {
                who.iter().map(|at| value(*at)).sum::<f64>() / who.len() as f64
            };
            let of = |uses: &[Used], at: usize| uses.get(at).copied().unwrap_or_default();
            let time = |at| of(&after, at).seconds - of(&before, at).seconds;
            let resident = mean(&|at| of(&after, at).resident);
            Taken {
                name: kind.to_owned(),
                time: mean(&time) / rounds as f64 * 1000.0,
                resident: (resident > 0.0).then_some(resident),
                grown: mean(&|at| of(&after, at).resident - of(&empty, at).resident),
                of: who.len(),
            }
        });
        taken.collect()
    }
}

pub fn say_use(taken: &[Taken], clients: usize) {
    say("");
    say("| process | processor time a round | resident | of it for each client |");
    say("| --- | --- | --- | --- |");
    let mut each = 0.0;
    for kind in taken {
        let name = match kind.of {
            1 => kind.name.clone(),
            of => format!("{}, each of {of}", kind.name),
        };
        let Some(resident) = kind.resident else {
            say(&format!("| {name} | {:.1} ms | | |", kind.time));
            continue;
        };
        let of_client = kind.grown / clients as f64;
        each += of_client * kind.of as f64;
        say(&format!(
            "| {name} | {:.1} ms | {:.0} MB | {:.1} KiB |",
            kind.time,
            resident / 1e6,
            of_client / 1024.0
        ));
    }
    say(&format!("| together | | | {:.1} KiB |", each / 1024.0));
}

fn used(process: &Process) -> Used {
    Used {
        resident: process.resident().unwrap_or_default() as f64,
        seconds: seconds(&process.pid().to_string()),
    }
}

/// Processor time of a process, in seconds (proc(5), fields 14 and 15 of `stat`, in
/// hundredths).
fn seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
