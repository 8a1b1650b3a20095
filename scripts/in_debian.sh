#!/usr/bin/env bash
# Run a command in a Debian of its own, with Debian's build of torch: for CPUs, of 0.2 GB to download, where
# PyPI's for Linux is for CUDA and of several. Debian 13 (trixie) has torch 2.6.0, the oldest that Ravine
# accepts.
#
#     scripts/in_debian.sh FOLDER COMMAND...
#
# FOLDER: where the Debian is made, at the first call. COMMAND runs in the project's folder, with the Python
# and the packages of FOLDER/opt/ravine first. Needs root and debootstrap, which apt-get has. What is mounted
# for it is seen by it alone and gone with it.
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
root=$1
shift

if [[ ! -e $root/.made ]]; then
    command -v debootstrap > /dev/null || apt-get install --yes debootstrap
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates,python3-torch,python3-venv trixie "$root"
    touch "$root/.made"
fi
root=$(cd "$root" && pwd)
mkdir -p "$root$project"

inside='
set -euo pipefail
root=$1 project=$2
shift 2
mount --make-rprivate /
mount --bind "$project" "$root$project"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount --bind /etc/ssl/certs "$root/etc/ssl/certs"
cp --remove-destination /etc/resolv.conf /etc/hosts "$root/etc/"
exec chroot "$root" /usr/bin/env --chdir="$project" PATH="/opt/ravine/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
'
exec unshare --mount --pid --fork --kill-child bash -c "$inside" bash "$root" "$project" "$@"
