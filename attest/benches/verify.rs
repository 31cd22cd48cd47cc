//! What verifying a quote costs: criterion groups, and one table in which each
//! figure stands beside something to compare it with, measured in turns in the
//! same run. The table goes to the screen and to `attest-bench-table.md` in the
//! target directory.

#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use criterion::Criterion;
use dcap_qvl::{Policy, QuoteClaims, QuoteCollateralV3, verify::QuoteVerifier};
use zipnet_attest::{
    Collateral, Edition, Quote, TrustRoot, Verifier, WarmVerifier, genuine, hexes::Hexes,
    policy::First, trusted_alone,
};

/// When the quote and its collateral are in force.
const NOW: u64 = 1_750_377_600;

/// Bytes before the signature's data: header, report, length.
const SIGNED: usize = 48 + 584 + 4;

/// Refuses nothing, as in `genuine`.
struct Anything;

impl Policy for Anything {
    fn validate(&self, _: &QuoteClaims) -> anyhow::Result<()> {
        Ok(())
    }
}

/// All that is measured.
struct Stage {
    quote: Vec<u8>,
    json: Vec<u8>,
    collateral: Collateral,
    /// The same for dcap-qvl.
    theirs: QuoteCollateralV3,
    /// Bytes of no meaning after a good header: refused by our parser.
    junk: Vec<u8>,
    /// The same with the length of a signature: refused where what follows that
    /// is read.
    shaped: Vec<u8>,
    /// A good quote with one bit of its report changed.
    flipped: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/quotes");
        let quote = fs::read(folder.join("v4-uptodate.quote.bin")).unwrap();
        let json = fs::read(folder.join("v4-uptodate.collateral.json")).unwrap();
        let mut theirs: QuoteCollateralV3 = serde_json::from_slice(&json).unwrap();
        theirs.pck_certificate_chain = None;
        let mut junk = noise(5000);
        junk[..48].copy_from_slice(&quote[..48]);
        let mut shaped = junk.clone();
        let rest = u32::try_from(shaped.len() - SIGNED).unwrap();
        shaped[SIGNED - 4..SIGNED].copy_from_slice(&rest.to_le_bytes());
        let mut flipped = quote.clone();
        flipped[SIGNED - 5] ^= 1;
        let collateral = Collateral::from_json(&json).unwrap();
        let stage = Self {
            quote,
            json,
            collateral,
            theirs,
            junk,
            shaped,
            flipped,
        };
        assert!(stage.ours(&stage.quote));
        assert!(stage.theirs(&stage.quote));
        for refused in [&stage.junk, &stage.shaped, &stage.flipped] {
            assert!(!stage.ours(refused) && !stage.theirs(refused));
        }
        assert!(Quote::parse(&stage.junk).is_err() && Quote::parse(&stage.shaped).is_ok());
        stage
    }

    fn ours(&self, quote: &[u8]) -> bool {
        genuine(&TrustRoot::Intel, black_box(quote), &self.collateral, NOW).is_ok()
    }

    fn theirs(&self, quote: &[u8]) -> bool {
        let verifier = QuoteVerifier::new_prod();
        let claims = verifier.verify_with_policy(black_box(quote), &self.theirs, NOW, &Anything);
        claims.is_ok()
    }

    /// A verifier by a policy that accepts the quote, which has seen no platform yet.
    fn verifier(&self) -> Verifier {
        let quote = Quote::parse(&self.quote).unwrap();
        let edition = Edition::of(&self.collateral).unwrap();
        let first = First {
            serial: 1,
            issued: NOW,
            evaluations: (edition.evaluation, edition.highest),
            platforms: None,
        };
        let mut policy = zipnet_attest::Policy::accepting(&quote, "bench", "any", first);
        policy.td.attributes = Hexes(quote.report.td_attributes);
        Verifier::new(policy, TrustRoot::Intel).unwrap()
    }

    fn by(&self, verifier: &Verifier) -> bool {
        let said = Quote::parse(&self.quote).unwrap().report.report_data;
        let quote = black_box(&self.quote);
        verifier
            .verify_td(quote, &said, &self.collateral, NOW)
            .is_ok()
    }

    fn alone(&self) -> bool {
        trusted_alone(&TrustRoot::Intel, black_box(&self.collateral), NOW).is_ok()
    }

    /// With the reading of the collateral's JSON.
    fn ours_from_json(&self) -> bool {
        let collateral = Collateral::from_json(black_box(&self.json)).unwrap();
        genuine(&TrustRoot::Intel, &self.quote, &collateral, NOW).is_ok()
    }

    /// Likewise.
    fn theirs_from_json(&self) -> bool {
        let collateral: QuoteCollateralV3 = serde_json::from_slice(black_box(&self.json)).unwrap();
        let verifier = QuoteVerifier::new_prod();
        let claims = verifier.verify_with_policy(&self.quote, collateral, NOW, &Anything);
        claims.is_ok()
    }
}

/// Bytes of no meaning, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn main() {
    // Without `--bench`, or with `--test`, criterion runs everything once.
    let asked = |wanted: &str| env::args().any(|argument| argument == wanted);
    let measure = asked("--bench") && !asked("--test") && !asked("--list");
    let stage = Stage::new();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    groups(&mut criterion, &stage);
    criterion.final_summary();
    if measure {
        table(&stage);
    }
}

