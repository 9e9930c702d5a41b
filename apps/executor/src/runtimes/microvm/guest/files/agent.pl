# The guest's end of the control channel; the host's end and the description of the protocol are in channel/.
# Runs as the one child of init.pl that is started anew whenever it ends. Perl of perl-base without any module: POSIX
# alone would cost 30 ms at each boot, so constants of Linux on x86-64 are written out.
package Kiln::Agent;
use strict;
use warnings;

use constant {
  EINTR => 4, EIO => 5, EAGAIN => 11, ENOENT => 2, EFBIG => 27, EINVAL => 22,
  O_RDWR => 2, O_WRONLY => 1, O_CREAT => 0100, O_EXCL => 0200, O_NOCTTY => 0400, O_NONBLOCK => 04000,
  O_DIRECTORY => 0200000, O_NOFOLLOW => 0400000, O_CLOEXEC => 02000000, O_PATH => 010000000,
  F_SETFD => 2, F_SETFL => 4, FD_CLOEXEC => 1, AT_FDCWD => -100, RESOLVE_NO_SYMLINKS => 4, RESOLVE_NO_MAGICLINKS => 2,
  SYS_rt_sigprocmask => 14, SYS_dup2 => 33, SYS_setsid => 112, SYS_clock_settime => 227, SYS_exit_group => 231,
  SYS_openat => 257, SYS_mkdirat => 258, SYS_unlinkat => 263, SYS_renameat => 264, SYS_signalfd4 => 289,
  SYS_openat2 => 437,
  TIOCSCTTY => 0x540e, TIOCSWINSZ => 0x5414, TIOCSPTLCK => 0x40045431, TIOCGPTN => 0x80045430,
  RNDADDENTROPY => 0x40085203, RNDRESEEDCRNG => 0x5207,
};
# As in channel/frames.ts.
use constant {
  MAGIC_HELLO => "KILN>hello>v1>\r\n", MAGIC_READY => "KILN<ready<v1<\r\n",
  HEADER_BYTES => 17, TRAILER_BYTES => 8, MAX_PAYLOAD => 128 * 1024, MAX_DATA => 64 * 1024,
  EXEC => 1, INPUT => 2, INPUT_END => 3, SIGNAL => 4, CREDIT => 5, RESIZE => 6, READ => 7, WRITE => 8, RENEW => 9,
  PING => 10,
  STARTED => 65, FAILED => 66, OUTPUT => 67, ERROR_OUTPUT => 68, EXIT => 69, INPUT_CREDIT => 70, DONE => 71,
  PONG => 72,
};
# More than this waiting for the host: nothing more is read from processes and files, so memory stays bounded.
use constant OUT_LIMIT => 256 * 1024;
# Of credit, for each frame beside its bytes.
use constant FRAME_COST => 64;
# Each needs four descriptors of the 1024 that a process has.
use constant MAX_STREAMS => 200;
use constant CGROUPS => '/sys/fs/cgroup';
use constant MY_CGROUP => 'kiln.exec';
use constant DEFAULT_PATH => '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

my ($port, $signals, $connected);
my ($session, $trailer, $nonce) = ('', '', '');
my ($in, $out) = ('', '');
my (%streams, %by_pid, %dead_cgroups);
my $cgroup_number = 0;
my $child_mask = pack('Q', 1 << (17 - 1));

sub main {
  $SIG{$_} = 'IGNORE' for qw(PIPE HUP INT TERM QUIT TSTP TTIN TTOU USR1 USR2 ALRM);
  syscall(SYS_rt_sigprocmask, 0, $child_mask, 0, 8);
  my $fd = syscall(SYS_signalfd4, -1, $child_mask, 8, O_NONBLOCK | O_CLOEXEC);
  open($signals, '<&=', $fd) or die "signalfd: $!\n";
  # A port is there for ever; on a vsock every host that comes is a new connection.
  if ($main::LISTENER) { set_flags($main::LISTENER) }
  else { sysopen($port, $main::DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC) or die "$main::DEVICE: $!\n" }
  mkdir CGROUPS . '/' . MY_CGROUP;
  kill_everything();
  # Ends a frame that a killed predecessor left unfinished, and its session: no frame begins with a zero.
  $out = "\0" x (MAX_DATA + 64) if $main::RESPAWNED;
  $connected = $port ? 1 : 0;
  turn() while 1;
}

