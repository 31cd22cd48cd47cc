//! The table: medians of things measured in turns, and their ratios.

use std::{env, fs, hint::black_box, path::PathBuf, time::Duration};

use stats_alloc::Region;
use zipnet_protocol::{Canonical, SigningSecret};

use super::{
    baseline,
    stage::{Stage, timed},
};
use crate::{
    ALLOCATOR,
    common::{entropy, signing},
};

/// What the documentation of the reference system states for each client.
const REFERENCE: Duration = Duration::from_millis(5);

type Work<'a> = &'a mut dyn FnMut() -> Duration;

/// Runs both in turns; the median of each.
fn medians(turns: usize, one: Work<'_>, other: Work<'_>) -> (Duration, Duration) {
    let mut times: Vec<_> = (0..turns).map(|_| (one(), other())).collect();
    let mut median = |of: fn(&(Duration, Duration)) -> Duration| {
        times.sort_by_key(of);
        of(&times[turns / 2])
    };
    (median(|times| times.0), median(|times| times.1))
}

/// The time of one run out of several in a row.
fn each(runs: u32, mut work: impl FnMut()) -> Duration {
    timed(|| (0..runs).for_each(|_| work())) / runs
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1000.0 {
        format!("{micros:.2} us")
    } else {
        format!("{:.2} ms", micros / 1000.0)
    }
}

/// Lines of markdown.
struct Table(String);

impl Table {
    fn row(&mut self, what: &str, value: &str, against: &str, ratio: &str, bound: &str) {
        let line = format!("| {what} | {value} | {against} | {ratio} | {bound} |\n");
        self.0.push_str(&line);
    }

    /// A pair of times; with a bound on their ratio, whether it holds.
    fn pair(&mut self, what: &str, against: &str, times: (Duration, Duration), most: Option<f64>) {
        let ratio = ratio(times.0, times.1);
        let bound = most.map_or(String::new(), |most| {
            let met = if ratio <= most { "met" } else { "MISSED" };
            format!("at most {most}: {met}")
        });
        let against = format!("{against}: {}", show(times.1));
        let ratio = if ratio < 0.01 {
            format!("1/{:.0}", ratio.recip())
        } else {
            format!("{ratio:.2}")
        };
        self.row(what, &show(times.0), &against, &ratio, &bound);
    }
}

pub fn measure(stage: &mut Stage) {
    let mut table = Table(String::new());
    table.row("what", "median", "against", "ratio", "bound");
    table.row("---", "---", "---", "---", "---");
    pads(&mut table, stage);
    partials(&mut table, stage);
    memory(&mut table, stage);
    folds(&mut table, stage);
    rest(&mut table, stage);
    println!("\n{}", table.0);
    let path = target().join("bench-table.md");
    fs::write(&path, &table.0).unwrap();
    println!("written to {}", path.display());
}

/// The target directory: this program is `TARGET/TRIPLE/release/deps/NAME`.
fn target() -> PathBuf {
    let program = env::current_exe().unwrap();
    program.ancestors().nth(4).unwrap().to_path_buf()
}

fn pads(table: &mut Table, stage: &Stage) {
    let mut buffers = [vec![0; stage.bytes], vec![0; stage.bytes]];
    let [one, other] = &mut buffers;
    let mut pad = || each(8, || stage.pad(black_box(one)));
    let bare = medians(1000, &mut pad, &mut || {
        each(8, || baseline::chacha20(black_box(other)))
    });
    table.pair(
        "pad of a client, derived and accumulated",
        "bare ChaCha20",
        bare,
        Some(1.15),
    );

    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        let limit = (bare.0, Duration::from_micros(5));
        table.pair("the same, with AVX-512", "5 us", limit, Some(1.0));
    }

    let shaped = medians(200, &mut pad, &mut || {
        each(2, || stage.reference_pad(black_box(other)))
    });
    let name = "X25519 each round, HKDF, AES-128-CTR, XOR";
    table.pair("the same", name, shaped, Some(1.0));
    let stated = (shaped.0, REFERENCE);
    table.pair(
        "the same",
        "stated for the reference system",
        stated,
        Some(1.0),
    );
}