fn groups(criterion: &mut Criterion, stage: &Stage) {
    let mut group = criterion.benchmark_group("genuine quote");
    group.bench_function("genuine", |bencher| {
        bencher.iter(|| stage.ours(&stage.quote));
    });
    group.bench_function("dcap-qvl", |bencher| {
        bencher.iter(|| stage.theirs(&stage.quote));
    });
    group.bench_function("collateral read and genuine", |bencher| {
        bencher.iter(|| stage.ours_from_json());
    });
    group.bench_function("collateral without a quote", |bencher| {
        bencher.iter(|| stage.alone());
    });
    group.bench_function("parse alone", |bencher| {
        bencher.iter(|| Quote::parse(black_box(&stage.quote)).is_ok());
    });
    group.finish();
    let mut group = criterion.benchmark_group("refused quote");
    for (name, quote) in [
        ("junk after the header", &stage.junk),
        ("junk in the shape of a quote", &stage.shaped),
        ("one bit flipped", &stage.flipped),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| stage.ours(quote)));
    }
    group.finish();
}

/// Runs both in turns; the median of each.
fn medians(
    turns: usize,
    mut one: impl FnMut() -> bool,
    mut other: impl FnMut() -> bool,
) -> (Duration, Duration) {
    let clock = |work: &mut dyn FnMut() -> bool| {
        let start = Instant::now();
        (0..RUNS).for_each(|_| _ = black_box(work()));
        start.elapsed() / RUNS
    };
    let mut times: Vec<_> = (0..turns)
        .map(|_| (clock(&mut one), clock(&mut other)))
        .collect();
    let mut median = |of: fn(&(Duration, Duration)) -> Duration| {
        times.sort_by_key(of);
        of(&times[turns / 2])
    };
    (median(|times| times.0), median(|times| times.1))
}

/// Runs that are timed together.
const RUNS: u32 = 4;

fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1000.0 {
        format!("{micros:.2} us")
    } else {
        format!("{:.2} ms", micros / 1000.0)
    }
}

/// A line of a pair of times; with a bound on their ratio, whether it holds.
fn pair(what: &str, against: &str, times: (Duration, Duration), most: Option<f64>) -> String {
    let ratio = times.0.as_secs_f64() / times.1.as_secs_f64();
    let bound = most.map_or(String::new(), |most| {
        let met = if ratio <= most { "met" } else { "MISSED" };
        format!("at most {most:.2}: {met}")
    });
    let shown = if ratio < 0.01 {
        format!("1/{:.0}", ratio.recip())
    } else {
        format!("{ratio:.3}")
    };
    let (one, other) = (show(times.0), show(times.1));
    format!("| {what} | {one} | {against}: {other} | {shown} | {bound} |\n")
}

fn table(stage: &Stage) {
    let mut table = String::from("| what | median | against | ratio | bound |\n");
    table.push_str("| --- | --- | --- | --- | --- |\n");
    let cold = medians(
        500,
        || stage.ours(&stage.quote),
        || stage.theirs(&stage.quote),
    );
    let library = "dcap-qvl's verify_with_policy";
    table.push_str(&pair(
        "genuine quote, collateral at hand",
        library,
        cold,
        Some(1.1),
    ));
    let warm = WarmVerifier::new();
    let known = medians(
        500,
        || {
            let (quote, collateral) = (black_box(&stage.quote), &stage.collateral);
            warm.genuine(&TrustRoot::Intel, quote, collateral, NOW)
                .is_ok()
        },
        || stage.ours(&stage.quote),
    );
    let name = "the same platform again";
    table.push_str(&pair(name, "cold", known, Some(1.0 / 3.0)));
    let first = medians(
        500,
        || stage.by(&stage.verifier()),
        || stage.ours(&stage.quote),
    );
    let name = "by a policy, at first sight";
    table.push_str(&pair(name, "genuine quote, cold", first, Some(1.1)));
    let verifier = stage.verifier();
    assert!(stage.by(&verifier));
    let again = medians(
        500,
        || stage.by(&verifier),
        || {
            let (quote, collateral) = (black_box(&stage.quote), &stage.collateral);
            warm.genuine(&TrustRoot::Intel, quote, collateral, NOW)
                .is_ok()
        },
    );
    let name = "by a policy, the same platform again";
    table.push_str(&pair(
        name,
        "the same platform again, without one",
        again,
        Some(1.1),
    ));
    let alone = medians(500, || stage.alone(), || stage.ours(&stage.quote));
    let name = "collateral without a quote";
    table.push_str(&pair(name, "genuine quote, cold", alone, Some(1.5)));
    let read = medians(500, || stage.ours_from_json(), || stage.theirs_from_json());
    let name = "genuine quote, collateral read from its JSON";
    table.push_str(&pair(name, library, read, Some(1.1)));
    let flipped = medians(
        300,
        || stage.ours(&stage.flipped),
        || stage.theirs(&stage.flipped),
    );
    table.push_str(&pair("one bit flipped", library, flipped, Some(1.1)));
    for (name, junk) in [
        ("junk after the header, 5000 bytes", &stage.junk),
        ("junk in the shape of a quote, 5000 bytes", &stage.shaped),
    ] {
        let refused = medians(300, || stage.ours(junk), || stage.theirs(junk));
        let limit = (refused.0, Duration::from_micros(100));
        table.push_str(&pair(name, "0.1 ms", limit, Some(1.0)));
        table.push_str(&pair("the same", library, refused, None));
    }
    let parsed = medians(
        1000,
        || Quote::parse(black_box(&stage.quote)).is_ok(),
        || dcap_qvl::quote::Quote::parse(black_box(&stage.quote)).is_ok(),
    );
    table.push_str(&pair("parse alone", "dcap-qvl's parser", parsed, None));
    println!("\n{table}");
    let path = target().join("attest-bench-table.md");
    fs::write(&path, &table).unwrap();
    println!("written to {}", path.display());
}

/// The target directory: this program is `TARGET/TRIPLE/release/deps/NAME`.
fn target() -> PathBuf {
    let program = env::current_exe().unwrap();
    program.ancestors().nth(4).unwrap().to_path_buf()
}
