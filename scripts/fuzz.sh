#!/usr/bin/env bash
# Fuzzes for FUZZ_SECONDS: what is decoded from the network, then what is read
# from files. ZIPNET_FUZZ_TARGET names one target, which then starts from its
# seeds; without it the first byte of each input picks one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rustup toolchain list 2>/dev/null | grep -q '^nightly' ||
    { echo "fuzzing needs nightly Rust: rustup toolchain install nightly" >&2; exit 1; }
cargo +nightly fuzz --version >/dev/null 2>&1 ||
    { echo "fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked" >&2; exit 1; }
command -v c++ >/dev/null ||
    { echo "fuzzing needs a C++ compiler: apt-get install g++" >&2; exit 1; }

target=${ZIPNET_FUZZ_TARGET:-}
seconds=${FUZZ_SECONDS:-60}

# fuzz DIR PROGRAM SECONDS SEEDS
fuzz() {
    local corpora=("$1/corpus/${target:-any}")
    mkdir -p "${corpora[0]}"
    if [[ $target && -d $4/$target ]]; then
        corpora+=("$4/$target")
    fi
    # The dependencies that ship are the ones to fuzz.
    cp Cargo.lock "$1/Cargo.lock"
    # No address sanitizer: the workspace denies unsafe code.
    cargo +nightly fuzz run --fuzz-dir "$1" --sanitizer none "$2" "${corpora[@]}" -- \
        -max_total_time="$3"
}

files=" tdvf kernel eventlog acpi quote manifest "
if [[ -z $target ]]; then
    fuzz fuzz wire $(((seconds + 1) / 2)) tests/fuzz-corpus
    fuzz measurements/fuzz files $(((seconds + 1) / 2)) measurements/vectors
elif [[ $files == *" $target "* ]]; then
    fuzz measurements/fuzz files "$seconds" measurements/vectors
else
    fuzz fuzz wire "$seconds" tests/fuzz-corpus
fi