sub set_flags {
  my ($fh) = @_;
  fcntl($fh, F_SETFL, O_NONBLOCK);
  fcntl($fh, F_SETFD, FD_CLOEXEC);
}

# One round: waits until something can be done, does it, sends what is to be sent.
sub turn {
  my ($read, $write) = ('', '');
  my $patience = remove_cgroups() ? 0.05 : undef;
  vec($read, fileno($signals), 1) = 1;
  if ($connected) {
    vec($read, fileno($port), 1) = 1;
    vec($write, fileno($port), 1) = 1 if length $out;
  } else {
    # Nothing tells of a host that comes back but asking.
    $patience = 0.02;
  }
  my $room = length($out) < OUT_LIMIT;
  for my $s (values %streams) {
    vec($read, fileno($s->{report}), 1) = 1 if $s->{report};
    vec($write, fileno($s->{in}), 1) = 1 if $s->{in} && length $s->{inbuf};
    next unless $room && $s->{credit} > FRAME_COST;
    if ($s->{file}) { $patience = 0; next }
    if (defined $s->{status}) { $patience = $s->{empty} ? 0 : 0.01; next if $s->{empty} }
    for my $fh ($s->{out}, $s->{err}) { vec($read, fileno($fh), 1) = 1 if $fh }
  }
  my $ready = select($read, $write, undef, $patience);
  ($read, $write) = ('', '') if $ready <= 0;

  receive() if !$connected || vec($read, fileno($port), 1);
  reap() if vec($read, fileno($signals), 1);
  for my $s (values %streams) {
    report($s) if $s->{report} && vec($read, fileno($s->{report}), 1);
    feed_input($s) if $s->{in} && length $s->{inbuf} && vec($write, fileno($s->{in}), 1);
    if ($s->{file}) { read_file($s) if $s->{credit} > FRAME_COST && length($out) < OUT_LIMIT; next }
    for my $which ('out', 'err') {
      my $fh = $s->{$which} or next;
      pass_output($s, $which) if vec($read, fileno($fh), 1);
    }
    finish($s) if defined $s->{status} && $streams{$s->{id}};
  }
  flush_out();
}

sub flush_out {
  while ($connected && length $out) {
    my $n = syswrite($port, $out, 32768);
    last unless $n;
    substr($out, 0, $n, '');
  }
}

sub frame {
  my ($type, $stream, $payload) = @_;
  $out .= pack('a8VVC', $session, length $payload, $stream, $type) . $payload . $trailer;
}

sub receive {
  return unless $port || accept_host();
  my $n = sysread($port, $in, 65536, length $in);
  if (!defined $n) {
    $connected = 1 if $! == EAGAIN;
    return if $! == EAGAIN || $! == EINTR;
    end_session();
    return hung_up();
  }
  if ($n == 0) {
    # The host hung up. Whatever it had begun must not outlive it.
    end_session() if $session ne '';
    $in = '';
    return hung_up();
  }
  $connected = 1;
  1 while take();
}

sub accept_host {
  return 0 unless $main::LISTENER && accept(my $host, $main::LISTENER);
  set_flags($host);
  $port = $host;
  return 1;
}

sub hung_up {
  undef $port if $main::LISTENER;
  return $connected = 0;
}

# Takes one thing off the received bytes; false when more bytes are needed.
sub take {
  if ($session eq '') {
    my $at = index($in, MAGIC_HELLO);
    if ($at < 0) {
      my $keep = length(MAGIC_HELLO) - 1;
      $in = substr($in, -$keep) if length($in) > $keep;
      return 0;
    }
    substr($in, 0, $at, '');
    return 0 if length($in) < 32;
    begin_session(substr(substr($in, 0, 32, ''), 16));
    return 1;
  }
  # Zeros are filler: they end a frame that a predecessor of this host was cut off in.
  $in =~ s/^\0+// if substr($in, 0, 1) eq "\0";
  return 0 if length($in) < HEADER_BYTES;
  if (substr($in, 0, 16) eq MAGIC_HELLO) {
    return 0 if length($in) < 32;
    return end_session() unless substr($in, 16, 16) eq $nonce;
    substr($in, 0, 32, '');
    return 1;
  }
  my ($whose, $length, $stream, $type) = unpack('a8VVC', $in);
  return end_session() if $whose ne $session || $length > MAX_PAYLOAD;
  return 0 if length($in) < HEADER_BYTES + $length + TRAILER_BYTES;
  return end_session() if substr($in, HEADER_BYTES + $length, TRAILER_BYTES) ne $trailer;
  my $payload = substr($in, HEADER_BYTES, $length);
  substr($in, 0, HEADER_BYTES + $length + TRAILER_BYTES, '');
  handle($type, $stream, $payload);
  return 1;
}

