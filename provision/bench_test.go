package provision

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"fwprov/provision/remote"
)

// largeFiles are n files of a step.
func largeFiles(n int) []File {
	out := make([]File, n)
	for i := range out {
		out[i] = File{Path: fmt.Sprintf("/etc/web/%d.conf", i), Content: fmt.Appendf(nil, "port %d\n", i)}
	}
	return out
}

// said is a connection on which a node says always the same.
type said struct{ text string }

func (s said) Exec(context.Context, remote.Command) (remote.Result, error) {
	return remote.Result{Stdout: []byte(s.text)}, nil
}
func (said) Upload(context.Context, []remote.File) error { return nil }
func (said) Close() error                                { return nil }
func (said) Rides() string                               { return "" }

// planLarge looks at a machine with n files, which are as they should be, or are
// not there, and plans.
func planLarge(t testing.TB, n int, there bool) (work func()) {
	step := web{name: "web", files: largeFiles(n)}
	var stat, sums, manifest strings.Builder
	for _, f := range step.files {
		if there {
			fmt.Fprintf(&stat, "1 644 0:0 regular file|%s\n", f.Path)
			fmt.Fprintf(&sums, "%s  %s\n", Hash(f.Content), f.Path)
			fmt.Fprintf(&manifest, "file\t%s\tweb\t%s\n", f.Path, Hash(f.Content))
		}
	}
	var b strings.Builder
	for _, s := range [][2]string{{"manifest", manifest.String()}, {"stat", "0 444 0:0 regular empty file|/proc/self/stat\n" + stat.String()}, {"sums", sums.String()},
		{"rollback", ""}, {"loaded", ""}, {"step web", "hello web\n"}, {"end", ""}} {
		fmt.Fprintf(&b, "\n@testrun %s\n%s", s[0], s[1])
	}
	r := runner(map[string]*machine{}, nil, nil)
	r.Dial = func(context.Context, string, bool) (Conn, error) { return said{b.String()}, nil }
	r.Nodes = []Node{{"fw01", []Step{step}}}
	return func() {
		p := r.Plan(t.Context())
		if err := p.Err(); err != nil || there != (p.Changes == 0) || !there && p.Changes != n {
			t.Fatalf("%d changes, %v", p.Changes, err)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, there := range []bool{false, true} {
		for _, n := range []int{20, 250, 1000, 4000} {
			b.Run(fmt.Sprintf("there=%v/files=%d", there, n), func(b *testing.B) {
				work := planLarge(b, n, there)
				b.ReportAllocs()
				for b.Loop() {
					work()
				}
			})
		}
	}
}

// diffLarge compares two texts of n lines, a tenth of which differ.
func diffLarge(_ testing.TB, n int) (work func()) {
	var from, to bytes.Buffer
	for i := range n {
		fmt.Fprintf(&from, "line %d\n", i)
		if i%10 == 0 {
			i = -i
		}
		fmt.Fprintf(&to, "line %d\n", i)
	}
	return func() { unified("a", "b", from.Bytes(), to.Bytes()) }
}

func BenchmarkDiff(b *testing.B) {
	for _, n := range []int{100, 1000, 10000, 40000} {
		b.Run(fmt.Sprintf("lines=%d", n), func(b *testing.B) {
			work := diffLarge(b, n)
			b.ReportAllocs()
			for b.Loop() {
				work()
			}
		})
	}
}

// What a file or a line costs does not grow with their number. What is allocated
// counts, since time is never twice the same.
func TestLinear(t *testing.T) {
	for name, prepare := range map[string]func(testing.TB, int) func(){
		"files that are not there":   func(t testing.TB, n int) func() { return planLarge(t, n, false) },
		"files as they should be":    func(t testing.TB, n int) func() { return planLarge(t, n, true) },
		"lines of which some differ": diffLarge,
	} {
		t.Run(name, func(t *testing.T) {
			per := func(n int) float64 {
				work := prepare(t, n)
				work() // what is made once does not count
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				work()
				runtime.ReadMemStats(&after)
				return float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
			}
			if g := per(1000) / per(250); g > 1.5 {
				t.Errorf("among four times as many one costs %.1f times as much", g)
			}
		})
	}
}
