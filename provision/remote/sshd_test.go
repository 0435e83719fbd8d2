package remote

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// newSSHD returns a target that is served by OpenSSH's sshd on loopback, one
// process for each connection, and what sshd logs.
func newSSHD(t *testing.T, config ...string) (Target, Options, func() string) {
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("there is no sshd to test with: install openssh-server")
	}
	if _, err := os.Stat("/run/sshd"); err != nil && os.Getuid() == 0 {
		t.Skip("/run/sshd does not exist, without which sshd does not start as root")
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hostPrivate, hostKey := newKey(t, "ed25519")
	private, key := newKey(t, "ed25519")
	writeKey(t, home+"/host_key", hostPrivate, "")
	writeKey(t, home+"/.ssh/id_ed25519", private, "")
	write(t, home+"/.ssh/known_hosts", knownhosts.Line([]string{l.Addr().String()}, hostKey.PublicKey())+"\n")
	write(t, home+"/authorized_keys", string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	write(t, home+"/sshd_config", strings.ReplaceAll("HostKey DIR/host_key\nAuthorizedKeysFile DIR/authorized_keys\nPermitRootLogin yes\n"+
		"StrictModes no\nUsePAM no\nLogLevel DEBUG1\nSubsystem sftp internal-sftp\n"+strings.Join(config, "\n")+"\n", "DIR", home))

	var mu sync.Mutex
	var log bytes.Buffer
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f, err := conn.(*net.TCPConn).File()
			conn.Close()
			if err != nil {
				t.Error(err)
				return
			}
			running.Go(func() {
				var out bytes.Buffer
				c := exec.Command(sshd, "-i", "-e", "-f", home+"/sshd_config")
				c.Stdin, c.Stdout, c.Stderr = f, f, &out
				err := c.Run()
				f.Close()
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(&log, "%s\nsshd ended: %v\n", out.String(), err)
			})
		}
	})
	end := func() string {
		l.Close()
		running.Wait()
		return log.String()
	}
	t.Cleanup(func() { end() })
	host, port, _ := net.SplitHostPort(l.Addr().String())
	target := Target{Node: "fw01", Host: host, User: me.Username}
	if _, err := fmt.Sscan(port, &target.Port); err != nil {
		t.Fatal(err)
	}
	return target, Options{HomeDir: home, ConfigFile: "none", AgentSocket: "none"}, end
}

func TestOpenSSHServer(t *testing.T) {
	target, opts, end := newSSHD(t)
	client, err := Dial(t.Context(), target, opts)
	if err != nil {
		t.Fatalf("%v\n%s", err, end())
	}
	defer client.Close()
	for _, c := range []struct {
		cmd    Command
		stdout string
		code   int
	}{
		{Command{Script: "echo 'it works!'\nexit 4\n"}, "it works!\n", 4},
		{Command{Script: "cat; echo \"$#\"", Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}, strings.Repeat("x", 1<<20) + "0\n", 0},
		{Command{Script: strings.Repeat("# it's long\n", 20000) + "echo end"}, "end\n", 0},
		{Command{Script: ": " + strings.Repeat("x", maxCommand-len("exec sh -c ''")-2), Stdin: strings.NewReader("")}, "", 0},
	} {
		res, err := client.Exec(t.Context(), c.cmd)
		if err != nil || string(res.Stdout) != c.stdout || res.Code != c.code {
			t.Errorf("%.40q: got %.40q, %q, %d, %v", c.cmd.Script, res.Stdout, res.Stderr, res.Code, err)
		}
	}
	_, err = client.Exec(t.Context(), Command{Script: "kill -9 $$"})
	wantError(t, err, "killed by SIGKILL")

	dir := uploads(t, client)

	// A command that is given up finds that nobody reads what it prints.
	ctx, cancel := context.WithCancel(t.Context())
	_, err = client.Exec(ctx, Command{OnLine: func(string) { cancel() }, Script: "trap '' PIPE\ni=0\n" +
		"while echo $i && [ $i -lt 200 ]; do i=$((i+1)); sleep 0.05; done\n[ $i -lt 200 ] && echo stopped >" + dir + "/note"})
	wantError(t, err, "context canceled")
	for deadline := time.Now().Add(15 * time.Second); ; {
		res, err := client.Exec(t.Context(), Command{Script: "cat " + dir + "/note"})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the command goes on: %v", err)
		}
		if string(res.Stdout) == "stopped\n" {
			break
		}
	}
	client.Close()
	if log := end(); strings.Count(log, "Accepted publickey") != 1 || strings.Contains(log, "pty-req") || strings.Contains(log, "req env") {
		t.Errorf("more was asked for than is needed:\n%s", log)
	}
}

// uploads puts many files there, and returns where.
func uploads(t *testing.T, client *Client) string {
	t.Helper()
	dir := t.TempDir()
	var files []File
	for i := range 250 {
		files = append(files, File{Path: filepath.Join(dir, fmt.Sprint(i)), Content: fmt.Append(nil, i), Mode: 0o640})
	}
	if err := client.Upload(t.Context(), files); err != nil {
		t.Error(err)
	}
	for i, f := range files {
		got, err := os.ReadFile(f.Path)
		info, serr := os.Stat(f.Path)
		if err != nil || serr != nil || string(got) != fmt.Sprint(i) || info.Mode() != 0o640 {
			t.Errorf("%s: %q, %v", f.Path, got, err)
		}
	}
	wantError(t, client.Upload(t.Context(), files[:1]), "exist")
	return dir
}