sub begin_session {
  ($nonce) = @_;
  ($session, $trailer) = (substr($nonce, 0, 8), substr($nonce, 8, 8));
  $out = MAGIC_READY . $nonce;
}

sub end_session {
  ($session, $trailer, $nonce, $out) = ('', '', '', '');
  discard_temporary($_) for values %streams;
  $dead_cgroups{$_->{cgroup}} = 1 for grep { defined $_->{cgroup} } values %streams;
  %streams = ();
  %by_pid = ();
  kill_everything();
  return 1;
}

# Every control group below the root: those of this session, and those that its commands made (containers).
sub kill_everything {
  for my $file (glob(CGROUPS . '/*/cgroup.kill')) { put($file, '1') }
}

sub handle {
  my ($type, $id, $payload) = @_;
  if ($type == PING) { return frame(PONG, 0, $payload) }
  if ($type == EXEC || $type == READ || $type == WRITE || $type == RENEW) {
    return frame(FAILED, $id, pack('Va*', 11, 'too many commands at once')) if keys(%streams) >= MAX_STREAMS;
    my $s = $streams{$id} = { id => $id, inbuf => '', credit => 0, owed => 0 };
    return $type == EXEC ? start($s, $payload) : $type == READ ? open_to_read($s, $payload)
      : $type == WRITE ? open_to_write($s, $payload) : renew($s, $payload);
  }
  # What ended here may still be spoken to by a host that does not know yet.
  my $s = $streams{$id} or return;
  if ($type == CREDIT) { $s->{credit} += unpack('V', $payload) }
  elsif ($type == INPUT) { take_input($s, $payload) }
  elsif ($type == INPUT_END) { end_input($s) }
  elsif ($type == SIGNAL) { send_signal($s, unpack('C', $payload)) }
  elsif ($type == RESIZE && $s->{terminal}) { ioctl($s->{out}, TIOCSWINSZ, pack('S4', unpack('vv', $payload), 0, 0)) if $s->{out} }
}

sub fail {
  my ($s, $number, $message) = @_;
  frame(FAILED, $s->{id}, pack('Va*', $number, $message));
  discard_temporary($s);
  delete $streams{$s->{id}};
}

# --- commands ---

