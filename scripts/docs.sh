#!/usr/bin/env bash
# Builds the book into target/book, and checks its links, in its sources and as built. Addresses outside of
# this repository are not asked for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/places.sh
mkdir -p "$target"
book=$(cd "$target" && pwd)/book

# Its lines tell what is wrong, and otherwise only that it is at work.
MDBOOK_LOG=warn mdbook build docs --dest-dir "$book"
scripts/progress.sh tests cargo nextest run --workspace --locked --test docs --no-run
cargo nextest run --workspace --locked --test docs --status-level fail --run-ignored all
echo "docs: $book/index.html"
