# SPDX-License-Identifier: Apache-2.0
#
# modules.sh: the drivers of the guests' kernel that their initial file system loads, from the package that
# guests.sh brought: $D/guests/modules/*.ko.
set -eu
package=$(ls "$D"/dl/linux-image-*-cloud-amd64/*.deb | tail -n 1)
rm -rf "$D/dl/modules" "$D/guests/modules"
mkdir -p "$D/dl/modules" "$D/guests/modules"
dpkg-deb --fsys-tarfile "$package" | tar -C "$D/dl/modules" -x --wildcards \
	'./lib/modules/*/kernel/drivers/virtio/*.ko' \
	'./lib/modules/*/kernel/drivers/block/virtio_blk.ko' \
	'./lib/modules/*/kernel/drivers/char/virtio_console.ko' \
	'./lib/modules/*/kernel/drivers/char/hw_random/virtio-rng.ko' \
	'./lib/modules/*/kernel/drivers/net/net_failover.ko' \
	'./lib/modules/*/kernel/drivers/net/virtio_net.ko' \
	'./lib/modules/*/kernel/net/core/failover.ko'
find "$D/dl/modules" -name '*.ko' -exec cp {} "$D/guests/modules" \;
