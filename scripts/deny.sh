#!/usr/bin/env bash
# Judges the dependency tree by deny.toml: licences, banned crates and sources
# always, known vulnerabilities where their database can be reached.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# cargo-deny reads the licences of every crate in Cargo.lock, those for other
# platforms included.
cargo fetch --locked --quiet
cargo deny --offline --locked check licenses bans sources

if GIT_TERMINAL_PROMPT=0 timeout 60 cargo deny --locked fetch db >/dev/null 2>&1; then
    cargo deny --locked check --disable-fetch advisories
else
    echo "advisories skipped: the database cannot be fetched from here"
fi