sub start {
  my ($s, $payload) = @_;
  my ($terminal, $rows, $columns, $credit, $argc, $cwd, @strings) = unpack('CvvVV(V/a*)*', $payload);
  my @argv = splice(@strings, 0, $argc);
  $s->{credit} = $credit;
  pipe(my $report, my $report_end) or return fail($s, $! + 0, "pipe: $!");
  my ($in_end, $out_end, $err_end, $slave);
  if ($terminal) {
    sysopen(my $master, '/dev/ptmx', O_RDWR | O_NOCTTY | O_CLOEXEC) or return fail($s, $! + 0, "pseudo-terminal: $!");
    my $number = pack('i', 0);
    ioctl($master, TIOCSPTLCK, $number);
    ioctl($master, TIOCGPTN, $number) or return fail($s, $! + 0, "pseudo-terminal: $!");
    ioctl($master, TIOCSWINSZ, pack('S4', $rows, $columns, 0, 0));
    $slave = '/dev/pts/' . unpack('i', $number);
    $s->{terminal} = 1;
    $s->{in} = $s->{out} = $master;
  } else {
    pipe($in_end, $s->{in}) && pipe($s->{out}, $out_end) && pipe($s->{err}, $err_end)
      or return fail($s, $! + 0, "pipe: $!");
  }
  my $cgroup = CGROUPS . '/' . MY_CGROUP . '/' . ++$cgroup_number;
  mkdir($cgroup) or return fail($s, $! + 0, "$cgroup: $!");
  my $pid = fork;
  if (!defined $pid) {
    $dead_cgroups{$cgroup} = 1;
    return fail($s, $! + 0, "fork: $!");
  }
  if ($pid == 0) {
    put("$cgroup/cgroup.procs", '0') or become_report($report_end, 'control group');
    put('/proc/self/oom_score_adj', '0');
    syscall(SYS_setsid);
    $SIG{$_} = 'DEFAULT' for qw(PIPE HUP INT TERM QUIT TSTP TTIN TTOU USR1 USR2 ALRM);
    syscall(SYS_rt_sigprocmask, 1, $child_mask, 0, 8);
    if (defined $slave) {
      sysopen($in_end, $slave, O_RDWR) or become_report($report_end, $slave);
      ioctl($in_end, TIOCSCTTY, 0);
      $out_end = $err_end = $in_end;
    }
    syscall(SYS_dup2, fileno($in_end), 0);
    syscall(SYS_dup2, fileno($out_end), 1);
    syscall(SYS_dup2, fileno($err_end), 2);
    chdir($cwd eq '' ? '/' : $cwd) or become_report($report_end, $cwd);
    %ENV = (PATH => DEFAULT_PATH, map { split(/=/, $_, 2) } @strings);
    { no warnings 'exec'; exec { $argv[0] } @argv; }
    become_report($report_end, $argv[0]);
  }
  # Both put it there: it begins nothing outside, and whatever ends this session from here on finds it inside.
  put("$cgroup/cgroup.procs", $pid);
  nonblocking($_) for grep { $_ } $report, $s->{in}, $s->{out}, $s->{err};
  $s->{report} = $report;
  $s->{reported} = '';
  $s->{pid} = $pid;
  $s->{cgroup} = $cgroup;
  $by_pid{$pid} = $s;
}

# In the child: says why it did not become the program.
sub become_report {
  my ($end, $what) = @_;
  syswrite($end, pack('Va*', $! + 0, "$what: $!"));
  syscall(SYS_exit_group, 127);
}

sub report {
  my ($s) = @_;
  my $n = sysread($s->{report}, $s->{reported}, 4096, length $s->{reported});
  return if !defined $n || $n > 0;
  close(delete $s->{report});
  if ($s->{reported} eq '') { frame(STARTED, $s->{id}, ''); return }
  $dead_cgroups{$s->{cgroup}} = 1;
  delete $by_pid{$s->{pid}} if defined $s->{pid};
  fail($s, unpack('Va*', $s->{reported}));
}

sub take_input {
  my ($s, $bytes) = @_;
  if ($s->{target}) { return write_file($s, $bytes) }
  if ($s->{in}) { $s->{inbuf} .= $bytes; return }
  # Nobody reads it any more: gone, as with a closed pipe, so that the writer goes on.
  frame(INPUT_CREDIT, $s->{id}, pack('V', length $bytes));
}

sub feed_input {
  my ($s) = @_;
  my $n = syswrite($s->{in}, $s->{inbuf}, 65536);
  if (!defined $n) {
    return if $! == EAGAIN || $! == EINTR;
    $n = length $s->{inbuf};
    close_input($s);
  }
  substr($s->{inbuf}, 0, $n, '');
  $s->{owed} += $n;
  if ($s->{owed} >= 32768 || !length $s->{inbuf}) {
    frame(INPUT_CREDIT, $s->{id}, pack('V', $s->{owed}));
    $s->{owed} = 0;
  }
  close_input($s) if $s->{input_ended} && !length $s->{inbuf};
}

sub end_input {
  my ($s) = @_;
  return commit_file($s) if $s->{target};
  # A terminal has no end of its own: its line discipline makes one of this character.
  if ($s->{terminal}) { $s->{inbuf} .= "\x04" if $s->{in}; return }
  $s->{input_ended} = 1;
  close_input($s) unless length $s->{inbuf};
}

sub close_input {
  my ($s) = @_;
  my $fh = delete $s->{in} or return;
  close($fh) unless $s->{terminal};
}

sub send_signal {
  my ($s, $signal) = @_;
  put("$s->{cgroup}/cgroup.kill", '1') if $signal == 9 && defined $s->{cgroup};
  kill($signal, -$s->{pid}) if $s->{pid};
}

