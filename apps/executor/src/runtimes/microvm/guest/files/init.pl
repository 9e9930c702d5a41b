# Process 1 of the guest: mounts what the drives hold, then keeps the agent running for ever. It never ends: the kernel
# would panic, and the VM with it.
use strict;
use warnings;

# Read by the agent.
our ($DEVICE, $LISTENER, $RESPAWNED);

use constant { SYS_mount => 165, SYS_socket => 41, SYS_ioctl => 16, SYS_close => 3, SYS_sethostname => 170, MS_RDONLY => 1, MS_NOSUID => 2, MS_NODEV => 4, MS_NOEXEC => 8, MS_NOATIME => 1024 };

# syscall() wants strings that can be written to.
sub mount {
  my ($source, $target, $type, $flags, $data) = map { "$_" } @_;
  return syscall(SYS_mount, $source, $target, $type, $flags + 0, $data) == 0;
}

sub put {
  my ($path, $text) = @_;
  open(my $fh, '>', $path) or return 0;
  return defined syswrite($fh, $text);
}

# The order of the drives, for a host that cannot give them names.
my $order = '';
if (open(my $fh, '<', '/proc/cmdline')) { $order = $1 if (<$fh> // '') =~ /(?:^| )kiln\.drives=(\S+)/ }

# The device of a drive by the name that the host gave it. Asking for a name is a request to the drive, so it is done once.
my %device;
sub drive {
  my ($name) = @_;
  my @names = split(/,/, $order);
  for my $place (0 .. $#names) { return 'vd' . chr(ord('a') + $place) if $names[$place] eq $name }
  return $order eq '' ? $device{$name} //= find('/sys/block/vd*/serial', $name) : undef;
}

# Where something is, by the name in a file beside it.
sub find {
  my ($pattern, $name) = @_;
  for my $file (glob($pattern)) {
    open(my $fh, '<', $file) or next;
    my $said = <$fh> // '';
    chomp $said;
    return (split(m{/}, $file))[-2] if $said eq $name;
  }
  return undef;
}

# Where drives belong. Images that were there from the beginning are for steps to be run in.
sub place {
  my ($name) = @_;
  return ('/work', 'ext4', MS_NODEV | MS_NOSUID | MS_NOATIME) if $name eq 'work';
  return ('/run/scratch', 'ext4', MS_NODEV | MS_NOATIME) if $name eq 'scratch';
  return ("/run/kiln/images/$name", 'squashfs', MS_RDONLY | MS_NODEV | MS_NOSUID);
}

# False, with a reason in $!: it cannot be mounted.
sub mount_drive {
  my ($name) = @_;
  my ($target, $type, $flags) = place($name);
  mkdir $target;
  my $drive = drive($name) or return 0;
  mount("/dev/$drive", $target, $type, $flags, '') or return 0;
  # Everybody's, and without what is the file system's own.
  if ($name eq 'work') { chmod 0777, $target; rmdir "$target/lost+found" }
  return 1;
}

mount('tmpfs', '/run', 'tmpfs', MS_NODEV | MS_NOSUID, 'mode=0755');
mount('tmpfs', '/tmp', 'tmpfs', MS_NODEV | MS_NOSUID, 'mode=1777');
mkdir '/dev/pts';
mkdir '/dev/shm';
mount('devpts', '/dev/pts', 'devpts', MS_NOSUID | MS_NOEXEC, 'ptmxmode=0666');
mount('tmpfs', '/dev/shm', 'tmpfs', MS_NODEV | MS_NOSUID, 'mode=1777');
symlink('/proc/self/fd', '/dev/fd');
mount('cgroup2', '/sys/fs/cgroup', 'cgroup2', MS_NOSUID | MS_NODEV | MS_NOEXEC, '');
put('/sys/fs/cgroup/cgroup.subtree_control', '+cpu +memory +pids +io');
put('/proc/self/oom_score_adj', '-1000');

# A VM may lack them, or have nothing in their places until it goes on from a snapshot.
mount_drive($_) or print "kiln: the drive $_ is not mounted: $!\n" for qw(work scratch);

my $hostname = 'kiln';
syscall(SYS_sethostname, $hostname, length $hostname);

# The loopback interface: SIOCSIFFLAGS with IFF_UP.
my $socket = syscall(SYS_socket, 2, 2, 0);
my $request = pack('a16sx22', 'lo', 1);
syscall(SYS_ioctl, $socket, 0x8914, $request);
syscall(SYS_close, $socket);

# Listens for the host on a vsock, where there is one: vmm/firecracker/requests.ts has the number of the port too. In order: the
# family, a stream; the address of whoever this is.
sub listen_for_host {
  socket(my $listener, 40, 1, 0) or return undef;
  bind($listener, pack('S x2 L L x4', 40, 5005, 0xffffffff)) or return undef;
  return listen($listener, 1) ? $listener : undef;
}

my $port;
for (1 .. 500) {
  last if $port = find('/sys/class/virtio-ports/*/name', 'kiln.control');
  last if -e '/dev/vsock' && ($LISTENER = listen_for_host());
  select(undef, undef, undef, 0.02);
}
print "kiln: there is neither a port named kiln.control nor a vsock\n" unless $port || $LISTENER;

($DEVICE, $RESPAWNED) = ("/dev/" . ($port // 'null'), 0);
while (1) {
  my $agent = fork;
  if (defined $agent && $agent == 0) {
    open(STDIN, '<', '/dev/null');
    do '/kiln/agent.pl';
    print "kiln: the agent ended: ", $@ || $!, "\n";
    exit 1;
  }
  # Orphans of the whole guest end here too. Without an agent (no memory, no process to be had) none is waited for.
  while (defined $agent && (my $pid = wait) != -1) { last if $pid == $agent }
  $RESPAWNED = 1;
  select(undef, undef, undef, 0.1);
}
