#!/usr/bin/env bash
# Makes the Debian packages of packages/list out of programs that are built already: the
# same bytes from the same commit.
#
#   deploy/packages.sh [--dev] [DIR]    into DIR (target/deb); the programs of `make
#                                       release`, or with --dev those of scripts/build.sh,
#                                       to test with: they know the simulation
#
# SOURCE_DATE_EPOCH    the time of every file in them, if not that of the commit
set -euo pipefail
umask 022
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/places.sh

say() { echo "packages: $*" >&2; }
die() { say "$*"; exit 1; }

dev=
if [[ ${1:-} == --dev ]]; then
    dev=yes
    shift
fi
out=${1:-$target/deb}
programs=${built%/debug}/release
# Nobody waits for the network with these: they are packed fast.
pack=(-Zxz)
if [[ $dev ]]; then
    programs=$built
    pack=(-Zgzip -z1)
fi

readonly from=deploy/packages
for tool in dpkg-deb gzip strip; do
    command -v "$tool" >/dev/null || die "$tool is missing: \`scripts/setup.sh test\` installs it"
done
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || die "no commit here that would give a time; set SOURCE_DATE_EPOCH"
fi
export SOURCE_DATE_EPOCH

version=$(sed -n '1s/.*(\(.*\)).*/\1/p' $from/changelog)
workspace=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[[ ${version%-*} == "$workspace" ]] ||
    die "$from/changelog begins with version $version, Cargo.toml with $workspace; a new entry at the top would be right"
# Static programs for the machine that built them.
arch=$(dpkg --print-architecture)

# rows PACKAGE KIND...: WHAT and WHERE of each row.
rows() {
    local package=$1
    awk -v package="$package" -v kinds=" ${*:2} " \
        '$1 == package && index(kinds, " " $2 " ") { print $3, $4 }' $from/list
}

mkdir -p "$target" "$out"
work=$(mktemp -d "$target/deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
[[ -x $programs/zipnet-manuals ]] || die "$programs/zipnet-manuals is missing: \`make release\` (or scripts/build.sh, with --dev) builds it"
"$programs/zipnet-manuals" "$work/manuals"

# put SOURCE PATH MODE: a file of the package.
put() { install -D -m "$3" "$1" "$root$2" || die "$1 could not be copied into $root"; }
# The same for text, packed as Debian wants it.
put_packed() {
    mkdir -p "$(dirname "$root$2")"
    gzip -9n <"$1" >"$root$2.gz"
    chmod 644 "$root$2.gz"
}

# add_program NAME FOLDER SECTION: with its manual and completions.
add_program() {
    local name=$1 folder=$2 section=$3 page path
    [[ -x $programs/$name ]] || die "$programs/$name is missing: \`make release\` (or scripts/build.sh, with --dev) builds it"
    put "$programs/$name" "/usr/$folder/$name" 755
    # What ships has no symbols anyway; those of the other build are most of it.
    strip --strip-all "$root/usr/$folder/$name"
    for page in "$work/manuals/usr/share/man/man$section/$name"{,-*}".$section"; do
        [[ -f $page ]] || continue
        put_packed "$page" "/usr/share/man/man$section/$(basename "$page")"
    done
    for path in "bash-completion/completions/$name" "zsh/vendor-completions/_$name" "fish/vendor_completions.d/$name.fish"; do
        put "$work/manuals/usr/share/$path" "/usr/share/$path" 644
    done
}

# The crates that the programs of a package are made of, a line each.
crates() {
    local name
    for name in $(rows "$1" program daemon); do
        cargo tree --locked --offline --quiet --edges normal,build --prefix none --format '{p} {l}' \
            --package "$(owner "$name")"
    done | sed 's/ (\*)//; s/ (proc-macro)//; s, (/[^)]*),,' | LC_ALL=C sort -u
}

# The crate that builds a program.
owner() {
    case $1 in
        zipnet-attest) echo zipnet-attest ;;
        zipnet-measure) echo zipnet-measurements ;;
        zipnet-host) echo zipnet-host ;;
        zipnet-client) echo zipnet-cli ;;
        zipnet-archive) echo zipnet-archive ;;
        *) echo zipnet-server ;;
    esac
}

