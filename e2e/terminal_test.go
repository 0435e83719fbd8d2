package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a program that runs on a terminal of its own, at which the test
// sits.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	ptmx *os.File
	done chan error

	mu   sync.Mutex
	seen strings.Builder
	read int // bytes of seen that an expectation has taken
}

// onTerminal starts a program on a new terminal.
func onTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	term := &terminal{t: t, cmd: cmd, ptmx: ptmx, done: make(chan error, 1)}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := ptmx.Read(b)
			term.mu.Lock()
			term.seen.Write(b[:n])
			term.mu.Unlock()
			if err != nil { // EIO: nobody has the terminal open any more
				term.done <- cmd.Wait()
				return
			}
		}
	}()
	return term
}

// expect waits for a text that has not been expected yet.
func (term *terminal) expect(text string) {
	term.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // between two looks
		term.mu.Lock()
		i := strings.Index(term.seen.String()[term.read:], text)
		if i >= 0 {
			term.read += i + len(text)
		}
		term.mu.Unlock()
		if i >= 0 {
			return
		}
		if time.Now().After(deadline) {
			term.t.Fatalf("the terminal does not show %q:\n%s", text, term.text())
		}
	}
}

// text is all that the terminal has shown.
func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen.String()
}

// enter types a line.
func (term *terminal) enter(line string) {
	term.t.Helper()
	if _, err := term.ptmx.WriteString(line + "\n"); err != nil {
		term.t.Fatal(err)
	}
}

// wait returns the exit code.
func (term *terminal) wait() int {
	term.t.Helper()
	select {
	case <-term.done:
		term.ptmx.Close()
		return term.cmd.ProcessState.ExitCode()
	case <-time.After(5 * time.Minute):
		term.t.Fatalf("it does not end:\n%s", term.text())
		return -1
	}
}
