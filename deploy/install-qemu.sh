#!/usr/bin/env bash
# Installs QEMU: on Debian 12 that of bookworm-backports, on others their own.
#
# Debian 12's own is 7.2, which emulates a CPU's AES and carry-less products bit by bit: where KVM
# doesn't work, TLS to a container VM is eight times as dear there (docs/decisions/0021). The suite
# runs with it all the same, which is what happens where the mirror has no backports.
# Does nothing, needs no root and asks no network where a newer one is installed.
set -euo pipefail
NEW_ENOUGH=1:8.2
SUITE=bookworm-backports
SOURCE=/etc/apt/sources.list.d/vic-backports.sources
# That backports were looked for in vain; for a day they aren't again.
MISSED=/var/cache/vic/no-backports
PACKAGES=(qemu-system-x86 qemu-utils)
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

is_new_enough() { [ -n "$1" ] && [ "$1" != "(none)" ] && dpkg --compare-versions "$1" ge "$NEW_ENOUGH"; }
is_installed() { dpkg-query -W -f '${db:Status-Status}\n' "${PACKAGES[@]}" 2>/dev/null | grep -cx installed | grep -qx "${#PACKAGES[@]}"; }
installed_version() { dpkg-query -W -f '${Version}' "${PACKAGES[0]}" 2>/dev/null || true; }
version_in_backports() {
    apt-cache madison "${PACKAGES[0]}" | awk -F ' *[|] *' -v suite="$SUITE/" 'index($3, suite) && !seen++ {print $2}'
}
install() { apt-get -qq install --yes --no-install-recommends "$@" >/dev/null; }

if is_installed && is_new_enough "$(installed_version)"; then
    exit 0
fi
# Whoever holds Debian 12's own back has chosen it (apt-mark(8)).
if is_installed && apt-mark showhold | grep -qx "${PACKAGES[0]}"; then
    exit 0
fi
if is_installed && [ -n "$(find "$MISSED" -mtime -1 2>/dev/null)" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    if is_installed && ! command -v sudo >/dev/null; then
        echo "root can install a faster QEMU: $0" >&2
        exit 0
    fi
    exec sudo "$0"
fi
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
if [ "$codename" = bookworm ]; then
    is_new_enough "$(version_in_backports)" || apt-get -qq update || true
    if ! is_new_enough "$(version_in_backports)"; then
        # From where the machine has the rest of Debian, by the key that it trusts for that.
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Created-By: Packages' \
            'Origin: Debian' | awk 'NR == 1')
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
            "${mirror:-http://deb.debian.org/debian}" "$SUITE" \
            /usr/share/keyrings/debian-archive-keyring.gpg >"$SOURCE"
        apt-get -qq update || true
    fi
    if is_new_enough "$(version_in_backports)"; then
        echo "installing ${PACKAGES[*]} of $SUITE"
        # These two alone, with what must be of the same build; all else stays Debian 12's.
        install "${PACKAGES[@]/%//$SUITE}"
        exit 0
    fi
    # Whoever has no way to it keeps a package system that works.
    rm -f "$SOURCE"
    mkdir -p "${MISSED%/*}" && touch "$MISSED"
    echo "no QEMU of $SUITE can be had here: Debian 12's own is used, which emulates TLS slowly" >&2
fi
if ! is_installed; then
    echo "installing ${PACKAGES[*]}"
    apt-get -qq update
    install "${PACKAGES[@]}"
fi
