package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what a command printed and how it ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// nodeEnv is the environment of a command on a node.
var nodeEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=dumb"}

// Exec runs a command on a host as root and waits for it. A status other than 0
// is in the Result and no error. On a node it runs inside the machine; on the
// other hosts it runs in their network, with the file system of this machine.
// Into a virtual machine it goes over SSH, and fails with 255 if there is no way.
func (l *Lab) Exec(ctx context.Context, host string, command ...string) (Result, error) {
	cmd, err := l.Command(ctx, host, command...)
	if err != nil {
		return Result{}, err
	}
	endGroup(cmd)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	res := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case err != nil && ctx.Err() != nil:
		err = ctx.Err()
	case errors.As(err, &exit):
		res.Code, err = exit.ExitCode(), nil
	}
	if err != nil {
		return res, fmt.Errorf("%s: %s: %w", host, strings.Join(command, " "), err)
	}
	return res, nil
}

// Command is the command that Exec runs, with its streams left to the caller.
func (l *Lab) Command(ctx context.Context, host string, command ...string) (*exec.Cmd, error) {
	h, err := l.Host(host)
	if err != nil {
		return nil, err
	}
	args := []string{"--net=" + netnsPath(l.opts.Name, h.Name)}
	if h.Kind == KindNode && l.vm() {
		return l.overSSH(ctx, h, command), nil
	}
	if h.Kind == KindNode {
		pid, err := l.leader(h.Name)
		if err != nil {
			return nil, err
		}
		args = []string{"--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--", "env", "-i"}
		args = append(args, nodeEnv...)
	}
	return exec.CommandContext(ctx, "nsenter", append(args, command...)...), nil
}

// Shell is Command for somebody at a terminal.
func (l *Lab) Shell(ctx context.Context, host string, command ...string) (*exec.Cmd, error) {
	h, err := l.Host(host)
	if err == nil && h.Kind == KindNode && l.vm() {
		return l.overSSH(ctx, h, command, "-t"), nil
	}
	return l.Command(ctx, host, command...)
}

// AdminCommand is a command on the admin host, which is where fwprov is run: in
// its network and with the home directory whose .ssh reaches the nodes.
func (l *Lab) AdminCommand(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + netnsPath(l.opts.Name, Admin), "--", name}, args...)...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "HOME=") && !strings.HasPrefix(kv, "SSH_AUTH_SOCK=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+l.Home())
	return cmd
}

// endGroup makes the end of a command's context the end of its children too.
func endGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
}

// Dial opens a connection from a host of the lab. The address must be a
// number: nothing in the lab resolves names.
func (l *Lab) Dial(ctx context.Context, host, network, addr string) (net.Conn, error) {
	return l.DialFrom(ctx, host, network, nil, addr)
}

// DialFrom is Dial from a local address, nil for any.
func (l *Lab) DialFrom(ctx context.Context, host, network string, from net.Addr, addr string) (net.Conn, error) {
	var conn net.Conn
	err := l.in(host, func() (err error) {
		d := net.Dialer{LocalAddr: from}
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("from %s: %w", host, err)
	}
	return conn, nil
}

// Listen opens a listening socket on a host of the lab.
func (l *Lab) Listen(host, network, addr string) (net.Listener, error) {
	var listener net.Listener
	err := l.in(host, func() (err error) {
		listener, err = net.Listen(network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("on %s: %w", host, err)
	}
	return listener, nil
}

// in calls f on a thread that is in the network of a host. A socket made there
// stays there. The thread is not used again: it ends with its goroutine.
func (l *Lab) in(host string, f func() error) error {
	h, err := l.Host(host)
	if err != nil {
		return err
	}
	if h.Kind == KindNode && l.vm() {
		return fmt.Errorf("%s is a virtual machine, whose network cannot be entered", host)
	}
	ns, err := os.Open(netnsPath(l.opts.Name, h.Name))
	if err != nil {
		return fmt.Errorf("%s is off: %w", host, err)
	}
	defer ns.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the network of %s: %w", host, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// run runs a program and puts what it said into the error.
func run(ctx context.Context, name string, args ...string) error {
	return runInput(ctx, "", name, args...)
}

func runInput(ctx context.Context, input, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLines(out, 5))
	}
	return nil
}

// background starts a program that outlives this process. Its output goes to a file.
func background(ctx context.Context, log, name string, args ...string) error {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, "setsid", append([]string{"--fork", name}, args...)...)
	cmd.Stdout, cmd.Stderr = f, f
	return cmd.Run()
}

// lastLines is the end of a program's output.
func lastLines(out []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// pause waits a moment between two looks at something.
func pause(ctx context.Context) error {
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
