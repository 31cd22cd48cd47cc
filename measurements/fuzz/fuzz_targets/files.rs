//! Gives the fuzzer's bytes to the target that `ZIPNET_FUZZ_TARGET` names, else
//! to the one that the first byte picks.
#![no_main]

#[path = "../targets.rs"]
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::TARGETS;

static NAMED: LazyLock<Option<fn(&[u8])>> = LazyLock::new(|| {
    let wanted = std::env::var("ZIPNET_FUZZ_TARGET")
        .ok()
        .filter(|name| !name.is_empty())?;
    let Some((_, target)) = TARGETS.iter().find(|(name, _)| *name == wanted) else {
        let known: Vec<_> = TARGETS.iter().map(|(name, _)| name).collect();
        panic!("no fuzz target {wanted}; there are {known:?}");
    };
    Some(*target)
});

fuzz_target!(|data: &[u8]| match (*NAMED, data.split_first()) {
    (Some(target), _) => target(data),
    (None, Some((pick, rest))) => TARGETS[usize::from(*pick) % TARGETS.len()].1(rest),
    (None, None) => {}
});