# False: nothing came, for now or for ever.
sub pass_output {
  my ($s, $which) = @_;
  my $most = allowance($s);
  return 0 if $most <= 0;
  my $n = sysread($s->{$which}, my $bytes, $most);
  if ($n) {
    $s->{credit} -= $n + FRAME_COST;
    frame($which eq 'out' ? OUTPUT : ERROR_OUTPUT, $s->{id}, $bytes);
    return 1;
  }
  return 0 if !defined $n && ($! == EAGAIN || $! == EINTR);
  close_output($s, $which);
  return 0;
}

# How much may be sent in one frame.
sub allowance {
  my ($s) = @_;
  my $most = $s->{credit} - FRAME_COST;
  return $most < MAX_DATA ? $most : MAX_DATA;
}

sub close_output {
  my ($s, $which) = @_;
  my $fh = delete $s->{$which} or return;
  close_input($s) if $s->{terminal};
  close($fh);
}

sub reap {
  1 while sysread($signals, my $record, 128);
  while ((my $pid = waitpid(-1, 1)) > 0) {
    my $s = delete $by_pid{$pid} or next;
    $s->{status} = $?;
    delete $s->{pid};
    # What it left running ends with it: a command outlives nothing and nothing outlives a command.
    put("$s->{cgroup}/cgroup.kill", '1');
  }
}

# The command has ended: hands over what is left in its pipes, then the exit status. The pipes are not waited for: who
# else may hold them is no part of this command.
sub finish {
  my ($s) = @_;
  return if $s->{report};
  $s->{empty} ||= get("$s->{cgroup}/cgroup.events") =~ /^populated 0/m;
  return unless $s->{empty};
  for my $which ('out', 'err') {
    next unless $s->{$which};
    return unless $s->{credit} > FRAME_COST && length($out) < OUT_LIMIT;
    return if pass_output($s, $which);
    close_output($s, $which);
  }
  close_input($s);
  my $signal = $s->{status} & 127;
  frame(EXIT, $s->{id}, $signal ? pack('CC', 1, $signal) : pack('CC', 0, $s->{status} >> 8));
  $dead_cgroups{$s->{cgroup}} = 1;
  delete $streams{$s->{id}};
}

sub remove_cgroups {
  for my $path (keys %dead_cgroups) { delete $dead_cgroups{$path} if rmdir($path) || $! == ENOENT }
  return scalar %dead_cgroups;
}

# --- files ---

