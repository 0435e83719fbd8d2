package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How a script becomes root. sudo writes the command that it runs to the
// journal, so the script is never an argument of it: `sh -c` gets a fixed text
// that evaluates what comes on standard input. Without a password a shell of the
// login user, which has the script as its arguments, pipes it there: that costs
// no round trip. A password comes before the script on the standard input of the
// session and is read before sudo is called, which gets it from an askpass program
// that is nothing but cat, from a pipe that ends behind it. sudo -S would read on in
// the script for a second and a third guess, and lock the account.

// Password is what sudo wants, the same on all nodes of a run. It is never
// printed. A node that has refused it is not bothered with it again.
type Password struct {
	ask func(context.Context) (string, error)

	mu      sync.Mutex
	text    *string         // nil: not known. Of a pointer fmt prints no more than the address
	err     error           // of ask
	refused map[string]bool // by node
}

// NewPassword is a password that is known.
func NewPassword(text string) *Password { return &Password{text: &text} }

// AskPassword is a password that somebody is asked for, once and only if a node
// wants one. The time that takes is not waited for the node.
func AskPassword(ask func(context.Context) (string, error)) *Password { return &Password{ask: ask} }

// Format keeps it out of everything that is printed.
func (p *Password) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(sensitive)") }

// now returns the password if it is known already, else nil. The error says that
// this node has refused it before.
func (p *Password) now(node string) (*string, error) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused[node] {
		return nil, errRefused
	}
	return p.text, nil
}

// get returns the password, asking for it if nobody has been asked yet.
func (p *Password) get(ctx context.Context) (*string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text == nil && p.err == nil {
		text, err := p.ask(ctx)
		if p.err = err; err == nil {
			p.text = &text
		}
	}
	return p.text, p.err
}

func (p *Password) refuse(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused == nil {
		p.refused = map[string]bool{}
	}
	p.refused[node] = true
}

var errRefused = errors.New("sudo does not accept the password that was given for all nodes; it is not tried a second time, since that may lock the account")

// elevated is Exec through sudo.
func (c *Client) elevated(ctx context.Context, cmd Command) (Result, error) {
	text, err := c.password.now(c.node)
	if err != nil {
		return Result{}, err
	}
	if text != nil {
		return c.withPassword(ctx, cmd, text)
	}
	first := cmd
	if c.password != nil && cmd.Stdin != nil {
		first = Command{Script: ":"} // what an attempt that fails has read would be lost
	}
	res, err := c.bare(ctx, first, nil)
	switch {
	case err == nil && c.password != nil && wantsPassword(res):
		begin := time.Now()
		if text, err = c.password.get(ctx); err != nil {
			return Result{}, fmt.Errorf("ask for the password of sudo: %w", err)
		}
		ctx, cancel := later(ctx, time.Since(begin))
		defer cancel()
		return c.withPassword(ctx, cmd, text)
	case err == nil && first.Script != cmd.Script:
		res, err = c.bare(ctx, cmd, nil)
	}
	return checked(res, err)
}

func (c *Client) withPassword(ctx context.Context, cmd Command, text *string) (Result, error) {
	if err := checkPassword(*text); err != nil {
		return Result{}, err
	}
	res, err := c.bare(ctx, cmd, text)
	if err == nil && refusesPassword(res) {
		c.password.refuse(c.node)
		return res, errRefused
	}
	return checked(res, err)
}

// checked adds the error that sudo has written instead of running anything.
func checked(res Result, err error) (Result, error) {
	if err == nil {
		err = sudoError(res)
	}
	return res, err
}

// later is ctx with its deadline moved.
func later(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	out, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(by))
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel()
		}
	})
	return out, func() { stop(); cancel() }
}

// passwordBlock is how many bytes of standard input come before the script: the
// password and newlines. Of fixed length, so that no command line tells how long
// the password is.
const passwordBlock = 1024

func checkPassword(text string) error {
	if text == "" || len(text) >= passwordBlock || strings.ContainsAny(text, "\n\r\x00") {
		return fmt.Errorf("the password of sudo is one line of 1 to %d characters", passwordBlock-1)
	}
	return nil
}

// whole is a script as it is sent to a shell: in braces, so that nothing of it is
// run if its end is missing.
func whole(script string) string { return "{\n" + script + "\n}\n" }

// streamed is a script that runs what comes first on its standard input.
func streamed(script string) string {
	return `eval "$(head -c ` + strconv.Itoa(len(script)) + `)"`
}

