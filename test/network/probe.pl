# Makes attempts to reach something, one an argument, and prints for each what came of it: "<id> <outcome>". No module is used, so that
# a perl without its library will do. Addresses come as hexadecimal bytes, packets and frames too.
$| = 1;
my ($INET, $INET6, $PACKET) = (2, 10, 17);
my ($STREAM, $DGRAM, $RAW) = (1, 2, 3);
my %told = (1 => 'forbidden', 13 => 'forbidden', 97 => 'unreachable', 99 => 'unreachable', 101 => 'unreachable',
  111 => 'refused', 113 => 'refused', 11 => 'silent');
my $patience = 2;

sub place {
  my ($address, $port) = @_;
  return pack('S n a4 x8', $INET, $port, pack('H*', $address)) if length $address == 8;
  return pack('S n N a16 N', $INET6, $port, 0, pack('H*', $address), 0);
}
sub family { return length $_[0] == 8 ? $INET : $INET6 }
sub told { my $number = $! + 0; return $told{$number} // "error-$number" }

# Waits until there is something to read or write.
sub wait_for {
  my ($socket, $what) = @_;
  my $bits = ''; vec($bits, fileno($socket), 1) = 1;
  return $what eq 'read' ? select($bits, undef, undef, $patience) : select(undef, $bits, undef, $patience);
}

sub connected {
  my ($address, $port, $own) = @_;
  socket(my $socket, family($address), $STREAM, 0) or return (undef, told());
  bind($socket, place($own, 0)) if $own;
  fcntl($socket, 4, 2048);
  unless (connect($socket, place($address, $port))) {
    return (undef, told()) unless $! + 0 == 115;
    wait_for($socket, 'write') or return (undef, 'silent');
    $! = unpack('i', getsockopt($socket, 1, 4));
    return (undef, told()) if $! + 0;
  }
  return ($socket, undef);
}

# Sends again while nothing comes: a kernel tells of few refusals a second.
sub exchange {
  my ($socket, $message) = @_;
  for (1 .. 3) {
    defined syswrite($socket, $message) or return (undef, told());
    wait_for($socket, 'read') or next;
    my $length = sysread($socket, my $reply, 65535);
    return defined $length ? ($reply, undef) : (undef, told());
  }
  return (undef, 'silent');
}

sub associated {
  my ($address, $port, $own) = @_;
  socket(my $socket, family($address), $DGRAM, 0) or return (undef, told());
  bind($socket, place($own, 0)) if $own;
  setsockopt($socket, 1, 6, pack('i', 1));
  connect($socket, place($address, $port)) or return (undef, told());
  return ($socket, undef);
}

sub question {
  my ($name, $type) = @_;
  return pack('n6', 4711, 0x0100, 1, 0, 0, 0) . join('', map { pack('C/a*', $_) } split(/\./, $name)) . pack('C n n', 0, $type, 1);
}

# Every address of type A that is in the answer section; "none"; or the code of a failure.
sub addresses {
  my ($reply) = @_;
  my (undef, $flags, undef, $count) = unpack('n4', $reply);
  return 'code-' . ($flags & 15) if $flags & 15;
  return 'truncated' if $flags & 0x200;
  my $offset = 12;
  my $skip = sub {
    while ($offset < length $reply) {
      my $length = ord substr($reply, $offset, 1);
      if ($length >= 192) { $offset += 2; return }
      $offset += 1 + $length;
      return if $length == 0;
    }
  };
  $skip->(); $offset += 4;
  my @found;
  for (1 .. $count) {
    $skip->();
    my ($type, undef, undef, $length) = unpack('n n N n', substr($reply, $offset, 10));
    push @found, join('.', unpack('C4', substr($reply, $offset + 10, 4))) if $type == 1;
    $offset += 10 + $length;
  }
  return @found ? join(',', @found) : 'none';
}

my %kinds = (
  tcp => sub {
    my ($socket, $failure) = connected(@_);
    return $failure if $failure;
    wait_for($socket, 'read') or return 'silent';
    return sysread($socket, my $reply, 100) ? 'answered' : told();
  },
  udp => sub {
    my ($socket, $failure) = associated(@_);
    return $failure if $failure;
    my ($reply, $why) = exchange($socket, 'attempt');
    return $why // 'answered';
  },
  ping => sub {
    my ($address) = @_;
    my $is4 = length $address == 8;
    socket(my $socket, family($address), $DGRAM, $is4 ? 1 : 58) or return told();
    connect($socket, place($address, 0)) or return told();
    # Errors that routers report, instead of silence.
    setsockopt($socket, $is4 ? 0 : 41, $is4 ? 11 : 25, pack('i', 1));
    my ($reply, $why) = exchange($socket, pack('C C n n n a8', $is4 ? 8 : 128, 0, 0, 0, 1, 'attempt'));
    return $why // 'answered';
  },
  lookup => sub {
    my ($address, $transport, $name, $type, $port, $own) = @_;
    my @target = ($address, $port // 53, $own);
    my ($socket, $failure) = $transport eq 'udp' ? associated(@target) : connected(@target);
    return $failure if $failure;
    my $message = question($name, $type);
    my ($reply, $why) = exchange($socket, $transport eq 'udp' ? $message : pack('n/a*', $message));
    return $why if $why;
    return 'silent' if length $reply < 12;
    return addresses($transport eq 'udp' ? $reply : substr($reply, 2));
  },
  # Some bytes, without waiting for an answer.
  send => sub {
    my ($address, $port, $own, $bytes) = @_;
    my ($socket, $failure) = associated($address, $port, $own);
    return $failure if $failure;
    return defined syswrite($socket, pack('H*', $bytes // '')) ? 'sent' : told();
  },
  # A whole IPv4 packet, whatever it says.
  packet => sub {
    my ($bytes) = @_;
    my $packet = pack('H*', $bytes);
    socket(my $socket, $INET, $RAW, 255) or return told();
    setsockopt($socket, 1, 6, pack('i', 1));
    return send($socket, $packet, 0, pack('S n a4 x8', $INET, 0, substr($packet, 16, 4))) ? 'sent' : told();
  },
  # A whole Ethernet frame, out of the first link that is not the loopback one.
  frame => sub {
    my ($bytes) = @_;
    socket(my $socket, $PACKET, $RAW, 0) or return told();
    open(my $links, '<', '/proc/net/dev') or return told();
    my ($name) = grep { $_ && $_ ne 'lo' } map { /^\s*(\w+):/ ? $1 : undef } <$links>;
    my $request = pack('a16 x16', $name);
    ioctl($socket, 0x8933, $request) or return told();
    my $index = unpack('x16 i', $request);
    return send($socket, pack('H*', $bytes), 0, pack('S n i S C C x8', $PACKET, 0, $index, 1, 0, 6)) ? 'sent' : told();
  },
);

for my $attempt (@ARGV) {
  my ($id, $kind, @rest) = split / /, $attempt;
  my $outcome = eval { $kinds{$kind}->(@rest) } // "failed: $@";
  print "$id $outcome\n";
}
