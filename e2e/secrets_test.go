package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"fwprov/e2e/lab"
	"fwprov/inventories"
)

// The values that must be found nowhere but in the files that need them.
const (
	firstPassword  = "Zp4kTw9x"
	secondPassword = "Vb8nQs3j"
	sudoPassword   = "Open Sesame 17!"
)

// TestSecrets applies as ordinary users with sudo a password from an encrypted
// file, changes it, and looks for all secrets on both sides.
func TestSecrets(t *testing.T) {
	t.Parallel()
	r := up(t, "secrets-debian", lab.Debian, inventories.Minimal)
	s := newSecrets(r)
	for _, n := range r.pair.Nodes {
		s.user(n.Name, "pw", sudoPassword)
	}
	// As some distributions have it: what sudo runs gets a terminal of its own.
	s.on(r.pair.Nodes[1].Name, "echo 'Defaults use_pty' >/etc/sudoers.d/pty && chmod 440 /etc/sudoers.d/pty")

	s.watch()
	s.write("ops", firstPassword)
	s.run(0, nil, "apply", "--verbose")
	s.run(0, nil, "plan", "--json")
	s.passwords(firstPassword)

	// Another password, as another user, from a saved plan.
	s.write("pw", secondPassword)
	out, _ := s.run(0, s.pipe(), "plan", "--verbose", "--sudo-password-fd", "3")
	if !strings.Contains(out, "auth_pass (sensitive)") {
		t.Errorf("the plan does not say that the password changes:\n%s", out)
	}
	saved := filepath.Join(s.dir, "saved.plan")
	s.run(0, s.pipe(), "plan", "--out", saved, "--sudo-password-fd", "3")
	s.exec(0, s.pipe(), "apply", saved, "--json", "--verbose", "--sudo-password-fd", "3", "--age-identity", s.key)
	s.passwords(secondPassword)
	s.run(0, s.pipe(), "plan", "--json", "--verbose", "--sudo-password-fd", "3")
	s.run(0, s.pipe(), "history", "--json", "--verbose", "--sudo-password-fd", "3")
	s.run(0, s.pipe(), "verify", "--json", "--sudo-password-fd", "3")
	s.run(0, nil, "render", "-o", filepath.Join(s.dir, "rendered"))
	s.nowhere()

	t.Run("sudo", func(t *testing.T) { s.with(t).sudo() })
	t.Run("host keys", func(t *testing.T) { s.with(t).hostKeys() })
}

// secrets is a rig whose inventory has its password in an encrypted file.
type secrets struct {
	*rig
	dir  string // of the inventory and whatever a run writes
	key  string // file of the age identity
	to   age.Recipient
	said *bytes.Buffer // all that was printed

	stop func() []string // ends the watch
}