// sudoLine is commandLine for a script that is run as root without a password.
func sudoLine(script string, hasStdin bool) (line, stdin string) {
	const sudo = "env LC_ALL=C sudo -n -- sh -c "
	script = whole(script)
	if !hasStdin {
		line = "exec sh -c " + Quote(`printf %b "$@" | exec `+sudo+Quote(streamed(script))) + " sh" + words(script)
		if len(line) <= maxCommand {
			return line, ""
		}
	}
	return "exec " + sudo + Quote(streamed(script)), script
}

// passwordLine is the same with a password, which comes in a block before the
// script. All of the block is read before sudo runs: one that wants no password would
// run what is left of it as the script. It stays in a variable of the shell, which is
// not exported, and printf is the shell's own: no process has it as an argument. That sh
// does not become sudo by its last command, whose pipes cat could not open then, is what
// the exit is for.
func passwordLine(script string) string {
	return "exec sh -c " + Quote("unset p; p=$(head -c "+strconv.Itoa(passwordBlock)+"); exec 4<&0; printf '%s\\n' \"$p\" | exec sh -c "+Quote(
		"exec 3<&0 <&4 4<&-; env LC_ALL=C SUDO_ASKPASS=/bin/cat sudo -A -p /proc/$$/fd/3 -- sh -c "+Quote(streamed(script))+"; exit $?"))
}

// invocation is what the login shell is asked to run for a command and what it
// reads, nil for nothing.
func (c *Client) invocation(cmd Command, password *string) (line string, stdin io.Reader, err error) {
	if strings.IndexByte(cmd.Script, 0) >= 0 {
		return "", nil, errors.New("the script contains a NUL byte")
	}
	var before string
	switch script := whole(cmd.Script); {
	case password != nil:
		line = passwordLine(script)
		before = *password + strings.Repeat("\n", passwordBlock-len(*password)) + script
	case cmd.Private && c.sudo:
		line, before = sudoLine(cmd.Script, true)
	case cmd.Private:
		line, before = "exec sh -c "+Quote(streamed(script)), script
	default:
		line, before, err = commandLine(cmd.Script, c.sudo, cmd.Stdin != nil)
	}
	switch {
	case err != nil || before == "":
		return line, cmd.Stdin, err
	case cmd.Stdin == nil:
		return line, strings.NewReader(before), nil
	}
	return line, io.MultiReader(strings.NewReader(before), cmd.Stdin), nil
}

// sudoSays returns the line that sudo itself has written, if nothing was run.
func sudoSays(r Result, parts ...string) string {
	if len(r.Stdout) > 0 || r.Code == 0 {
		return ""
	}
	for line := range strings.Lines(string(r.Stderr)) {
		line = strings.TrimSpace(line)
		for _, p := range parts {
			if strings.HasPrefix(line, "sudo: ") && strings.Contains(line, p) {
				return line
			}
		}
	}
	return ""
}

// wantsPassword: the second is what the rewrite of sudo in Rust says.
func wantsPassword(r Result) bool {
	return sudoSays(r, "a password is required", "interactive authentication is required") != ""
}

func refusesPassword(r Result) bool {
	return sudoSays(r, "incorrect password attempt", "no password was provided", "a password is required", "incorrect authentication") != ""
}

// sudoError tells a refusal by sudo from an exit status of the script.
func sudoError(r Result) error {
	msg, _, _ := strings.Cut(strings.TrimSpace(string(r.Stderr)), "\n")
	switch {
	case len(r.Stdout) > 0 || r.Code == 0:
	case wantsPassword(r):
		return fmt.Errorf("%s (put it into FWPROV_SUDO_PASSWORD or give --sudo-password-fd, allow the login user NOPASSWD in sudoers, or log in as root)",
			sudoSays(r, "required"))
	case r.Code == 1 && strings.HasPrefix(msg, "sudo: "):
		return fmt.Errorf("%s (allow the login user to use sudo in sudoers, or log in as root)", msg)
	case r.Code == 1 && strings.Contains(msg, " is not in the sudoers file"):
		return fmt.Errorf("%s (allow the user to use sudo there, or log in as root)", msg)
	case r.Code == 127 && strings.Contains(msg, "sudo"):
		return fmt.Errorf("%s (install sudo, or log in as root)", msg)
	}
	return nil
}