# What a purge deletes, as commands.
purge() {
    local what each=()
    while read -r what _; do
        case $what in
            /var/lib/*) echo "    rm -rf $what /var/lib/private/${what#/var/lib/}" ;;
            /*) echo "    rm -rf $what" ;;
            *) each+=("$what") ;;
        esac
    done < <(rows "$1" state)
    ((${#each[@]})) || return 0
    echo "    for folder in /etc/zipnet/*/; do"
    echo "        [ -d \"\$folder\" ] || continue"
    for what in "${each[@]}"; do echo "        rm -f \"\${folder}$what\""; done
    echo "        rmdir --ignore-fail-on-non-empty \"\${folder}secrets\" 2>/dev/null || true"
    echo "        rmdir --ignore-fail-on-non-empty \"\$folder\""
    echo "    done"
    echo "    rmdir --ignore-fail-on-non-empty /etc/zipnet 2>/dev/null || true"
}

# The maintainer scripts of a package that has units.
add_scripts() {
    local script instances
    instances=$(rows "$1" unit | sed "s/@.*/@*.service'/; s/^/'/" | paste -sd' ')
    [[ $instances ]] || return 0
    purge "$1" >"$work/purge"
    for script in postinst prerm postrm; do
        sed -e "s/@PACKAGE@/$1/g" -e "s/@INSTANCES@/$instances/g" \
            -e "/^@PURGE@\$/{r $work/purge" -e 'd}' "$from/scripts/$script" >"$root/DEBIAN/$script"
        chmod 755 "$root/DEBIAN/$script"
    done
}

add_documents() {
    local doc=/usr/share/doc/$1
    sed "1s/^[^ ]* ([^)]*)/$1 ($version)/" $from/changelog >"$work/changelog"
    put_packed "$work/changelog" "$doc/changelog.Debian"
    # The licence as the repository has it, indented as the format wants it.
    sed -n '5,$p' LICENSE-MIT | sed 's/^$/./; s/^/ /' >"$work/mit"
    sed -e "/^@MIT@\$/{r $work/mit" -e 'd}' $from/copyright >"$work/copyright"
    put "$work/copyright" "$doc/copyright" 644
    crates "$1" >"$work/crates"
    put_packed "$work/crates" "$doc/crates"
    [[ ! -f $from/$1/lintian-overrides ]] || put "$from/$1/lintian-overrides" "/usr/share/lintian/overrides/$1" 644
}

# make PACKAGE: its folder, then the package.
make_package() {
    local package=$1 what where
    root=$work/$package
    mkdir -p "$root/DEBIAN"
    for what in $(rows "$package" program); do add_program "$what" bin 1; done
    for what in $(rows "$package" daemon); do add_program "$what" sbin 8; done
    for what in $(rows "$package" unit); do put "deploy/systemd/$what" "/lib/systemd/system/$what" 644; done
    while read -r what where; do
        put "deploy/$what" "$where" 644
        echo "$where" >>"$root/DEBIAN/conffiles"
    done < <(rows "$package" conf)
    while read -r what where; do put "deploy/$what" "$where" 644; done < <(rows "$package" file)
    while read -r what where; do put "deploy/$what" "$where" 755; done < <(rows "$package" script)
    while read -r what _; do
        [[ $what != /var/log/* ]] || install -d -m 755 "$root$what"
    done < <(rows "$package" state)
    add_documents "$package"
    add_scripts "$package"
    {
        printf 'Package: %s\nVersion: %s\nArchitecture: %s\n' "$package" "$version" "$arch"
        sed -n 's/^ -- \(.*>\).*/Maintainer: \1/p' $from/changelog | head -n 1
        echo "Installed-Size: $(du -k --apparent-size -s "$root/usr" | cut -f1)"
        echo "Priority: optional"
        cat "$from/$package/control"
    } >"$root/DEBIAN/control"
    (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum) >"$root/DEBIAN/md5sums"
    find "$root" -type d -exec chmod 755 {} +
    find "$root" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group "${pack[@]}" --build "$root" "$out/${package}_${version}_$arch.deb" >/dev/null ||
        die "$package could not be packed; is there room in $out?"
    echo "$out/${package}_${version}_$arch.deb"
}

while read -r package; do
    [[ -f $from/$package/control ]] || die "$from/$package/control is missing: $from/list has rows of that package"
    make_package "$package"
done < <(awk '!/^(#|$)/ && !seen[$1]++ { print $1 }' $from/list)
