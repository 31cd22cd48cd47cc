# shellcheck shell=bash disable=SC2034
# Where cargo builds; for the other scripts, in the repository's folder.

target=${CARGO_TARGET_DIR:-target}
# Programs that run on this machine and in a local guest.
built=$target/$(rustc -vV | sed -n 's/^host: //p')/debug
# As they ship.
ships=${built%debug}release
