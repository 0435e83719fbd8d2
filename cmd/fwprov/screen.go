package main

// Rules of the terminal:
//
//   - Standard output has what was asked for: the plan, the result, JSON.
//     Standard error has progress, messages, questions and errors.
//   - One screen owns both. Nothing else writes to either while it is open.
//   - On a terminal the last lines show what each node is doing right now, or each
//     pair where there are several, and how far the run is. They are redrawn at
//     most ten times a second, and are erased before anything else is written and
//     when the screen is closed, so that what stays in the scrollback reads like
//     a log.
//   - Without a terminal there are no such lines: what happens is told a line at
//     a time. Whoever pipes standard error gets no escape sequence at all.
//   - Colour never carries a meaning that the text does not.
//   - Text from a node passes printable before it gets here.

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const redrawEvery = 100 * time.Millisecond

// screen is the one writer to the terminal. It is safe for concurrent use.
type screen struct {
	out, err io.Writer
	live     bool
	size     func() (columns, rows int)
	now      func() time.Time
	style    style // of standard error
	quit     chan struct{}
	done     sync.WaitGroup

	mu     sync.Mutex
	status []statusLine // by name
	footer string       // stands below them
	drawn  string       // what is on the screen below everything else
}

type statusLine struct {
	name, text string
	since      time.Time
}

// newScreen returns the screen of a run. The live lines are off without a
// terminal, and if nobody wants to see them.
func newScreen(w *world, quiet bool) *screen {
	s := &screen{out: w.stdout, err: w.stderr, size: w.size, now: w.now,
		live: w.errTerm && !w.dumb() && !quiet, style: w.errStyle(), quit: make(chan struct{})}
	if s.live {
		s.done.Go(s.tick)
	}
	return s
}

// close erases the live lines and ends the redrawing.
func (s *screen) close() {
	close(s.quit)
	s.done.Wait()
	s.clear()
}

// show sets the live line of a node.
func (s *screen) show(name, text string) {
	if !s.live {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.status {
		if s.status[i].name == name {
			if s.status[i].text != text {
				s.status[i].text, s.status[i].since = text, s.now()
			}
			return
		}
	}
	s.status = append(s.status, statusLine{name, text, s.now()})
	slices.SortFunc(s.status, func(a, b statusLine) int { return strings.Compare(a.name, b.name) })
}

// hide takes the live line of a node away.
func (s *screen) hide(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = slices.DeleteFunc(s.status, func(l statusLine) bool { return l.name == name })
}

// sum sets the line below those of the nodes.
func (s *screen) sum(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.footer = text
}

// clear takes all live lines away.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.status, s.footer = nil, ""
}

// stdout and stderr are the two streams, for whole lines.
func (s *screen) stdout() io.Writer { return stream{s, s.out} }
func (s *screen) stderr() io.Writer { return stream{s, s.err} }

type stream struct {
	s *screen
	w io.Writer
}

func (t stream) Write(b []byte) (int, error) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.erase()
	n, err := t.w.Write(b)
	t.s.draw()
	return n, err
}

func (s *screen) tick() {
	t := time.NewTicker(redrawEvery)
	defer t.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-t.C:
			s.mu.Lock()
			if s.render() != s.drawn {
				s.erase()
				s.draw()
			}
			s.mu.Unlock()
		}
	}
}

// erase leaves the cursor where the first live line began.
func (s *screen) erase() {
	if s.drawn != "" {
		fmt.Fprintf(s.err, "\x1b[%dA\x1b[J", strings.Count(s.drawn, "\n"))
		s.drawn = ""
	}
}

func (s *screen) draw() {
	s.drawn = s.render()
	_, _ = io.WriteString(s.err, s.drawn)
}

// render returns the live lines as they have to be.
func (s *screen) render() string {
	if !s.live || len(s.status) == 0 && s.footer == "" {
		return ""
	}
	columns, rows := s.size()
	room := rows - 2 // what does not fit could not be erased
	if s.footer != "" {
		room--
	}
	shown := s.status[:max(0, min(room, len(s.status)))]
	names := 0
	for _, l := range shown {
		names = max(names, utf8.RuneCountInString(l.name))
	}
	var b strings.Builder
	for _, l := range shown {
		took := ""
		if d := s.now().Sub(l.since); d >= 2*time.Second {
			took = fmt.Sprintf(" (%ds)", int(d.Seconds()))
		}
		text := fmt.Sprintf("%-*s  %s", names, l.name, l.text)
		b.WriteString(s.style.faint(cut(text, columns-1-len(took))+took) + "\n")
	}
	if s.footer != "" && room >= 0 {
		text := s.footer
		if more := len(s.status) - len(shown); more > 0 {
			text += fmt.Sprintf(" (%d not shown)", more)
		}
		b.WriteString(s.style.faint(cut(text, columns-1)) + "\n")
	}
	return b.String()
}

// cut shortens text to n characters.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	if n < 2 {
		return ""
	}
	return string([]rune(text)[:n-1]) + "…"
}
