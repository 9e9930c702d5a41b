# Prints what reaches a network namespace, a line for each packet: "<protocol number> <destination> <destination port or type>".
# "wire": everything that comes in on any link; "host": only what the firewall has let through to this machine itself.
$| = 1;
my ($how) = @ARGV;
my @sockets;
if ($how eq 'wire') {
  socket(my $socket, 17, 3, 0x0300) or die "packet socket: $!";
  push @sockets, [$socket, 0];
} else {
  for my $protocol (1, 2, 4, 6, 17, 41, 47, 50, 132, 253) {
    socket(my $socket, 2, 3, $protocol) or die "raw socket: $!";
    push @sockets, [$socket, 0];
  }
  for my $protocol (6, 17, 58, 132) {
    socket(my $socket, 10, 3, $protocol) or die "raw socket: $!";
    push @sockets, [$socket, $protocol];
  }
}
print "ready\n";

sub ends {
  my ($protocol, $payload) = @_;
  return unpack('x2 n', $payload . "\0\0\0\0") if $protocol == 6 || $protocol == 17 || $protocol == 132;
  return unpack('C', $payload . "\0") if $protocol == 1 || $protocol == 58;
  return 0;
}
sub version4 {
  my ($packet) = @_;
  my $protocol = ord substr($packet, 9, 1);
  my $destination = join('.', unpack('C4', substr($packet, 16, 4)));
  my $header = (ord(substr($packet, 0, 1)) & 15) * 4;
  print "$protocol $destination ", ends($protocol, substr($packet, $header)), "\n";
}
sub version6 {
  my ($packet) = @_;
  my $protocol = ord substr($packet, 6, 1);
  my $destination = join(':', map { sprintf '%x', $_ } unpack('n8', substr($packet, 24, 16)));
  print "$protocol $destination ", ends($protocol, substr($packet, 40)), "\n";
}

while (1) {
  my $ready = '';
  vec($ready, fileno($_->[0]), 1) = 1 for @sockets;
  select($ready, undef, undef, undef);
  for (@sockets) {
    my ($socket, $protocol) = @$_;
    next unless vec($ready, fileno($socket), 1);
    my $from = recv($socket, my $bytes, 65535, 0);
    if ($how eq 'wire') {
      # 4: of this machine's own.
      next if unpack('x10 C', $from) == 4;
      my $type = unpack('x12 n', $bytes);
      version4(substr($bytes, 14)) if $type == 0x0800;
      version6(substr($bytes, 14)) if $type == 0x86dd;
    } elsif ($protocol) {
      print "$protocol - ", ends($protocol, $bytes), "\n";
    } else {
      version4($bytes);
    }
  }
}
