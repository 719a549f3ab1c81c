#!/bin/sh
# Builds the Debian package with `cargo deb` (cargo install cargo-deb --locked); it says where it is.
#
# Usage: config/package.sh [--profile PROFILE] [further arguments of cargo deb]
set -eu
cd "$(dirname "$0")/.."

profile=release
if [ "${1:-}" = --profile ]; then
    profile=$2
    shift 2
fi
cargo build --locked --profile "$profile"
case $profile in
dev) built=target/debug ;;
*) built=target/$profile ;;
esac
made=target/package
rm -rf "$made/man" "$made/completions"
mkdir -p "$made/man" "$made/completions"
"$built/postbridge" man "$made/man"
for shell in bash zsh fish; do
    "$built/postbridge" completions "$shell" >"$made/completions/postbridge.$shell"
done
exec cargo deb --locked --no-build --profile "$profile" "$@"
