#!/bin/busybox sh
# Loads the modules, mounts the root drive below a writable layer and goes there. When it ends otherwise, the kernel
# panics and the VM ends.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
# Without the path: the shell runs it itself, which saves the time to start a program for each.
load() { while read -r module; do insmod "/modules/$module" 2>/dev/null; done <"/modules/$1"; }
load order
set -- /sys/bus/pci/devices/*
[ -e "$1" ] || load order-without-pci
# Of a host that cannot give its drives names: their order, in which the root is the first.
order=
read -r words </proc/cmdline
for word in $words; do case $word in kiln.drives=root,*) order=told ;; esac; done
# Drives appear some milliseconds after their driver.
root=
tries=0
while [ -z "$root" ] && [ $tries -lt 500 ]; do
  [ -z "$order" ] || [ ! -e /sys/block/vda ] || root=/dev/vda
  [ -n "$order" ] || for drive in /sys/block/vd*; do
    serial=
    read -r serial <"$drive/serial"
    [ "$serial" = root ] && root=/dev/${drive##*/}
  done 2>/dev/null
  [ -n "$root" ] || $b usleep 20000
  tries=$((tries + 1))
done
$b mount -t squashfs -o ro "$root" /lower || { echo "kiln: no drive with the serial root can be mounted"; exit 1; }
$b mount -t tmpfs -o mode=0755,size=25% tmpfs /upper
$b mkdir /upper/upper /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work overlay /root
$b mount -o move /dev /root/dev
$b mount -o move /proc /root/proc
$b mount -o move /sys /root/sys
exec $b switch_root /root /usr/bin/perl /kiln/init.pl
