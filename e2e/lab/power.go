package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// WaitSSH waits until a node's sshd greets the admin host, at most a minute, or
// five if it is a virtual machine.
func (l *Lab) WaitSSH(ctx context.Context, node string) error {
	h, err := l.node(node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.patience())
	defer cancel()
	for {
		if l.greets(ctx, fmt.Sprintf("%s:%d", address(h), l.state.Topology.SSH.Port)) {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("%s: waiting for sshd: %w; the end of its console:\n%s", node, err, l.consoleTail(node))
		}
	}
}

// greets reports whether an SSH server says its first words.
func (l *Lab) greets(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := l.Dial(ctx, Admin, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(2*time.Second)) != nil {
		return false
	}
	hello := make([]byte, 4)
	_, err = io.ReadFull(conn, hello)
	return err == nil && string(hello) == "SSH-"
}

// PowerCut switches a node off as a power failure does: no process of it gets
// to say goodbye, and its links go down. PowerOn brings it back.
func (l *Lab) PowerCut(ctx context.Context, node string) error {
	h, err := l.node(node)
	if err != nil {
		return err
	}
	if l.vm() {
		return l.killLeader(ctx, node)
	}
	payload, err := l.payload(node)
	if err != nil {
		return err
	}
	// Frozen first: keepalived would see its dead link and hand over in an orderly way.
	if err := os.WriteFile(filepath.Join(payload, "cgroup.freeze"), []byte("1"), 0); err != nil {
		return fmt.Errorf("%s: freeze: %w", node, err)
	}
	err = l.until(ctx, node+": waiting for it to freeze", func() bool {
		events, _ := os.ReadFile(filepath.Join(payload, "cgroup.events"))
		return strings.Contains(string(events), "frozen 1")
	})
	if err != nil {
		return err
	}
	var batch strings.Builder
	for _, link := range l.cables(h) {
		fmt.Fprintf(&batch, "link set %s down\n", port(node, link.Interface))
	}
	if err := l.ipBatch(ctx, switchHost, batch.String()); err != nil {
		return err
	}
	if err := l.killLeader(ctx, node); err != nil {
		return err
	}
	// The group is used again at the next boot, which would be frozen from the start.
	if err := os.WriteFile(filepath.Join(payload, "cgroup.freeze"), []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: thaw: %w", node, err)
	}
	return nil
}

// killLeader ends a node's process 1, or the virtual machine that it runs in.
func (l *Lab) killLeader(ctx context.Context, node string) error {
	pid, err := l.leader(node)
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("%s: kill: %w", node, err)
	}
	return l.WaitOff(ctx, node)
}

// WaitOff waits until a node is switched off, by PowerCut or from inside.
func (l *Lab) WaitOff(ctx context.Context, node string) error {
	return l.until(ctx, node+": waiting for it to be off", func() bool { return !l.running(node) })
}

// PowerOn switches a node on that is off, and waits for its sshd.
func (l *Lab) PowerOn(ctx context.Context, node string) error {
	if _, err := l.node(node); err != nil {
		return err
	}
	if l.running(node) {
		return fmt.Errorf("%s is on already", node)
	}
	if err := l.startNode(ctx, node); err != nil {
		return err
	}
	return l.WaitSSH(ctx, node)
}

// Reboot reboots a node from inside and waits for its sshd.
func (l *Lab) Reboot(ctx context.Context, node string) error {
	before, err := l.leader(node)
	if err != nil {
		return err
	}
	res, err := l.Exec(ctx, node, "systemctl", "reboot")
	if cut := l.vm() && res.Code == 255; err != nil || res.Code != 0 && !cut { // the connection ends with the machine
		return fmt.Errorf("%s: reboot: status %d, %s, %w", node, res.Code, res.Stderr, err)
	}
	err = l.until(ctx, node+": waiting for it to reboot", func() bool {
		after, err := l.leader(node)
		return err == nil && after != before
	})
	if err != nil {
		return err
	}
	return l.WaitSSH(ctx, node)
}

// Link pulls the cable of a host's interface at the switch, or plugs it in. A
// node that boots finds all its cables plugged in.
func (l *Lab) Link(ctx context.Context, host, iface string, up bool) error {
	if err := l.hasCable(host, iface); err != nil {
		return err
	}
	if h, err := l.Host(host); err != nil || h.Kind == KindNode && l.vm() {
		return firstOf(err, l.setLink(ctx, host, iface, up))
	}
	state := "down"
	if up {
		state = "up"
	}
	return l.ipBatch(ctx, switchHost, fmt.Sprintf("link set %s %s\n", port(host, iface), state))
}

func (l *Lab) hasCable(host, iface string) error {
	h, err := l.Host(host)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(l.cables(h), func(link Link) bool { return link.Interface == iface }) {
		return fmt.Errorf("%s has no cable on %s", host, iface)
	}
	return nil
}

// running reports whether a node is on: its supervisor makes its namespace at a
// boot and removes it at the end.
func (l *Lab) running(node string) bool {
	_, err := os.Stat(netnsPath(l.opts.Name, node))
	return err == nil
}

// payload is the control group of all processes of a node.
func (l *Lab) payload(node string) (string, error) {
	unified, err := l.unified()
	if err != nil {
		return "", err
	}
	return filepath.Join(unified, nodeGroup(node), "payload"), nil
}

// leader is the process that is PID 1 on a node, or the qemu of a virtual machine.
func (l *Lab) leader(node string) (int, error) {
	payload, err := l.payload(node)
	if err != nil {
		return 0, err
	}
	group := filepath.Join(payload, "init.scope")
	if l.vm() {
		group = filepath.Dir(payload)
	}
	data, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return 0, fmt.Errorf("%s is not running: %w", node, err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0, fmt.Errorf("%s is not running: no process 1", node)
	}
	return pid, nil
}

// until polls a condition, at most a minute, or five if the nodes are virtual
// machines.
func (l *Lab) until(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, l.patience())
	defer cancel()
	for !done() {
		if err := pause(ctx); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}