fn partials(table: &mut Table, stage: &Stage) {
    let clients = stage.envelopes.len();
    let cores = stage.all.current_num_threads();
    let run = |pool: &rayon::ThreadPool| timed(|| pool.install(|| stage.partial()));
    let (all, one) = medians(21, &mut || run(&stage.all), &mut || run(&stage.one));
    table.pair(
        &format!("partial over {clients} clients, {cores} threads"),
        "1 thread",
        (all, one),
        None,
    );
    let scaling = ratio(one, all);
    table.row(
        "scaling of the partial",
        &format!("x {scaling:.2}"),
        &format!("{cores} cores"),
        &format!(
            "{:.0} %",
            100.0 * scaling / f64::from(u32::try_from(cores).unwrap())
        ),
        "",
    );
    let mut buffer = vec![0; stage.bytes];
    let (one, bare) = medians(11, &mut || run(&stage.one), &mut || {
        timed(|| (0..clients).for_each(|_| baseline::chacha20(black_box(&mut buffer))))
    });
    table.pair(
        &format!("partial over {clients} clients, 1 thread"),
        "as many bare keystreams",
        (one, bare),
        None,
    );
    let agree = timed(|| stage.all.install(|| stage.agree()));
    table.pair(
        &format!("agreement with {clients} clients, once in their life, {cores} threads"),
        "a partial",
        (agree, all),
        None,
    );
}

/// What the allocator was asked for.
fn memory(table: &mut Table, stage: &Stage) {
    let clients = stage.envelopes.len();
    let cores = stage.all.current_num_threads();
    stage.all.install(|| {
        let region = Region::new(ALLOCATOR);
        let kept = stage.agree();
        let stats = region.change();
        drop(kept);
        let kept = stats.bytes_allocated - stats.bytes_deallocated;
        let region = Region::new(ALLOCATOR);
        drop(black_box(stage.partial()));
        let spent = region.change().bytes_allocated;
        let stated = 64 * clients + stage.bytes * cores;
        table.row(
            "memory of a partial: table and accumulators",
            &format!("{kept} B + {spent} B"),
            &format!("64 B x clients + 16 KiB x cores: {stated} B"),
            &format!("{:.2}", as_f64(kept + spent) / as_f64(stated)),
            "",
        );
    });
}

fn as_f64(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap())
}

fn folds(table: &mut Table, stage: &Stage) {
    let envelopes = &stage.envelopes;
    let name = format!("fold of {} envelopes", envelopes.len());
    let mut fold = || {
        let mut fold = stage.empty_fold();
        timed(|| stage.fold_into(&mut fold))
    };
    let mut accumulator = vec![0; stage.bytes];
    let plain = medians(21, &mut fold, &mut || {
        timed(|| {
            for envelope in envelopes {
                baseline::xor(black_box(&mut accumulator), &envelope.vector);
            }
        })
    });
    table.pair(&name, "a plain XOR pass over the same memory", plain, None);
    let copy = medians(21, &mut fold, &mut || {
        timed(|| {
            for envelope in envelopes {
                black_box(&mut accumulator).copy_from_slice(&envelope.vector);
            }
        })
    });
    table.pair(&name, "memcpy of the same memory", copy, None);
    let bytes = as_f64(stage.bytes * envelopes.len());
    table.row(
        "memory read by the fold",
        &format!("{:.1} GB/s", bytes / copy.0.as_secs_f64() / 1e9),
        &format!("memcpy: {:.1} GB/s", bytes / copy.1.as_secs_f64() / 1e9),
        &format!("{:.2}", ratio(copy.1, copy.0)),
        "",
    );
}

fn rest(table: &mut Table, stage: &mut Stage) {
    let mut buffer = vec![0; stage.bytes];
    let sealed = medians(500, &mut || stage.seal(), &mut || {
        timed(|| (0..3).for_each(|_| baseline::chacha20(black_box(&mut buffer))))
    });
    table.pair("seal for 3 servers", "3 bare keystreams", sealed, None);

    let secret: SigningSecret = signing("any", 0);
    let message = Canonical::new().fixed(&entropy("any", 0));
    let signature = secret.sign("zipnet/bench/v1", &message);
    let finalized = medians(
        300,
        &mut || {
            let round = stage.round.clone();
            timed(|| stage.record.verify_in(round.round().clone()).unwrap())
        },
        &mut || {
            timed(|| {
                for _ in 0..3 {
                    let verified = secret
                        .public()
                        .verify("zipnet/bench/v1", &message, &signature);
                    verified.unwrap();
                }
            })
        },
    );
    table.pair(
        "finalize with 3 servers",
        "3 signature checks",
        finalized,
        None,
    );
}
