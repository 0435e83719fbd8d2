package drill

import (
	"context"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Follow runs a script on another machine until its standard input or ctx ends, and
// hands on its lines.
type Follow func(ctx context.Context, script string, stdin io.Reader, onLine func(string)) error

// Follower listens to a script elsewhere that answers every line it gets with its
// clock.
type Follower struct {
	mu    sync.Mutex
	clock Clock
	asked time.Time
	lines []string
	ready chan struct{} // closed at the first answer
	err   error
}

// NewFollower prepares to listen.
func NewFollower() *Follower { return &Follower{ready: make(chan struct{})} }

// clockEvery is how often the clocks are compared, lastLines how long the script may
// take to end.
const (
	clockEvery = 250 * time.Millisecond
	lastLines  = 3 * time.Second
)

// Run follows the script until ctx ends.
func (f *Follower) Run(ctx context.Context, follow Follow, script string) {
	in, out := io.Pipe()
	session, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := follow(session, script, in, f.line)
		_ = in.Close()
		f.mu.Lock()
		f.err = err
		f.mu.Unlock()
	}()
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			go out.Close() // nobody may read any more
			select {
			case <-ended:
			case <-time.After(lastLines):
				cancel()
				<-ended
			}
			return
		case <-ended:
			return
		case <-tick.C:
			f.ask(out)
		}
	}
}

// ask sends a line unless the answer to one is due.
func (f *Follower) ask(out io.Writer) {
	f.mu.Lock()
	due := !f.asked.IsZero()
	if !due {
		f.asked = time.Now().Round(0)
	}
	f.mu.Unlock()
	if !due {
		go func() { _, _ = out.Write([]byte("\n")) }() // the connection may be cut
	}
}

func (f *Follower) line(text string) {
	now := time.Now().Round(0)
	f.mu.Lock()
	defer f.mu.Unlock()
	said, ok := clockLine(text)
	if !ok {
		f.lines = append(f.lines, text)
		return
	}
	if !f.asked.IsZero() {
		if !f.clock.Known {
			close(f.ready)
		}
		f.clock = f.clock.Compared(f.asked, said, now)
		f.asked = time.Time{}
	}
}

// Ready is closed when the script has answered for the first time.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Heard is what it has printed so far, how its clock compares, and why it ended.
func (f *Follower) Heard() ([]string, Clock, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lines), f.clock, f.err
}

var moveLine = regexp.MustCompile(`^\[([0-9T:.-]+)\] ?(Deleted )?.* inet ([0-9.]+)/`)

// Moves reads what steps.HolderWatch prints of a node. What it had at first it has
// had since begin. What was lost or got before that was told is told twice.
func Moves(lines []string, node string, vips []string, clock Clock, begin time.Time) []Move {
	var out []Move
	for _, line := range lines {
		if vip, ok := strings.CutPrefix(line, "has "); ok {
			if slices.Contains(vips, vip) {
				out = append(out, Move{begin, node, vip, true})
			}
			continue
		}
		m := moveLine.FindStringSubmatch(line)
		if m == nil || !slices.Contains(vips, m[3]) {
			continue
		}
		at, err := time.Parse("2006-01-02T15:04:05.000000", m[1])
		if err != nil {
			continue
		}
		out = append(out, Move{clock.Ours(at), node, m[3], m[2] == ""})
	}
	return out
}