# Opens without following a link in any part of the path.
sub open_inside {
  my ($at, $path, $flags, $mode) = @_;
  my $how = pack('QQQ', $flags | O_CLOEXEC, $mode, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  my $fd = syscall(SYS_openat2, $at, $path . '', $how, length $how);
  return undef if $fd < 0;
  open(my $fh, ($flags & 3) == O_WRONLY ? '>&=' : '<&=', $fd) or return undef;
  return $fh;
}

sub open_to_read {
  my ($s, $payload) = @_;
  my ($most, $credit, $path) = unpack('QVa*', $payload);
  my $fh = open_inside(AT_FDCWD, $path, O_NONBLOCK | O_NOCTTY, 0);
  if (!$fh) {
    # As good as missing: a part of the path that is no directory.
    if ($! == ENOENT || $! == 20) { frame(DONE, $s->{id}, "\0"); delete $streams{$s->{id}}; return }
    return fail($s, $! + 0, "$path: $!");
  }
  my @facts = stat($fh);
  return fail($s, EINVAL, "$path: not a regular file") unless ($facts[2] & 0170000) == 0100000;
  return fail($s, EFBIG, "$path: more than $most bytes") if $facts[7] > $most;
  @$s{qw(file left credit path)} = ($fh, $most, $credit, $path);
}

sub read_file {
  my ($s) = @_;
  my $n = sysread($s->{file}, my $bytes, allowance($s));
  return fail($s, $! + 0, "$s->{path}: $!") unless defined $n;
  if ($n == 0) { frame(DONE, $s->{id}, "\1"); delete $streams{$s->{id}}; return }
  return fail($s, EFBIG, "$s->{path}: more than was asked for") if $n > $s->{left};
  $s->{left} -= $n;
  $s->{credit} -= $n + FRAME_COST;
  frame(OUTPUT, $s->{id}, $bytes);
}

# Written beside its name and renamed at the end: a session that is cut off leaves no half file.
sub open_to_write {
  my ($s, $payload) = @_;
  my ($mode, $path) = unpack('Va*', $payload);
  my ($parent, $name) = $path =~ m{^(/(?:.*/)?)([^/]+)$} or return fail($s, EINVAL, "$path: not a path of a file");
  my $directory = open_directory($parent) or return fail($s, $! + 0, "$parent: $!");
  my $temporary = ".$name.kiln-$s->{id}";
  my $fh = open_inside(fileno($directory), $temporary, O_WRONLY | O_CREAT | O_EXCL, $mode & 07777)
    or return fail($s, $! + 0, "$path: $!");
  chmod($mode & 07777, $fh);
  @$s{qw(target directory temporary name path)} = ($fh, $directory, $temporary, $name, $path);
  frame(STARTED, $s->{id}, '');
}

# Makes what is missing.
sub open_directory {
  my ($path) = @_;
  my $fh = open_inside(AT_FDCWD, $path, O_PATH | O_DIRECTORY, 0);
  return $fh if $fh || $! != ENOENT;
  $fh = open_inside(AT_FDCWD, '/', O_PATH | O_DIRECTORY, 0);
  for my $part (grep { $_ ne '' } split(m{/}, $path)) {
    syscall(SYS_mkdirat, fileno($fh), $part, 0755);
    $fh = open_inside(fileno($fh), $part, O_PATH | O_DIRECTORY, 0) or return undef;
  }
  return $fh;
}

sub write_file {
  my ($s, $bytes) = @_;
  my $length = length $bytes;
  while (length $bytes) {
    my $n = syswrite($s->{target}, $bytes);
    return fail($s, $! + 0, "$s->{path}: $!") unless $n;
    substr($bytes, 0, $n, '');
  }
  frame(INPUT_CREDIT, $s->{id}, pack('V', $length));
}

sub commit_file {
  my ($s) = @_;
  my $at = fileno($s->{directory});
  close($s->{target}) or return fail($s, $! + 0, "$s->{path}: $!");
  syscall(SYS_renameat, $at, $s->{temporary}, $at, $s->{name}) == 0 or return fail($s, $! + 0, "$s->{path}: $!");
  frame(DONE, $s->{id}, "\1");
  delete $streams{$s->{id}};
}

sub discard_temporary {
  my ($s) = @_;
  syscall(SYS_unlinkat, fileno($s->{directory}), $s->{temporary}, 0) if $s->{directory};
}

# --- after a restore from a snapshot ---

# Clones of one snapshot share the pool's state, the clock and the identity until this, and have nothing of their job's.
sub renew {
  my ($s, $payload) = @_;
  my ($seconds, $nanoseconds, $entropy, $names) = unpack('qVV/a*a*', $payload);
  # Of nothing, this form of unpack makes an error instead of an empty list.
  my @drives = $names eq '' ? () : unpack('(V/a*)*', $names);
  syscall(SYS_clock_settime, 0, pack('qq', $seconds, $nanoseconds)) == 0 or return fail($s, $! + 0, "clock: $!");
  sysopen(my $random, '/dev/urandom', O_RDWR) or return fail($s, $! + 0, "random: $!");
  ioctl($random, RNDADDENTROPY, pack('iia*', 8 * length $entropy, length $entropy, $entropy))
    && ioctl($random, RNDRESEEDCRNG, 0) or return fail($s, $! + 0, "random: $!");
  sysread($random, my $identity, 16) == 16 or return fail($s, EIO, 'random: too little came');
  put('/etc/machine-id', unpack('H*', $identity) . "\n") or return fail($s, $! + 0, "machine-id: $!");
  for my $drive (@drives) { main::mount_drive($drive) or return fail($s, $! + 0, "drive $drive: $!") }
  frame(DONE, $s->{id}, "\1");
  delete $streams{$s->{id}};
}

# --- small things ---

sub nonblocking { fcntl($_[0], F_SETFL, O_NONBLOCK | ($_[1] || 0)) }

sub put {
  my ($path, $text) = @_;
  open(my $fh, '>', $path) or return 0;
  my $n = syswrite($fh, $text);
  return close($fh) && defined $n;
}

sub get {
  my ($path) = @_;
  open(my $fh, '<', $path) or return "populated 0\n";
  sysread($fh, my $text, 4096);
  return $text // '';
}

main();
