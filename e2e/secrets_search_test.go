package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// needles are what is looked for: the secrets, and the hashes by which one could
// be guessed.
func (s *secrets) needles() [][]byte {
	out := [][]byte{[]byte(firstPassword), []byte(secondPassword), []byte(sudoPassword)}
	for _, n := range s.pair.Nodes {
		sum := sha256.Sum256([]byte(s.feed(n.Name, "", "cat", "/etc/keepalived/keepalived.conf")))
		out = append(out, fmt.Appendf(nil, "%x", sum))
	}
	return out
}

// watch samples what every process of this machine, and so of the nodes, shows of
// its arguments and environment. The last is a line of the manifest, which has
// hashes.
func (s *secrets) watch() {
	needles := [][]byte{[]byte(firstPassword), []byte(secondPassword), []byte(sudoPassword), []byte("auth_pass"),
		[]byte("/etc/keepalived/keepalived.conf\tkeepalived\t")}
	quit := make(chan struct{})
	var found []string
	var samples int
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
			samples++
			found = append(found, shownBy(needles)...)
		}
	})
	s.stop = func() []string {
		close(quit)
		done.Wait()
		s.t.Logf("arguments and environments sampled %d times", samples)
		if samples < 20 {
			s.t.Errorf("only %d samples", samples)
		}
		return found
	}
}

// shownBy looks once at all processes.
func shownBy(needles [][]byte) (found []string) {
	proc, err := os.Open("/proc")
	if err != nil {
		return []string{err.Error()}
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return []string{err.Error()}
	}
	for _, pid := range names {
		if pid[0] < '0' || pid[0] > '9' {
			continue
		}
		for _, file := range []string{"/cmdline", "/environ"} {
			b, _ := os.ReadFile("/proc/" + pid + file) // an error: it has ended
			for _, n := range needles {
				if bytes.Contains(b, n) {
					found = append(found, fmt.Sprintf("/proc/%s%s: %.200q", pid, file, b))
				}
			}
		}
	}
	return found
}

// mayHold are the files of a node that have a VRRP password in them.
var mayHold = regexp.MustCompile(`^/etc/keepalived/keepalived\.conf$|^/var/lib/fwprov/history/[0-9]+/(source|files/etc/keepalived/keepalived\.conf)$`)

// mayHash are those that have a hash of such a file.
var mayHash = regexp.MustCompile(`^/var/lib/fwprov/(manifest|history/[0-9]+/files/var/lib/fwprov/manifest)$|^/run/fwprov/loaded/keepalived\.service$`)

// nowhere looks for the secrets in all that was printed, written and logged.
func (s *secrets) nowhere() {
	s.t.Helper()
	needles := s.needles()
	for _, f := range s.stop() {
		s.t.Errorf("seen by everybody: %s", f)
	}
	for _, n := range needles {
		if i := bytes.Index(s.said.Bytes(), n); i >= 0 {
			s.t.Errorf("printed: %s", s.said.Bytes()[max(0, i-300):i+20])
		}
	}
	for _, dir := range []string{s.dir, s.lab.Home()} {
		s.noneIn(dir, needles)
	}
	for _, node := range s.pair.Nodes {
		found := 0
		for i, n := range needles {
			allowed := mayHold
			if i >= 3 {
				allowed = mayHash
			}
			out := s.feed(node.Name, string(n)+"\n", "grep", "-rlsF", "-f", "-", "-D", "skip", "--exclude-dir=proc", "--exclude-dir=sys", "/")
			for _, f := range strings.Fields(out) {
				found++
				if mode := s.on(node.Name, "stat -c %a "+f); !allowed.MatchString(f) || mode != "600" {
					s.t.Errorf("%s: %s (mode %s) has %.4s...", node.Name, f, mode, n)
				}
			}
			if log := s.feed(node.Name, "", "journalctl", "-q", "-a", "--no-pager", "-o", "export"); strings.Contains(log, string(n)) {
				s.t.Errorf("%s: the journal has %.4s...", node.Name, n)
			}
		}
		if found < 6 {
			s.t.Errorf("%s: only %d files with secrets were found: is the search right?", node.Name, found)
		}
		s.journal(node.Name)
	}
}

func (s *secrets) noneIn(dir string, needles [][]byte) {
	s.t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		for _, n := range needles {
			if bytes.Contains(b, n) {
				s.t.Errorf("%s has %.4s...", path, n)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		s.t.Errorf("%s: %d files, %v", dir, files, err)
	}
}

// journal holds that sudo has logged a fixed text for each command.
func (s *secrets) journal(node string) {
	s.t.Helper()
	commands := 0
	for line := range strings.Lines(s.on(node, "journalctl -q --no-pager -o cat _COMM=sudo")) {
		_, command, ok := strings.Cut(strings.TrimSpace(line), "COMMAND=")
		if !ok {
			continue
		}
		commands++
		if !sudoCommand.MatchString(command) {
			s.t.Errorf("%s: sudo logged %.300q", node, command)
		}
	}
	if commands == 0 {
		s.t.Errorf("%s: sudo logged nothing", node)
	}
}

var sudoCommand = regexp.MustCompile(`^/usr/bin/sh -c 'eval "\$\(head -c [0-9]+\)"'$|^/usr/bin/sh -c eval "\$\(head -c [0-9]+\)"$`)
