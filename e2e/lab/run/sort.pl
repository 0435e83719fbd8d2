# Connects a trunk with the switch of one VLAN: sort.pl TAGGED PLAIN ID. What comes in at the port TAGGED with the
# tag ID leaves at PLAIN without it, and the other way round; other tags belong to others.
use strict;
use warnings;
use Fcntl;

my ($tagged, $plain, $id) = @ARGV;
my ($trunk, $vlan) = map { tap($_) } $tagged, $plain;
while (1) {
	my $ready = '';
	vec($ready, fileno $_, 1) = 1 for $trunk, $vlan;
	next if select($ready, undef, undef, undef) < 1;
	if (vec($ready, fileno $trunk, 1) and defined(my $frame = frame($trunk))) {
		my ($type, $tag) = unpack 'x12 n n', $frame;
		if (length $frame >= 18 and $type == 0x8100 and ($tag & 0xfff) == $id) {
			syswrite $vlan, substr($frame, 0, 12) . substr($frame, 16);
		}
	}
	if (vec($ready, fileno $vlan, 1) and defined(my $frame = frame($vlan))) {
		syswrite $trunk, substr($frame, 0, 12) . pack('n n', 0x8100, $id) . substr($frame, 12) if length $frame >= 14;
	}
}

sub frame {
	my ($from) = @_;
	my $got = sysread $from, my $data, 65536;
	return $got ? $data : undef;
}

# tap opens a device that is there: TUNSETIFF with IFF_TAP and IFF_NO_PI.
sub tap {
	my ($name) = @_;
	sysopen my $tap, '/dev/net/tun', O_RDWR | O_NONBLOCK or die "/dev/net/tun: $!\n";
	ioctl $tap, 0x400454ca, pack 'Z16 S x22', $name, 0x0002 | 0x1000 or die "$name: $!\n";
	return $tap;
}
