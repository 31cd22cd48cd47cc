#!/usr/bin/env bash
# Fuzzes for FUZZ_SECONDS. ZIPNET_FUZZ_TARGET names one target, which then
# starts from its seeds; without it the first byte of each input picks one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rustup toolchain list 2>/dev/null | grep -q '^nightly' ||
    { echo "fuzzing needs nightly Rust: rustup toolchain install nightly" >&2; exit 1; }
cargo +nightly fuzz --version >/dev/null 2>&1 ||
    { echo "fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked" >&2; exit 1; }
command -v c++ >/dev/null ||
    { echo "fuzzing needs a C++ compiler: apt-get install g++" >&2; exit 1; }

# The dependencies that ship are the ones to fuzz.
cp Cargo.lock fuzz/Cargo.lock

target=${ZIPNET_FUZZ_TARGET:-}
corpora=("fuzz/corpus/${target:-any}")
mkdir -p "${corpora[0]}"
if [[ $target && -d tests/fuzz-corpus/$target ]]; then
    corpora+=("tests/fuzz-corpus/$target")
fi

# No address sanitizer: the workspace denies unsafe code.
exec cargo +nightly fuzz run --sanitizer none wire "${corpora[@]}" -- \
    -max_total_time="${FUZZ_SECONDS:-60}"