func newSecrets(r *rig) *secrets {
	r.t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		r.t.Fatal(err)
	}
	s := &secrets{rig: r, dir: filepath.Dir(r.file), to: id.Recipient(), said: &bytes.Buffer{}}
	s.key = filepath.Join(s.dir, "age.txt")
	if err := os.WriteFile(s.key, []byte(id.String()+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (s *secrets) with(t *testing.T) *secrets {
	c := *s
	c.rig = s.rig.with(t)
	return &c
}

// write makes the inventory one of VRRP version 2 with that password, reached as
// that user.
func (s *secrets) write(user, password string) {
	s.t.Helper()
	var b bytes.Buffer
	w, err := age.Encrypt(&b, s.to)
	if err == nil {
		_, err = fmt.Fprintf(w, "vrrp_password = %q\n", password)
	}
	if err == nil {
		err = w.Close()
	}
	src := string(inventories.Minimal) + fmt.Sprintf("\nssh {\n  user = %q\n  sudo = true\n}\n\nvrrp {\n  version  = 2\n  password = age_file(\"secrets.age\", \"vrrp_password\")\n}\n", user)
	for _, f := range []struct {
		name string
		text []byte
	}{{filepath.Join(s.dir, "secrets.age"), b.Bytes()}, {s.file, []byte(src)}} {
		if err == nil {
			err = os.WriteFile(f.name, f.text, 0o600)
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// user makes a user with a password who may use sudo, and who is reached with the
// lab's key.
func (s *secrets) user(node, name, password string) {
	s.t.Helper()
	s.on(node, "useradd -m -s /bin/bash "+name+"; usermod -aG sudo "+name+"\n"+
		"install -d -m 700 -o "+name+" /home/"+name+"/.ssh\n"+
		"install -m 600 -o "+name+" /root/.ssh/authorized_keys /home/"+name+"/.ssh/")
	s.feed(node, name+":"+password+"\n", "chpasswd")
}

// feed runs a command on a node that reads what must not be an argument.
func (s *secrets) feed(node, stdin string, command ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd, err := s.lab.Command(ctx, node, command...)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 1 { // 1: grep has found nothing
		s.t.Fatalf("%s: %s: %v", node, strings.Join(command, " "), err)
	}
	return string(out)
}

// pipe is the sudo password as file descriptor 3.
func (s *secrets) pipe() *os.File { return s.pipeOf(sudoPassword) }

func (s *secrets) pipeOf(text string) *os.File {
	s.t.Helper()
	in, out, err := os.Pipe()
	if err == nil {
		_, err = out.WriteString(text + "\n")
	}
	if err != nil {
		s.t.Fatal(err)
	}
	out.Close()
	return in
}

// command is fwprov on the admin host.
func (s *secrets) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := s.lab.AdminCommand(ctx, binary, args...)
	cmd.Dir = s.dir
	cmd.Env = append(cmd.Env, "TMPDIR="+s.dir)
	return cmd
}

// run runs fwprov on the inventory; fd is its file descriptor 3.
func (s *secrets) run(code int, fd *os.File, command string, args ...string) (stdout, stderr string) {
	s.t.Helper()
	return s.exec(code, fd, append([]string{command, s.file, "--age-identity", s.key}, args...)...)
}

func (s *secrets) exec(code int, fd *os.File, args ...string) (stdout, stderr string) {
	s.t.Helper()
	return s.execEnv(code, fd, nil, args...)
}

func (s *secrets) execEnv(code int, fd *os.File, env []string, args ...string) (stdout, stderr string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if args[0] == "render" {
		args = slices.DeleteFunc(args, func(a string) bool { return a == "--sudo-password-fd" || a == "3" })
	}
	cmd := s.command(ctx, args...)
	cmd.Env = append(cmd.Env, env...)
	if fd != nil {
		cmd.ExtraFiles = []*os.File{fd}
		defer fd.Close()
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	_ = cmd.Run() // the exit code tells
	s.t.Logf("fwprov %s: exit %d after %.2fs", args[0], cmd.ProcessState.ExitCode(), time.Since(start).Seconds())
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("fwprov %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), errs.String())
	}
	s.said.Write(out.Bytes())
	s.said.Write(errs.Bytes())
	return out.String(), errs.String()
}

// passwords fails unless keepalived has that password on both nodes.
func (s *secrets) passwords(want string) {
	s.t.Helper()
	for _, n := range s.pair.Nodes {
		if got := s.feed(n.Name, "", "cat", "/etc/keepalived/keepalived.conf"); !strings.Contains(got, "auth_pass "+want+"\n") {
			s.t.Errorf("%s does not have the password", n.Name)
		}
	}
}

// failures counts the passwords that a node has refused a user.
func (s *secrets) failures(node string) int {
	s.t.Helper()
	return strings.Count(s.on(node, "journalctl -q --no-pager -o cat _COMM=sudo"), "pam_unix(sudo:auth): authentication failure")
}

// sudo tries the ways in which a password is given, and not given.
func (s *secrets) sudo() {
	node := s.pair.Nodes[0].Name
	wrong := []string{"FWPROV_SUDO_PASSWORD=not it"}
	right := []string{"FWPROV_SUDO_PASSWORD=" + sudoPassword}

	_, stderr := s.run(1, nil, "plan")
	if !strings.Contains(stderr, "sudo: a password is required (put it into FWPROV_SUDO_PASSWORD or give --sudo-password-fd") {
		s.t.Errorf("without a password:\n%s", stderr)
	}

	before := s.failures(node)
	_, stderr = s.execEnv(1, nil, wrong, "plan", s.file, "--age-identity", s.key)
	if !strings.Contains(stderr, "sudo does not accept the password") || strings.Contains(stderr, "not it") {
		s.t.Errorf("with a wrong password:\n%s", stderr)
	}
	_, stderr = s.execEnv(1, nil, wrong, "apply", s.file, "--age-identity", s.key)
	if got := s.failures(node) - before; got != 2 {
		s.t.Errorf("two runs with a wrong password guessed %d times\n%s", got, stderr)
	}

	connections, commands := s.logins(node)
	out, _ := s.execEnv(0, nil, right, "plan", s.file, "--age-identity", s.key)
	if !strings.Contains(out, "No changes.") {
		s.t.Errorf("with the password:\n%s", out)
	}
	if c, e := s.logins(node); c != connections+1 || e != commands+1 {
		s.t.Errorf("a rerun took %d connections and %d commands", c-connections, e-commands)
	}

	// Typed in, once for both nodes, and not to be seen.
	term := onTerminal(s.t, s.command(context.Background(), "apply", s.file, "--age-identity", s.key))
	term.expect("Password for sudo on the nodes: ")
	term.enter(sudoPassword)
	if code := term.wait(); code != 0 || !strings.Contains(term.text(), "No changes.") || strings.Contains(term.text(), sudoPassword) || strings.Count(term.text(), "Password for sudo") != 1 {
		s.t.Errorf("on a terminal: exit %d\n%s", code, term.text())
	}

	// A user without a password is not asked.
	s.write("ops", secondPassword)
	term = onTerminal(s.t, s.command(context.Background(), "plan", s.file, "--age-identity", s.key))
	if code := term.wait(); code != 0 || !strings.Contains(term.text(), "No changes.") || strings.Contains(term.text(), "Password") {
		s.t.Errorf("NOPASSWD on a terminal: exit %d\n%s", code, term.text())
	}
	s.execEnv(0, nil, right, "plan", s.file, "--age-identity", s.key)
	s.journal(node)
}

// hostKeys meets nodes that are not known, and one that is another than it was.
func (s *secrets) hostKeys() {
	known := filepath.Join(s.lab.Home(), ".ssh", "known_hosts")
	all, err := os.ReadFile(known)
	if err != nil {
		s.t.Fatal(err)
	}
	forget := func() {
		s.t.Helper()
		if err := os.WriteFile(known, nil, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	now := func() string {
		s.t.Helper()
		b, err := os.ReadFile(known)
		if err != nil {
			s.t.Fatal(err)
		}
		return string(b)
	}

	forget()
	_, stderr := s.run(1, nil, "plan")
	if strings.Count(stderr, "is not known") != 2 || !strings.Contains(stderr, "--accept-new") || now() != "" {
		s.t.Errorf("unknown nodes, and nobody to ask:\n%s", stderr)
	}

	term := onTerminal(s.t, s.command(context.Background(), "plan", s.file, "--age-identity", s.key))
	for range s.pair.Nodes {
		term.expect("is not known yet")
		term.expect("SHA256:")
		term.expect("Is it the same?")
		if strings.Count(term.text(), "Is it the same?") > strings.Count(now(), "\n")+1 {
			s.t.Errorf("two questions at once:\n%s", term.text())
		}
		term.enter("yes")
	}
	if code := term.wait(); code != 0 || strings.Count(now(), "ssh-ed25519") != 2 {
		s.t.Errorf("asked: exit %d\n%s\nknown_hosts: %s", code, term.text(), now())
	}

	forget()
	term = onTerminal(s.t, s.command(context.Background(), "plan", s.file, "--age-identity", s.key))
	for range s.pair.Nodes {
		term.expect("Is it the same?")
		term.enter("no")
	}
	if code := term.wait(); code != 1 || now() != "" {
		s.t.Errorf("refused: exit %d\n%s\nknown_hosts: %s", code, term.text(), now())
	}

	s.run(0, nil, "plan", "--accept-new")
	if strings.Count(now(), "ssh-ed25519") != 2 {
		s.t.Errorf("known_hosts: %s", now())
	}

	// fw02 is another machine all of a sudden: what it can do is not found out.
	node := s.pair.Nodes[1].Name
	s.on(node, "cd /etc/ssh && mkdir was && mv ssh_host_* was/ && ssh-keygen -q -A && systemctl reload ssh")
	s.shows(node)
	for _, args := range [][]string{{"plan"}, {"plan", "--accept-new"}, {"apply", "--accept-new", "--yes"}} {
		_, stderr := s.run(1, nil, args[0], args[1:]...)
		if !strings.Contains(stderr, "node "+node+": THE HOST KEY OF") || !strings.Contains(stderr, "ssh-keygen -R") || strings.Count(now(), "ssh-ed25519") != 2 {
			s.t.Errorf("%v with a changed host key:\n%s", args, stderr)
		}
	}
	s.on(node, "cd /etc/ssh && rm -f ssh_host_* && mv was/* . && rmdir was && systemctl reload ssh")
	s.shows(node)
	if err := os.WriteFile(known, all, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.run(0, nil, "plan")
}

// shows waits until a node's sshd has its present host key.
func (s *secrets) shows(node string) {
	s.t.Helper()
	want := strings.Fields(s.on(node, "cat /etc/ssh/ssh_host_ed25519_key.pub"))[1]
	n, _ := s.pair.Node(node)
	s.eventually(10*time.Second, node+" shows its host key", func() string {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		conn, err := s.lab.Dial(ctx, lab.Admin, "tcp", n.Outside.String()+":22")
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		got := ""
		_, _, _, err = ssh.NewClientConn(conn, node, &ssh.ClientConfig{HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
			HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
				got = base64.StdEncoding.EncodeToString(key.Marshal())
				return errors.New("that is all")
			}})
		if got != want {
			return fmt.Sprintf("%s, %v", got, err)
		}
		return ""
	})
}
