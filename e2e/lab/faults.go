package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Silence makes the switch forward nothing from and to a host's interface, or forward
// again. The interface keeps its carrier: the host notices nothing.
func (l *Lab) Silence(ctx context.Context, host, iface string, silent bool) error {
	if err := l.hasCable(host, iface); err != nil {
		return err
	}
	cmd := l.switchCommand(ctx, "bridge", "link", "set", "dev", port(host, iface), "state", forwarding(!silent))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("port of %s %s: %w: %s", host, iface, err, out)
	}
	return nil
}

// forwarding is the state of a bridge's port (bridge(8)).
func forwarding(yes bool) string {
	if yes {
		return "3"
	}
	return "0"
}

// burst is how long the port of a lossy link forwards, or does not, in one go.
const burst = 10 * time.Millisecond

// Lossy makes the switch drop half of what a host's interface sends and gets, as draw
// has it, until heal is called. The kernels that this runs on cannot all do so by
// themselves: the port is closed and opened again.
func (l *Lab) Lossy(host, iface string, draw *rand.Rand) (heal func() error, err error) {
	if err := l.hasCable(host, iface); err != nil {
		return nil, err
	}
	cmd := l.switchCommand(context.Background(), "bridge", "-batch", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	set := func(open bool) error {
		_, err := fmt.Fprintf(in, "link set dev %s state %s\n", port(host, iface), forwarding(open))
		return err
	}
	go func() {
		tick := time.NewTicker(burst)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				err := set(true)
				done <- firstOf(err, in.Close(), cmd.Wait())
				return
			case <-tick.C:
			}
			if err := set(draw.IntN(2) == 0); err != nil {
				done <- firstOf(fmt.Errorf("bridge: %w", err), in.Close(), cmd.Wait())
				return
			}
		}
	}()
	return func() error { close(stop); return <-done }, nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// switchCommand is a command in the namespace of the switches.
func (l *Lab) switchCommand(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + netnsPath(l.opts.Name, switchHost), name}, args...)...)
}

// Addresses are the IPv4 addresses that a node has at this moment, read without
// starting a process: it may be asked every few milliseconds, unless the node is a
// virtual machine. It is an error if the node is off.
func (l *Lab) Addresses(node string) ([]netip.Addr, error) {
	if l.vm() {
		res, err := l.Exec(context.Background(), node, "cat", "/proc/net/fib_trie")
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("%s: status %d: %s", node, res.Code, res.Stderr)
		}
		return localAddresses(res.Stdout), err
	}
	pid, err := l.leader(node)
	if err != nil {
		return nil, err
	}
	trie, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/fib_trie", pid))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node, err)
	}
	return localAddresses(string(trie)), nil
}

// localAddresses reads /proc/net/fib_trie: an address, then what it is.
func localAddresses(trie string) []netip.Addr {
	var out []netip.Addr
	var leaf netip.Addr
	for line := range strings.Lines(trie) {
		line = strings.TrimSpace(line)
		if addr, ok := strings.CutPrefix(line, "|-- "); ok {
			leaf, _ = netip.ParseAddr(addr)
		} else if line == "/32 host LOCAL" && leaf.IsValid() {
			out = append(out, leaf)
			leaf = netip.Addr{}
		}
	}
	return out
}
