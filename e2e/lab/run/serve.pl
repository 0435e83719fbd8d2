# Answers on one TCP port: serve.pl NAME PROTOCOL PORT. "http" answers every request with one line, "tcp"
# says that line at once and then sends back what it gets. The line is NAME and the client's address as
# it is seen here.
use strict;
use warnings;
use IO::Socket::INET;

my ($name, $protocol, $port) = @ARGV;
my $listener = IO::Socket::INET->new(Listen => 128, LocalPort => $port, Proto => 'tcp', ReuseAddr => 1)
	or die "listen on port $port: $@\n";
$SIG{CHLD} = 'IGNORE';
while (1) {
	my $client = $listener->accept or next;
	my $pid = fork;
	if (defined $pid && $pid == 0) {
		close $listener;
		serve($client);
		exit 0;
	}
	close $client;
}

sub serve {
	my ($client) = @_;
	my $line = "$name " . $client->peerhost . "\n";
	$client->autoflush(1);
	if ($protocol eq 'tcp') {
		print $client $line;
		while (sysread($client, my $data, 65536)) {
			print $client $data;
		}
		return;
	}
	while (my $request = <$client>) {
		while (my $header = <$client>) {
			last if $header =~ /^\r?\n$/;
		}
		my $body = $request =~ /^HEAD / ? '' : $line;
		my $close = $request =~ m{HTTP/1\.1} ? 'keep-alive' : 'close';
		print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " . length($line)
			. "\r\nConnection: $close\r\n\r\n$body";
		last if $close eq 'close';
	}
}
